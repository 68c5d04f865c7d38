"""The whole way on the smoke profile, in a copy of the project, as a user runs it."""

import json
import os
import platform
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pandas as pd
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from benchmarks.growth import PARTS
from hdge.study import dependencies, notebooks
from hdge.study.config import HOME
from hdge.study.errors import HdgeError
from hdge.study.roster import METHODS
from hdge.verdict.answer import PROFILES

MEASURED = ["measure cross_entropy", "measure hdge", "measure jem"]


class Study:
    """A copy of the project, and commands run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.first_plan = folder, list[str]()
        for part in PARTS:
            source, target = HOME / part, folder / part
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "HDGE_DATA": str(self.folder / "data")}
        given = {"cwd": self.folder, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([sys.executable, *words], text=True, **given)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = self.begin(*words)
        stdout, stderr = process.communicate()
        return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)

    def reproduce(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "hdge.cli", "reproduce", "smoke", "--cores", "2", *words)

    def planned(self) -> list[str]:
        """The jobs that a run would have now: notebooks by name, training by folders, measurements by row."""
        done = self.run("-m", "snakemake", "--config", "profile=smoke", "--cores", "2", "--dry-run", "--printshellcmds")
        assert done.returncode == 0, done.stderr
        jobs = []
        for line in (done.stdout + done.stderr).splitlines():
            if "hdge.cli notebook" in line:
                given = json.loads(line[line.index("'") + 1 : line.rindex("'")])
                source = Path(line.split("hdge.cli notebook ")[1].split()[0]).stem
                seeds = "-".join(map(str, given.get("seeds", [])))
                jobs.append(f"{given['method']}-seed{seeds}" if "method" in given else source)
            elif "hdge.cli measure" in line:
                jobs.append("measure " + line.split("hdge.cli measure smoke ")[1].split()[0])
        return sorted(jobs)

    def remove(self, name: str) -> None:
        shutil.rmtree(self.folder / name)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The study, run once from nothing."""
    study = Study(tmp_path_factory.mktemp("project"))
    study.first_plan = study.planned()
    done = study.reproduce()
    assert done.returncode == 0, done.stderr
    return study


def test_every_picture_has_its_table_and_every_notebook_is_kept(study):
    figures = study.folder / "figures" / "smoke"
    pictures = sorted(path.stem for path in figures.glob("*.svg"))
    assert len(pictures) == 23
    for name in pictures:
        assert ElementTree.parse(figures / f"{name}.svg").getroot().tag.endswith("svg")
        assert not pd.read_csv(figures / f"{name}.csv").empty
    executed = {path.stem for path in (study.folder / "papermill_runs/smoke/notebooks").glob("*.ipynb")}
    assert {path.stem for path in HOME.glob("notebooks/0[02-9]*.ipynb")} <= executed
    assert {"01_training-hdge-seed0-1", "01_training-hdge_k_64-seed0"} <= executed
    shown = {path.stem for path in (study.folder / "papermill_runs/smoke/notebooks").glob("*.html")}
    assert shown == {path.stem for path in HOME.glob("notebooks/0[02-9]*.ipynb")}
    verdicts = pd.read_csv(figures / "09_verdict_claims.csv")
    assert set(verdicts["verdict"]) <= {"not testable here", "undecided"}  # two seeds decide nothing
    assert verdicts["reason"].str.contains("hdge has 2 seeds here; the rule needs 3").any()


def test_snakemakes_own_report_holds_every_picture_and_table(study, tmp_path):
    page = tmp_path / "report.html"
    done = study.run("-m", "snakemake", "--config", "profile=smoke", "--report", str(page))
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert all(path.name in text for path in (study.folder / "figures" / "smoke").glob("*.*"))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors round differently")
def test_the_tour_is_the_same_on_every_processor_and_in_every_profile(study):
    drawn = (study.folder / "figures" / "smoke" / "00_tour_density.csv").read_bytes()
    assert [(HOME / "figures" / name / "00_tour_density.csv").read_bytes() == drawn for name in PROFILES] == [True] * 3


def test_a_row_is_one_job_of_training_and_one_of_measurement(study):
    trained = ["cross_entropy-seed0-1", "hdge-seed0-1", "hdge_k_64-seed0", "hdge_masked-seed0", "jem-seed0"]
    notebooks = [path.stem for path in HOME.glob("notebooks/0[02-9]*.ipynb")]
    assert study.first_plan == sorted([*trained, *MEASURED, *notebooks])


def test_notebooks_measure_nothing(study):
    """A row's stamp is written after its measurements and before the notebooks that read them."""
    stamps = list(study.folder.glob("papermill_runs/smoke/runs/*/measured/done.txt"))
    assert len(stamps) == 5
    for stamp in stamps:
        files = list(stamp.parent.glob("*.safetensors"))
        assert len(files) == len(stamp.read_text().splitlines())
        assert max(path.stat().st_mtime_ns for path in files) <= stamp.stat().st_mtime_ns


