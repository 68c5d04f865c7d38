"""Out-of-distribution detection from stored outputs: AUROC, AUPR and false positives by several scores.

The in-distribution test images are the positive class throughout. Scores see logits and gradients, never labels, and
nothing is fitted or standardised on out-of-distribution images.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from hdge.core.readings import log_q_x
from hdge.evaluators.intervals import BOOTSTRAP_SEED, REPLICATES, limits, percentile_interval
from hdge.evaluators.tables import Logits, Rows, over_runs, rows
from hdge.study.checks import finite
from hdge.study.errors import refuse_unknown, require
from hdge.study.measured import DETECTORS
from hdge.study.runs import Outputs, Run

SCORES = ("log q(x)", "max q(y|x)", "approximate mass")
STRATA = 40  # of total variation, within which images count as alike
MATCHED = 0.1  # largest distance from chance of the AUROC of the variation itself, within strata that match it


def scores_of(outputs: Outputs) -> dict[str, np.ndarray]:
    r"""What a run's outputs say of how in-distribution each image is, higher being more so.

    .. math:: \log q(x), \qquad \max_y q(y|x), \qquad -\left\| \partial \log q(x) / \partial x \right\|_2

    The third is JEM's approximate mass: a typical image lies where the density is flat, not where it is highest.

    The second is given by its :func:`log_odds`, which rank as it does. A single logit has no confidence, and outputs
    without stored gradients have no mass.

    Source: paper, section 5.1; Grathwohl et al. 2019, section 5.3.
    """
    finite("logits", outputs.logits, dimensions=2)
    logits = outputs.logits.double()
    scores = {"log q(x)": log_q_x(logits).numpy()}
    if logits.shape[1] > 1:
        scores["max q(y|x)"] = log_odds(logits).numpy()
    if outputs.gradient_norms is not None:
        finite("gradient_norms", outputs.gradient_norms, dimensions=1)
        scores["approximate mass"] = -outputs.gradient_norms.numpy()
    return scores


def log_odds(logits: Logits) -> Float[Tensor, " n"]:
    r"""Confidence in the predicted label as log-odds in nats, shape (N,), at least -log(C - 1).

    .. math:: \log \frac{q}{1 - q} = \max_y f(x)[y] - \log \sum_{y \ne \hat y} \exp f(x)[y], \qquad q = \max_y q(y|x)

    Log-odds keep apart what q rounds to 1: in double precision, a lead of 37 nats.

    Raises:
        HdgeError: no image, or a logit that is not finite.
    """
    finite("logits", logits, dimensions=2)
    top, label = logits.max(dim=1, keepdim=True)
    return top.squeeze(1) - logits.scatter(1, label, -torch.inf).logsumexp(dim=1)


def auroc(scores_in: ArrayLike, scores_out: ArrayLike) -> float:
    r"""Probability that an in-distribution image outscores an out-of-distribution one, ties counted half.

    .. math:: \frac{1}{n m} \sum_{i=1}^{n} \sum_{j=1}^{m} [s_i > r_j] + \tfrac12 [s_i = r_j]

    The n scores s are those of in-distribution images, the positive class, and the m scores r those of
    out-of-distribution images. It is in [0, 1], and 0.5 is chance.

    Raises:
        HdgeError: an empty set, or scores that are not finite.

    Source: paper, section 5.1; Hendrycks & Gimpel 2016.
    """
    return float(roc_auc_score(*_as_classes(scores_in, scores_out)))


def _both(scores_in: ArrayLike, scores_out: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """One finite score an image of both sets."""
    return finite("scores_in", scores_in, dimensions=1), finite("scores_out", scores_out, dimensions=1)


def _as_classes(scores_in: ArrayLike, scores_out: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Whether each image is in-distribution, 1 or 0, and all scores."""
    inside, outside = _both(scores_in, scores_out)
    return np.repeat([1.0, 0.0], [len(inside), len(outside)]), np.concatenate([inside, outside])


