"""Settings of a training run, free of PyTorch, so that the command line and the DAG read configs at once."""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from jsonargparse import ArgumentError, ArgumentParser

from hdge.study.errors import HdgeError, refuse_unknown, require
from hdge.study.names import check_evaluation_sets, check_set_name
from hdge.study.roster import METHODS
from hdge.study.settings import AttackSettings, FlowSettings, HybridSettings, QueueSettings, SgldSettings, ViewSettings

Kind = TypeVar("Kind")
HOME = Path(__file__).resolve().parents[2]  # the checkout: profiles/, notebooks/ and the Snakefile live there
BLOCKS: dict[str, type] = {
    "hybrid": HybridSettings, "queue": QueueSettings, "sgld": SgldSettings, "views": ViewSettings,
    "flow": FlowSettings, "attack": AttackSettings,
}  # fmt: skip


def place(given: str | Path) -> Path:
    """Resolve a path that a user gives; a "~" that no shell has replaced is the home, $NAME an environment variable."""
    if not isinstance(given, str | Path):
        raise HdgeError(f"{given!r} is no path; give it as text, or leave it out.")
    path = Path(os.path.expanduser(given))
    if not any("$" in str(folder) and os.path.exists(folder) for folder in (path, *path.parents)):
        path = Path(os.path.expandvars(path))
        if re.match(r"~|.*\$(\w|\{\w+\})", str(path)):
            raise HdgeError(f"{str(given)!r} names a home or a variable that is not there; write the path out.")
    return path.resolve()


