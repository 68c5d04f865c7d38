"""What a training run is: one frozen, validated dataclass.

Free of PyTorch, so that the command line and the DAG can read configs at once.
"""

import difflib
import json
import math
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from jsonargparse import ArgumentError, ArgumentParser

Method = Literal[
    "cross_entropy", "cross_entropy_bn", "hdge", "hdge_batch", "generative", "hdge_jem", "jem", "igebm",
    "igebm_conditional", "supcon", "contrastive_pretraining", "jointloss", "glow", "glow_conditional",
    "adversarial_l2", "adversarial_linf",
]  # fmt: skip
Network = Literal["wide_resnet", "resnet50"]
Norm = Literal["none", "batch"]
Augmentation = Literal["jem", "simclr"]
Initialization = Literal["pytorch", "zero_residual"]
Normalize = Literal["l2", "softmax", "none"]
Energy = Literal["selected", "masked"]
QueueStart = Literal["empty", "noise"]
Optimizer = Literal["adam", "sgd", "lars"]
Schedule = Literal["steps", "one_cycle"]
Precision = Literal["auto", "float32", "bfloat16"]

HOME = Path(__file__).resolve().parents[2]  # the checkout: profiles/, notebooks/ and the Snakefile live there


def data_root(given: str = "") -> Path:
    """Where data sets are found or downloaded: as given, else $HDGE_DATA, else data/ in the checkout."""
    return Path(given or os.environ.get("HDGE_DATA") or HOME / "data").resolve()


class HdgeError(ValueError):
    """Something the user can mend; its one sentence names the value, the bound and the remedy."""


