"""Settings that only some methods have, and the two protocols by which trained networks are measured."""

import math
from dataclasses import dataclass
from typing import Literal

from hdge.study.errors import HdgeError, require

Normalize = Literal["l2", "softmax", "none"]
AttackNorm = Literal["l2", "linf"]
Start = Literal["uniform", "classes"]


def _at_least(least: int, block: str, settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        require(f"{block}.{name}", value, least <= value < math.inf, f"at least {least}" if least else "0 or more")


def _positive(block: str, settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        require(f"{block}.{name}", value, 0 < value < math.inf, "positive")


@dataclass(frozen=True)
class HybridSettings:
    """The two terms of HDGE's loss.

    Args:
        alpha: weight of log q(y|x); log q(x|y) has the weight 1 - alpha. 0 is "generative".
        temperature: t of the contrastive term.
        normalize: normalisation of logits in the contrastive term.
    """

    alpha: float = 0.5
    temperature: float = 0.1
    normalize: Normalize = "l2"

    def __post_init__(self) -> None:
        require("hybrid.alpha", self.alpha, 0 <= self.alpha <= 1, "in [0, 1]")
        _positive("hybrid", self, "temperature")


@dataclass(frozen=True)
class QueueSettings:
    """The queue of past logits, and the departures of the released code that concern it.

    Args:
        size: K, past logits that serve as negatives.
        start: "empty", or "noise" that counts as past images, as in the released code.
        energy: "selected" scores a class by its logit; "masked" sets the other logits to 0, as in the released code.
        forward_passes: passes through the network in one step: 1, or one for each term (2), as in the released code.
    """

    size: int = 65536
    start: Literal["empty", "noise"] = "empty"
    energy: Literal["selected", "masked"] = "selected"
    forward_passes: int = 1

    def __post_init__(self) -> None:
        _at_least(1, "queue", self, "size")
        require("queue.forward_passes", self.forward_passes, self.forward_passes in (1, 2), "1 or 2")


@dataclass(frozen=True)
class SgldSettings:
    """Sampling during training.

    Args:
        steps: steps of a chain in one training step.
        step_size: eta of a step, in units of pixels in [-1, 1].
        noise: sigma of a step, in the same units.
        chains: N, chains that one training step runs.
        buffer: chains in the replay buffer.
        restart: probability that a chain starts afresh.
        start: where chains start: "uniform" noise, or "classes", Gaussians with the means and covariances of the
            training images of each class, as in JEM++.
        conditional: run the chains of a class on log q(x|y) instead of log q(x).
        energy_weight: weight of the squared energies in igebm's loss.
        energy_gap: largest difference in mean log q(x), data against chains, before a run counts as diverging.
        restarts: how often a diverging run is rolled back before it ends as diverged.
    """

    steps: int = 20
    step_size: float = 1.0
    noise: float = 0.01
    chains: int = 64
    buffer: int = 10_000
    restart: float = 0.05
    start: Start = "uniform"
    conditional: bool = False
    energy_weight: float = 1.0
    energy_gap: float = 1000.0
    restarts: int = 5

    def __post_init__(self) -> None:
        _at_least(1, "sgld", self, "steps", "chains", "buffer")
        _at_least(0, "sgld", self, "noise", "energy_weight", "restarts")
        _positive("sgld", self, "step_size", "energy_gap")
        require("sgld.restart", self.restart, 0 <= self.restart <= 1, "in [0, 1]")


@dataclass(frozen=True)
class ViewSettings:
    """Contrast of two views of an image, and the second stage that follows it.

    Args:
        temperature: t of the contrastive loss.
        projection_size: outputs of the projection head.
        head_epochs: epochs of the second stage: a linear head on frozen features, or all of jointloss.
        head_learning_rate: peak learning rate of that stage.
        label_smoothing: share of the label spread evenly over the classes, in jointloss.
    """

    temperature: float = 0.1
    projection_size: int = 128
    head_epochs: int = 100
    head_learning_rate: float = 0.1
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        _at_least(1, "views", self, "projection_size", "head_epochs")
        _positive("views", self, "temperature", "head_learning_rate")
        smoothing = self.label_smoothing
        require("views.label_smoothing", smoothing, 0 <= smoothing < 1, "in [0, 1)")


@dataclass(frozen=True)
class FlowSettings:
    """A normalising flow.

    Args:
        levels: number of scales.
        depth: steps at each scale.
        width: hidden channels of the coupling layers.
    """

    levels: int = 3
    depth: int = 32
    width: int = 512

    def __post_init__(self) -> None:
        _at_least(1, "flow", self, "levels", "depth", "width")


@dataclass(frozen=True)
class AttackSettings:
    """The attack of adversarial training.

    Args:
        radius: radius of the ball, in pixels in [0, 1].
        steps: steps of projected gradient descent.
    """

    radius: float = 8 / 255
    steps: int = 7

    def __post_init__(self) -> None:
        _at_least(1, "attack", self, "steps")
        require("attack.radius", self.radius, 0 <= self.radius <= 1, "in [0, 1]")


@dataclass(frozen=True)
class SamplingProtocol:
    """How trained networks are sampled. The defaults take one processor core some seconds a run on the digits.

    JEM, whose sampler the paper takes, steps 64 of 10,000 chains in 1,000 rounds of 40 steps: 256 steps a chain on
    average. JEM's chains go on from the training's buffer, which no run keeps. Here all chains start afresh, so that
    networks trained without a sampler have the same start.

    Args:
        chains: chains of log q(x) from random starts; their ends are the samples that are scored.
        per_class: chains of every class: of log q(x|y) from random starts, and of log q(x) from test images.
        start: random starts: "uniform" noise or "classes", as in :class:`SgldSettings`.
        steps: steps of every chain.
        step_size: eta, in units of pixels in [-1, 1].
        noise: sigma, in the same units.
        record_every: steps between two looks at a chain.
        seed: seed of the chains.
    """

    chains: int = 320
    per_class: int = 6
    start: Start = "uniform"
    steps: int = 128
    step_size: float = 1.0
    noise: float = 0.01
    record_every: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        _at_least(2, "samples", self, "chains")
        _at_least(1, "samples", self, "per_class", "steps", "record_every")
        _at_least(0, "samples", self, "noise", "seed")
        _positive("samples", self, "step_size")
        every = self.record_every
        require("samples.steps", self.steps, self.steps % every == 0, f"a multiple of record_every, {every}")


@dataclass(frozen=True)
class AttackProtocol:
    """Everything that determines an attack besides the network. The defaults are those of the digits.

    Args:
        images: how many images are attacked, the first of the fixed test split; 0 for all.
        steps: steps of projected gradient descent.
        l2: radii in the Euclidean norm, in pixels of [0, 1], rising.
        linf: radii in the maximum norm, in 255ths, rising.
        checked: norm and radius, from those above, where the strong attacks are run and the verdict is passed.
        checked_images: how many attacked images are checked, from the first; 0 for no check of either kind.
        strong_steps: steps of each strong attack that follows gradients.
        strong_restarts: random starts of the strong attack on the cross-entropy.
        strong_targets: classes at which the targeted strong attacks aim.
        strong_queries: queries of the strong attack without gradients.
        noise_radius: radius of the attack through the evaluation noise, one of linf.
        noise_draws: m, draws of noise over which a decision and its gradient are averaged.
        seed: seed of random starts and noise.
    """

    images: int = 300
    steps: int = 20
    l2: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
    linf: tuple[int, ...] = (4, 8, 16, 24, 32, 48)
    checked: tuple[tuple[AttackNorm, float], ...] = (("l2", 0.5), ("linf", 16.0))
    checked_images: int = 100
    strong_steps: int = 20
    strong_restarts: int = 2
    strong_targets: int = 3
    strong_queries: int = 100
    noise_radius: int = 16
    noise_draws: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        _at_least(0, "attacks", self, "images", "checked_images", "seed")
        _at_least(1, "attacks", self, "steps", "strong_steps", "strong_restarts", "strong_targets", "strong_queries")
        _at_least(1, "attacks", self, "noise_draws")
        for norm in ("l2", "linf"):
            radii = self.radii(norm)
            rising = list(radii) == sorted(set(radii)) and bool(radii) and radii[0] > 0
            require(f"attacks.{norm}", list(radii), rising, "positive numbers in rising order")
        for norm, radius in self.checked:
            if norm not in ("l2", "linf") or radius not in self.radii(norm):
                raise HdgeError(f"attacks.checked holds {norm} {radius}; take a radius of attacks.l2 or attacks.linf.")
        require("attacks.noise_radius", self.noise_radius, self.noise_radius in self.linf, "one of attacks.linf")

    def radii(self, norm: AttackNorm) -> tuple[float, ...] | tuple[int, ...]:
        """Return the radii in one norm, in the norm's unit."""
        return self.l2 if norm == "l2" else self.linf
