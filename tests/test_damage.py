"""Files of a run that a disk, a copy or an editor has damaged: each is told by name, or does no harm."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.damage import DAMAGES, HARMLESS, KINDS, PROTOCOL, TINY, damaged, flipped, make, measure
from hdge.cli import main
from hdge.data.splits import load_splits
from hdge.measure import network
from hdge.study.config import TrainConfig
from hdge.study.errors import HdgeError
from hdge.study.runs import RunFolder
from hdge.training.loop import train
from hdge.training.trainer import Trainer

WORDS = [
    "--method=cross_entropy", "--dataset=digits", "--evaluation_sets=[interp]", "--depth=10", "--width=1", "--epochs=1",
    "--crop_padding=1", "--warmup_steps=0", "--batch_size=433", "--precision=float32",
]  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return make(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def whole(folders):
    """A finished run with a measurement, and beside it the state of its first step."""
    return RunFolder(folders["run"])


@pytest.fixture
def copy(whole, tmp_path):
    return RunFolder(Path(shutil.copytree(whole.path, tmp_path / "run")))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("part", "kind"),
    [pytest.param(part, kind, id=f"{part}-{kind.name}") for part, kinds in KINDS.items() for kind in kinds],
)
def test_a_damaged_file_is_told_by_name_or_does_no_harm(part, kind, folders, tmp_path):
    """Flips of single bytes are drawn evenly over the file."""
    expected = kind.read(folders[part])
    for label in DAMAGES:
        row = damaged(part, kind, label, folders[part], tmp_path / "scratch", expected)
        assert row["told by name"] or row["said"] == HARMLESS, row
        assert "\n" not in row["said"], row
        assert row["said"] == HARMLESS or re.search(r"; [a-z]+ .*\.$|must hold", row["said"]), row


def test_a_damaged_measurement_is_taken_anew_and_one_of_an_archived_run_is_told(copy, tmp_path):
    path = copy.measured_path("attacks")
    before = path.read_bytes()
    for content in (before[:-100], flipped(0.9)(before), b""):
        path.write_bytes(content)
        assert copy.measured("attacks", PROTOCOL, measure)["values"].equal(measure()["values"])
        assert path.read_bytes() == before
    archived = RunFolder(Path(shutil.copytree(copy.path, tmp_path / "archive" / "run")))
    archived.finish({**archived.record(), "archived": "small"})
    assert archived.measured("attacks", PROTOCOL, measure)["values"].equal(measure()["values"])
    archived.measured_path("attacks").write_bytes(flipped(0.9)(before))
    with pytest.raises(HdgeError, match="does not match its record.json; restore the archived run"):
        archived.measured("attacks", PROTOCOL, measure)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("content", ["half", b"", b"<html></html>", "weights", "object"])
def test_a_run_whose_state_is_damaged_stops_with_the_remedy_and_loses_nothing(content, copy, tmp_path, capsys):
    (copy.path / "record.json").unlink()
    state = copy.path / "state.pt"
    if content == "half":
        state.write_bytes(state.read_bytes()[:100_000])
    elif content == "object":
        copy.write_state({"config": Path("x")})  # neither a tensor nor plain
    elif content == "weights":
        torch.save({"weight": torch.zeros(3)}, state)
    else:
        state.write_bytes(content)
    before = {path: path.read_bytes() for path in copy.path.rglob("*") if path.is_file()}
    assert main(["train", *WORDS, f"--output={copy.path}", f"--data_root={tmp_path}"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith(f"hdge: {state} is")
    assert said[-1].endswith("delete it to train the run from its beginning.")
    assert {path: path.read_bytes() for path in copy.path.rglob("*") if path.is_file()} == before
    state.unlink()
    main(
        ["train", *WORDS, f"--output={copy.path}", f"--data_root={tmp_path}"]
    )  # two steps may train too little to pass
    assert copy.holds(TINY)


def put(root: Path, seed: int) -> Path:
    generator = np.random.default_rng(seed)
    images = [generator.integers(0, 256, (count, 8, 8)).astype(np.uint8) for count in (90, 30)]
    labels = [np.arange(count) % 3 for count in (90, 30)]
    names = ("train_images", "test_images", "train_labels", "test_labels")
    np.savez(root / "mine.npz", **dict(zip(names, [*images, *labels], strict=True)))
    return root


def test_a_run_whose_images_have_changed_is_refused_and_nothing_is_mixed(tmp_path, monkeypatch):
    own = TrainConfig(**{**vars(TINY), "dataset": "mine", "batch_size": 30})
    folder = train(own, RunFolder(tmp_path / "run"), put(tmp_path, 0), progress=False)
    assert network.splits_of(folder, "mine", tmp_path).train.images.shape == (81, 1, 8, 8)
    train(own, folder, tmp_path, progress=False)  # the same images
    (tmp_path / "mine.npz").unlink()
    train(own, folder, tmp_path, progress=False)  # a finished run needs none
    put(tmp_path, 1)
    for action in (
        lambda: train(own, folder, tmp_path, progress=False),
        lambda: network.splits_of(folder, "mine", tmp_path),
    ):
        with pytest.raises(HdgeError, match=f"{folder.path} was trained on other images .*; restore them, or delete"):
            action()
    assert folder.outputs("test").logits.shape == (30, 3)  # what is stored is read without images
    trainer = Trainer(own, load_splits("mine", tmp_path), torch.device("cpu"))
    trainer.train_step()
    (folder.path / "record.json").unlink()
    folder.write_state({**trainer.state_dict(), "data": load_splits("mine", put(tmp_path, 0)).sha256()})
    put(tmp_path, 1)
    with pytest.raises(HdgeError, match="state.pt was written on other images than 'mine' holds now; restore them"):
        train(own, folder, tmp_path, progress=False)
    assert not (folder.path / "record.json").exists()


def test_the_train_command_does_not_replace_a_run_of_other_settings(copy, tmp_path, capsys):
    before = {path: path.read_bytes() for path in copy.path.rglob("*") if path.is_file()}
    for finished in (True, False):
        if not finished:
            (copy.path / "record.json").unlink()
            del before[copy.path / "record.json"]
        words = ["train", *WORDS, "--learning_rate=0.5", f"--output={copy.path}", f"--data_root={tmp_path}"]
        assert main(words) == 2
        said = capsys.readouterr().err
        assert said == (
            f"hdge: {copy.path} holds a run of other settings (learning_rate); choose another output, or delete it.\n"
        )
        assert {path: path.read_bytes() for path in copy.path.rglob("*") if path.is_file()} == before
