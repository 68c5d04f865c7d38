r"""Intervals of a difference over seeds and test images at once: every seed sees the same images (a crossed design).

What is estimated is a mean over all seeds and all images that could have been drawn, so that both vary:

.. math:: e_s - \mu = a_s + \frac1N \sum_i (b_i + c_{si})

with a seed's effect a, an image's effect b, and their interaction c. :func:`crossed_interval` has the equations.
``python -m benchmarks coverage`` measures how often the intervals hold the truth.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special, stats

from hdge.evaluators.influences import Influence, mean_influence
from hdge.evaluators.intervals import LEVEL, require_counts

# The least variance, as a share of that over images alone, so that a standard error is at least half of theirs. With
# the whole of it, an interval of three seeds that differ by chance alone covers 99 % instead of 96 %.
FLOOR = 0.25
ROUNDING = 1e-12  # an image whose value differs by less does not differ


@dataclass(frozen=True)
class Crossed:
    """A difference, its interval over seeds and images, and what of it comes from which.

    Attributes:
        difference, low, high: the mean over seeds, and its interval; for one seed the limits are not numbers.
        p: two-sided p-value of "no difference".
        se, df: standard error and degrees of freedom of low, high and p.
        seeds: how many there are.
        se_seed, se_image: standard errors over seeds alone and over images alone; each holds the interaction.
        image_low, image_high, image_p: interval and p-value over images alone, for these seeds and no others.
    """

    difference: float
    low: float
    high: float
    p: float
    se: float
    df: float
    seeds: int
    se_seed: float
    se_image: float
    image_low: float
    image_high: float
    image_p: float

    def p_above(self, null: float = 0.0) -> float:
        r"""One-sided p-value of "the difference is at most ``null``", small if the difference lies above it.

        .. math:: p = P\left(T_\nu \ge \frac{\bar e - \delta_0}{\sqrt T}\right)
        """
        return float(special.stdtr(self.df, (null - self.difference) / self.se))


def crossed_interval(differences: Float[np.ndarray, "seeds images"], level: float = LEVEL) -> Crossed:
    r"""Interval of a mean difference over S seeds and N test images, from every image's difference d, shape (S, N).

    .. math::
        u_{si} = \frac{d_{si} - e_s}{N}, \qquad Q(u) = \frac{N}{N - 1} \sum_i u_i^2, \\
        V = \frac{1}{S - 1} \sum_s (e_s - \bar e)^2, \qquad I = Q(\bar u), \qquad W = \frac1S \sum_s Q(u_s)

    estimate V = A + C, I = B + C/S and W = B + C in expectation, for the variances A, B and C of the mean over images
    of one seed that come from seeds, images and their interaction. The variance of the mean over seeds is then

    .. math:: T = \max\left(\frac VS + I - \frac{W - I}{S - 1}, \; \frac I4 + \max_i \bar u_i^2\right)

    and the interval :math:`\bar e \pm t_\nu \sqrt T`. Its degrees of freedom are the harmonic mean of its parts',

    .. math::
        \frac1\nu = \frac{V/S}{T} \frac{1}{S - 1} + \left(1 - \frac{V/S}{T}\right) \frac1{\nu_I}, \qquad
        \nu_I = \min\left(N - 1, \frac{2 (\sum_i \bar u_i^2)^2}{\sum_i \bar u_i^4}\right)

    * Satterthwaite's degrees of freedom have squared shares. With three seeds these are too many, and cover 92 %.
    * :math:`\nu_I` is twice the number of images, if so many differ alike and the others do not.
    * The least variance is a quarter of that over images, and one image more, as far out as the farthest. Seeds that
      agree by chance are then no certainty.
    * If no image differs from the others, that one differs by 1, the range of an accuracy. Equal values of every seed
      thus have an interval of :math:`\pm t_2 / N`.

    Raises:
        HdgeError: fewer than two images, or values that are not finite.
    """
    return interval(mean_influence(differences), level)


def interval(measure: Influence, level: float = LEVEL) -> Crossed:
    """:func:`crossed_interval` of any measure whose influences are known, with their variance over images as Q."""
    seeds, pooled = len(measure.estimates), measure.over_seeds()
    mean, images = float(pooled.estimates[0]), float(pooled.image_variance()[0])
    squares, fewest = pooled.squares()[0], min(part.shape[1] for part in pooled.parts.values())
    farthest, df_image = float(squares.max()), min(fewest - 1.0, 2.0)
    if farthest < (ROUNDING / fewest) ** 2:
        farthest = 1 / fewest**2
    else:
        shares = squares / farthest  # their squares do not vanish
        df_image = min(fewest - 1.0, float(2 * shares.sum() ** 2 / np.square(shares).sum()))
    least = FLOOR * images + farthest
    se_image = math.sqrt(max(images, least))
    image_low, image_high, image_p = _student(mean, se_image, df_image, level)
    se = df = se_seed = math.nan
    if seeds > 1:
        seed, each = float(measure.estimates.var(ddof=1)) / seeds, float(measure.image_variance().mean())
        total = max(seed + images - max(0.0, each - images) / (seeds - 1), least)
        share = min(1.0, seed / total)
        se, se_seed, df = math.sqrt(total), math.sqrt(seed), 1 / (share / (seeds - 1) + (1 - share) / df_image)
    low, high, p = _student(mean, se, df, level)
    return Crossed(mean, low, high, p, se, df, seeds, se_seed, se_image, image_low, image_high, image_p)


def _student(mean: float, se: float, df: float, level: float) -> tuple[float, float, float]:
    """Both limits of Student's interval, and its two-sided p-value."""
    half = special.stdtrit(df, 0.5 + level / 2) * se
    return float(mean - half), float(mean + half), float(2 * special.stdtr(df, -abs(mean) / se))


def binomial_interval(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Clopper and Pearson's exact interval of a proportion, for 0 to n successes among n >= 1 images."""
    require_counts(successes, n)
    found = stats.binomtest(successes, n).proportion_ci(level, method="exact")
    return float(found.low), float(found.high)
