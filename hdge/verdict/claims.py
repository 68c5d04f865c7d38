"""The paper's claims, as ``claims.yaml`` states them."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

from hdge.study.config import as_tuples
from hdge.study.errors import HdgeError, require
from hdge.study.protocol import stated

Kind = Literal["higher", "lower", "alike", "not worse", "rare", "all"]
Measure = Literal[
    "accuracy", "nll", "log q(x)", "max q(y|x)", "robust", "log score", "log distance", "log operations", "diverged"
]
CHANCE = "chance"  # a baseline whose AUROC is 0.5


@dataclass(frozen=True)
class Claim:
    """One claim of the paper; ``claims.yaml`` says what its parts mean."""

    name: str
    group: str
    where: str
    words: str
    kind: Kind
    measure: Measure = "accuracy"
    method: str = ""
    methods: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()
    change: tuple[str, ...] = ()
    of: tuple[str, ...] = ()
    delta: float = 0.0
    because: str = ""
    differs: tuple[str, ...] = ()
    task: str = ""

    def __post_init__(self) -> None:
        require(f"delta of {self.name!r}", self.delta, self.kind == "all" or self.delta > 0, "positive")
        parts = {"all": self.of, "rare": self.methods}.get(self.kind, self.baselines)
        require(f"{self.name!r}", parts, bool(parts), "a claim about something: give baselines, methods or of")

    @property
    def sign(self) -> int:
        """Tell which sign of method less baseline the paper claims."""
        return -1 if self.kind in ("lower", "rare") else 1

    @property
    def rows(self) -> tuple[str, ...]:
        """List every row of a profile that the claim is about."""
        named = (self.method, *self.methods, *self.baselines, *self.change)
        return tuple(dict.fromkeys(row for row in named if row not in ("", CHANCE)))


@cache
def claims() -> tuple[Claim, ...]:
    """List every claim, in the order of the file."""
    found = tuple(Claim(**{name: as_tuples(value) for name, value in one.items()}) for one in stated()["claims"])
    names = {claim.name for claim in found}
    for claim in found:
        if claim.group not in stated()["groups"] or not set(claim.of) <= names:
            raise HdgeError(f"claim {claim.name!r} names a group or a claim that claims.yaml does not hold.")
    return found
