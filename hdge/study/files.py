"""Files that the study writes: written whole or not at all, and read whole or refused by name."""

import hashlib
import json
import lzma
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from hdge.study.errors import HdgeError
from hdge.study.values import read_whole

PACKED = ".xz"


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, even if the process is killed; a failed write leaves nothing behind."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        remedy = "delete it" if path.is_dir() else "free some space or choose another root"
        raise HdgeError(f"{path} cannot be written ({error.strerror}); {remedy}.") from None


def stored_as(path: Path) -> Path:
    """Locate a file, or what the archive has packed it into."""
    packed = path.with_name(path.name + PACKED)
    return packed if packed.exists() else path


def packed(content: bytes) -> bytes:
    """Compress a file, of tensors mostly, whose numbers have two or four bytes."""
    by_place = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 2, "pb": 2}
    return lzma.compress(content, filters=[by_place])


def unpacked(content: bytes, path: Path) -> bytes:
    return lzma.decompress(content) if path.suffix == PACKED else content


def file_digest(path: Path) -> str:
    return hashlib.sha256(read_whole(path, "delete it")).hexdigest()


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Fingerprint tensors with their names, types and shapes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_measured(path: Path, tensors: Mapping[str, Tensor], how: Mapping[str, Any]) -> None:
    """Write tensors that were measured, with what they were measured by and their digest in the header."""
    metadata = {"measured": json.dumps({**how, "sha256": tensors_digest(tensors)}, sort_keys=True)}
    atomic_write(path, safetensors.torch.save(dict(tensors), metadata))


def read_measured(path: Path, archived: bool) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read what was measured, float32 for float16, and by what; a damaged file gives None.

    An archived file, packed or not, has been checked against its record.
    """
    stored = stored_as(path)
    try:
        content = unpacked(stored.read_bytes(), stored)
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        how = dict(json.loads(header["__metadata__"]["measured"]))
    except (safetensors.SafetensorError, lzma.LZMAError, OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None
    wide = {name: tensor.float() if tensor.dtype == torch.half else tensor for name, tensor in sorted(tensors.items())}
    return (wide, how) if archived or how.get("sha256") == tensors_digest(wide) else None
