"""Calibration: does a confidence of 80 % mean right in 80 % of cases?"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy import optimize

from hdge.core.readings import confidence, log_q_y_given_x, of_label, prediction
from hdge.evaluators.intervals import BOOTSTRAP_SEED, REPLICATES, limits, percentile_interval
from hdge.evaluators.tables import Labels, Logits, Rows, by_row, over_runs
from hdge.study.checks import labelled
from hdge.study.errors import require
from hdge.study.runs import Run

BINS = 20  # paper, section 5.2


def _sure_and_right(logits: Logits, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Confidence in every prediction, and 1 where the prediction is right, 0 where it is wrong."""
    labels = labelled(logits, labels)
    return confidence(logits.double()).numpy(), (prediction(logits) == labels).double().numpy()


def _require_bins(bins: int) -> None:
    require("bins", bins, bins >= 1, "at least 1")


def _bin_of(confidences: np.ndarray, bins: int) -> np.ndarray:
    """Index of the bin (lower, upper] of each confidence; exactly 0 falls into the first."""
    _require_bins(bins)
    edges = np.linspace(0, 1, bins + 1)  # compared as they are: a multiplication could push a confidence across one
    return np.clip(np.searchsorted(edges, confidences, side="left") - 1, 0, bins - 1)


def reliability_bins(logits: Logits, labels: Labels, bins: int = BINS) -> pd.DataFrame:
    """Accuracy and mean confidence in equally wide bins (lower, upper] of confidence; not numbers in an empty bin.

    Columns: lower, upper, count, confidence, accuracy; one row a bin.
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


def expected_calibration_error(logits: Logits, labels: Labels, bins: int = BINS) -> float:
    r"""Gap between accuracy and confidence, averaged over equally wide bins (lower, upper] of confidence.

    .. math:: \mathrm{ECE} = \sum_{m=1}^{M} \frac{|B_m|}{n} \left| \mathrm{acc}(B_m) - \mathrm{conf}(B_m) \right|

    It is in [0, 1]. The paper has M = 20 bins.

    Source: paper, section 5.2.
    """
    sure, right = _sure_and_right(logits, labels)
    return _gap(_bin_of(sure, bins), sure - right, bins)


def _gap(index: np.ndarray, excess: np.ndarray, bins: int) -> float:
    """ECE from each image's bin and its confidence less correctness; the counts of the bins cancel."""
    return float(np.abs(np.bincount(index, excess, bins)).sum() / len(index))


def maximum_calibration_error(logits: Logits, labels: Labels, bins: int = BINS) -> float:
    r"""Largest gap between accuracy and confidence over the bins that hold images.

    .. math:: \mathrm{MCE} = \max_{m : |B_m| > 0} \left| \mathrm{acc}(B_m) - \mathrm{conf}(B_m) \right|

    It is in [0, 1]. Nearly empty bins make it noisy.

    Source: Naeini et al. 2015.
    """
    table = reliability_bins(logits, labels, bins)
    return float((table["accuracy"] - table["confidence"]).abs().max())


def adaptive_calibration_error(logits: Logits, labels: Labels, bins: int = BINS) -> float:
    r"""Gap between accuracy and confidence, averaged over bins of equally many images in order of confidence.

    .. math:: \mathrm{ACE} = \frac1M \sum_{m=1}^{M} \left| \mathrm{acc}(B_m) - \mathrm{conf}(B_m) \right|

    It is in [0, 1]. Bins differ by at most one image, and are weighed by their sizes. With fewer images than bins each
    image is a bin. Ties in confidence stay in the order of the test set.

    Source: Nguyen & O'Connor 2015; Nixon et al. 2019, for the predicted class.
    """
    sure, right = _sure_and_right(logits, labels)
    _require_bins(bins)
    excess = (sure - right)[np.argsort(sure, kind="stable")]
    return float(sum(abs(part.sum()) for part in np.array_split(excess, bins)) / len(excess))


def brier_score(logits: Logits, labels: Labels) -> float:
    r"""Squared distance between the predicted distribution and the label.

    .. math:: \frac1n \sum_i \sum_c (q(c|x_i) - [c = y_i])^2

    It is in [0, 2], and 0 is perfect.

    Source: Brier 1950.
    """
    labels = labelled(logits, labels)
    q = torch.softmax(logits.double(), dim=1)
    return float((q - torch.nn.functional.one_hot(labels, q.shape[1])).square().sum(dim=1).mean())


