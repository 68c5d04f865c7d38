"""The interface between the training loop and a method, and the simplest method, cross-entropy.

A method turns a batch into a loss. It keeps what it needs between steps in parameters and buffers, so that its
``state_dict`` belongs to the state of a run. It asks for a freshly augmented view of the batch as often as it needs
one.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from hdge.study.config import TrainConfig

View = Callable[[], Tensor]


class Step(NamedTuple):
    """The result of a method on one batch: the loss to minimise, its logits, and the terms to record."""

    loss: Tensor
    logits: Tensor
    terms: dict[str, Tensor]


class Stage(NamedTuple):
    """A part of training with its own optimiser and schedule."""

    name: str
    epochs: int
    learning_rate: float
    classifies: bool = True  # whether the logits mean anything yet
    augmentation: str = ""  # replaces the config's, if given


class Method(nn.Module):
    """A method as the training loop sees it; most methods have one stage and keep nothing."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.stages: tuple[Stage, ...] = (Stage("train", config.epochs, config.learning_rate),)

    def begin(self, stage: int, model: nn.Module) -> None:
        """Set which parameters a stage trains."""

    def forward(self, model: nn.Module, view: View, labels: Tensor) -> Step:
        """Compute the loss of one batch."""
        raise NotImplementedError

    def after_step(self, logits: Tensor) -> None:
        """Store a finished batch's logits where the method needs them."""

    def reseed(self, restart: int) -> None:
        """Reseed the sampler, if there is one; the seed depends only on how often the run has diverged."""

    def passes(self, images: int) -> tuple[int, int]:
        """Count the images that a step on so many passes through the network, forward and backward."""
        return images, images

    def constant_prediction(self, classes: int, images: int) -> tuple[str, float]:
        """Name a recorded term, and give its value for logits that ignore the image; a run must end below it."""
        return "loss", math.log(classes)


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Put the model in evaluation mode without parameter gradients, for gradients of its input alone."""
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    model.requires_grad_(False)
    try:
        with evaluating(model):
            yield
    finally:
        for parameter, want in zip(model.parameters(), wanted, strict=True):
            parameter.requires_grad_(want)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model in evaluation mode for as long as the block lasts."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


class CrossEntropy(Method):
    """-log q(y|x): the paper's baseline, without normalisation layers or, by the recipe of its Table 2, with them."""

    def forward(self, model: nn.Module, view: View, labels: Tensor) -> Step:
        logits = model(view()).float()
        return Step(F.cross_entropy(logits, labels), logits, {})
