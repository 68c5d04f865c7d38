"""Checks of numbers that every evaluator makes before it counts them."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hdge.study.errors import HdgeError, require

REMEDY = "a finite number; leave that image out, or train and measure the run anew"


def finite(name: str, values: Any, dimensions: int | None = None) -> np.ndarray:
    """Values as numbers of double precision, if there are any and none is infinite or not a number.

    Raises:
        HdgeError: no values, other dimensions, or a value that is not finite, which is named by its place.
    """
    found = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
    if dimensions not in (None, found.ndim):
        raise HdgeError(f"{name} have shape {found.shape}; they must have {dimensions} dimension(s), images first.")
    if not found.size:
        raise HdgeError(f"{name} have shape {found.shape} and hold no value; give at least one image.")
    if not np.isfinite(found).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(found))[0])
        require(f"{name}[{', '.join(map(str, place))}]" if place else name, found[place], False, REMEDY)
    return found


def labelled(logits: Float[Tensor, "n classes"], labels: Int[Tensor, "..."]) -> Int[Tensor, " n"]:
    """Labels as int64, if there are images, each with finite logits and with the number of a class as label.

    Raises:
        HdgeError: no image, a logit that is not finite, another number of labels, or a label outside 0 to C - 1.
    """
    finite("logits", logits, dimensions=2)
    if labels.shape != logits.shape[:1]:
        raise HdgeError(f"labels have shape {tuple(labels.shape)} for {len(logits)} images; give one label an image.")
    if labels.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        raise HdgeError(f"labels are {labels.dtype}; they must be whole numbers, such as labels.long() gives.")
    classes, labels = logits.shape[1], labels.long()
    wrong = ((labels < 0) | (labels >= classes)).nonzero().flatten().tolist()
    if wrong:
        bound = f"from 0 to {classes - 1}, the classes that have a logit; number them from 0"
        require(f"labels[{wrong[0]}]", int(labels[wrong[0]]), False, bound)
    return labels
