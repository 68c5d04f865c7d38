"""Archives ``.npz`` with MedMNIST's keys: train_images, train_labels, test_images, test_labels, and classes if wanted.

Nothing is ever unpickled. Other keys are left alone, MedMNIST's val_images and val_labels among them, because
validation images are taken from the training images.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hdge.data.files import read_arrays, refusing
from hdge.data.images import ImageSet
from hdge.study.errors import HdgeError

KEYS = ("train_images", "train_labels", "test_images", "test_labels")
LARGEST_LABEL = 65535


def read_archive(name: str, path: Path) -> tuple[ImageSet | None, ImageSet]:
    """Read the training images of an archive, if it has any, and its test images.

    Images are uint8 of shape (N, H, W, 3), (N, H, W, 1) or (N, H, W). Labels are integers from 0 to 65535 of shape (N,)
    or (N, 1).

    Raises:
        HdgeError: a damaged archive, missing or misspelt keys, pickled objects, more than 8 GiB of arrays, or arrays of
            another type or shape.
    """
    arrays = read_arrays(path, lambda keys: _wanted(keys, path))
    parts = [part for part in ("train", "test") if f"{part}_images" in arrays]
    labels = {part: _check_labels(arrays[f"{part}_labels"], path, part) for part in parts}
    images = {part: _check_images(arrays[f"{part}_images"], len(labels[part]), path, part) for part in parts}
    highest = max(int(part.max()) for part in labels.values())
    classes = _check_classes(arrays["classes"], path) if "classes" in arrays else tuple(map(str, range(highest + 1)))
    if highest >= len(classes):
        raise HdgeError(f"{path} has a label {highest}, but only {len(classes)} classes; labels run from 0.")
    sets = {part: ImageSet(name, images[part], torch.from_numpy(labels[part]), classes) for part in parts}
    return sets.get("train"), sets["test"]


def _wanted(keys: list[str], path: Path) -> list[str]:
    """Known keys of an archive that has the keys it must have."""
    missing = [key for key in ("test_images", "test_labels") if key not in keys]
    if missing:
        raise HdgeError(
            f"{path} has the keys {', '.join(sorted(keys)) or 'none'}; it lacks {', '.join(missing)} "
            "(expected: train_images, train_labels, test_images, test_labels and, if you like, classes)."
        )
    for one, other in (("images", "labels"), ("labels", "images")):
        if f"train_{one}" in keys and f"train_{other}" not in keys:
            raise HdgeError(f"{path} has train_{one} but not train_{other}; add them.")
    unknown = [key for key in keys if key.lower().startswith(("train", "test")) and key not in KEYS]
    if unknown:
        raise HdgeError(f"{path} has the key {unknown[0]!r}; rename it to one of {', '.join(KEYS)}, or remove it.")
    return [key for key in keys if key in (*KEYS, "classes")]


def _check_images(images: np.ndarray, count: int, path: Path, part: str) -> Tensor:
    if images.dtype != np.uint8:
        raise HdgeError(f"{path}: {part}_images are {images.dtype}; they must be uint8, from 0 to 255.")
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[3] not in (1, 3) or not images.size:
        raise HdgeError(
            f"{path}: {part}_images have shape {images.shape}; it must be (N, H, W) or, with 1 or 3 channels last, "
            "(N, H, W, channels), each at least 1."
        )
    if len(images) != count:
        raise HdgeError(f"{path}: {len(images)} {part}_images but {count} {part}_labels; give each image one label.")
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _check_labels(labels: np.ndarray, path: Path, part: str) -> np.ndarray:
    if labels.dtype.kind not in "iu":
        raise HdgeError(f"{path}: {part}_labels are {labels.dtype}; they must be integers.")
    if not labels.size or labels.size != max(labels.shape, default=0):  # MedMNIST stores (N, 1)
        raise HdgeError(f"{path}: {part}_labels have shape {labels.shape}; it must be (N,) or (N, 1), N at least 1.")
    for label in (labels.min(), labels.max()):
        if not 0 <= label <= LARGEST_LABEL:
            raise HdgeError(f"{path}: {part}_labels hold {label}; labels run from 0 to {LARGEST_LABEL}.")
    return labels.reshape(-1).astype(np.int64)


def _check_classes(classes: np.ndarray, path: Path) -> tuple[str, ...]:
    if classes.dtype.kind not in "USiu" or classes.ndim != 1 or len(classes) > LARGEST_LABEL + 1:
        raise HdgeError(
            f"{path}: classes are {classes.dtype} of shape {classes.shape}; they must be one list of at most "
            f"{LARGEST_LABEL + 1} names."
        )
    with refusing(f"{path}: classes cannot be read", "write them as text"):
        names = tuple(map(str, classes.astype(np.str_).tolist()))
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise HdgeError(f"{path} has the class {double!r} twice; give each class a name of its own.")
    return names
