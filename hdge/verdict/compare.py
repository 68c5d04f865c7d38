"""Networks compared by pairs, with the study's intervals; no claim is at stake, so either side may win."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from hdge.evaluators.intervals import holm
from hdge.evaluators.tables import by_row
from hdge.study.runs import Run, of_rows
from hdge.verdict.claims import Kind, Measure
from hdge.verdict.evidence import interval_of, of_runs
from hdge.verdict.rule import outcome

DELTAS: dict[Measure, float] = {"accuracy": 0.005, "nll": 0.02, "log q(x)": 0.02, "max q(y|x)": 0.02}
LOWER_IS_BETTER = ("nll",)
OUTCOMES = {"reproduced": "better", "contradicted": "worse"}  # the rule's words, where nothing is claimed
COLUMNS = (
    "measure", "unit", "method", "baseline", "seeds", "over", "n", "method_mean", "baseline_mean", "difference", "low",
    "high", "p", "p_holm", "delta", "outcome",
)  # fmt: skip
UNITS = {"accuracy": "share", "nll": "nats", "log q(x)": "mean AUROC", "max q(y|x)": "mean AUROC"}


def compare_table(compared: Mapping[Measure, Sequence[Run]], delta: float | None = None) -> pd.DataFrame:
    """Compare all pairs of methods by each measure of these runs, on the seeds and images that both have.

    Columns: over says what the interval [low, high] of the difference covers: "seeds and images", or "images" where one
    seed is all that two methods have in common. ``p_holm`` counts all rows of the table. ``outcome`` is "better" or
    "worse" if the interval excludes 0, "no difference" if it lies within ±``delta``, else "undecided".
    """
    found = [
        _row(measure, _at(both, runs, one), _at(both, runs, other), DELTAS[measure] if delta is None else delta)
        for measure, runs in compared.items()
        for one, other, both, _ in _pairs(runs)
        if both
    ]
    table = pd.DataFrame(found).reindex(columns=list(COLUMNS))
    return table.assign(p_holm=holm(table["p"].tolist())) if found else table


def _at(seeds: Sequence[int], runs: Sequence[Run], name: str) -> list[Run]:
    """Select a method's runs of some seeds, in the order of the seeds."""
    own = {run.seed: run for run in of_rows(runs, [name])}
    return [own[seed] for seed in seeds]


def _row(measure: Measure, one: Sequence[Run], other: Sequence[Run], delta: float) -> dict[str, Any]:
    """Compare two methods' runs of the same seeds."""
    own, its = (of_runs(measure, runs, runs[0].stored_sets()) for runs in (one, other))
    difference, several = own - its, len(one) > 1
    interval = interval_of(difference)
    if not several:
        interval = replace(interval, low=interval.image_low, high=interval.image_high, p=interval.image_p)
    kind: Kind = "lower" if measure in LOWER_IS_BETTER else "higher"
    verdict = outcome(kind, interval.low, interval.high, delta).verdict
    return {
        "measure": measure, "unit": UNITS[measure], "method": one[0].row, "baseline": other[0].row, "seeds": len(one),
        "over": "seeds and images" if several else "images",
        "n": sum(part.shape[1] for part in difference.parts.values()),
        "method_mean": own.estimates.mean(), "baseline_mean": its.estimates.mean(),
        "difference": interval.difference, "low": interval.low, "high": interval.high, "p": interval.p,
        "delta": delta, "outcome": OUTCOMES.get(verdict, verdict),
    }  # fmt: skip


def unpaired(runs: Sequence[Run]) -> list[str]:
    """Say of every pair of methods which seeds a comparison leaves out, because the other method lacks them."""
    said = []
    for one, other, *seeds in _pairs(runs):
        both, alone = (", ".join(map(str, own)) for own in seeds)
        if not both:
            said.append(f"{one} and {other} have no seed in common and are not compared; give their files alike seeds.")
        elif alone:
            said.append(f"{one} and {other} are compared at seed {both}; no partner has seed {alone}.")
    return said


def _pairs(runs: Sequence[Run]) -> Iterator[tuple[str, str, list[int], list[int]]]:
    """Pair all methods; of each pair, list the seeds that both have, and those that one has alone."""
    seeds = {name: {run.seed for run in own} for name, own in by_row(runs).items()}
    for one, other in itertools.combinations(seeds, 2):
        yield one, other, sorted(seeds[one] & seeds[other]), sorted(seeds[one] ^ seeds[other])
