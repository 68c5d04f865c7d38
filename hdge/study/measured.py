"""Runs with what was measured on their networks, as measurements hand them to evaluators."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from hdge.study.runs import Run
from hdge.study.settings import AttackProtocol

DETECTORS = ("ODIN", "Mahalanobis")  # post-hoc, in the order of tables


class Attacked(NamedTuple):
    """A run, and which images it withstood under which protocol; see :func:`hdge.measure.attacks.attack_network`."""

    run: Run
    protocol: AttackProtocol
    withstood: dict[str, Tensor]


@dataclass(frozen=True)
class Sampled:
    """A run with its samples, and what the critic says of them; the last is empty without a critic."""

    run: Run
    samples: dict[str, Tensor]
    critique: dict[str, Tensor]
