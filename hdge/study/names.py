"""Names of data sets, which also name files in the data root and the stored outputs of a run."""

import re
from collections.abc import Sequence

from hdge.study.errors import HdgeError

PARTS = ("train", "validation", "test")  # a run stores its outputs under these names, beside those of evaluation sets


def check_set_name(name: object) -> None:
    """Refuse a name that could be a path, a hidden file or nothing."""
    if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", name)):
        raise HdgeError(
            f"{name!r} is no name of a data set; put the set into the data root, and name it with letters, digits, "
            "'_', '-' and '.' alone, the '.' not first."
        )


def check_evaluation_sets(names: Sequence[str], dataset: str) -> None:
    """Refuse evaluation sets whose outputs would replace others of the run, whatever the file system's case."""
    seen = set()
    for name in names:
        check_set_name(name)
        if name.lower() in PARTS:
            raise HdgeError(f"evaluation set {name!r} has the name of a part of the data set; rename its file.")
        if name.lower() in seen:
            raise HdgeError(f"evaluation set {name!r} is given twice; leave one out.")
        if name == dataset:
            raise HdgeError(f"evaluation set {name!r} is the data set itself; its test images are evaluated anyway.")
        seen.add(name.lower())