def stratified_auroc(
    scores_in: ArrayLike, scores_out: ArrayLike, covariate_in: ArrayLike, covariate_out: ArrayLike, strata: int = STRATA
) -> float:
    r"""AUROC among images of alike covariate, averaged over strata of it.

    .. math:: \frac{\sum_k w_k A_k}{\sum_k w_k}, \qquad w_k = \frac{n_k m_k}{n_k + m_k + 1}

    Strata are cut at quantiles of the covariate of both sets together. A_k is the AUROC of the n_k in-distribution
    images of stratum k against its m_k others. A stratum without images of both kinds has no weight. It is in [0, 1],
    and not a number where all strata are of one kind. What depends on the covariate alone moves it only within strata.

    Raises:
        HdgeError: an empty set, values that are not finite or not one an image, or no stratum.

    Source: van Elteren 1960, the weights of the stratified rank test.
    """
    require("strata", strata, strata >= 1, "at least 1")
    is_in, scores = _as_classes(scores_in, scores_out)
    rough_in, rough_out = (finite("covariate", covariate, dimensions=1) for covariate in (covariate_in, covariate_out))
    for covariate, images in ((rough_in, int(is_in.sum())), (rough_out, int((1 - is_in).sum()))):
        require("number of covariates", len(covariate), len(covariate) == images, f"that of scores, {images}")
    covariates = np.concatenate([rough_in, rough_out])
    stratum = np.digitize(covariates, np.quantile(covariates, np.linspace(0, 1, strata + 1)[1:-1]))
    ranks = pd.Series(scores).groupby(stratum).rank().to_numpy()
    n, m, rank_sum = (np.bincount(stratum, of) for of in (is_in, 1 - is_in, is_in * ranks))
    pairs_won = rank_sum - n * (n + 1) / 2  # n_k m_k A_k
    weight = (n * m / (n + m + 1)).sum()
    return float((pairs_won / (n + m + 1)).sum() / weight) if weight else math.nan


def average_precision(scores_in: ArrayLike, scores_out: ArrayLike) -> float:
    r"""Area under the curve of precision against recall, in-distribution images being the positive class.

    .. math:: \sum_k (R_k - R_{k-1}) P_k

    over the distinct scores from the highest down. Chance is the share of in-distribution images, so that values of
    sets of different size do not compare.
    """
    return float(average_precision_score(*_as_classes(scores_in, scores_out)))


def false_positive_rate(scores_in: ArrayLike, scores_out: ArrayLike, true_positive_rate: float = 0.95) -> float:
    """Share of out-of-distribution images at or above the highest threshold that keeps 95 % of in-distribution images.

    It is in [0, 1], and the true positive rate, in (0, 1], is chance.
    """
    require("true_positive_rate", true_positive_rate, 0 < true_positive_rate <= 1, "above 0 and at most 1")
    inside, outside = _both(scores_in, scores_out)
    ordered = np.sort(inside)[::-1]
    threshold = ordered[int(np.ceil(true_positive_rate * len(ordered) - 1e-9)) - 1]
    return float(np.mean(outside >= threshold))


def bootstrap_auroc(
    scores_in: ArrayLike, scores_out: ArrayLike, replicates: int = REPLICATES, seed: int = BOOTSTRAP_SEED
) -> Float[np.ndarray, " replicates"]:
    """AUROC of resampled test sets, both resampled with replacement; what varies is the test images.

    The result is exact, for it counts whole numbers. The same seed draws the same images whatever the scores.
    """
    inside, outside = _both(scores_in, scores_out)
    counts_in, counts_out = _resampled(len(inside), len(outside), replicates, seed)
    order = np.argsort(outside)
    below = np.zeros((len(outside) + 1, replicates), dtype=np.int32)
    np.cumsum(counts_out[order], axis=0, out=below[1:])
    beaten, not_beating = (np.searchsorted(outside, inside, side, sorter=order) for side in ("left", "right"))
    return (counts_in * (below[beaten] + below[not_beating])).sum(axis=0) / (2 * len(inside) * len(outside))


