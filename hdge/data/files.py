"""Files in the data root: errors of foreign readers as one sentence, links, and arrays in ``.npz`` archives.

Nothing is unpickled, and no array is read before a look at what all headers announce.
"""

import contextlib
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from hdge.study.errors import HdgeError

# What systems leave beside a user's files without being asked.
LITTER = ("__macosx", "thumbs.db", "desktop.ini")
LARGEST_ARCHIVE = 2**33  # bytes of arrays: twice ImageNet at 32x32 pixels


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


def read_arrays(path: Path, choose: Callable[[list[str]], Sequence[str]]) -> dict[str, np.ndarray]:
    """Read the arrays that ``choose`` picks from the archive's names, and that it may refuse."""
    with (
        refusing(f"{path} cannot be read as an .npz archive of plain arrays", "make or download it again"),
        zipfile.ZipFile(path) as archive,
    ):
        members = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
        wanted = {name: members[name] for name in choose(list(members))}
        announced = sum(_announced_bytes(archive, member) for member in wanted.values())
        if announced > LARGEST_ARCHIVE:
            raise HdgeError(f"{path} announces {announced:,} bytes of arrays; keep them to {LARGEST_ARCHIVE:,}.")
        arrays = {}
        for name, member in wanted.items():
            with archive.open(member) as file:
                arrays[name] = npy.read_array(file, allow_pickle=False)
        return arrays


def _announced_bytes(archive: zipfile.ZipFile, member: str) -> int:
    """Size of an array by its header, which must agree with the archive's own table of contents."""
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    with archive.open(member) as file:
        version = npy.read_magic(file)
        if version not in readers:
            raise ValueError(f"{member} has the header of a structured array")
        shape, _, dtype = readers[version](file)
        if dtype.hasobject:
            raise ValueError(f"{member} holds pickled objects, which are never loaded")
        size = math.prod(shape) * dtype.itemsize
        if dtype.itemsize == 0 or size != archive.getinfo(member).file_size - file.tell():
            raise ValueError(f"{member} does not have the {size:,} bytes that its header announces")
        return size
