"""Calibration: does a confidence of 80 % mean right in 80 % of cases?"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from scipy import optimize
from torch import Tensor

from hdge.core.readings import confidence, log_q_y_given_x, of_label, prediction
from hdge.evaluators.intervals import BOOTSTRAP_SEED, REPLICATES, percentile_interval
from hdge.evaluators.tables import Rows, by_row, rows
from hdge.study.runs import Run

BINS = 20  # paper, section 5.2


def _sure_and_right(
    logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Confidence in every prediction, and 1 where the prediction is right, 0 where it is wrong."""
    return confidence(logits.double()).numpy(), (prediction(logits) == labels).double().numpy()


def _bin_of(confidences: np.ndarray, bins: int) -> np.ndarray:
    """Index of the bin (lower, upper] of each confidence; exactly 0 falls into the first.

    Each confidence is compared with the edges themselves, since multiplication could push it across an edge.
    """
    edges = np.linspace(0, 1, bins + 1)
    return np.clip(np.searchsorted(edges, confidences, side="left") - 1, 0, bins - 1)


def reliability_bins(logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], bins: int = BINS) -> pd.DataFrame:
    """Accuracy and mean confidence in equally wide bins (lower, upper] of confidence.

    Returns:
        One row a bin, empty ones included: lower, upper, count, confidence, accuracy (not a number if empty).
    """
    sure, right = _sure_and_right(logits, labels)
    index = _bin_of(sure, bins)
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(index, sure, bins) / count
        accuracy = np.bincount(index, right, bins) / count
    edges = np.linspace(0, 1, bins + 1)
    columns = {"lower": edges[:-1], "upper": edges[1:], "count": count}
    return pd.DataFrame({**columns, "confidence": mean_confidence, "accuracy": accuracy})


def expected_calibration_error(
    logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], bins: int = BINS
) -> float:
    r"""Gap between accuracy and confidence, averaged over equally wide bins (lower, upper] of confidence.

    .. math:: \mathrm{ECE} = \sum_{m=1}^{M} \frac{|B_m|}{n} \left| \mathrm{acc}(B_m) - \mathrm{conf}(B_m) \right|

    It is in [0, 1]. The paper has M = 20 bins.

    Source: paper, section 5.2.
    """
    sure, right = _sure_and_right(logits, labels)
    return _gap(_bin_of(sure, bins), sure - right, bins)


def _gap(index: np.ndarray, excess: np.ndarray, bins: int) -> float:
    """Sum over bins of |sum of (confidence - correctness)|, over n: the ECE with the bin counts cancelled."""
    return float(np.abs(np.bincount(index, excess, bins)).sum() / len(index))


def maximum_calibration_error(logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], bins: int = BINS) -> float:
    r"""Largest gap between accuracy and confidence over the bins that hold images.

    .. math:: \mathrm{MCE} = \max_{m : |B_m| > 0} \left| \mathrm{acc}(B_m) - \mathrm{conf}(B_m) \right|

    It is in [0, 1]. A bin of one image counts as much as a bin of a thousand, so that nearly empty bins make it noisy.

    Source: Naeini et al. 2015.
    """
    table = reliability_bins(logits, labels, bins)
    return float((table["accuracy"] - table["confidence"]).abs().max())


def adaptive_calibration_error(
    logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], bins: int = BINS
) -> float:
    r"""Gap between accuracy and confidence, averaged over bins of equally many images in order of confidence.

    .. math:: \mathrm{ACE} = \frac1M \sum_{m=1}^{M} \left| \mathrm{acc}(B_m) - \mathrm{conf}(B_m) \right|

    It is in [0, 1]. Bins differ by at most one image, and are weighed by their sizes. With fewer images than bins each
    image is a bin. Ties in confidence stay in the order of the test set.

    Source: Nguyen & O'Connor 2015; Nixon et al. 2019, for the predicted class.
    """
    sure, right = _sure_and_right(logits, labels)
    excess = (sure - right)[np.argsort(sure, kind="stable")]
    return float(sum(abs(part.sum()) for part in np.array_split(excess, bins)) / len(excess))


