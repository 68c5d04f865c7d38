"""Image sets by name: bundled, archived, downloaded, or a user's own.

A name is looked up in this order: sets made here (digits, digits-heldout, photos), an archive ``<root>/<name>.npz``
with MedMNIST's keys, torchvision's cifar10, cifar100, svhn and celeba (downloaded into the root), and a folder
``<root>/<name>/`` of one folder a class, or of such folders named train and test.

torchvision is imported where it is used, for its import takes two seconds.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor

from hdge.study.errors import HdgeError

MADE_HERE = ("digits", "digits-heldout", "photos")
DOWNLOADED = ("cifar10", "cifar100", "svhn", "celeba")


@dataclass(frozen=True)
class ImageSet:
    """Images with labels: uint8 of shape (N, channels, H, W) and int64 of shape (N,)."""

    name: str
    images: UInt8[Tensor, "n channels height width"]
    labels: Int[Tensor, " n"]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Int[Tensor, " m"]) -> "ImageSet":
        return ImageSet(self.name, self.images[indices], self.labels[indices], self.classes)

    def to(self, device: torch.device) -> "ImageSet":
        return ImageSet(self.name, self.images.to(device), self.labels.to(device), self.classes)


def read(name: str, root: Path) -> tuple[ImageSet | None, ImageSet]:
    """The training images of a set, if it has any, and its test images.

    Raises:
        HdgeError: no set of that name, or a damaged one.
    """
    if name in ("digits", "digits-heldout"):
        return None, _digits(held_out=name == "digits-heldout")
    if name == "photos":
        return None, _photos()
    if (root / f"{name}.npz").exists():
        return _from_archive(name, root / f"{name}.npz")
    if name in DOWNLOADED:
        try:
            return _from_torchvision(name, root)
        except (OSError, RuntimeError) as error:
            raise HdgeError(f"{name} could not be downloaded into {root} ({error}); put {name}.npz there.") from None
    if (root / name).is_dir():
        return _from_folder(name, root / name)
    known = ", ".join((*MADE_HERE, "interp", "uniform", *DOWNLOADED))
    raise HdgeError(f"no data set {name!r}; choose from {known}, or put {name}.npz or a folder {name}/ into {root}.")


def _digits(held_out: bool) -> ImageSet:
    """scikit-learn's digits, 8x8 pixels in 17 levels of grey: classes 0-7, or 8 and 9 if held out."""
    digits = load_digits()
    images = (torch.from_numpy(digits.images)[:, None] * (255 / 16)).round().to(torch.uint8)
    labels = torch.from_numpy(digits.target).long()
    chosen = (labels >= 8) if held_out else (labels < 8)
    classes = ("8", "9") if held_out else tuple("01234567")
    name = "digits-heldout" if held_out else "digits"
    return ImageSet(name, images[chosen], labels[chosen] - (8 if held_out else 0), classes)


def _photos(side: int = 32) -> ImageSet:
    """Disjoint 32x32 patches of scikit-learn's two photographs (china.jpg, flower.jpg; 427x640 pixels)."""
    photographs = load_sample_images()
    patches, labels = [], []
    for label, photograph in enumerate(photographs.images):
        tiles = torch.from_numpy(photograph.copy()).unfold(0, side, side).unfold(1, side, side)
        patches.append(tiles.flatten(0, 1))
        labels.append(torch.full((len(patches[-1]),), label))
    return ImageSet("photos", torch.cat(patches), torch.cat(labels), ("china", "flower"))


