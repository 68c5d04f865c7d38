"""What evaluators share: the one loop over runs, and runs grouped by row."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar, runtime_checkable

import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from hdge.study.runs import Run, of_rows

Logits = Float[Tensor, "n classes"]
Labels = Int[Tensor, " n"]
Rows = Iterable[Mapping[Any, Any]]


@runtime_checkable
class Measured(Protocol):
    """What was measured on a run."""

    @property
    def run(self) -> Run: ...


One = TypeVar("One", bound=Run | Measured)


def rows(measured: Sequence[One], say: Callable[[One], Rows], columns: Sequence[str]) -> pd.DataFrame:
    """What a function says of every run: method (the run's row), seed and its own columns, without rows as well."""
    named = [(one if isinstance(one, Run) else one.run, one) for one in measured]
    found = [{"method": run.row, "seed": run.seed, **row} for run, one in named for row in say(one)]
    return pd.DataFrame(found, columns=None if found else ["method", "seed", *columns])


def over_runs(*columns: str) -> Callable[[Callable[..., Rows]], Callable[..., pd.DataFrame]]:
    """Turns a function of a run, which says these columns, into one of many runs, which gives the table of `rows`.

    Further settings are passed on by name.
    """

    def decorate(say: Callable[..., Rows]) -> Callable[..., pd.DataFrame]:
        def table(measured: Sequence[Run | Measured], **settings: Any) -> pd.DataFrame:
            return rows(measured, partial(say, **settings), columns)

        table.__name__, table.__doc__ = say.__name__, say.__doc__
        return table

    return decorate


def by_row(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of every row, in order of first appearance."""
    return {row: of_rows(runs, [row]) for row in dict.fromkeys(run.row for run in runs)}
