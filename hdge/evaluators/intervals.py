"""Intervals, each saying what varies: the test images of one run, or the seed from run to run."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.95
# Bootstrap draws: a 2.5 % limit is then known to sqrt(0.025 x 0.975 / 500) / 0.058 = 0.12 standard errors, 3 % of the
# interval's width.
REPLICATES = 500
BOOTSTRAP_SEED = 20200719  # the same resamples of the test images for every method: comparisons are paired


def wilson_interval(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    r"""Wilson's score interval of a proportion; what varies is the n test images.

    .. math:: \frac{\hat p + z^2/2n \pm z \sqrt{\hat p (1 - \hat p)/n + z^2/4n^2}}{1 + z^2/n}

    Args:
        successes: from 0 to n.
        n: images, at least 1.
        level: confidence, in (0, 1).

    Returns:
        Lower and upper limit in [0, 1].

    Source: Wilson 1927.
    """
    found = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    # Exactly 0 and 1 at the ends, where rounding would leave a remainder.
    return (0.0 if successes == 0 else float(found.low)), (1.0 if successes == n else float(found.high))


def student_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    r"""Student's interval of a mean; what varies is the seed.

    .. math:: \bar v \pm t_{S-1} \, s / \sqrt S

    Args:
        values: one value a seed, S of them.
        level: confidence, in (0, 1).

    Returns:
        Lower and upper limit; not a number for a single seed, which says nothing about seeds.
    """
    if len(values) < 2:
        return math.nan, math.nan
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    found = stats.ttest_1samp(values, 0).confidence_interval(level)
    return float(found.low), float(found.high)


def student_p(values: Sequence[float]) -> float:
    r"""Two-sided p-value of Student's test that a mean is 0; what varies is the seed.

    .. math:: p = 2 \, P\left(T_{S-1} > \frac{|\bar v|}{s / \sqrt S}\right)

    Args:
        values: one value a seed, S of them.

    Returns:
        In [0, 1]; not a number for a single seed, 1 for values that are all 0.
    """
    if len(values) < 2:
        return math.nan
    if np.ptp(values) == 0:  # no spread: certain of a difference, or of none
        return float(values[0] == 0)
    return float(stats.ttest_1samp(values, 0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    r"""Holm's adjusted p-values: the chance of any false finding among m comparisons is held at the level.

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1) \, p_{(j)})

    Args:
        p_values: p of every comparison, in [0, 1], in any order.

    Returns:
        The adjusted values in the same order.

    Source: Holm 1979.
    """
    order = np.argsort(p_values, kind="stable")
    steps = np.asarray(p_values, dtype=float)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted.tolist()


def partial_conjunction(p_values: Sequence[float], least: int) -> float:
    r"""p-value of "fewer than k of m effects are there", small if at least k of them are.

    .. math:: p = \min(1, (m - k + 1) \, p_{(k)})

    With k = m it is the largest p-value: all must hold at once, and none is corrected.

    Args:
        p_values: p of every comparison, m of them.
        least: k, from 1 to m.

    Source: Benjamini & Heller 2008, equation 3.
    """
    return min(1.0, (len(p_values) - least + 1) * sorted(p_values)[least - 1])


def percentile_interval(replicates: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Percentile interval of bootstrap replicates, shape (R,)."""
    low, high = np.quantile(replicates, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def over_seeds(table: pd.DataFrame, value: str, keys: list[str]) -> pd.DataFrame:
    """Mean over seeds and its interval for every combination of the keys, in order of first appearance.

    Args:
        table: one row a seed and combination.
        value: the column to average.
        keys: the columns that stay.

    Returns:
        Columns: keys, seeds, ``value``, low, high.
    """
    rows = []
    for group, part in table.groupby(keys, sort=False):
        low, high = student_interval(part[value].tolist())
        names = dict(zip(keys, group, strict=True))
        rows.append({**names, "seeds": len(part), value: part[value].mean(), "low": low, "high": high})
    return pd.DataFrame(rows)


def differences(table: pd.DataFrame, value: str, keys: list[str], method: str, baseline: str) -> pd.DataFrame:
    """Difference of two methods seed by seed: the same splits and the same test images under both.

    Args:
        table: one row a method, seed and combination of the keys.
        value: the column to compare.
        keys: the columns that stay, besides the seed.
        method: minuend.
        baseline: subtrahend.

    Returns:
        Columns: keys, seed, difference; only seeds that both methods have.
    """
    wide = table.pivot_table(index=[*keys, "seed"], columns="method", values=value, sort=False)
    if not {method, baseline} <= set(wide.columns):
        return pd.DataFrame(columns=[*keys, "seed", "difference"])
    return (wide[method] - wide[baseline]).dropna().rename("difference").reset_index()
