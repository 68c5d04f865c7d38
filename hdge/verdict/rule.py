"""The rule by which a comparison of two methods is judged.

A claim that one method is better than another is

* ``reproduced`` if the 95 % Student interval of the difference, seed by seed, lies wholly on the claimed side of 0,
* ``not reproduced`` if it lies wholly on the other side,
* ``inconclusive`` otherwise, and always below three seeds: one run cannot tell a method from the luck of a seed.

A claim that two methods are alike is reproduced if the interval lies within a margin named in the claim, and not
reproduced if it lies wholly beyond it. A verdict speaks of the scale named beside it, and of no other.

A claim of several comparisons, such as "outperforms all of the baselines", is

* ``reproduced`` if every comparison is, each at 95 %: all must hold at once, so none needs a correction (an
  intersection-union test); or as many as the claim says, if it says how many (a partial conjunction test);
* ``not reproduced`` if more comparisons go the other way than the claim could spare, each at 5 % after Holm's
  correction for the claim's comparisons;
* ``inconclusive`` otherwise, and the reason says what is missing: seeds, methods, or a difference.
"""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import pandas as pd

from hdge.evaluators.intervals import LEAST_SEEDS, LEVEL, differences, effect, holm, limits, partial_conjunction
from hdge.verdict.claims import CHANCE, Better, Claim

# The columns whose interval over test images a table's "low" and "high" are.
WITH_INTERVAL = ("accuracy", "auroc", "ece", "value")
COUNTS = ("n", "n_in", "n_out")

Outcome = Literal["reproduced", "not reproduced", "inconclusive"]


class Verdict(NamedTuple):
    """What the rule says, and why."""

    verdict: Outcome
    reason: str


def judge(low: float, high: float, seeds: int, better: Better, margin: float = 0.0) -> Verdict:
    """The rule, applied to the 95 % interval over seeds of a difference (method minus baseline).

    The limits are not numbers below two seeds. The margin is the largest difference of values that are alike.
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

    The table has one row a method, seed and combination of the keys, which are at least one column. Means are over the
    seeds that both methods have, low and high the 95 % Student interval over seeds. The interval over test images is
    made of those of the runs as if each had images of its own. For methods that err on the same images it is too wide.
    """
    rows = []
    for group, part in differences(table, value, keys, method, baseline).groupby(keys, sort=False):
        change = effect(part["difference"].tolist())
        names = dict(zip(keys, group, strict=True))
        paired = table[table["seed"].isin(part["seed"]) & (table[keys] == list(group)).all(axis=1)]
        means = paired.groupby("method")[value].mean()
        counts = {column: paired[column].iloc[0] for column in COUNTS if column in table}
        rows.append(
            {**names, "metric": value, "better": better, **counts, "seeds": len(part),
             "baseline": baseline, "method": method,
             "baseline_mean": means[baseline], "method_mean": means[method], **change,
             **_over_images(paired[paired["method"].isin([method, baseline])], value, change["difference"]),
             **judge(change["low"], change["high"], len(part), better, margin)._asdict()}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _over_images(paired: pd.DataFrame, value: str, difference: float) -> dict[str, float]:
    """Limits of a difference of two methods' means over seeds, from the intervals over test images of their runs."""
    if value not in WITH_INTERVAL or not {"low", "high"} <= set(paired):
        return limits((math.nan, math.nan), "image_")
    halves = ((paired["high"] - paired["low"]) / 2).groupby(paired["method"])
    half = math.sqrt(sum(float(own.pow(2).sum(skipna=False)) / len(own) ** 2 for _, own in halves))
    return limits((difference - half, difference + half), "image_")


def comparisons(claim: Claim, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Every comparison of a claim, with Holm's p; empty if the measure or the methods are not there."""
    table = tables.get(claim.table)
    if table is None or claim.value not in table:
        return pd.DataFrame()
    for column, value in claim.only:
        table = table[table[column].astype(str).str.startswith(value)]
    table = table[table[claim.value].notna()].assign(all="")
    parts = []
    for method, baseline in claim.pairs:
        own = table
        if baseline == CHANCE:
            certain = dict.fromkeys((claim.value, "low", "high"), 0.5)
            own = pd.concat([table, table[table["method"] == method].assign(method=CHANCE, **certain)])
        keys = list(claim.keys) or ["all"]
        parts.append(compare(own, claim.value, keys, claim.better, method, baseline, claim.margin))
    found = [part for part in parts if not part.empty]
    if not found:
        return pd.DataFrame()
    rows = pd.concat(found, ignore_index=True)
    rows["within"] = ["; ".join(str(row[key]) for key in claim.keys) for _, row in rows.iterrows()]
    judged = rows["seeds"] >= LEAST_SEEDS
    rows["p_holm"] = float("nan")
    rows.loc[judged, "p_holm"] = holm(rows.loc[judged, "p"].tolist())
    counts = [column for column in COUNTS if column in rows]
    columns = ["baseline", "method", "within", "metric", "better", *counts, "seeds", "baseline_mean", "method_mean"]
    columns += ["difference", "low", "high", "image_low", "image_high", "p", "p_holm", "verdict", "reason"]
    return rows[columns].assign(claim=claim.name)


def judge_claim(claim: Claim, rows: pd.DataFrame) -> Verdict:
    """The rule for a claim, applied to its comparisons."""
    if rows.empty:
        return Verdict("inconclusive", "not measured at this scale")
    there = set(zip(rows["method"], rows["baseline"], strict=True))
    absent = sorted({name for pair in claim.pairs if pair not in there for name in pair[1:]})
    if len(rows) == 1 and not absent:
        return Verdict(rows["verdict"].iloc[0], rows["reason"].iloc[0])
    needed = min(claim.least or len(rows), len(rows))
    contrary = (rows["verdict"] == "not reproduced") & (rows["p_holm"] < 1 - LEVEL)
    if contrary.sum() > len(rows) - needed:
        return Verdict("not reproduced", f"{contrary.sum()} of {len(rows)} go the other way, Holm-corrected")
    held, few = rows["verdict"] == "reproduced", rows["seeds"] < LEAST_SEEDS
    p_values = rows["p"].where(held, 1.0) if claim.better != "alike" else (~held).astype(float)
    if partial_conjunction(p_values.tolist(), needed) < 1 - LEVEL and not absent:
        return Verdict("reproduced", f"{held.sum()} of {len(rows)} on the claimed side")
    reasons = []
    if few.any():
        reasons.append(f"{few.sum()} of {len(rows)} rest on fewer than {LEAST_SEEDS} seeds")
    if absent:
        reasons.append(f"not measured here: {', '.join(absent)}")
    undecided = ~held & ~few
    if undecided.any():
        reasons.append(f"{undecided.sum()} of {len(rows)} may be no difference")
    return Verdict("inconclusive", "; ".join(reasons))
