"""Files in the data root: errors of foreign readers as one sentence, and links."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from hdge.study.errors import HdgeError

# What systems leave beside a user's files without being asked.
LITTER = ("__macosx", "thumbs.db", "desktop.ini")


@contextlib.contextmanager
def refusing(fault: str, remedy: str) -> Iterator[None]:
    """Turn whatever a foreign reader raises into one sentence: the fault with its file, the reason, the remedy."""
    try:
        yield
    except HdgeError:
        raise
    # Damaged files make readers raise anything: zlib.error, struct.error, SyntaxError, IndexError, MemoryError, …
    except Exception as error:
        reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        raise HdgeError(f"{fault} ({reason}); {remedy}.") from None


def is_there(path: Path, root: Path) -> bool:
    """Check for a file or folder; refuse a broken link, and one that leaves the data root."""
    with refusing(f"{path} cannot be looked up", "give yourself the right to read it, or remove it"):
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        target, home = path.resolve(strict=True), root.resolve()
    if not target.is_relative_to(home):
        raise HdgeError(f"{path} leads out of the data root, to {target}; put the data themselves into {root}.")
    return True


def visible(folder: Path, root: Path) -> list[Path]:
    """List a folder in alphabetical order, without hidden files and what systems leave there."""
    with refusing(f"{folder} cannot be listed", "give yourself the right to read it"):
        names = sorted(os.listdir(folder))
    paths = [folder / name for name in names if not name.startswith(".") and name.lower() not in LITTER]
    for path in paths:
        if path.is_symlink():
            is_there(path, root)
    return paths