def test_a_changed_protocol_is_measured_anew_and_nothing_is_trained(study):
    runs = study.folder / "papermill_runs" / "smoke" / "runs"
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    study.edit("profiles/smoke.yaml", "steps: 2, l2: [0.5]", "steps: 3, l2: [0.5]")
    assert study.planned() == sorted([*MEASURED, "02_ood", "05_generation", "06_robustness", "09_verdict"])
    measure = ("-m", "hdge.cli", "measure", "smoke", "hdge", "0", "1")
    assert study.run(*measure).returncode == 0
    changed = {path.relative_to(runs).as_posix() for path in before if path.read_bytes() != before[path]}
    of_attacks = {f"hdge-seed{seed}/measured/{name}" for seed in (0, 1) for name in ("attacks.safetensors", "done.txt")}
    assert changed == of_attacks
    study.edit("profiles/smoke.yaml", "steps: 3, l2: [0.5]", "steps: 2, l2: [0.5]")
    assert study.run(*measure).returncode == 0
    assert all(path.read_bytes() == content for path, content in before.items())


def test_what_is_up_to_date_is_not_run_again(study):
    assert study.planned() == []


def test_nothing_is_run_again_in_a_moved_or_copied_checkout(study, tmp_path):
    """A copy has another path, and every file of it is new."""
    copy = Study.__new__(Study)
    copy.folder = tmp_path / "copied checkout"
    shutil.copytree(study.folder, copy.folder, copy_function=shutil.copyfile)
    assert copy.planned() == []


def test_an_edit_reruns_what_depends_on_it_and_nothing_else(study):
    of_hdge = ["hdge-seed0-1", "hdge_k_64-seed0", "hdge_masked-seed0"]
    of_queue = [*of_hdge, "jem-seed0"]  # JEM's file holds HDGE + JEM as well
    readers = [path.stem for path in HOME.glob("notebooks/0[2-9]*.ipynb")]
    detecting = ["00_tour", *readers]  # the judge reads AUROC, and every notebook shows its verdicts
    of_weights = [*MEASURED, "02_ood", "05_generation", "06_robustness"]
    # Each edit is undone before the next; a plan is a dry run, so nothing is trained here.
    for name, old, new, jobs in (
        ("hdge/figures/ood.py", "Density of in-distribution", "Densities of in-distribution", ["02_ood", "09_verdict"]),
        ("hdge/study/study.py", "the finished runs, and", "all finished runs, and", ["00_tour", *readers]),
        ("hdge/evaluators/ood.py", "average_precision_score(", "(average_precision_score)(", detecting),
        ("hdge/methods/flows.py", "LEVELS = 256", "LEVELS = 255 + 1", [*of_weights, "09_verdict"]),
        (
            "hdge/methods/sgld.py",
            "samples = samples.detach()",
            "samples = (+samples).detach()",
            ["jem-seed0", *MEASURED, *readers],
        ),
        ("profiles/smoke.yaml", "  hdge:", "  hdge: {hybrid: {alpha: 0.4}}", [*of_hdge, "measure hdge", *readers]),
        (
            "hdge/figures/robustness.py",
            "Accuracy under attack",
            "Accuracy under any attack",
            ["06_robustness", "09_verdict"],
        ),
        ("hdge/core/losses.py", "return alpha *", "return 1 * alpha *", ["00_tour", *of_queue, *MEASURED, *readers]),
    ):
        path = study.folder / name
        before, stamp = path.read_text(), path.stat()
        study.edit(name, old, new)
        assert study.planned() == sorted(jobs), name
        path.write_text(before)
        os.utime(path, (stamp.st_atime, stamp.st_mtime))
    assert study.planned() == []


def test_plain_papermill_draws_the_same_bytes_and_leaves_the_tracked_ones_alone(study):
    """Also with another parameter, which draws another picture."""
    pictures = sorted((study.folder / "figures" / "smoke").glob("02_*"))
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in pictures}
    done = study.run("-m", "papermill", "notebooks/02_ood.ipynb", "out.ipynb", "-p", "profile", "smoke")
    assert done.returncode == 0, done.stderr
    explored = study.folder / "explored" / "figures" / "smoke"
    assert {path.name: path.read_bytes() for path in explored.iterdir()} == {k: v[1] for k, v in before.items()}
    done = study.run(
        "-m", "papermill", "notebooks/00_tour.ipynb", "out.ipynb", "-p", "profile", "smoke", "-p", "steps", "3"
    )
    assert done.returncode == 0, done.stderr
    tour = "00_tour_density.csv"
    assert (explored / tour).read_bytes() != (study.folder / "figures" / "smoke" / tour).read_bytes()
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in pictures} == before


