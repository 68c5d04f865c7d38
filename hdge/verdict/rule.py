"""The paper's numbers, and the rule by which its claims are judged.

The rule was written before any number of this study was seen. A claim that one method is better than another is

* ``reproduced`` if the 95 % Student interval of the difference, seed by seed, lies wholly on the claimed side of 0,
* ``not reproduced`` if it lies wholly on the other side,
* ``inconclusive`` otherwise, and always below three seeds: one run cannot tell a method from the luck of a seed.

A claim that two methods are alike is reproduced if the interval lies within a margin named in the claim, and not
reproduced if it lies wholly beyond it. Claims of several comparisons are judged in :mod:`hdge.verdict.claims`. A verdict
speaks of the scale it was measured at, which is named beside it, and of no other.
"""

import math
from importlib import resources
from typing import Literal, NamedTuple

import pandas as pd

from hdge.evaluators.intervals import differences, student_interval, student_p

LEAST_SEEDS = 3
# The columns whose interval over test images a table's "low" and "high" are.
WITH_INTERVAL = ("accuracy", "auroc", "ece", "value")

Better = Literal["higher", "lower", "alike"]
Outcome = Literal["reproduced", "not reproduced", "inconclusive"]


class Verdict(NamedTuple):
    """What the rule says, and why."""

    verdict: Outcome
    reason: str


def reported() -> pd.DataFrame:
    """The numbers of the paper's tables.

    Returns:
        Columns: table, task, model, dataset, metric, value, source. Values that the sources do not state are not
        there.
    """
    with resources.files("hdge.verdict").joinpath("reported_results.csv").open() as file:
        return pd.read_csv(file)


def judge(low: float, high: float, seeds: int, better: Better, margin: float = 0.0) -> Verdict:
    """The rule, applied to the interval of a difference (method minus baseline).

    Args:
        low: lower limit of the 95 % interval over seeds; not a number below two seeds.
        high: its upper limit.
        seeds: how many seeds the interval rests on.
        better: whether the claim is that the method's value is higher, lower, or alike.
        margin: of a claim that values are alike: the largest difference that still is.
    """
    if seeds < LEAST_SEEDS:
        return Verdict("inconclusive", f"{seeds} seed{'s' * (seeds != 1)}; the rule needs {LEAST_SEEDS}")
    if better == "alike":
        claimed, contrary = -margin < low and high < margin, low > margin or high < -margin
        side, other, neither = f"within ±{margin:g}", f"beyond ±{margin:g}", f"reaches across ±{margin:g}"
    else:
        claimed, contrary = (low > 0, high < 0) if better == "higher" else (high < 0, low > 0)
        side, other, neither = "on the claimed side of 0", "on the other side of 0", "holds 0"
    if claimed:
        return Verdict("reproduced", f"the interval lies {side}")
    if contrary:
        return Verdict("not reproduced", f"the interval lies {other}")
    return Verdict("inconclusive", f"the interval {neither}")


def compare(
    table: pd.DataFrame,
    value: str,
    keys: list[str],
    better: Better,
    method: str = "hdge",
    baseline: str = "cross_entropy",
    margin: float = 0.0,
) -> pd.DataFrame:
    """A method beside its baseline, their difference over seeds, and the verdict on "the method is better".

    Args:
        table: one row a method, seed and combination of the keys.
        value: the column to compare.
        keys: at least one column that stays.
        better: the direction of the claim.
        method: the method that the claim speaks for.
        baseline: the method it is compared with.
        margin: of a claim that the two are alike.

    Returns:
        One row a combination of the keys: keys, metric, better, how many test images (n, or n_in and n_out),
        seeds, baseline and method with their means (baseline_mean, method_mean) over the seeds that both have,
        difference, low, high (95 % Student interval over seeds), p (two-sided, of no difference), image_low, image_high
        (95 % interval over test images, from those of the runs as if each had its own images: too wide for methods that
        err on the same ones), verdict, reason.
    """
    rows = []
    for group, part in differences(table, value, keys, method, baseline).groupby(keys, sort=False):
        low, high = student_interval(part["difference"].tolist())
        names = dict(zip(keys, group, strict=True))
        paired = table[table["seed"].isin(part["seed"]) & (table[keys] == list(group)).all(axis=1)]
        means = paired.groupby("method")[value].mean()
        counts = {column: paired[column].iloc[0] for column in ("n", "n_in", "n_out") if column in table}
        rows.append(
            {**names, "metric": value, "better": better, **counts, "seeds": len(part),
             "baseline": baseline, "method": method,
             "baseline_mean": means[baseline], "method_mean": means[method],
             "difference": part["difference"].mean(), "low": low, "high": high,
             "p": student_p(part["difference"].tolist()),
             **_over_images(paired[paired["method"].isin([method, baseline])], value, part["difference"].mean()),
             **judge(low, high, len(part), better, margin)._asdict()}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _over_images(paired: pd.DataFrame, value: str, difference: float) -> dict[str, float]:
    """Limits of a difference of two methods' means over seeds, from the intervals over test images of their runs."""
    if value not in WITH_INTERVAL or not {"low", "high"} <= set(paired):
        return {"image_low": math.nan, "image_high": math.nan}
    halves = ((paired["high"] - paired["low"]) / 2).groupby(paired["method"])
    half = math.sqrt(sum(float(own.pow(2).sum(skipna=False)) / len(own) ** 2 for _, own in halves))
    return {"image_low": difference - half, "image_high": difference + half}
