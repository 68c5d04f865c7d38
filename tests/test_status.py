import json

import pytest

from hdge.study import study as studies
from hdge.study.profiles import Profile
from hdge.study.runs import RunFolder
from hdge.study.status import status_lines, status_table
from hdge.study.study import Study


@pytest.fixture
def study(tmp_path, monkeypatch):
    made = Profile("made", "test scale", (0, 1, 2, 3), {"epochs": 10}, {"cross_entropy": {}, "hdge": {}})
    monkeypatch.setattr(studies, "load_profile", lambda name: made)
    study = Study("made", tmp_path)
    for seed, outcome in ((0, "finished"), (1, "diverged")):
        config = made.config("hdge", seed)
        folder = RunFolder.of("made", "hdge", seed, study.root)
        folder.write_config(config)
        folder.finish(
            {"config": json.loads(config.to_json()), "outcome": outcome, "cost": {"seconds": 60.0 * (1 + seed)}}
        )
    half = RunFolder.of("made", "hdge", 2, study.root)
    half.write_config(made.config("hdge", 2))
    (half.path / "state.pt").write_bytes(b"of a run under way")
    (half.path / "history.csv").write_text("epoch\n" + "\n".join(map(str, range(1, 5))) + "\n")
    return study


def test_every_run_is_counted_once_and_its_time_left_is_that_of_its_row(study):
    none, hdge = status_table(study).to_dict("records")
    assert [none[name] for name in ("planned", "missing", "finished")] == [4, 4, 0]
    assert none["minutes left"] != none["minutes left"]  # unknown
    counts = {name: hdge[name] for name in ("finished", "archived", "failed", "under way", "missing")}
    assert counts == {"finished": 1, "archived": 0, "failed": 1, "under way": 1, "missing": 1}
    # Two runs took 1.5 minutes each; six tenths of one and the whole of another are left.
    assert hdge["minutes left"] == pytest.approx(1.6 * 1.5, abs=0.051)


def test_the_last_line_sums_up(study):
    last = status_lines(study)[-1]
    assert last == (
        "made: 8 runs, 1 finished, 1 failed, 1 under way, 5 missing; some 0.0 hours of one core left, and 1 rows of "
        "unknown time"
    )
