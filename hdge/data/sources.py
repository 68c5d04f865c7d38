"""Image sets by name: bundled, archived, downloaded, or a user's own.

A name is looked up in this order: sets made here (digits, digits-heldout, photos), an archive ``<root>/<name>.npz``,
torchvision's cifar10, cifar100, svhn and celeba, and a folder ``<root>/<name>/``.
"""

from pathlib import Path

import torch
from sklearn.datasets import load_digits, load_sample_images

from hdge.data.archives import read_archive
from hdge.data.downloads import MADE, read_download
from hdge.data.files import is_there
from hdge.data.folders import read_folder
from hdge.data.images import ImageSet
from hdge.study.errors import HdgeError
from hdge.study.names import check_set_name

MADE_HERE = ("digits", "digits-heldout", "photos")
MADE_FROM_TEST = ("interp", "uniform")  # of the in-distribution test images, in hdge.data.splits


def read(name: str, root: Path) -> tuple[ImageSet | None, ImageSet]:
    """The training images of a set, if it has any, and its test images.

    Raises:
        HdgeError: no set of that name, two of them, or a damaged one.
    """
    check_unique(name, root)
    if name in ("digits", "digits-heldout"):
        return None, _digits(held_out=name == "digits-heldout")
    if name == "photos":
        return None, _photos()
    archive, folder = root / f"{name}.npz", root / name
    if is_there(archive, root):
        return read_archive(name, archive)
    if name in MADE:
        return read_download(name, root)
    if is_there(folder, root):
        return read_folder(name, folder, root)
    known = ", ".join((*MADE_HERE, *MADE_FROM_TEST, *MADE))
    raise HdgeError(f"no data set {name!r}; choose from {known}, or put {name}.npz or a folder {name}/ into {root}.")


def is_at_hand(name: str, root: Path) -> bool:
    """Check whether a set of images can be read without a download."""
    places = (f"{name}.npz", name, *MADE.get(name, ()))
    return name in MADE_HERE or any((root / place).exists() for place in places)


def check_unique(name: str, root: Path) -> None:
    """Refuse a name that is a path, and one that stands for two sets, of which one would be left alone in silence."""
    check_set_name(name)
    own = [place for place in (root / f"{name}.npz", root / name) if name not in MADE and is_there(place, root)]
    if own and name in (*MADE_HERE, *MADE_FROM_TEST):
        raise HdgeError(f"{own[0]} has the name of a set that is made here; rename it.")
    if len(own) == 2:
        raise HdgeError(f"{own[0]} and {own[1]} are both there; rename or remove one of them.")


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
