"""The one loop over runs: what a function says of each run, in rows that name the run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from hdge.study.runs import Run


def rows(runs: Sequence[Run], describe: Callable[[Run], Iterable[Mapping[str, Any]]]) -> pd.DataFrame:
    """A table of what is said of every run: columns method (the name of its row), seed, and those of each mapping."""
    return pd.DataFrame([{"method": run.row, "seed": run.seed, **row} for run in runs for row in describe(run)])
