"""What evaluators share: the one loop over runs, and runs grouped by row."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import pandas as pd

from hdge.study.runs import Run, of_rows

Rows = Iterable[Mapping[Any, Any]]


@runtime_checkable
class Measured(Protocol):
    """What was measured on a run."""

    @property
    def run(self) -> Run: ...


One = TypeVar("One", bound=Run | Measured)


def rows(measured: Sequence[One], say: Callable[[One], Rows], empty: Sequence[str] = ()) -> pd.DataFrame:
    """What a function says of every run, or of what was measured on it: columns method (its row), seed and its own.

    The columns ``empty`` are those of a table about which nothing is said.
    """
    named = [(one if isinstance(one, Run) else one.run, one) for one in measured]
    found = [{"method": run.row, "seed": run.seed, **row} for run, one in named for row in say(one)]
    return pd.DataFrame(found, columns=None if found else ["method", "seed", *empty])


def by_row(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of every row, in order of first appearance."""
    return {row: of_rows(runs, [row]) for row in dict.fromkeys(run.row for run in runs)}
