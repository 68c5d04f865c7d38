"""What each method of the study trains: a few lines on top of the losses.

A method turns a batch into a loss and keeps whatever it needs between steps in buffers of its own, so that its
``state_dict`` belongs to the state of a run.
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from hdge.config import TrainConfig
from hdge.losses import hybrid_terms
from hdge.queue import LogitQueue


class Step(NamedTuple):
    """One batch: the loss to minimise, the logits it came from, and the terms worth recording."""

    loss: Tensor
    logits: Tensor
    terms: dict[str, Tensor]


class CrossEntropy(nn.Module):
    """-log q(y|x): the paper's baseline."""

    def forward(self, model: nn.Module, images: Tensor, labels: Tensor) -> Step:
        logits = model(images).float()
        return Step(F.cross_entropy(logits, labels), logits, {})

    def after_step(self, logits: Tensor) -> None:
        """Nothing is kept."""


class Hdge(nn.Module):
    """-alpha log q(y|x) - (1 - alpha) log q(x|y), the second against a queue of past logits (Algorithm 1)."""

    def __init__(self, config: TrainConfig, num_classes: int) -> None:
        super().__init__()
        self.alpha = config.alpha
        self.queue = LogitQueue(num_classes, config.queue_size, config.temperature, config.normalize)

    def forward(self, model: nn.Module, images: Tensor, labels: Tensor) -> Step:
        logits = model(images).float()
        terms = hybrid_terms(logits, labels, self.queue)
        return Step(terms.weighed(self.alpha), logits, terms._asdict())

    def after_step(self, logits: Tensor) -> None:
        """The batch joins the negatives only after the step, as in Algorithm 1."""
        self.queue.enqueue(logits.detach())


def build_method(config: TrainConfig, num_classes: int) -> CrossEntropy | Hdge:
    """The method that a config names."""
    return CrossEntropy() if config.method == "cross_entropy" else Hdge(config, num_classes)