def fitted_temperature(logits: Logits, labels: Labels) -> float:
    r"""The temperature that calibrates held-out images best.

    .. math:: T^* = \arg\min_T \, -\frac1n \sum_i \log \mathrm{softmax}(f(x_i) / T)[y_i]

    T is in [0.01, 100]. If all images are classified right, or if the logits say nothing, T lies at an end.

    Source: Guo et al. 2017, section 4.2.
    """

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(logits.double() / math.exp(log_temperature), labels)

    # The loss is convex in 1/T, so that one search finds its minimum.
    found = optimize.minimize_scalar(loss, bounds=(math.log(0.01), math.log(100)), method="bounded")
    return math.exp(found.x)


def bootstrap_ece(
    logits: Logits, labels: Labels, bins: int = BINS, replicates: int = REPLICATES, seed: int = BOOTSTRAP_SEED
) -> Float[np.ndarray, " replicates"]:
    """ECE of resampled test images, shape (R,). ECE is biased upwards at small n, and a resample more so."""
    sure, right = _sure_and_right(logits, labels)
    excess = sure - right
    index, rng = _bin_of(sure, bins), np.random.default_rng(seed)
    draws = (rng.integers(len(index), size=len(index)) for _ in range(replicates))
    return np.array([_gap(index[draw], excess[draw], bins) for draw in draws])


def negative_log_likelihood(logits: Logits, labels: Labels) -> float:
    """Mean of -log q(y|x) in nats; overconfidence and underconfidence both raise it."""
    labels = labelled(logits, labels)
    return float(-of_label(log_q_y_given_x(logits.double()), labels).mean())


def _ece_with_interval(logits: Logits, labels: Labels, prefix: str = "") -> dict[str, float]:
    """ECE and its bootstrap interval over test images, as a table has them."""
    error, interval = expected_calibration_error(logits, labels), percentile_interval(bootstrap_ece(logits, labels))
    return {f"{prefix}ece": error, **limits(interval, prefix)}


@over_runs("n", "ece", "low", "high", "mce", "ace", "nll", "brier", "mean_confidence")
def calibration_table(run: Run) -> Rows:
    """Every measure of calibration of every run on the test images, ECE with its bootstrap interval."""
    test = run.folder.outputs("test")
    logits, labels = test.logits, test.labels
    yield {
        "n": len(labels),
        **_ece_with_interval(logits, labels),
        "mce": maximum_calibration_error(logits, labels),
        "ace": adaptive_calibration_error(logits, labels),
        "nll": negative_log_likelihood(logits, labels),
        "brier": brier_score(logits, labels),
        "mean_confidence": float(confidence(logits.double()).mean()),
    }


def reliability_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Reliability bins of every method, its seeds pooled: each test image counts once a seed."""
    parts = []
    for method, own in by_row(runs).items():
        pooled = [run.folder.outputs("test") for run in own]
        bins = reliability_bins(torch.cat([o.logits for o in pooled]), torch.cat([o.labels for o in pooled]))
        parts.append(bins.assign(method=method, seeds=len(own), share=bins["count"] / bins["count"].sum()))
    columns = ["method", "seeds", "lower", "upper", "count", "share", "confidence", "accuracy"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


@over_runs(
    "n", "n_validation", "temperature", "ece", "low", "high", "nll",
    "scaled_ece", "scaled_low", "scaled_high", "scaled_nll",
)  # fmt: skip
def scaling_table(run: Run) -> Rows:
    """What dividing all logits by one temperature, fitted on validation images, does to every run's calibration.

    Intervals are those of a bootstrap over test images that holds the temperature fixed.
    """
    validation, test = run.folder.outputs("validation"), run.folder.outputs("test")
    temperature = fitted_temperature(validation.logits, validation.labels)
    row = {"n": len(test.labels), "n_validation": len(validation.labels), "temperature": temperature}
    for prefix, logits in (("", test.logits), ("scaled_", test.logits / temperature)):
        row |= _ece_with_interval(logits, test.labels, prefix)
        row[f"{prefix}nll"] = negative_log_likelihood(logits, test.labels)
    yield row
