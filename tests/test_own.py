"""A user's own method and own data, as the documentation has them, in a copy of the project."""

import json
import re
import shlex

import numpy as np
from sklearn.datasets import load_digits

from hdge.study.config import HOME
from tests.test_study import Study


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page of docs/, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", (HOME / "docs" / page).read_text(), re.MULTILINE | re.DOTALL)


def test_a_method_of_ones_own_trains_and_a_forgotten_part_is_named(tmp_path):
    study = Study(tmp_path)
    module, case, row = blocks("your_own_method.md", "python")
    [command] = blocks("your_own_method.md", "sh")
    words = ("-m", "hdge.cli", *shlex.split(command)[1:])
    assert "no method 'brier'" in study.run(*words).stderr
    study.edit("hdge/study/roster.py", "METHODS = {\n", "METHODS = {\n" + row)
    assert "brier.py does not exist; the roster names it as the file of method 'brier'" in study.run(*words).stderr
    (tmp_path / "hdge" / "methods" / "brier.py").write_text(module)
    assert study.run(*words).stderr.splitlines()[-1] == (
        "hdge: method 'brier' stands in the roster, but build_method does not build it; add its case."
    )
    study.edit("hdge/methods/build.py", '        case "flows":\n', case + '        case "flows":\n')
    done = study.run(*words)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "runs" / "brier" / "record.json").read_text())["outcome"] == "finished"
    # That is the loss of a constant prediction.
    assert json.loads(done.stdout.split(": ", 1)[1])["loss"] < 1 - 1 / 8


def test_the_documented_run_trains_well(tmp_path):
    study = Study(tmp_path)
    [settings] = [block for block in blocks("running.md", "yaml") if "method: hdge," in block]
    (tmp_path / "run.yaml").write_text(settings)
    commands = [line.split("#")[0] for block in blocks("running.md", "sh") for line in block.splitlines()]
    [command] = [shlex.split(line) for line in commands if line.startswith("hdge train --config run.yaml")]
    done = study.run("-m", "hdge.cli", *command[1:])
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "runs" / "mine" / "record.json").read_text())
    assert record["outcome"] == "finished"
    assert json.loads(done.stdout.splitlines()[-1].split(": ", 1)[1])["validation_accuracy"] > 0.7


def test_the_whole_study_runs_on_data_of_ones_own(tmp_path):
    study = Study(tmp_path)
    [profile] = [block for block in blocks("running.md", "yaml") if "mine" in block]
    (tmp_path / "profiles" / "mine.yaml").write_text(profile)
    images, labels = load_digits(return_X_y=True)
    images = np.kron((images * 15).astype(np.uint8).reshape(-1, 8, 8, 1), np.ones((1, 4, 4, 3), np.uint8))
    (tmp_path / "data").mkdir()
    for name, here in (("mine", labels < 3), ("others", labels >= 8)):
        order = np.unique(labels[here], return_inverse=True)[1]
        cut = {"train": slice(0, 240), "test": slice(240, 330)}
        parts = {f"{part}_{kind}": (images[here], order)[kind == "labels"][cut[part]]
                 for part in cut for kind in ("images", "labels")}  # fmt: skip
        np.savez(tmp_path / "data" / f"{name}.npz", **parts)
    done = study.run("-m", "hdge.cli", "reproduce", "mine", "--cores", "2")
    assert done.returncode == 0, done.stderr
    auroc = (tmp_path / "figures" / "mine" / "02_ood_auroc.csv").read_text()
    assert "others" in auroc
    assert "my images (WRN-10-1, 5 epochs)" in (tmp_path / "figures" / "mine" / "03_calibration_ece.svg").read_text()
    assert (tmp_path / "papermill_runs" / "mine" / "report.html").exists()