def data_root(given: str = "") -> Path:
    """Resolve the folder of the data sets: as given, else $HDGE_DATA, else data/ in the checkout."""
    return place(given or os.environ.get("HDGE_DATA") or HOME / "data")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a training run. The defaults are the paper's.

    Args:
        method: what is trained; docs/running.md lists the methods.
        seed: seed of weights, order and augmentation; splits do not depend on it.
        dataset: in-distribution data set, by name.
        evaluation_sets: out-of-distribution sets, by name, whose logits are stored with the run.
        network: "wide_resnet", or "resnet50" with a stem for small images. Flows have a network of their own.
        depth: layers of the wide residual network, 6 n + 4.
        width: widening factor of the wide residual network.
        norm: "none" or "batch".
        dropout: probability inside each block.
        initialization: "pytorch" (PyTorch's defaults, as in JEM), or "zero_residual" for short schedules.
        stem_stride: stride of the wide residual network's first convolution: 1, or 2 for a quarter of the arithmetic.
        optimizer: "adam" (second beta 0.999), "sgd" or "lars".
        momentum: momentum of SGD and LARS, and the first beta of Adam.
        learning_rate: peak learning rate.
        weight_decay: L2 penalty.
        clip: largest norm of a step's gradient; a larger gradient is scaled down to it. 0 is no bound.
        schedule: "steps" multiplies by decay at each milestone, "one_cycle" falls to zero along a cosine.
        warmup_steps: optimiser steps over which the rate rises linearly from zero.
        milestones: epochs at which "steps" decays.
        decay: factor of each such decay.
        epochs: passes over the training images.
        batch_size: B, images a step. The last batch of an epoch may be shorter.
        noise: standard deviation of Gaussian noise on inputs scaled to [-1, 1], in training and evaluation.
        crop_padding: pixels of reflected border from which training crops are taken.
        flip: mirror training images at random, unless mirroring changes what the data set's images show.
        augmentation: "jem" (crop, flip, noise), or "simclr" (resized crops, colours as well) for methods of two views.
        precision: precision of training; "auto" takes bfloat16 where it is faster. Evaluation is in float32.
        compile: whether PyTorch compiles the network to one graph; it takes a minute, worth it in long runs on a GPU.
        hybrid: settings of HDGE's loss, for the methods that minimise it.
        queue: settings of the queue of past logits.
        sgld: settings of the sampler in training.
        views: settings of the contrast of two views.
        flow: settings of normalising flows.
        attack: settings of adversarial training.
    """

    method: str = "hdge"
    seed: int = 0
    dataset: str = "cifar10"
    evaluation_sets: tuple[str, ...] = ("svhn", "cifar100", "celeba", "interp")
    network: Literal["wide_resnet", "resnet50"] = "wide_resnet"
    depth: int = 28
    width: int = 10
    norm: Literal["none", "batch"] = "none"
    dropout: float = 0.0
    initialization: Literal["pytorch", "zero_residual"] = "pytorch"
    stem_stride: int = 1
    optimizer: Literal["adam", "sgd", "lars"] = "adam"
    momentum: float = 0.9
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    clip: float = 0.0
    schedule: Literal["steps", "one_cycle"] = "steps"
    warmup_steps: int = 1000
    milestones: tuple[int, ...] = (160, 180)
    decay: float = 0.3
    epochs: int = 200
    batch_size: int = 64
    noise: float = 0.03
    crop_padding: int = 4
    flip: bool = True
    augmentation: Literal["jem", "simclr"] = "jem"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    hybrid: HybridSettings = HybridSettings()
    queue: QueueSettings = QueueSettings()
    sgld: SgldSettings = SgldSettings()
    views: ViewSettings = ViewSettings()
    flow: FlowSettings = FlowSettings()
    attack: AttackSettings = AttackSettings()

    def __post_init__(self) -> None:
        refuse_unknown("method", self.method, METHODS)
        entry = METHODS[self.method]
        check_set_name(self.dataset)
        check_evaluation_sets(self.evaluation_sets, self.dataset)
        for name, kind in BLOCKS.items():
            if name not in entry.blocks and getattr(self, name) != kind():
                raise HdgeError(f"{name} belongs to other methods than {self.method}; leave it out.")
        for name in ("width", "epochs", "batch_size"):
            self._bound(name, getattr(self, name) >= 1, "at least 1")
        for name in ("seed", "warmup_steps", "crop_padding", "noise", "weight_decay", "clip"):
            self._bound(name, 0 <= getattr(self, name) < math.inf, "0 or more")
        self._bound("learning_rate", 0 < self.learning_rate < math.inf, "positive")
        self._bound("depth", self.depth >= 10 and (self.depth - 4) % 6 == 0, "10, 16, 22, 28, … (6 n + 4)")
        self._bound("stem_stride", self.stem_stride in (1, 2), "1 or 2")
        self._bound("momentum", 0 <= self.momentum < 1, "in [0, 1)")
        self._bound("dropout", 0 <= self.dropout < 1, "in [0, 1)")
        self._bound("decay", 0 < self.decay <= 1, "in (0, 1]")
        rising = list(self.milestones) == sorted({epoch for epoch in self.milestones if epoch > 0})
        self._bound("milestones", rising, "epochs from 1 in rising order")
        if entry.conditional_only:
            alpha = self.hybrid.alpha
            require("hybrid.alpha", alpha, alpha == 0, f"0, for {self.method} is HDGE without log q(y|x)")
        if entry.norm:
            self._bound("norm", self.norm == entry.norm, f"{entry.norm}, for that is what {self.method} promises")
        if self.method in ("igebm", "igebm_conditional"):
            remedy = "pytorch, for spectral normalisation divides by the size of a weight, which must not be zero"
            self._bound("initialization", self.initialization == "pytorch", remedy)
        if "sgld" in entry.blocks:
            remedy = "none: batch norm would tie the chains of a batch to each other"
            self._bound("norm", self.norm == "none", remedy)
            self._bound("network", self.network == "wide_resnet", "wide_resnet, for resnet50 has batch norm")

    def _bound(self, name: str, holds: bool, bound: str) -> None:
        require(name, getattr(self, name), holds, bound)

    def to_json(self) -> str:
        """Write the settings as JSON, without the groups of other methods; equal configs give equal text."""
        own = METHODS[self.method].blocks
        values = {name: value for name, value in asdict(self).items() if name not in BLOCKS or name in own}
        return json.dumps(values, indent=1)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """Read a config that was written as JSON; a setting that the record lacks has its default."""
        return frozen(cls, values)

    def is_recorded_as(self, values: Mapping[str, Any]) -> bool:
        """Check whether recorded values are equal to this config."""
        try:
            return TrainConfig.of(values) == self
        except (HdgeError, TypeError, AttributeError):
            return False


def as_tuples(value: Any) -> Any:
    """Convert sequences, also nested ones, to tuples, as frozen dataclasses hold them."""
    return tuple(map(as_tuples, value)) if isinstance(value, list | tuple) else value


def frozen(kind: type[Kind], values: Mapping[str, Any], block: str = "") -> Kind:
    """Make a dataclass of settings from plain values, and of each group the group's dataclass."""
    refuse_empty(values, block)
    own = {name: frozen(BLOCKS[name], v, f"{name}.") if name in BLOCKS else as_tuples(v) for name, v in values.items()}
    return kind(**own)


def refuse_empty(values: Mapping[str, Any], block: str = "") -> None:
    """Refuse a setting without a value, which YAML reads as null."""
    for name, value in values.items():
        if value is None:
            raise HdgeError(f"{block}{name} is empty; give it a value, or leave it out.")


def train_parser(kind: type = TrainConfig) -> ArgumentParser:
    """Build the one strict reader of configs and protocols, for keyword arguments, YAML and the command line."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, sub_configs=False)
    return parser


def parse_config(settings: Mapping[str, Any]) -> TrainConfig:
    """Build a config from the plain values of a notebook or a YAML file, and refuse any that does not fit."""
    method = settings.get("method", TrainConfig.method)
    refuse_unknown("method", method, METHODS)
    for name in set(settings) & set(BLOCKS):
        if name not in METHODS[method].blocks:
            raise HdgeError(f"{name} belongs to other methods than {method}; leave it out.")
    return config_from(read_settings(settings))


def read_settings(settings: Mapping[str, Any], kind: type = TrainConfig, block: str = "") -> Any:
    """Parse plain values, each to the type that the dataclass gives its name, and refuse names that are none."""
    refuse_unknown_settings(settings, kind, block)
    for name in set(settings) & set(BLOCKS):
        refuse_unknown_settings(settings[name], BLOCKS[name], name)
    refuse_empty(settings)
    for name, value in settings.items():
        for own, text in value.items() if isinstance(value, Mapping) else [("", value)]:
            if isinstance(text, str) and re.fullmatch(r"[-+\d_.]+:[\d:.]+", text):  # the parser reads 1:00 as 60
                raise HdgeError(f"{f'{name}.{own}'.rstrip('.')} is {text!r}; write a number without a colon.")
    try:
        return train_parser(kind).parse_object(dict(settings))
    except ArgumentError as error:
        raise HdgeError(_type_error(str(error), settings, kind)) from None
    except OverflowError:
        raise HdgeError("a setting is a whole number too large for any setting; write a smaller one.") from None


def refuse_unknown_settings(values: Any, kind: Any, block: str = "") -> None:
    """Refuse a group that is no mapping, or that holds a name which its dataclass does not."""
    known = [field.name for field in fields(kind)]
    if not isinstance(values, Mapping):
        raise HdgeError(f"{block} is {values!r}; it must be a group of {', '.join(known)}.")
    for name in values:
        groups = [group for group, own in BLOCKS.items() if not block and name in [f.name for f in fields(own)]]
        if groups and name not in known:
            raise HdgeError(f"no setting {name!r}; did you mean {f'{groups[0]}.{name}'!r}?")
        refuse_unknown(f"setting of {block}" if block else "setting", name, known)


def config_from(namespace: Any) -> TrainConfig:
    """Extract the config from a parsed namespace, which may hold other names as well."""
    values = namespace.as_dict()
    return frozen(TrainConfig, {field.name: values[field.name] for field in fields(TrainConfig)})


def _type_error(message: str, settings: Mapping[str, Any], kind: Any, block: str = "") -> str:
    """Turn the parser's message, which names the setting, into one sentence."""
    for field in fields(kind):
        if field.name in BLOCKS and isinstance(settings.get(field.name), Mapping):
            nested = _type_error(message, settings[field.name], BLOCKS[field.name], f"{field.name}.")
            if nested:
                return nested
        elif f'"{block}{field.name}"' in message and field.name in settings:
            return f"{block}{field.name} is {settings[field.name]!r}; it must be {_expected(field.type)}."
    return "" if block else " ".join(message.split())


def _expected(kind: Any) -> str:
    """Name a setting's type for a reader."""
    if get_origin(kind) is Literal:
        return ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple and get_args(kind)[-1] is Ellipsis:
        return f"a list of {_expected(get_args(kind)[0])}"
    return str(getattr(kind, "__name__", kind))
