"""What the training loop needs of a method, and the simplest of them.

A method turns a batch into a loss and keeps whatever it needs between steps in parameters and buffers of its own, so
that its ``state_dict`` belongs to the state of a run. It asks for a view of the batch, freshly augmented, as often as
it needs one.
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
    """One batch: the loss to minimise, the logits it came from, and the terms worth recording."""

    loss: Tensor
    logits: Tensor
    terms: dict[str, Tensor]


class Stage(NamedTuple):
    """A part of training with an optimiser and a schedule of its own."""

    name: str
    epochs: int
    learning_rate: float
    classifies: bool = True  # whether the logits mean anything yet
    augmentation: str = ""  # another than the config's


class Method(nn.Module):
    """What the training loop needs of a method; most have one stage and keep nothing."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.stages: tuple[Stage, ...] = (Stage("train", config.epochs, config.learning_rate),)

    def begin(self, stage: int, model: nn.Module) -> None:
        """Make ready for a stage: say which parameters it trains."""

    def forward(self, model: nn.Module, view: View, labels: Tensor) -> Step:
        """The loss of one batch."""
        raise NotImplementedError

    def after_step(self, logits: Tensor) -> None:
        """What is kept of a batch once its step is done."""

    def reseed(self, restart: int) -> None:
        """Other random numbers for a method's sampler, the same whenever a run diverges for the same time."""

    def passes(self, images: int) -> tuple[int, int]:
        """Images through the network, forward and backward, of a step on so many."""
        return images, images

    def constant_prediction(self, classes: int, images: int) -> tuple[str, float]:
        """A recorded term, and its value for logits that do not depend on the image: a run must end below it."""
        return "loss", math.log(classes)


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode and without parameter gradients, for whoever asks for its input's alone."""
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
    """The model in evaluation mode."""
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
