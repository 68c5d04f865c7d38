r"""How much each test image moves a measure: what an interval over test images is made of.

An estimate e_s of seed s moves by u[s, i] with image i, its influence. The sum of u over images varies with the test
set as e_s does. Influences are linear: those of a difference of differences, or of a mean of measures, are such sums.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from hdge.study.checks import finite
from hdge.study.errors import HdgeError, require

TEST = "test"  # the in-distribution test images, of which the parents of interpolated images are some
LEAST = 0.25  # the least variance with dependent images, as a share of that of unrelated ones


@dataclass(frozen=True)
class Influence:
    """A measure of every seed, and how much each image moves it.

    Attributes:
        estimates: e_s, shape (S,).
        parts: influences u[s, i] of each set of images by its name, shape (S, N); they sum to 0 over images.
        parents: of each set that is made of pairs of the test images, which two, shape (M, 2).
    """

    estimates: Float[np.ndarray, " seeds"]
    parts: Mapping[str, Float[np.ndarray, "seeds _"]]
    parents: Mapping[str, Int[np.ndarray, "_ 2"]] = field(default_factory=dict)

    def __sub__(self, other: "Influence | float") -> "Influence":
        if isinstance(other, Influence):
            return _weighted([self, other], [1.0, -1.0])
        return Influence(self.estimates - other, self.parts, self.parents)

    def over_seeds(self) -> "Influence":
        """The mean over seeds, as a measure of a single one."""
        parts = {name: part.mean(axis=0, keepdims=True) for name, part in self.parts.items()}
        return Influence(self.estimates.mean(keepdims=True), parts, self.parents)

    def squares(self) -> Float[np.ndarray, "seeds _"]:
        """The squared influence of each image that is drawn by itself; a parent's holds its children's."""
        drawn = {**self.parts, **({TEST: self._with_children()} if self.parents else {})}
        return np.square(np.concatenate([part for name, part in drawn.items() if name not in self.parents], axis=1))

    def image_variance(self) -> Float[np.ndarray, " seeds"]:
        r"""Variance of each seed's estimate over images, with the pairs of images that depend on each other.

        .. math:: Q(u, v) = \frac{n}{n - 1} \sum_i u_i^2 + \sum_k \frac{m_k}{m_k - 1} \sum_j v_{jk}^2

        if all sets are drawn by themselves. An image j that is made of the test images i and i' depends on both, and on
        every image that has one of them as parent. The variance of a sum is the sum over dependent pairs,

        .. math::
            \sum_i u_i^2 + 2 \sum_j v_j (u_{i(j)} + u_{i'(j)}) + \sum_j v_j^2
            + \sum_{j \ne j', \text{a parent shared}} v_j v_{j'} = \|u + w\|^2 - \|v\|^2

        with w_i the sum of v over the images that i is a parent of: :math:`\|w\|^2` counts each :math:`v_j^2` twice,
        once a parent, and every other pair once. Two images must not share both parents.

        The sum over pairs is rightly smaller than that of unrelated images where a child scores as its parents do. As
        an estimate it could fall below 0, so that a quarter of the sum of unrelated images is the least.
        """
        unrelated = sum(_corrected(part) for part in self.parts.values())
        if not self.parents:
            return np.asarray(unrelated)
        n = self.parts[TEST].shape[1]
        children = sum(np.square(self.parts[name]).sum(axis=1) for name in self.parents)
        related = _corrected(self._with_children()) - children * n / (n - 1)
        apart = [_corrected(part) for name, part in self.parts.items() if name not in {TEST, *self.parents}]
        return np.maximum(LEAST * np.asarray(unrelated), related + sum(apart))

    def _with_children(self) -> Float[np.ndarray, "seeds _"]:
        """u + w: each test image's influence, with those of the images that it is a parent of."""
        joined = self.parts[TEST].copy()
        for name, pairs in self.parents.items():
            for seed, part in enumerate(self.parts[name]):
                joined[seed] += np.bincount(pairs.ravel(), np.repeat(part, 2), joined.shape[1])
        return joined


def average(measures: Sequence[Influence]) -> Influence:
    """The unweighted mean of several measures of the same seeds."""
    return _weighted(measures, [1 / len(measures)] * len(measures))


def mean_influence(values: Float[np.ndarray, "seeds images"], images: str = TEST) -> Influence:
    r"""A mean over images, of each seed: an accuracy, a difference of two, or a mean of any other value of an image.

    .. math:: e_s = \frac1N \sum_i d_{si}, \qquad u_{si} = \frac{d_{si} - e_s}{N}

    Measures of other images than the test images need another name for them.

    Raises:
        HdgeError: fewer than two images, or values that are not finite.
    """
    _check(images, values)
    first = values[:, :1]  # equal values then leave no rounding behind
    centred = values - first
    mean = centred.mean(axis=1, keepdims=True)
    return Influence((first + mean)[:, 0], {images: (centred - mean) / values.shape[1]})


def auroc_influence(
    scores_in: Float[np.ndarray, "seeds images"],
    scores_out: Mapping[str, Float[np.ndarray, "seeds _"]],
    parents: Mapping[str, Int[np.ndarray, "_ 2"]] | None = None,
) -> Influence:
    r"""AUROC of each seed, the unweighted mean over K out-of-distribution sets, by its structural components.

    .. math::
        V_{ik} = \frac{1}{m_k} \sum_j [s_i > r_{jk}] + \tfrac12 [s_i = r_{jk}], \qquad
        V'_{jk} = \frac1n \sum_i [s_i > r_{jk}] + \tfrac12 [s_i = r_{jk}], \\
        u_i = \frac1K \sum_k \frac{V_{ik} - A_k}{n}, \qquad v_{jk} = \frac{V'_{jk} - A_k}{K m_k}

    All sets share the n in-distribution images. Scores s and r are those of images in and out of distribution, any
    finite numbers. Differences of midranks give the components at the cost of sorting.

    Args:
        scores_in: s, shape (S, n).
        scores_out: r of each set, shape (S, m_k).
        parents: of each set that is made of pairs of in-distribution images, which two, shape (m_k, 2).

    Raises:
        HdgeError: fewer than two images, no set, scores that are not finite, or parents that are not there.

    Source: DeLong et al. 1988; Sun & Xu 2014 for the midranks.
    """
    require("the number of out-of-distribution sets", len(scores_out), len(scores_out) > 0, "at least 1")
    _check(TEST, scores_in)
    n, aurocs = scores_in.shape[1], []
    own, parts = stats.rankdata(scores_in, axis=1), {TEST: np.zeros(scores_in.shape)}
    for name, outside in scores_out.items():
        _check(name, outside)
        m = outside.shape[1]
        together = stats.rankdata(np.concatenate([scores_in, outside], axis=1), axis=1)
        beats = (together[:, :n] - own) / m
        beaten = 1 - (together[:, n:] - stats.rankdata(outside, axis=1)) / n
        area = beats.mean(axis=1, keepdims=True)
        aurocs.append(area[:, 0])
        parts[TEST] += (beats - area) / (n * len(scores_out))
        parts[name] = (beaten - area) / (m * len(scores_out))
    for name, pairs in (parents or {}).items():
        size = scores_out[name].shape[1] if name in scores_out else 0
        require(f"the number of pairs of parents of {name!r}", len(pairs), len(pairs) == size, f"its {size} images")
        ends = int(pairs.min()), int(pairs.max())
        require(f"the range of parents of {name!r}", ends, ends[0] >= 0 and ends[1] < n, f"in [0, {n})")
    return Influence(np.mean(aurocs, axis=0), parts, dict(parents or {}))


def _weighted(measures: Sequence[Influence], weights: Sequence[float]) -> Influence:
    """A weighted sum of measures of the same seeds."""
    parts: dict[str, np.ndarray] = {}
    for measure, weight in zip(measures, weights, strict=True):
        for name, part in measure.parts.items():
            there = parts.get(name, np.zeros_like(part))
            if there.shape != part.shape or len(part) != len(measures[0].estimates):
                raise HdgeError(
                    f"{name!r} has {len(part)} seeds of {part.shape[1]} images in one measure and other numbers in "
                    "another; compare the seeds and images that both have."
                )
            parts[name] = there + weight * part
    estimates = sum(weight * measure.estimates for measure, weight in zip(measures, weights, strict=True))
    parents = {name: pairs for measure in measures for name, pairs in measure.parents.items()}
    return Influence(np.asarray(estimates), parts, parents)


def _corrected(part: np.ndarray) -> np.ndarray:
    """Sums of squares over the images of a set, each seed's, as unbiased variances have them."""
    return np.asarray(np.square(part).sum(axis=1) * part.shape[1] / (part.shape[1] - 1))


def _check(name: str, values: np.ndarray) -> None:
    """Refuse values of images that say nothing of a variance."""
    finite(f"values of {name!r}", values, dimensions=2)
    require(f"the number of images of {name!r}", values.shape[1], values.shape[1] > 1, "at least 2")
