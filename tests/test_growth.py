"""The benchmark of how the study grows: a profile can ask for its studies, and it goes on where it was."""

import pandas as pd
import pytest
import yaml

from benchmarks import growth
from hdge.study.config import HOME
from hdge.study.profiles import load_profile


@pytest.mark.parametrize("size", growth.STUDIES, ids=lambda size: "-".join(map(str, size)))
def test_a_study_has_the_runs_and_jobs_that_its_size_says(size, tmp_path):
    (tmp_path / "smoke.yaml").write_text((HOME / "profiles" / "smoke.yaml").read_text())
    (tmp_path / "growth.yaml").write_text(yaml.safe_dump(growth.profile_of(size)))
    profile = load_profile("growth", tmp_path)
    runs = profile.runs(variants=True)
    assert len(runs) == size.methods * size.seeds <= 200
    assert len(profile.config(*runs[0]).evaluation_sets) == size.sets
    assert profile.seeds_per_job == size.seeds_per_job


def test_studies_that_the_same_code_has_measured_are_not_run_again(tmp_path, monkeypatch):
    ran = []

    def fake(size):
        ran.append(size)
        return {**size._asdict(), "runs": size.methods * size.seeds, "jobs": 3, "seconds": 1.5}

    monkeypatch.setattr(growth, "measure_study", fake)
    path = tmp_path / "growth.csv"
    table = growth.measure_growth(growth.STUDIES, path)
    assert ran == list(growth.STUDIES)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))  # as if killed before the last study
    pd.testing.assert_frame_equal(growth.measure_growth(growth.STUDIES, path), table)
    assert ran[len(growth.STUDIES) :] == [growth.STUDIES[-1]]
    monkeypatch.setattr(growth, "fingerprint", lambda benchmark: "other code")
    growth.measure_growth(growth.STUDIES, path)
    assert len(ran) == 2 * len(growth.STUDIES) + 1
