"""Networks compared by pairs, with the study's intervals; no claim is at stake, so either side may win."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from hdge.evaluators.influences import Influence, mean_influence
from hdge.evaluators.intervals import holm
from hdge.evaluators.tables import by_row
from hdge.study.errors import require
from hdge.study.runs import Run
from hdge.verdict.claims import Measure
from hdge.verdict.evidence import DETECTION, detection, interval_of, of_images

DELTAS: dict[Measure, float] = {"accuracy": 0.005, "nll": 0.02, "log q(x)": 0.02, "max q(y|x)": 0.02}
LOWER_IS_BETTER = ("nll",)
COLUMNS = (
    "measure", "unit", "method", "baseline", "seeds", "over", "n", "method_mean", "baseline_mean", "difference", "low",
    "high", "p", "p_holm", "delta", "outcome",
)  # fmt: skip
UNITS = {"accuracy": "share", "nll": "nats", "log q(x)": "mean AUROC", "max q(y|x)": "mean AUROC"}


def compare_table(runs: Sequence[Run], measures: Sequence[Measure], delta: float | None = None) -> pd.DataFrame:
    """Compare all pairs of methods by each measure, on the seeds and images that both have.

    Columns: over says what the interval [low, high] of the difference covers: "seeds and images", or "images" where one
    seed is all that two methods have in common. ``p_holm`` counts all rows of the table. ``outcome`` is "better" or
    "worse" if the interval excludes 0, "no difference" if it lies within ±``delta``, else "undecided".
    """
    require("delta", delta, delta is None or delta > 0, "above 0")
    found, methods = [], by_row(runs)
    for measure in measures:
        for one, other in itertools.combinations(methods, 2):
            seeds = sorted({run.seed for run in methods[one]} & {run.seed for run in methods[other]})
            if not seeds:
                continue
            own, its = (_measured(measure, [r for r in methods[name] if r.seed in seeds]) for name in (one, other))
            difference = own - its
            interval = interval_of(difference)
            if len(seeds) == 1:
                interval = replace(interval, low=interval.image_low, high=interval.image_high, p=interval.image_p)
            least = DELTAS[measure] if delta is None else delta
            sign = -1 if measure in LOWER_IS_BETTER else 1
            found.append(
                {"measure": measure, "unit": UNITS[measure], "method": one, "baseline": other, "seeds": len(seeds),
                 "over": "seeds and images" if len(seeds) > 1 else "images",
                 "n": sum(part.shape[1] for part in difference.parts.values()),
                 "method_mean": own.estimates.mean(), "baseline_mean": its.estimates.mean(),
                 "difference": interval.difference, "low": interval.low, "high": interval.high, "p": interval.p,
                 "delta": least, "outcome": outcome(sign * interval.low, sign * interval.high, least)}
            )  # fmt: skip
    return adjusted(pd.DataFrame(found, columns=list(COLUMNS)))


def unpaired(runs: Sequence[Run]) -> list[str]:
    """Say of every pair of methods which seeds a comparison leaves out, because the other method lacks them."""
    said, methods = [], {name: {run.seed for run in own} for name, own in by_row(runs).items()}
    for one, other in itertools.combinations(methods, 2):
        both, alone = methods[one] & methods[other], methods[one] ^ methods[other]
        if not both:
            said.append(f"{one} and {other} have no seed in common and are not compared; give their files alike seeds.")
        elif alone:
            said.append(
                f"{one} and {other} are compared at seed {_listed(both)}; no partner has seed {_listed(alone)}."
            )
    return said


def _listed(seeds: set[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))


def adjusted(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of comparisons with Holm's p over all its rows."""
    return table.assign(p_holm=holm(table["p"].tolist())) if len(table) else table


def outcome(one: float, other: float, delta: float) -> str:
    """Say what an interval of a difference means, if higher is better; its limits may come in any order."""
    low, high = sorted((one, other))
    if low > 0 or high < 0:
        return "better" if low > 0 else "worse"
    return "no difference" if max(-low, high) <= delta else "undecided"


def _measured(measure: Measure, runs: Sequence[Run]) -> Influence:
    runs = sorted(runs, key=lambda run: run.seed)
    if measure in DETECTION:
        return detection(measure, runs, runs[0].stored_sets())
    return mean_influence(np.stack([of_images(measure, run) for run in runs]))
