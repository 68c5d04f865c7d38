"""Arrays in ``.npz`` archives: nothing is unpickled, and nothing is read before a look at what all headers announce."""

import math
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from hdge.data.files import refusing
from hdge.study.errors import HdgeError

LARGEST_ARCHIVE = 2**33  # bytes of arrays: twice ImageNet at 32x32 pixels


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
