"""The rule of docs/protocol.md: from an interval and the smallest difference of interest to one of five outcomes."""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

from scipy import stats

from hdge.evaluators.crossed import Crossed, binomial_interval
from hdge.evaluators.intervals import LEAST_SEEDS, LEVEL
from hdge.verdict.claims import Kind

Outcome = Literal["reproduced", "contradicted", "no difference", "undecided", "not testable here"]
SMALL = ", within ±δ"  # ends the reason of a decided verdict whose whole interval is smaller than δ
MOST_SEEDS = 1000  # beyond this, seeds are not what is missing


class Verdict(NamedTuple):
    """What the rule says, and why."""

    verdict: Outcome
    reason: str


def outcome(kind: Kind, low: float, high: float, delta: float) -> Verdict:
    r"""Judge the interval [low, high] of method less baseline; delta is the smallest difference of interest.

    A claim of "lower" is judged as one of "higher" about baseline less method. The protocol lists the outcomes.
    """
    if kind == "lower":
        low, high = -high, -low
    if kind in ("higher", "lower"):
        small = max(abs(low), abs(high)) <= delta
        if low > 0:
            return Verdict("reproduced", "the interval lies on the claimed side of 0" + SMALL * small)
        if high < 0:
            return Verdict("contradicted", "the interval lies on the other side of 0" + SMALL * small)
        return Verdict("no difference", "the interval lies within ±δ") if small else _reaches("from 0 to beyond δ")
    if kind == "alike":
        if max(abs(low), abs(high)) <= delta:
            return Verdict("reproduced", "the interval lies within ±δ")
        if low > delta or high < -delta:
            return Verdict("contradicted", "the interval lies beyond ±δ")
        return _reaches("across δ")
    if kind == "not worse":
        if low > -delta:
            return Verdict("reproduced", "the interval lies above −δ")
        return Verdict("contradicted", "the interval lies below −δ") if high < -delta else _reaches("across −δ")
    if high < delta:
        return Verdict("reproduced", "the interval of the probability lies below δ")
    return Verdict("contradicted", "the interval lies above δ") if low > delta else _reaches("across δ")


def _reaches(where: str) -> Verdict:
    return Verdict("undecided", f"the interval reaches {where}")


def p_value(kind: Kind, found: Crossed, delta: float) -> float:
    """p of the null hypothesis that an outcome other than "undecided" rejects: no difference, or one beyond delta."""
    if kind == "alike":  # two one-sided tests
        return max(found.p_above(-delta), 1 - found.p_above(delta))
    return found.p_above(-delta) if kind == "not worse" else found.p


def seeds_needed(kind: Kind, found: Crossed, delta: float) -> float:
    r"""How many seeds it would take to decide, if the difference and its variances are as they were found.

    .. math:: \min \{S : t_{S-1} \sqrt{v / S + b} < h\}

    with the variance v of a seed's estimate, the variance b over images that more seeds do not lessen, and the half
    width h that decides. It is infinite if the images are too few for any number of seeds.
    """
    distance = abs(found.difference)
    widths = {"alike": abs(delta - distance), "not worse": abs(found.difference + delta)}
    half = widths.get(kind, max(distance, delta - distance))
    one = found.se_seed**2 * found.seeds
    images = max(0.0, found.se**2 - found.se_seed**2)
    for seeds in range(max(LEAST_SEEDS, found.seeds + 1), MOST_SEEDS + 1):
        if stats.t.ppf(0.5 + LEVEL / 2, seeds - 1) * math.sqrt(one / seeds + images) < half:
            return float(seeds)
    return math.inf


def judge_rare(diverged: int, runs: int, delta: float) -> tuple[Verdict, tuple[float, float], float]:
    """Judge a claim that runs rarely diverge: verdict, exact interval of the probability, and p of "at least delta"."""
    low, high = binomial_interval(diverged, runs)
    p = float(stats.binomtest(diverged, runs, delta, alternative="less").pvalue)
    return outcome("rare", low, high, delta), (low, high), p


def judge_all(parts: Mapping[str, Outcome]) -> Verdict:
    """Judge a claim that several claims hold at once, from their outcomes by name."""
    found = set(parts.values())
    said = "; ".join(f"{own}: {', '.join(f'“{n}”' for n in parts if parts[n] == own)}" for own in sorted(found))
    if found == {"reproduced"}:
        return Verdict("reproduced", said)
    if {"contradicted", "no difference"} & found:
        return Verdict("contradicted", said)
    return Verdict("not testable here" if "not testable here" in found else "undecided", said)