def brier_score(logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> float:
    r"""Squared distance between the predicted distribution and the label.

    .. math:: \frac1n \sum_i \sum_c (q(c|x_i) - [c = y_i])^2

    It is in [0, 2], and 0 is perfect.

    Source: Brier 1950.
    """
    q = torch.softmax(logits.double(), dim=1)
    return float((q - torch.nn.functional.one_hot(labels, q.shape[1])).square().sum(dim=1).mean())


def fitted_temperature(logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> float:
    r"""The temperature that calibrates held-out images best.

    .. math:: T^* = \arg\min_T \, -\frac1n \sum_i \log \mathrm{softmax}(f(x_i) / T)[y_i]

    The images are validation images. The loss is convex in 1/T, so that one search along log T finds it. T is sought in
    [0.01, 100]. If all images are classified right, or if the logits say nothing, T lies at an end.

    Source: Guo et al. 2017, section 4.2.
    """

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(logits.double() / math.exp(log_temperature), labels)

    found = optimize.minimize_scalar(loss, bounds=(math.log(0.01), math.log(100)), method="bounded")
    return math.exp(found.x)


def bootstrap_ece(
    logits: Float[Tensor, "n classes"],
    labels: Int[Tensor, " n"],
    bins: int = BINS,
    replicates: int = REPLICATES,
    seed: int = BOOTSTRAP_SEED,
) -> Float[np.ndarray, " replicates"]:
    """ECE of resampled test images, shape (R,). ECE is biased upwards at small n, and a resample more so."""
    sure, right = _sure_and_right(logits, labels)
    excess = sure - right
    index, rng = _bin_of(sure, bins), np.random.default_rng(seed)
    draws = (rng.integers(len(index), size=len(index)) for _ in range(replicates))
    return np.array([_gap(index[draw], excess[draw], bins) for draw in draws])


def negative_log_likelihood(logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> float:
    """Mean of -log q(y|x) in nats; overconfidence and underconfidence both raise it."""
    return float(-of_label(log_q_y_given_x(logits.double()), labels).mean())


def calibration_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Every measure of calibration of every run, on the in-distribution test images.

    Returns:
        Columns: method, seed, n, ece, low, high (bootstrap over test images), mce, ace, nll (nats), brier,
        mean_confidence.
    """

    def calibration(run: Run) -> Rows:
        test = run.folder.outputs("test")
        logits, labels = test.logits, test.labels
        low, high = percentile_interval(bootstrap_ece(logits, labels))
        yield {
            "n": len(labels),
            "ece": expected_calibration_error(logits, labels),
            "low": low,
            "high": high,
            "mce": maximum_calibration_error(logits, labels),
            "ace": adaptive_calibration_error(logits, labels),
            "nll": negative_log_likelihood(logits, labels),
            "brier": brier_score(logits, labels),
            "mean_confidence": float(confidence(logits.double()).mean()),
        }

    return rows(runs, calibration)


def reliability_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Reliability bins of every method, its seeds pooled: each test image counts once a seed.

    Returns:
        Columns: method, seeds, lower, upper, count, share, confidence, accuracy.
    """
    parts = []
    for method, own in by_row(runs).items():
        pooled = [run.folder.outputs("test") for run in own]
        bins = reliability_bins(torch.cat([o.logits for o in pooled]), torch.cat([o.labels for o in pooled]))
        bins.insert(3, "share", bins["count"] / bins["count"].sum())
        bins.insert(0, "seeds", len(pooled))
        bins.insert(0, "method", method)
        parts.append(bins)
    return pd.concat(parts, ignore_index=True)


def scaling_table(runs: Sequence[Run]) -> pd.DataFrame:
    """What dividing all logits by one temperature, fitted on validation images, does to every run's calibration.

    Returns:
        Columns: method, seed, n, n_validation, temperature, ece, low, high, nll (as trained), scaled_ece, scaled_low,
        scaled_high, scaled_nll (bootstrap intervals over test images; the temperature is held fixed).
    """

    def scaling(run: Run) -> Rows:
        validation, test = run.folder.outputs("validation"), run.folder.outputs("test")
        temperature = fitted_temperature(validation.logits, validation.labels)
        row = {"n": len(test.labels), "n_validation": len(validation.labels), "temperature": temperature}
        for prefix, logits in (("", test.logits), ("scaled_", test.logits / temperature)):
            low, high = percentile_interval(bootstrap_ece(logits, test.labels))
            error, nll = expected_calibration_error(logits, test.labels), negative_log_likelihood(logits, test.labels)
            row |= {f"{prefix}ece": error, f"{prefix}low": low, f"{prefix}high": high, f"{prefix}nll": nll}
        yield row

    return rows(runs, scaling)