def _from_archive(name: str, path: Path) -> tuple[ImageSet | None, ImageSet]:
    """An .npz with test_images (N, H, W, 3), (N, H, W, 1) or (N, H, W), test_labels, and the same for train."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise HdgeError(f"{path} cannot be read as an .npz archive of plain arrays: {error}.") from None
    missing = [key for key in ("test_images", "test_labels") if key not in arrays]
    if missing:
        raise HdgeError(
            f"{path} has the keys {', '.join(sorted(arrays)) or 'none'}; it lacks {', '.join(missing)} "
            "(expected: train_images, train_labels, test_images, test_labels and, if you like, classes)."
        )
    parts = [part for part in ("train", "test") if f"{part}_images" in arrays]
    absent = [part for part in parts if f"{part}_labels" not in arrays]
    if absent:
        raise HdgeError(f"{path} has {absent[0]}_images but not {absent[0]}_labels; add them.")
    labels = {part: _check_labels(arrays[f"{part}_labels"], path, part) for part in parts}
    highest = max(int(part.max(initial=0)) for part in labels.values())
    classes = tuple(str(c) for c in arrays.get("classes", np.arange(highest + 1)).tolist())
    if highest >= len(classes):
        raise HdgeError(f"{path} has a label {highest}, but only {len(classes)} classes; labels run from 0.")
    sets = {
        part: ImageSet(
            name, _check_images(arrays[f"{part}_images"], len(labels[part]), path, part),
            torch.from_numpy(labels[part]), classes,
        )
        for part in parts
    }  # fmt: skip
    return sets.get("train"), sets["test"]


def _check_images(images: np.ndarray, count: int, path: Path, part: str) -> Tensor:
    if images.dtype != np.uint8:
        raise HdgeError(f"{path}: {part}_images are {images.dtype}; they must be uint8, from 0 to 255.")
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[3] not in (1, 3) or not len(images):
        raise HdgeError(f"{path}: {part}_images have shape {images.shape}; it must be (N, H, W), (N, H, W, 1 or 3).")
    if len(images) != count:
        raise HdgeError(f"{path}: {len(images)} {part}_images but {count} {part}_labels; give each image one label.")
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _check_labels(labels: np.ndarray, path: Path, part: str) -> np.ndarray:
    if not np.issubdtype(labels.dtype, np.integer):
        raise HdgeError(f"{path}: {part}_labels are {labels.dtype}; they must be integers.")
    flat = labels.reshape(-1).astype(np.int64)  # MedMNIST stores (N, 1)
    if len(flat) and flat.min() < 0:
        raise HdgeError(f"{path}: {part}_labels hold {flat.min()}; labels run from 0.")
    return flat


def _from_torchvision(name: str, root: Path) -> tuple[ImageSet | None, ImageSet]:
    """The published data sets, downloaded into the root with a progress bar where they are not there yet."""
    import torchvision.datasets as sets
    from torchvision.transforms.functional import pil_to_tensor

    folder = str(root)
    if name == "celeba":
        celeba = sets.CelebA(folder, split="test", download=True)
        images = torch.stack([fit(pil_to_tensor(face)[None], 3, 32, 32)[0] for face, _ in celeba])
        return None, ImageSet(name, images, torch.zeros(len(images), dtype=torch.int64), ("face",))
    if name == "svhn":
        parts = [sets.SVHN(folder, split=split, download=True) for split in ("train", "test")]
        train, test = (
            ImageSet(name, torch.from_numpy(p.data), torch.from_numpy(p.labels).long(), tuple("0123456789"))
            for p in parts
        )
        return train, test
    kind = sets.CIFAR10 if name == "cifar10" else sets.CIFAR100
    train, test = (
        ImageSet(name, torch.from_numpy(p.data).permute(0, 3, 1, 2), torch.tensor(p.targets), tuple(p.classes))
        for p in (kind(folder, train=True, download=True), kind(folder, train=False, download=True))
    )
    return train, test


def _from_folder(name: str, folder: Path) -> tuple[ImageSet | None, ImageSet]:
    """Images in torchvision's ImageFolder layout, in colour, 32x32: shorter side resized, centre cropped."""
    if (folder / "test").is_dir():
        train = _image_folder(name, folder / "train") if (folder / "train").is_dir() else None
        return train, _image_folder(name, folder / "test")
    return None, _image_folder(name, folder)


def _image_folder(name: str, folder: Path) -> ImageSet:
    from torchvision.datasets import ImageFolder
    from torchvision.transforms.functional import pil_to_tensor

    try:
        source = ImageFolder(str(folder))
        images = torch.stack([fit(pil_to_tensor(picture)[None], 3, 32, 32)[0] for picture, _ in source])
    except (OSError, RuntimeError) as error:
        raise HdgeError(f"{folder} cannot be read as one folder of images a class: {error}.") from None
    return ImageSet(name, images, torch.tensor(source.targets), tuple(source.classes))


def fit(images: Tensor, channels: int, height: int, width: int) -> Tensor:
    """Images in other channels and another size: grey or repeated, shorter side resized, centre cropped."""
    from torchvision.transforms.functional import center_crop, resize, rgb_to_grayscale

    if images.shape[1] != channels:
        images = rgb_to_grayscale(images) if channels == 1 else images.expand(-1, channels, -1, -1)
    if images.shape[2:] != (height, width):
        scale = max(height / images.shape[2], width / images.shape[3])
        size = [max(height, round(images.shape[2] * scale)), max(width, round(images.shape[3] * scale))]
        images = center_crop(resize(images, size, antialias=True), [height, width])
    return images.contiguous()
