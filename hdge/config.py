"""What a training run is: one frozen, validated dataclass, and the profiles that name runs by the dozen.

Free of PyTorch, so that the command line and the DAG can read profiles at once.
"""

import difflib
import json
import math
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from jsonargparse import ArgumentError, ArgumentParser

Method = Literal["cross_entropy", "hdge"]
Norm = Literal["none", "batch"]
Initialization = Literal["pytorch", "zero_residual"]
Normalize = Literal["l2", "softmax", "none"]
Optimizer = Literal["adam", "sgd"]
Schedule = Literal["steps", "one_cycle"]
Precision = Literal["auto", "float32", "bfloat16"]

HOME = Path(__file__).resolve().parents[1]  # the checkout: profiles/, notebooks/ and the Snakefile live there


def data_root(given: str = "") -> Path:
    """Where data sets are found or downloaded: as given, else $HDGE_DATA, else data/ in the checkout."""
    return Path(given or os.environ.get("HDGE_DATA") or HOME / "data").resolve()


class HdgeError(ValueError):
    """Something the user can mend; its one sentence names the value, the bound and the remedy."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a training run. The defaults are the paper's.

    Args:
        method: what is trained; "cross_entropy" or "hdge".
        seed: seed of weights, order and augmentation; splits do not depend on it.
        dataset: in-distribution data set, by name.
        evaluation_sets: out-of-distribution sets, by name, whose logits are stored with the run.
        depth: layers of the wide residual network, 6 n + 4.
        width: its widening factor.
        norm: "none" or "batch".
        dropout: probability inside each block.
        initialization: "pytorch", the library's own as in JEM, or "zero_residual" for short schedules.
        alpha: weight of log q(y|x) in the hybrid loss, 1 - alpha being that of log q(x|y).
        temperature: t of the contrastive term.
        queue_size: K, past logits that serve as negatives.
        normalize: normalisation of logits in the contrastive term.
        optimizer: "adam" (betas 0.9, 0.999) or "sgd" (Nesterov momentum 0.9).
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
        precision: of training; "auto" takes bfloat16 where the processor has it. Evaluation is in float32.
    """

    method: Method = "hdge"
    seed: int = 0
    dataset: str = "cifar10"
    evaluation_sets: tuple[str, ...] = ("svhn", "cifar100", "celeba", "interp")
    depth: int = 28
    width: int = 10
    norm: Norm = "none"
    dropout: float = 0.0
    initialization: Initialization = "pytorch"
    alpha: float = 0.5
    temperature: float = 0.1
    queue_size: int = 65536
    normalize: Normalize = "l2"
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

    def __post_init__(self) -> None:
        self._choose("method", get_args(Method))
        for name, least in (("seed", 0), ("width", 1), ("queue_size", 1), ("epochs", 1), ("batch_size", 1)):
            self._bound(name, getattr(self, name) >= least, f"at least {least}")
        for name in ("warmup_steps", "crop_padding", "noise", "weight_decay"):
            self._bound(name, 0 <= getattr(self, name) < math.inf, "0 or more")
        for name in ("temperature", "learning_rate"):
            self._bound(name, 0 < getattr(self, name) < math.inf, "positive")
        self._bound("depth", self.depth >= 10 and (self.depth - 4) % 6 == 0, "10, 16, 22, 28, … (6 n + 4)")
        self._bound("dropout", 0 <= self.dropout < 1, "in [0, 1)")
        self._bound("alpha", 0 <= self.alpha <= 1, "in [0, 1]")
        self._bound("decay", 0 < self.decay <= 1, "in (0, 1]")
        self._bound("milestones", list(self.milestones) == sorted(set(self.milestones)), "in rising order")

    def _bound(self, name: str, holds: bool, bound: str) -> None:
        if not holds:
            raise HdgeError(f"{name} is {getattr(self, name)}; it must be {bound}.")

    def _choose(self, name: str, choices: tuple[str, ...]) -> None:
        if getattr(self, name) not in choices:
            raise HdgeError(f"{name} is {getattr(self, name)!r}; choose from {', '.join(choices)}.")

    def to_json(self) -> str:
        """The same text for the same run, whichever way it was given."""
        return json.dumps(asdict(self), indent=1)


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


@dataclass(frozen=True)
class Profile:
    """A row of methods times seeds, with the settings they share and those of their own.

    Args:
        name: the file's name without its suffix.
        scale: what every table and caption calls the scale of its numbers.
        seeds: one run a method and seed.
        settings: :class:`TrainConfig` values that all methods share.
        methods: for each method, the values that are its own.
    """

    name: str
    scale: str
    seeds: tuple[int, ...]
    settings: dict[str, Any]
    methods: dict[str, dict[str, Any]]

    def config(self, method: str, seed: int, **overrides: Any) -> TrainConfig:
        """The config of one run; overrides win over the profile."""
        refuse_unknown("method", method, self.methods)
        values = {**self.settings, **self.methods[method], **overrides, "method": method, "seed": seed}
        return parse_config(values)

    def runs(self) -> list[tuple[str, int]]:
        """Every (method, seed) of the profile, methods in the profile's order."""
        return [(method, seed) for method in self.methods for seed in self.seeds]


def load_profile(name: str, folder: Path = HOME / "profiles") -> Profile:
    """The profile ``profiles/<name>.yaml``, each of its runs checked.

    Raises:
        HdgeError: no such profile, or one whose values are refused.
    """
    refuse_unknown("profile", name, sorted(path.stem for path in folder.glob("*.yaml")))
    values = yaml.safe_load((folder / f"{name}.yaml").read_text())
    expected = {"scale", "seeds", "settings", "methods"}
    if not isinstance(values, dict) or set(values) != expected:
        raise HdgeError(f"profile {name!r} must hold exactly {', '.join(sorted(expected))}.")
    methods = {method: own or {} for method, own in values["methods"].items()}
    profile = Profile(name, values["scale"], tuple(values["seeds"]), values["settings"], methods)
    for method, seed in profile.runs():
        profile.config(method, seed)
    return profile
