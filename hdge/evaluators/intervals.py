"""Intervals, each saying what varies: the test images of one run, or the seed from run to run."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from hdge.study.checks import finite
from hdge.study.errors import require

LEVEL = 0.95
LEAST_SEEDS = 3  # fewer cannot tell a method from the luck of a seed, so that no verdict rests on them
# Bootstrap draws: a 2.5 % limit is then known to sqrt(0.025 x 0.975 / 500) / 0.058 = 0.12 standard errors, 3 % of the
# interval's width.
REPLICATES = 500
BOOTSTRAP_SEED = 20200719  # the same resamples of the test images for every method: comparisons are paired


def wilson_interval(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    r"""Wilson's score interval of a proportion; what varies is the n test images.

    .. math:: \frac{\hat p + z^2/2n \pm z \sqrt{\hat p (1 - \hat p)/n + z^2/4n^2}}{1 + z^2/n}

    Both limits are in [0, 1], for 0 to n successes among n >= 1 images.

    Source: Wilson 1927.
    """
    require_counts(successes, n)
    found = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    # Exactly 0 and 1 at the ends, where rounding would leave a remainder.
    return (0.0 if successes == 0 else float(found.low)), (1.0 if successes == n else float(found.high))


def require_counts(successes: int, n: int) -> None:
    """Check that there are images, and that no more and no fewer than all and none of them succeed."""
    require("n", n, n >= 1, "at least 1; give at least one image")
    require("successes", successes, 0 <= successes <= n, f"from 0 to n, {n}")


def student_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    r"""Student's interval of a mean; what varies is the seed.

    .. math:: \bar v \pm t_{S-1} \, s / \sqrt S

    The limits are not numbers for a single seed, S = 1, which says nothing about seeds.
    """
    return _student(values, level)[:2]


def student_p(values: Sequence[float]) -> float:
    r"""Two-sided p-value of Student's test that a mean is 0; what varies is the seed.

    .. math:: p = 2 \, P\left(T_{S-1} > \frac{|\bar v|}{s / \sqrt S}\right)

    It is not a number for a single seed. Equal values are certain of a difference, p = 0, or of none, p = 1.
    """
    return _student(values)[2]


def _student(values: Sequence[float], level: float = LEVEL) -> tuple[float, float, float]:
    """Both limits of Student's interval, and the p-value."""
    finite("values of seeds", values, dimensions=1)
    if len(values) < 2:
        return math.nan, math.nan, math.nan
    if np.ptp(values) == 0:
        return float(np.mean(values)), float(np.mean(values)), float(values[0] == 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of values that agree in nearly all digits
        found = stats.ttest_1samp(values, 0)
    low, high = found.confidence_interval(level)
    return float(low), float(high), float(found.pvalue)


def effect(differences: Sequence[float]) -> dict[str, float]:
    """A mean difference over seeds, its 95 % Student interval and p-value, as a table has them."""
    low, high, p = _student(differences)
    return {"difference": float(np.mean(differences)), **limits((low, high)), "p": p}


def holm(p_values: Sequence[float]) -> list[float]:
    r"""Holm's adjusted p-values: the chance of any false finding among m comparisons is held at the level.

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1) \, p_{(j)})

    The values may come in any order, and keep it.

    Source: Holm 1979.
    """
    if len(p_values):
        finite("p_values", p_values, dimensions=1)
    order = np.argsort(p_values, kind="stable")
    steps = np.asarray(p_values, dtype=float)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted.tolist()


def percentile_interval(replicates: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Percentile interval of bootstrap replicates, shape (R,)."""
    low, high = np.quantile(finite("replicates", replicates, dimensions=1), [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def limits(interval: tuple[float, float]) -> dict[str, float]:
    """An interval as a table has it, in columns low and high."""
    return {"low": interval[0], "high": interval[1]}


def over_seeds(
    table: pd.DataFrame, value: str, keys: list[str], within: tuple[float, float] = (-math.inf, math.inf)
) -> pd.DataFrame:
    """Mean of a column over seeds and its 95 % Student interval, for every combination of the keys.

    Columns: keys, seeds, ``value``, low, high. Combinations come in order of first appearance. Where every value lies
    ``within`` bounds, so does the mean. An interval is cut there, which loses no coverage.
    """
    found = []
    for group, part in table.groupby(keys, sort=False):
        names: dict[str, Any] = dict(zip(keys, group, strict=True))
        interval = limits(tuple(np.clip(student_interval(part[value].tolist()), *within).tolist()))
        found.append({**names, "seeds": len(part), value: part[value].mean(), **interval})
    return pd.DataFrame(found, columns=None if found else [*keys, "seeds", value, "low", "high"])
