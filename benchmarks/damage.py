"""``python -m benchmarks damage``: every kind of stored file, damaged in every way, and what a reader is told."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from hdge.data.splits import load_splits
from hdge.study.config import HOME, TrainConfig
from hdge.study.errors import HdgeError
from hdge.study.files import PACKED, atomic_write, packed
from hdge.study.profiles import load_profile
from hdge.study.runs import RunFolder
from hdge.training.loop import train
from hdge.training.trainer import Trainer

TINY = TrainConfig(
    method="cross_entropy", dataset="digits", evaluation_sets=("interp",), depth=10, width=1, epochs=1, crop_padding=1,
    warmup_steps=0, batch_size=433, precision="float32",
)  # fmt: skip
PROTOCOL = {"steps": 5}
HARMLESS = "nothing: all is read as it was written, or made anew"


def measure() -> dict[str, torch.Tensor]:
    """Stand for a measurement."""
    return {"values": torch.arange(64.0), "count": torch.tensor(3)}


def cut(share: float) -> Callable[[bytes], bytes]:
    """Lose what comes after a share of the file."""
    return lambda content: content[: int(share * len(content))]


def flipped(share: float) -> Callable[[bytes], bytes]:
    """Flip one bit of the byte at a share of the file."""

    def flip(content: bytes) -> bytes:
        place = min(int(share * len(content)), len(content) - 1)
        return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]

    return flip


DAMAGES: dict[str, Callable[[bytes], bytes] | None] = {
    **{f"cut at {share}": cut(share) for share in (0.1, 0.5, 0.99)},
    **{f"flipped at {share:.2f}": flipped(share) for share in (0.0, 0.1, 0.4, 0.7, 1.0)},
    "emptied": lambda content: b"",
    "a page": lambda content: b"<!doctype html><html><body>404 Not Found</body></html>",
    "unreadable": None,  # a folder in its place, which not even the superuser can read
}


@dataclass(frozen=True)
class Kind:
    """A kind of stored file: its place in a folder, and all that a reader gets of the folder, which compares."""

    name: str
    read: Callable[[Path], Any]


def seen(path: Path) -> dict[str, Any]:
    """Read all of a run's folder, in a form that can be compared."""
    folder = RunFolder(path)
    assert folder.holds(TINY)
    state = folder.state()
    if state is None:
        raise ValueError(f"{path} holds no state")
    tensors: dict[str, Any] = {
        "weights": folder.weights(), "measured": folder.measured("attacks", PROTOCOL, measure), "model": state["model"],
        "others": {"trajectory": folder.trajectory(), "random": state["ranks"][0]["random"], "order": state["order"]},
    }  # fmt: skip
    for name in ("train", "validation", "test", "interp"):
        outputs = folder.outputs(name)
        tensors[name] = {"logits": outputs.logits, "labels": outputs.labels}
    found = {f"{part} {name}": t.numpy().tobytes() for part, own in tensors.items() for name, t in own.items()}
    others = {"record": folder.record(), "optimizer": repr(state["optimizer"]), "step": state["step"]}
    return {**found, **others, "history": folder.history().to_csv()}


def archived(path: Path) -> bytes:
    """Read an archived run's packed outputs."""
    outputs = RunFolder(path).outputs("test")
    return outputs.logits.numpy().tobytes() + outputs.labels.numpy().tobytes()


RUN_FILES = (
    "record.json", "config.json", "history.csv", "weights.safetensors", "trajectory.safetensors", "state.pt",
    "outputs/test.safetensors", "outputs/validation.safetensors", "measured/attacks.safetensors", "trained.txt",
)  # fmt: skip
KINDS = {
    "run": [Kind(name, seen) for name in RUN_FILES],
    "archive": [Kind(name, archived) for name in (f"outputs/test.safetensors{PACKED}", "record.json")],
    "data": [Kind("mine.npz", lambda path: load_splits("mine", path).sha256())],
    "profile": [Kind("mine.yaml", lambda path: repr(load_profile("mine", path)))],
}


def make(root: Path) -> dict[str, Path]:
    """Write a folder of every kind: a run that has ended, its archived copy, a data set and a profile."""
    splits = load_splits("digits", root)
    trainer = Trainer(TINY, splits, torch.device("cpu"))
    trainer.train_step()
    run = train(TINY, RunFolder(root / "run"), root, progress=False)
    run.measured("attacks", PROTOCOL, measure)
    run.write_state({**trainer.state_dict(), "code": run.record()["code"], "data": splits.sha256()})
    run.stamp("trained.txt", [run.path / "record.json"])
    copy = RunFolder(Path(shutil.copytree(run.path, root / "archive" / "run")))
    small = copy.path / "outputs" / "test.safetensors"
    atomic_write(small.with_name(small.name + PACKED), packed(small.read_bytes()))
    small.unlink()
    copy.finish({**run.record(), "archived": "small"})
    (root / "data").mkdir()
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (count, 8, 8)).astype(np.uint8) for count in (90, 30)]
    labels = [np.arange(count) % 3 for count in (90, 30)]
    names = ("train_images", "test_images", "train_labels", "test_labels")
    np.savez(root / "data" / "mine.npz", **dict(zip(names, [*images, *labels], strict=True)))  # type: ignore[arg-type]
    (root / "profile").mkdir()
    shutil.copy(HOME / "profiles" / "smoke.yaml", root / "profile" / "mine.yaml")
    return {"run": run.path, "archive": copy.path, "data": root / "data", "profile": root / "profile"}


def told(kind: Kind, folder: Path, expected: Any) -> str:
    """Return the sentence by which a reader is refused, or what is said of a file that does no harm."""
    try:
        found = kind.read(folder)
    except HdgeError as error:
        return str(error)
    return HARMLESS if found == expected else "ANOTHER VALUE"


def damaged(part: str, kind: Kind, label: str, folder: Path, scratch: Path, expected: Any) -> dict[str, Any]:
    """Damage a file in a copy of its folder; return a row of the table."""
    copy = Path(shutil.copytree(folder, scratch / folder.parent.name / folder.name))
    path, damage = copy / kind.name, DAMAGES[label]
    content = path.read_bytes()
    if damage is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(damage(content))
    said = told(kind, copy, expected)
    shutil.rmtree(scratch)
    # The profile's name stands for its file.
    names = str(path) in said or (path.suffix == ".yaml" and repr(path.stem) in said)
    said = said.replace(f"{copy}/", "").replace(str(copy), "the run")
    return {"file": f"{part}: {kind.name}", "damage": label, "told by name": names, "said": said}


def measure_damage() -> pd.DataFrame:
    """Damage every file in every way."""
    with tempfile.TemporaryDirectory() as root:
        folders = make(Path(root))
        rows = []
        for part, kinds in KINDS.items():
            for kind in kinds:
                expected = kind.read(folders[part])
                for label in DAMAGES:
                    rows.append(damaged(part, kind, label, folders[part], Path(root) / "scratch", expected))
    return pd.DataFrame(rows)