def test_a_failing_notebook_is_named_and_the_other_branches_finish(study):
    study.edit(
        "notebooks/03_calibration.ipynb",
        "table = calibration_table(runs, bins=bins)",
        "table = calibration_table(1 / 0)",
    )
    study.edit("hdge/figures/ood.py", "Density of in-distribution", "Densities of in-distribution")
    done = study.reproduce()
    assert done.returncode != 0
    assert (
        "03_calibration.ipynb failed in cell In [4]: ZeroDivisionError: division by zero (executed copy:" in done.stderr
    )
    copy = study.folder / "papermill_runs/smoke/notebooks/03_calibration.ipynb"
    assert "ZeroDivisionError" in copy.read_text()
    assert "Densities of in-distribution" in (study.folder / "figures/smoke/02_ood_histograms.svg").read_text()


def test_an_unknown_parameter_is_refused(tmp_path):
    with pytest.raises(HdgeError, match="no parameter of 02_ood.ipynb 'profil'; did you mean 'profile'"):
        notebooks.execute(HOME / "notebooks" / "02_ood.ipynb", tmp_path / "out.ipynb", {"profil": "smoke"})
    assert not list(tmp_path.iterdir())


def test_plain_papermill_is_refused_an_unknown_parameter(tmp_path):
    source = HOME / "notebooks" / "03_calibration.ipynb"
    with pytest.raises(PapermillExecutionError, match="no parameter 'rot'; did you mean 'root'"):
        papermill.execute_notebook(source, tmp_path / "out.ipynb", {"rot": "x"}, progress_bar=False)


def test_modules_behind_a_notebook_are_found_through_others():
    found = {path.stem for path in dependencies.imported_modules(HOME / "notebooks" / "03_calibration.ipynb")}
    assert {"calibration", "style", "runs", "config", "readings", "intervals", "rule"} <= found
    assert not found & {"toy", "loop", "queue", "samples", "robustness"}


@pytest.mark.parametrize(("method", "own"), [("cross_entropy", "base"), ("glow", "flows"), ("supcon", "contrastive")])
def test_training_depends_on_what_it_executes_and_on_no_other_methods_file(method, own):
    modules = {path.relative_to(HOME / "hdge").as_posix() for path in dependencies.training_modules(method)}
    assert f"methods/{own}.py" in modules
    assert {"training/loop.py", "training/trainer.py", "core/readings.py", "data/augment.py"} <= modules
    others = {f"methods/{entry.module}.py" for entry in METHODS.values()} - {"methods/base.py", f"methods/{own}.py"}
    assert not modules & others
    assert not {name for name in modules if name.startswith(("figures/", "evaluators/", "verdict/"))}
    assert not modules & {"study/study.py", "study/profiles.py", "study/archive.py", "measure/samples.py"}


def test_what_training_loads_is_among_what_it_depends_on(tmp_path):
    """In a process of its own: a module that is imported inside a function must not be missed."""
    program = """
import sys
from pathlib import Path
from hdge.study.config import HOME, parse_config
from hdge.study.dependencies import training_modules
from hdge.study.runs import RunFolder
from hdge.training.loop import train
settings = {"dataset": "digits", "evaluation_sets": [], "depth": 10, "width": 1, "epochs": 1, "crop_padding": 1,
            "batch_size": 433, "precision": "float32"}
for method, own in (("cross_entropy", {}), ("hdge", {"queue": {"size": 50}}), ("jem", {"sgld": {"steps": 1}})):
    root = Path(sys.argv[1]) / method
    train(parse_config({**settings, **own, "method": method}), RunFolder(root), root, progress=False)
    loaded = {Path(m.__file__) for n, m in sys.modules.items() if n.startswith("hdge.") and m.__file__}
    loaded = {path for path in loaded if path.name != "__init__.py"}
    print(method, sorted(path.stem for path in loaded - set(training_modules(method))))
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["cross_entropy []", "hdge []", "jem []"], done.stdout + done.stderr


def test_a_second_machine_leaves_the_tracked_tables_as_they_are():
    """Measured seconds stand in tables that are not tracked, and in no other."""
    if not (HOME / ".git").exists():
        pytest.skip("no checkout, whose tracked tables git lists")
    tracked = subprocess.run(["git", "ls-files", "figures"], cwd=HOME, capture_output=True, text=True, check=False)
    names = [HOME / name for name in tracked.stdout.split() if name.endswith(".csv") and "benchmarks" not in name]
    assert names
    for path in names:
        header = path.read_text().splitlines()[0]
        assert not {"second", "seconds", "minutes", "bytes"} & set(header.replace(",", "_").split("_")), path
