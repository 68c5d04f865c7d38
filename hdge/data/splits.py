"""Fixed splits of an in-distribution set, and out-of-distribution sets in its size."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from hdge.data.images import ImageSet, fit
from hdge.data.sources import MADE_FROM_TEST, check_unique, read
from hdge.study.errors import HdgeError

SPLIT_SEED = 1234  # JEM's seed for the held-out validation images
FEWEST_TRAINING_IMAGES = 10  # of which a tenth, one image, is held out for validation
# Mirroring a digit changes what it shows, so these are never flipped.
MIRROR_CHANGES_IMAGE = ("digits", "svhn")


@dataclass(frozen=True)
class Splits:
    """The three disjoint parts of an in-distribution set, the same for every seed and method."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet

    def sha256(self) -> str:
        """Fingerprint of every pixel and label of all three parts, in order."""
        digest = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            digest.update(np.ascontiguousarray(part.images.cpu().numpy()).tobytes())
            digest.update(part.labels.cpu().numpy().tobytes())
        return digest.hexdigest()


def load_splits(name: str, root: Path) -> Splits:
    """Train, validation and test images of an in-distribution set, by fixed permutations.

    Validation takes 5,000 training images, or a tenth of them, rounded down, if there are fewer than 50,000. A set
    without a split gives a third of its images, rounded down, to the test part first.

    Raises:
        HdgeError: no such data set, a damaged one, one that is only of use out of distribution, fewer than two classes,
            fewer than ten training images, or a class without any after validation took its part.
    """
    if name in ("digits-heldout", "photos", *MADE_FROM_TEST):
        raise HdgeError(f"data set {name!r} has no training images; choose another as dataset.")
    train, test = read(name, root)
    if len(test.classes) < 2:
        raise HdgeError(f"data set {name!r} has the one class {test.classes[0]!r}; a classifier needs at least two.")
    if train is None:
        order = _permutation(len(test))
        held_out = len(test) // 3
        train, test = test.take(order[held_out:]), test.take(order[:held_out])
    if train.images.shape[1:] != test.images.shape[1:]:
        raise HdgeError(
            f"data set {name!r} has training images of shape {tuple(train.images.shape[1:])} and test images of "
            f"shape {tuple(test.images.shape[1:])}; they must agree."
        )
    if len(train) < FEWEST_TRAINING_IMAGES:
        raise HdgeError(
            f"data set {name!r} has {len(train)} training images; add some, for it must have at least "
            f"{FEWEST_TRAINING_IMAGES}."
        )
    held_out = min(5000, len(train) // 10)
    order = _permutation(len(train))
    splits = Splits(train.take(order[held_out:]), train.take(order[:held_out]), test)
    counts = torch.bincount(splits.train.labels, minlength=len(train.classes))
    absent = (counts == 0).nonzero().flatten().tolist()
    if absent:
        raise HdgeError(
            f"data set {name!r} has no image of class {absent[0]} ({train.classes[absent[0]]!r}) among its "
            f"{len(splits.train)} training images; number the classes from 0 without gaps, and give each more images."
        )
    return splits


def load_evaluation_set(name: str, root: Path, reference: ImageSet) -> ImageSet:
    """Test images of an out-of-distribution set, in the channels and size of the in-distribution test images.

    The sets "interp" and "uniform" are made from the in-distribution test images, the reference.
    """
    check_unique(name, root)
    if name == "interp":
        return interpolate_pairs(reference)
    if name == "uniform":
        pixels = torch.randint(256, reference.images.shape, generator=_generator(), dtype=torch.uint8)
        return ImageSet(name, pixels, torch.zeros(len(pixels), dtype=torch.int64), ("noise",))
    _, test = read(name, root)
    channels, height, width = reference.images.shape[1:]
    return ImageSet(name, fit(test.images, channels, height, width), test.labels, test.classes)


def interpolate_pairs(reference: ImageSet) -> ImageSet:
    r"""Means of fixed pairs of images, :math:`(x_i + x_{\pi(i)}) / 2`, rounded half up to whole pixel values.

    Every image is paired with the next along one fixed random cycle, so that no image meets itself. The label is 1 for
    a pair of one class, 0 otherwise.

    Source: paper, section 5.1 ("Interp"); JEM pairs consecutive test batches.
    """
    if len(reference) < 2:
        raise HdgeError(f"'interp' needs at least two test images; data set {reference.name!r} has {len(reference)}.")
    first, second = interpolated_pairs(len(reference)).T
    total = reference.images[first].to(torch.int16) + reference.images[second].to(torch.int16)
    same = (reference.labels[first] == reference.labels[second]).long()
    return ImageSet("interp", ((total + 1) // 2).to(torch.uint8), same, ("different classes", "same class"))


def interpolated_pairs(count: int) -> Int[Tensor, "n 2"]:
    """List the places of both test images that each image of "interp" is made of."""
    cycle = _permutation(count)
    return torch.stack([cycle, cycle.roll(-1)], dim=1)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(SPLIT_SEED)


def _permutation(count: int) -> Int[Tensor, " n"]:
    return torch.randperm(count, generator=_generator())