@functools.lru_cache(maxsize=8)
def _resampled(n: int, m: int, replicates: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each of n and of m images is drawn in each resample, shapes (n, R) and (m, R)."""
    rng = np.random.default_rng(seed)
    counts_in, counts_out = np.empty((n, replicates), dtype=np.int32), np.empty((m, replicates), dtype=np.int32)
    for r in range(replicates):
        counts_in[:, r] = np.bincount(rng.integers(n, size=n), minlength=n)
        counts_out[:, r] = np.bincount(rng.integers(m, size=m), minlength=m)
    return counts_in, counts_out


def _columns(replicates: int) -> list[str]:
    """Columns of a table of :func:`detection_row`, without a row as well."""
    interval = ["low", "high"] if replicates else []
    return ["score", "ood_set", "n_in", "n_out", "auroc", *interval, "aupr_in", "fpr_at_95_tpr"]


def detection_row(scores_in: np.ndarray, scores_out: np.ndarray, replicates: int = REPLICATES) -> dict[str, Any]:
    """AUROC, AUPR and false positive rate; with replicates, AUROC's bootstrap interval over test images."""
    row: dict[str, Any] = {"n_in": len(scores_in), "n_out": len(scores_out), "auroc": auroc(scores_in, scores_out)}
    if replicates:
        row |= limits(percentile_interval(bootstrap_auroc(scores_in, scores_out, replicates)))
    row["aupr_in"] = average_precision(scores_in, scores_out)
    row["fpr_at_95_tpr"] = false_positive_rate(scores_in, scores_out)
    return row


def auroc_table(runs: Sequence[Run], replicates: int = REPLICATES, scores: Sequence[str] = ()) -> pd.DataFrame:
    """Detection by every run, score and out-of-distribution set (paper, Tables 1 and 4), as :func:`detection_row`.

    ``scores`` names those to look at; empty for all.
    """
    for score in scores:
        refuse_unknown("score", score, SCORES)

    def detection(run: Run) -> Rows:
        inside = scores_of(run.folder.outputs("test"))
        for name in run.stored_sets():
            outside = scores_of(run.folder.outputs(name))
            for score in [score for score in inside if score in outside and score in (scores or SCORES)]:
                yield {"score": score, "ood_set": name, **detection_row(inside[score], outside[score], replicates)}

    table = rows(runs, detection, _columns(replicates))
    return table.sort_values("score", key=lambda column: column.map(SCORES.index), kind="stable", ignore_index=True)


def variation_table(runs: Sequence[Run], variation: Mapping[str, Tensor]) -> pd.DataFrame:
    """Detection by log q(x) as it is and at equal total variation, by every run and set whose variation is known.

    The column correlation is Spearman's, of log q(x) and the variation over test images. The columns variation and
    variation_matched are the AUROC of the negative variation itself, as it is and stratified. If the latter is further
    than ``MATCHED`` from 0.5, the set has too few images as rough as test images, and auroc_matched is not a number.
    """
    rough = {name: values.numpy() for name, values in variation.items()}

    def matched(inside: np.ndarray, outside: np.ndarray, name: str) -> float:
        return stratified_auroc(inside, outside, rough["test"], rough[name])

    smooth = {
        name: (auroc(-rough["test"], -own), matched(-rough["test"], -own, name))
        for name, own in rough.items() if name != "test"
    }  # fmt: skip

    def detection(run: Run) -> Rows:
        inside = scores_of(run.folder.outputs("test"))["log q(x)"]
        correlation = float(stats.spearmanr(inside, rough["test"]).statistic)
        for name in [name for name in run.stored_sets() if name in rough]:
            outside = scores_of(run.folder.outputs(name))["log q(x)"]
            alone, left = smooth[name]
            yield {
                "ood_set": name,
                "n_in": len(inside),
                "n_out": len(outside),
                "correlation": correlation,
                "auroc": auroc(inside, outside),
                "auroc_matched": matched(inside, outside, name) if abs(left - 0.5) <= MATCHED else math.nan,
                "variation": alone,
                "variation_matched": left,
            }

    columns = ["correlation", "auroc", "auroc_matched", "variation", "variation_matched"]
    return rows(runs if rough else [], detection, ["ood_set", "n_in", "n_out", *columns])


def posthoc_table(scored: Sequence[tuple[Run, Mapping[str, Tensor]]], replicates: int = REPLICATES) -> pd.DataFrame:
    """Detection, as :func:`detection_row`, by the scores "<detector>/<set>" of :mod:`hdge.measure.posthoc` or ranks."""
    scores = {(run.row, run.seed): own for run, own in scored}

    def detection(run: Run) -> Rows:
        own = scores[run.row, run.seed]
        for detector in DETECTORS:
            for name in [name for name in run.config.evaluation_sets if f"{detector}/{name}" in own]:
                inside, outside = (own[f"{detector}/{part}"].double().numpy() for part in ("test", name))
                yield {"score": detector, "ood_set": name, **detection_row(inside, outside, replicates)}

    return rows([run for run, _ in scored], detection, _columns(replicates))


def posthoc_beside(table: pd.DataFrame, posthoc: pd.DataFrame) -> pd.DataFrame:
    """Put post-hoc detectors between cross-entropy's own scores and HDGE's, of :func:`auroc_table`."""
    return pd.concat([table[table["method"] == "cross_entropy"], posthoc, table[table["method"] == "hdge"]])


@over_runs("ood_set", "images", "lower", "upper", "count", "n", "share")
def log_q_x_histograms(run: Run, bins: int = 30) -> Rows:
    """Histograms of log q(x) in nats, in and out of distribution, one pair a run and set (paper, Figure 1).

    Bins span the central 99.8 % of both sets together, so that a few far images do not flatten the picture. The
    outermost bins also count the images beyond them.
    """
    inside = scores_of(run.folder.outputs("test"))["log q(x)"]
    for name in run.stored_sets():
        outside = scores_of(run.folder.outputs(name))["log q(x)"]
        low, high = np.quantile(np.concatenate([inside, outside]), [0.001, 0.999])
        edges = np.linspace(low, high, bins + 1)
        for images, scores in (("in", inside), ("out", outside)):
            n, named = len(scores), {"ood_set": name, "images": images}
            counts, _ = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)
            for lower, upper, count in zip(edges[:-1], edges[1:], counts, strict=True):
                yield {**named, "lower": lower, "upper": upper, "count": count, "n": n, "share": count / n}
