"""Logits that any program has stored, as runs that every evaluator takes.

A network with one seed is one file, or one folder; its name is the method's, and may end in ``-seed3``:

* ``name.npz``: ``logits`` (N, C) and ``labels`` (N,) of test images; if wanted, ``validation/logits`` and
  ``validation/labels``, and ``ood/<set>`` (M, C), the logits of out-of-distribution images;
* ``name.csv``: a column ``label``, if wanted a column ``set``, and a column a class; ``set`` is ``test`` (where it is
  left out), ``validation``, or the name of an out-of-distribution set, whose images need no label. Classes that are
  numbered, as 0 to 9 or logit_0 to logit_9, are taken by number, and others as they stand;
* ``name/``: a file of either kind a set, ``test.npz``, ``validation.csv``, ``svhn.npz`` and so on.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from hdge.data.files import read_arrays, refusing, visible
from hdge.study.checks import finite, labelled
from hdge.study.config import TrainConfig
from hdge.study.errors import HdgeError
from hdge.study.names import check_set_name
from hdge.study.runs import Outputs, Run, RunFolder

OF_CLASSES = ("test", "validation")  # sets whose images have labels
SEED = re.compile(r"(.+)[-_]seed[-_]?(\d+)")
NUMBERED = re.compile(r"(.*?)(\d+)")
LEAST_IMAGES = 2  # of a set, for one has no variance


@dataclass(frozen=True)
class Given(RunFolder):
    """Outputs that a file holds, in place of a run's folder."""

    sets: Mapping[str, Outputs] = field(default_factory=dict)

    def outputs(self, name: str) -> Outputs:
        return self.sets[name]


@dataclass(frozen=True)
class Scored(Run):
    """A network of which the logits alone are known; its config is the default one, and says nothing."""

    folder: Given

    @property
    def classifies(self) -> bool:
        return self.folder.outputs("test").logits.shape[1] > 1

    def stored_sets(self) -> list[str]:
        return [name for name in self.folder.sets if name not in OF_CLASSES]


def read_scored(paths: Sequence[Path]) -> list[Scored]:
    """Read every file or folder of logits as a run, in the order given.

    Raises:
        HdgeError: a file that is damaged or lacks something, a method with the same seed twice, or test images, classes
            or out-of-distribution sets that differ between files, so that images cannot be paired.
    """
    runs: list[Scored] = []
    for path in paths:
        stem = path.name if path.is_dir() else path.stem
        named = SEED.fullmatch(stem)
        method, seed = (named[1], int(named[2])) if named else (stem, 0)
        if any((run.row, run.seed) == (method, seed) for run in runs):
            raise HdgeError(f"{path} is seed {seed} of {method} again; name its file {method}-seed{seed + 1}.npz.")
        found = _read(path)
        try:
            sets = _checked(found)
        except HdgeError as error:
            raise HdgeError(f"{path}: {error}") from None
        run = Scored(method, seed, Given(path, sets), TrainConfig())
        if runs:
            _pairs_with(runs[0], run)
        runs.append(run)
    return runs