# Methods by what they need, and settings by their bounds.
SAMPLING = ("jem", "hdge_jem", "igebm", "igebm_conditional")
ONE_LOGIT = ("igebm", "glow")
TWO_STAGES = ("supcon", "contrastive_pretraining", "jointloss")
AT_LEAST_ONE = (
    "width", "queue_size", "epochs", "batch_size", "projection_size", "sgld_steps", "sgld_chains", "sgld_buffer",
    "attack_steps", "flow_levels", "flow_depth", "flow_width",
)  # fmt: skip
AT_LEAST_ZERO = (
    "seed", "warmup_steps", "crop_padding", "noise", "weight_decay", "head_epochs", "sgld_noise", "energy_weight",
    "restarts",
)  # fmt: skip
POSITIVE = ("temperature", "learning_rate", "head_learning_rate", "sgld_step_size", "energy_gap")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a training run. The defaults are the paper's.

    Args:
        method: what is trained; see :mod:`hdge.methods.base`.
        seed: seed of weights, order and augmentation; splits do not depend on it.
        dataset: in-distribution data set, by name.
        evaluation_sets: out-of-distribution sets, by name, whose logits are stored with the run.
        network: "wide_resnet", or "resnet50" with a stem for small images. Flows have a network of their own.
        depth: layers of the wide residual network, 6 n + 4.
        width: its widening factor.
        norm: "none" or "batch".
        dropout: probability inside each block.
        initialization: "pytorch", the library's own as in JEM, or "zero_residual" for short schedules.
        alpha: weight of log q(y|x) in the hybrid loss, 1 - alpha being that of log q(x|y); 0 is "generative".
        temperature: t of the contrastive term.
        queue_size: K, past logits that serve as negatives.
        normalize: normalisation of logits in the contrastive term.
        energy: of a pair of image and class: its logit is "selected", or, as in the released code, the others "masked".
        queue_start: "empty", or "noise" that counts as past images, as in the released code.
        forward_passes: through the network in one step of HDGE: 1, or 2 as in the released code, one for each term.
        optimizer: "adam" (betas 0.9, 0.999), "sgd" (Nesterov momentum 0.9) or "lars" (momentum 0.9).
        learning_rate: peak learning rate.
        weight_decay: L2 penalty.
        schedule: "steps" multiplies by decay at each milestone, "one_cycle" falls to zero along a cosine.
        warmup_steps: optimiser steps over which the rate rises linearly from zero.
        milestones: epochs at which "steps" decays.
        decay: factor of each such decay.
        epochs: passes over the training images.
        batch_size: B, images a step; the last, shorter batch of an epoch is used as it is.
        noise: standard deviation of Gaussian noise on inputs scaled to [-1, 1], in training and evaluation.
        crop_padding: pixels of reflected border from which training crops are taken.
        flip: mirror training images at random, unless mirroring changes what the data set's images show.
        precision: of training; "auto" takes bfloat16 where it is faster. Evaluation is in float32.
        augmentation: "jem" (crop, flip, noise), or "simclr" (resized crops, colours as well) for methods of two views.
        label_smoothing: share of the label spread evenly over the classes, in jointloss.
        projection_size: outputs of the projection head of methods of two views.
        head_epochs: epochs of a second stage: a linear head on frozen features, or all of jointloss.
        head_learning_rate: peak learning rate of that stage.
        sgld_steps: steps of a chain in one training step.
        sgld_step_size: eta of a step, in units of pixels in [-1, 1].
        sgld_noise: sigma of a step, likewise.
        sgld_chains: N, chains that one training step runs.
        sgld_buffer: chains in the replay buffer.
        sgld_restart: probability that a chain starts afresh.
        sgld_conditional: run the chains of a class on log q(x|y) instead of log q(x).
        energy_weight: weight of the squared energies in igebm's loss.
        energy_gap: largest difference in mean log q(x), data against chains, before a run counts as diverging.
        restarts: how often a diverging run is rolled back before it ends as diverged.
        attack_radius: of adversarial training, in pixels in [0, 1].
        attack_steps: steps of its attack.
        flow_levels: scales of a flow.
        flow_depth: steps of a flow at each scale.
        flow_width: hidden channels of a flow's coupling layers.
    """

    method: Method = "hdge"
    seed: int = 0
    dataset: str = "cifar10"
    evaluation_sets: tuple[str, ...] = ("svhn", "cifar100", "celeba", "interp")
    network: Network = "wide_resnet"
    depth: int = 28
    width: int = 10
    norm: Norm = "none"
    dropout: float = 0.0
    initialization: Initialization = "pytorch"
    alpha: float = 0.5
    temperature: float = 0.1
    queue_size: int = 65536
    normalize: Normalize = "l2"
    energy: Energy = "selected"
    queue_start: QueueStart = "empty"
    forward_passes: int = 1
    optimizer: Optimizer = "adam"
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    schedule: Schedule = "steps"
    warmup_steps: int = 1000
    milestones: tuple[int, ...] = (160, 180)
    decay: float = 0.3
    epochs: int = 200
    batch_size: int = 64
    noise: float = 0.03
    crop_padding: int = 4
    flip: bool = True
    precision: Precision = "auto"
    augmentation: Augmentation = "jem"
    label_smoothing: float = 0.0
    projection_size: int = 128
    head_epochs: int = 0
    head_learning_rate: float = 0.1
    sgld_steps: int = 20
    sgld_step_size: float = 1.0
    sgld_noise: float = 0.01
    sgld_chains: int = 64
    sgld_buffer: int = 10_000
    sgld_restart: float = 0.05
    sgld_conditional: bool = False
    energy_weight: float = 1.0
    energy_gap: float = 1000.0
    restarts: int = 5
    attack_radius: float = 8 / 255
    attack_steps: int = 7
    flow_levels: int = 3
    flow_depth: int = 32
    flow_width: int = 512

    def __post_init__(self) -> None:
        self._choose("method", get_args(Method))
        for name in AT_LEAST_ONE:
            self._bound(name, getattr(self, name) >= 1, "at least 1")
        for name in AT_LEAST_ZERO:
            self._bound(name, 0 <= getattr(self, name) < math.inf, "0 or more")
        for name in POSITIVE:
            self._bound(name, 0 < getattr(self, name) < math.inf, "positive")
        self._bound("depth", self.depth >= 10 and (self.depth - 4) % 6 == 0, "10, 16, 22, 28, … (6 n + 4)")
        for name in ("dropout", "label_smoothing"):
            self._bound(name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        for name in ("alpha", "sgld_restart", "attack_radius"):
            self._bound(name, 0 <= getattr(self, name) <= 1, "in [0, 1]")
        self._bound("forward_passes", self.forward_passes in (1, 2), "1 or 2")
        self._bound("decay", 0 < self.decay <= 1, "in (0, 1]")
        self._bound("milestones", list(self.milestones) == sorted(set(self.milestones)), "in rising order")
        self._suit_the_method()

    def _suit_the_method(self) -> None:
        """What a method's name promises must be what is trained."""
        if self.method == "generative":
            self._bound("alpha", self.alpha == 0, "0, for generative is HDGE without log q(y|x)")
        if self.method == "cross_entropy_bn":
            self._bound("norm", self.norm == "batch", "batch, for that is what tells it from cross_entropy")
        if self.method in SAMPLING:
            remedy = "none: batch norm would tie the chains of a batch to each other"
            self._bound("norm", self.norm == "none", remedy)
            self._bound("network", self.network == "wide_resnet", "wide_resnet, for resnet50 has batch norm")
        if self.method in TWO_STAGES:
            self._bound("head_epochs", self.head_epochs >= 1, f"at least 1, for {self.method} has a second stage")

    def _bound(self, name: str, holds: bool, bound: str) -> None:
        if not holds:
            raise HdgeError(f"{name} is {getattr(self, name)}; it must be {bound}.")

    def _choose(self, name: str, choices: tuple[str, ...]) -> None:
        if getattr(self, name) not in choices:
            raise HdgeError(f"{name} is {getattr(self, name)!r}; choose from {', '.join(choices)}.")

    def to_json(self) -> str:
        """The same text for the same run, whichever way it was given."""
        return json.dumps(asdict(self), indent=1)

    def is_recorded_as(self, values: dict[str, Any]) -> bool:
        """Whether recorded values are this config's; a setting that is younger than the record has its default."""
        return {**json.loads(TrainConfig().to_json()), **values} == json.loads(self.to_json())


