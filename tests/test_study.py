"""The whole way on the smoke profile, in a copy of the project, as a user runs it."""

import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pandas as pd
import pytest

from hdge.study import notebooks
from hdge.study.config import HOME, HdgeError

PARTS = ("hdge", "notebooks", "profiles", "Snakefile", "pyproject.toml")


class Study:
    """A copy of the project, and commands run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in PARTS:
            source, target = HOME / part, folder / part
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "HDGE_DATA": str(self.folder / "data")}
        return subprocess.run(
            [sys.executable, *words], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )

    def reproduce(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "hdge.cli", "reproduce", "smoke", "--cores", "2", *words)

    def planned(self) -> list[str]:
        """The jobs that a run would have now: rule names, a training run as its folder's name."""
        done = self.run("-m", "snakemake", "--config", "profile=smoke", "--cores", "2", "--dry-run", "--printshellcmds")
        assert done.returncode == 0, done.stderr
        jobs = []
        for line in (done.stdout + done.stderr).splitlines():
            if "hdge.cli notebook" in line:
                given = json.loads(line[line.index("'") + 1 : line.rindex("'")])
                source = Path(line.split("hdge.cli notebook ")[1].split()[0]).stem
                jobs.append(f"{given['method']}-seed{given['seed']}" if "method" in given else source)
        return sorted(jobs)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The study, run once from nothing."""
    study = Study(tmp_path_factory.mktemp("project"))
    done = study.reproduce()
    assert done.returncode == 0, done.stderr
    return study


def test_every_picture_has_its_table_and_every_notebook_is_kept(study):
    figures = study.folder / "figures" / "smoke"
    pictures = sorted(path.stem for path in figures.glob("*.svg"))
    assert len(pictures) == 22
    for name in pictures:
        assert ElementTree.parse(figures / f"{name}.svg").getroot().tag.endswith("svg")
        assert not pd.read_csv(figures / f"{name}.csv").empty
    executed = {path.stem for path in (study.folder / "papermill_runs/smoke/notebooks").glob("*.ipynb")}
    assert {path.stem for path in HOME.glob("notebooks/0[02-9]*.ipynb")} <= executed
    assert {"01_training-hdge-seed1", "01_training-hdge_k_64-seed0"} <= executed
    verdicts = pd.read_csv(figures / "02_ood_verdict.csv")
    assert set(verdicts["verdict"]) == {"inconclusive"}  # two seeds decide nothing
    assert set(zip(verdicts["score"], verdicts["ood_set"], strict=True)) == {
        (score, name)
        for score in ("log q(x)", "max q(y|x)", "approximate mass")
        for name in ("digits-heldout", "interp")
    }


def test_what_is_up_to_date_is_not_run_again(study):
    assert study.planned() == []


def test_an_edit_reruns_what_depends_on_it_and_nothing_else(study):
    of_hdge = ["hdge-seed0", "hdge-seed1", "hdge_k_64-seed0", "hdge_masked-seed0"]
    everything = [*of_hdge, "cross_entropy-seed0", "cross_entropy-seed1", "jem-seed0"]
    readers = [path.stem for path in HOME.glob("notebooks/0[2-9]*.ipynb")]
    # Each edit is undone before the next; a plan is a dry run, so nothing is trained here.
    for name, old, new, jobs in (
        ("hdge/figures/ood.py", "Density of test images", "Densities of test images", ["02_ood", "09_verdict"]),
        ("profiles/smoke.yaml", "  hdge:", "  hdge: {alpha: 0.4}", [*of_hdge, *readers]),
        ("hdge/figures/robustness.py", "What attacks leave", "What all attacks leave", ["06_robustness", "09_verdict"]),
        ("hdge/core/losses.py", "return alpha *", "return 1 * alpha *", ["00_tour", *everything, *readers]),
    ):
        path = study.folder / name
        before, stamp = path.read_text(), path.stat()
        study.edit(name, old, new)
        assert study.planned() == sorted(jobs), name
        path.write_text(before)
        os.utime(path, (stamp.st_atime, stamp.st_mtime))
    assert study.planned() == []


def test_plain_papermill_draws_the_same_bytes(study):
    pictures = sorted((study.folder / "figures" / "smoke").glob("02_*"))
    before = {path.name: path.read_bytes() for path in pictures}
    words = ["notebooks/02_ood.ipynb", "out.ipynb", "-p", "profile", "smoke"]
    done = study.run("-m", "papermill", *words)
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in pictures} == before


def test_a_failing_notebook_is_named_and_the_other_branches_finish(study):
    study.edit("notebooks/03_calibration.ipynb", "table = calibration_table(runs)", "table = calibration_table(1 / 0)")
    study.edit("hdge/figures/ood.py", "Density of test images", "Densities of test images")
    done = study.reproduce()
    assert done.returncode != 0
    assert (
        "03_calibration.ipynb failed in cell In [4]: ZeroDivisionError: division by zero (executed copy:" in done.stderr
    )
    copy = study.folder / "papermill_runs/smoke/notebooks/03_calibration.ipynb"
    assert "ZeroDivisionError" in copy.read_text()
    assert "Densities of test images" in (study.folder / "figures/smoke/02_ood_histograms.svg").read_text()


def test_an_unknown_parameter_is_refused(tmp_path):
    with pytest.raises(HdgeError, match="no parameter of 02_ood.ipynb 'profil'; did you mean 'profile'"):
        notebooks.execute(HOME / "notebooks" / "02_ood.ipynb", tmp_path / "out.ipynb", {"profil": "smoke"})
    assert not list(tmp_path.iterdir())


def test_modules_behind_a_notebook_are_found_through_others():
    found = {path.stem for path in notebooks.imported_modules(HOME / "notebooks" / "03_calibration.ipynb")}
    assert {"calibration", "style", "runs", "config", "readings", "intervals", "paper"} <= found
    assert not found & {"ood", "classification", "toy", "training", "queue"}
    behind_training = {path.stem for path in notebooks.imported_modules(HOME / "hdge" / "training" / "loop.py")}
    assert {"training", "queue", "losses", "sources"} <= behind_training
    assert not behind_training & {"style", "ood", "figures", "paper"}