def _read(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Read logits, and labels where there are, by the names of sets."""
    if path.is_dir():
        files = [file for file in visible(path, path) if file.suffix in (".npz", ".csv")]
        if not files:
            raise HdgeError(f"{path} holds no .npz and no .csv; put a file a set there, such as test.npz.")
        if len({file.stem for file in files}) < len(files):
            raise HdgeError(f"{path} holds a set twice, as .npz and as .csv; remove one of the two.")
        return {file.stem: _only_set(file) for file in files}
    if not path.exists():
        raise HdgeError(f"{path} does not exist; give .npz or .csv files of logits, or folders of them.")
    if path.suffix == ".csv":
        return _read_table(path)
    if path.suffix != ".npz":
        raise HdgeError(f"{path} is neither .npz nor .csv; store the logits as one of the two.")
    sets: dict[str, dict[str, np.ndarray]] = {}
    for name, array in read_arrays(path, lambda keys: [key for key in keys if _place(key, path)]).items():
        own, part = _place(name, path)
        if part in sets.setdefault(own, {}):
            raise HdgeError(f"{path} has {part} of {own} under two keys, of which {name!r} is one; remove it.")
        sets[own][part] = array
    return sets


def _place(key: str, path: Path) -> tuple[str, str]:
    """Name the set and the part, logits or labels, that an archive's key stands for."""
    parts = key.split("/")
    if key in ("logits", "labels"):
        return "test", key
    if len(parts) == 2 and parts[0] in OF_CLASSES and parts[1] in ("logits", "labels"):
        return parts[0], parts[1]
    if len(parts) == 2 and parts[0] == "ood" and parts[1]:
        return parts[1], "logits"
    raise HdgeError(
        f"{path} has the key {key!r}; the keys are logits, labels, validation/logits, validation/labels and ood/<set>."
    )


def _only_set(path: Path) -> dict[str, np.ndarray]:
    """Read a file of a folder, which holds one set."""
    found = _read_table(path, path.stem) if path.suffix == ".csv" else _read(path)
    if len(found) > 1:
        raise HdgeError(f"{path} holds the sets {', '.join(found)}; in a folder, each file holds one.")
    return next(iter(found.values()))


def _read_table(path: Path, only: str = "test") -> dict[str, dict[str, np.ndarray]]:
    with refusing(f"{path} cannot be read as a table", "store it with a header and commas"):
        table = pd.read_csv(path)
    names = table["set"].fillna(only).astype(str) if "set" in table else pd.Series(only, index=table.index)
    logits = table.drop(columns=["set", "label"], errors="ignore")
    remedy = "leave columns set, label and one a class"
    text = [str(column) for column in logits if not pd.api.types.is_numeric_dtype(logits[column])]
    if text:
        raise HdgeError(f"{path}: column {text[0]!r} holds text; {remedy}.")
    for column, numbers in logits.items():
        rows = pd.api.types.is_integer_dtype(numbers) and np.array_equal(numbers, np.arange(len(table)))
        if rows or str(column).startswith("Unnamed:"):  # what pandas calls a column without a name
            raise HdgeError(f"{path}: column {str(column)!r} is an index, and no class; {remedy}.")
    logits, sets = logits[_by_number([str(column) for column in logits], path)], {}
    for name, part in logits.groupby(names, sort=False):
        sets[str(name)] = {"logits": part.to_numpy(np.float64)}
        if "label" in table and table.loc[part.index, "label"].notna().any():
            sets[str(name)]["labels"] = table.loc[part.index, "label"].to_numpy()
    return sets


def _by_number(columns: list[str], path: Path) -> list[str]:
    """Order the columns of numbered classes by number, and leave those of named classes as they stand."""
    bare = [column for column in columns if column.isdecimal()]
    if bare and len(bare) < len(columns):
        other = next(column for column in columns if column not in bare)
        raise HdgeError(f"{path}: column {other!r} is no class beside {bare[0]!r}; number all classes, or name all.")
    numbered = [found for column in columns if (found := NUMBERED.fullmatch(column))]
    if len(numbered) < len(columns) or len({found[1] for found in numbered}) > 1:
        return columns
    return sorted(columns, key=lambda column: int(column[len(numbered[0][1]) :]))


def _checked(sets: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Outputs]:
    found: dict[str, Outputs] = {}
    if "logits" not in sets.get("test", {}):
        raise HdgeError("no logits of test images; add them as logits, with labels.")
    classes = 0
    for name, arrays in sorted(sets.items(), key=lambda item: item[0] != "test"):
        what = f"logits of {name}"
        if "logits" not in arrays or arrays["logits"].dtype.kind not in "fiu":
            raise HdgeError(f"{what} are missing or no numbers; give one number an image and class.")
        values = finite(what, arrays["logits"], dimensions=2)
        classes = classes or values.shape[1]
        if values.shape[1] != classes:
            raise HdgeError(f"{what} have {values.shape[1]} classes, and those of test {classes}; give each the same.")
        if len(values) < LEAST_IMAGES:
            raise HdgeError(f"{what} are those of {len(values)} image; give at least {LEAST_IMAGES}.")
        logits = torch.from_numpy(values).float()
        if not logits.isfinite().all():
            raise HdgeError(f"{what} reach {np.abs(values).max():.3g}, beyond float32; divide all by a constant.")
        _refuse_probabilities(values, what)
        if name in OF_CLASSES:
            found[name] = Outputs(logits, _labels(logits, arrays.get("labels"), f"labels of {name}"))
        else:
            check_set_name(name)
            found[name] = Outputs(logits, torch.full((len(logits),), -1))
    return found


def _refuse_probabilities(values: np.ndarray, what: str) -> None:
    """Refuse what a softmax has been through: log q(x) would be lost, and a second softmax would flatten the rest."""
    if values.shape[1] > 1 and values.min() >= 0 and np.allclose(values.sum(axis=1), 1, atol=1e-3):
        raise HdgeError(f"{what} are probabilities, for every row sums to 1; store logits, or at least logarithms.")


def _labels(logits: torch.Tensor, labels: np.ndarray | None, what: str) -> torch.Tensor:
    if labels is None:
        raise HdgeError(f"{what} are missing; give each image the number of its class, from 0.")
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and np.array_equal(labels, np.round(labels)):
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iu":
        raise HdgeError(f"{what} are not whole numbers; give each image the number of its class, from 0.")
    return labelled(logits, torch.from_numpy(labels.astype(np.int64).reshape(-1)))


def _pairs_with(first: Scored, run: Scored) -> None:
    """Refuse a run whose images are not those of the first, for a comparison pairs them."""
    one, other = first.folder, run.folder
    remedy = "give all networks the same images in the same order"
    classes = [given.outputs("test").logits.shape[1] for given in (one, other)]
    if classes[0] != classes[1]:
        both = f"{other.path} has {classes[1]} classes, and {one.path} has {classes[0]}"
        raise HdgeError(f"{both}; compare networks of the same classes.")
    if not torch.equal(one.outputs("test").labels, other.outputs("test").labels):
        raise HdgeError(f"{other.path} has other test labels than {one.path}; {remedy}.")
    mine, its = ({name: len(own.logits) for name, own in given.sets.items()} for given in (one, other))
    if mine != its:
        raise HdgeError(f"{other.path} has the sets {its}, and {one.path} has {mine}; {remedy}.")