def train_parser(**options: Any) -> ArgumentParser:
    """The one strict reader of configs: for keyword arguments, YAML and the command line alike."""
    parser = ArgumentParser(exit_on_error=False, **options)
    parser.add_class_arguments(TrainConfig, sub_configs=False)
    return parser


def parse_config(settings: dict[str, Any]) -> TrainConfig:
    """A config from plain values, as a notebook or a YAML file gives them.

    Raises:
        HdgeError: an unknown name, a value of the wrong type, or a value out of range.
    """
    known = [field.name for field in fields(TrainConfig)]
    for name in settings:
        refuse_unknown("setting", name, known)
    if "method" in settings:
        refuse_unknown("method", settings["method"], get_args(Method))
    try:
        return config_from(train_parser().parse_object(dict(settings)))
    except ArgumentError as error:
        raise HdgeError(_type_error(str(error), settings)) from None


def config_from(namespace: Any) -> TrainConfig:
    """The config in a parsed namespace, which may hold more than the config's own names."""
    values: dict[str, Any] = {field.name: getattr(namespace, field.name) for field in fields(TrainConfig)}
    frozen: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return TrainConfig(**frozen)


def refuse_unknown(kind: str, name: str, known: Any) -> None:
    """Refuse a name that is not known, with the nearest that is."""
    if name in known:
        return
    near = difflib.get_close_matches(str(name), list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}."
    raise HdgeError(f"no {kind} {name!r}; {hint}")


def _type_error(message: str, settings: dict[str, Any]) -> str:
    """One sentence for a value of the wrong type, from the parser's message, which names the setting."""
    for field in fields(TrainConfig):
        if f'"{field.name}"' in message and field.name in settings:
            expected = (
                ", ".join(get_args(field.type))
                if get_origin(field.type) is Literal
                else getattr(field.type, "__name__", field.type)
            )
            return f"{field.name} is {settings[field.name]!r}; it must be {expected}."
    return " ".join(message.split())
