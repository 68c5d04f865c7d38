"""Calibration: does a confidence of 80 % mean right in 80 % of cases?"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from scipy import optimize
from sklearn.metrics import brier_score_loss

from hdge.core.readings import confidence, log_q_y_given_x, of_label, prediction
from hdge.evaluators.tables import Labels, Logits, Rows, by_row, over_runs
from hdge.study.checks import finite, labelled
from hdge.study.errors import require
from hdge.study.runs import Run

BINS = 20  # paper, section 5.2


def _sure_and_right(logits: Logits, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Confidence in every prediction, and 1 where the prediction is right, 0 where it is wrong."""
    labels = labelled(logits, labels)
    return confidence(logits.double()).numpy(), (prediction(logits) == labels).double().numpy()


def _bin_of(confidences: np.ndarray, bins: int) -> np.ndarray:
    """Index of the bin (lower, upper] of each confidence; exactly 0 falls into the first."""
    require("bins", bins, bins >= 1, "at least 1")
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
    # The counts of the bins cancel.
    return float(np.abs(np.bincount(_bin_of(sure, bins), sure - right, bins)).sum() / len(sure))


def expected_ece_if_calibrated(logits: Logits, bins: int = BINS) -> float:
    r"""Mean ECE of a perfectly calibrated network that has the same confidences, over labels drawn from them.

    .. math:: \frac1n \sum_{m=1}^{M} \mathbb{E} \Big| \sum_{i \in B_m} (r_i - c_i) \Big|,
        \qquad r_i \sim \mathrm{Bernoulli}(c_i), \quad c_i = \max_y q(y|x_i)

    It is in [0, 1/2], and no labels enter. It is what ECE shows for want of images alone, so that an ECE at or below it
    is no evidence of miscalibration. The number of errors in a bin, of mean e, is Poisson-binomial. The expected gap is
    2 E[(e - errors)^+] and is computed exactly.

    Raises:
        HdgeError: no image, a logit that is not finite, or no bin.

    Source: Bröcker & Smith 2007, consistency resampling; Vaicenavicius et al. 2019, for ECE. Both draw the labels.
    """
    finite("logits", logits, dimensions=2)
    sure = confidence(logits.double()).numpy()
    index = _bin_of(sure, bins)
    return sum(_expected_gap(1 - sure[index == m]) for m in range(bins)) / len(sure)


def _expected_gap(wrong: np.ndarray) -> float:
    """Mean distance of a number of errors from its mean, of images that are wrong with these probabilities."""
    mean = wrong.sum()
    below = np.zeros(math.ceil(mean))  # chances of fewer errors than the mean; those of more errors are not needed
    below[:1] = 1
    for p in wrong:
        below[1:] = below[1:] * (1 - p) + below[:-1] * p
        below[:1] *= 1 - p
    return float(2 * (below * (mean - np.arange(len(below)))).sum())


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
    require("bins", bins, bins >= 1, "at least 1")
    excess = (sure - right)[np.argsort(sure, kind="stable")]
    return float(sum(abs(part.sum()) for part in np.array_split(excess, bins)) / len(excess))


def brier_score(logits: Logits, labels: Labels) -> float:
    r"""Squared distance between the predicted distribution and the label.

    .. math:: \frac1n \sum_i \sum_c (q(c|x_i) - [c = y_i])^2

    It is in [0, 2], and 0 is perfect.

    Source: Brier 1950.
    """
    labels = labelled(logits, labels)
    q = torch.softmax(logits.double(), dim=1).numpy()
    if q.shape[1] == 1:  # certain of the one class
        return 0.0
    return float(brier_score_loss(labels.numpy(), q, labels=range(q.shape[1]), scale_by_half=False))


def fitted_temperature(logits: Logits, labels: Labels) -> float:
    r"""The temperature that calibrates held-out images best.

    .. math:: T^* = \arg\min_T \, -\frac1n \sum_i \log \mathrm{softmax}(f(x_i) / T)[y_i]

    T is in [0.01, 10,000]. If all images are classified right, or if the logits say nothing, T lies at an end.

    Source: Guo et al. 2017, section 4.2.
    """

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(logits.double() / math.exp(log_temperature), labels)

    # The loss is convex in 1/T, so that one search finds its minimum.
    found = optimize.minimize_scalar(loss, bounds=(math.log(0.01), math.log(10_000)), method="bounded")
    return math.exp(found.x)


def negative_log_likelihood(logits: Logits, labels: Labels) -> float:
    """Mean of -log q(y|x) in nats; overconfidence and underconfidence both raise it."""
    labels = labelled(logits, labels)
    return float(-of_label(log_q_y_given_x(logits.double()), labels).mean())


@over_runs("n", "bins", "nll", "brier", "ece", "ece_if_calibrated", "ace", "mce", "mean_confidence")
def calibration_table(run: Run, bins: int = BINS) -> Rows:
    """Every measure of calibration of every run on the test images, proper scores first.

    ECE has no interval: it is biased upwards, and resampled images raise it further. It stands beside the ECE of a
    perfectly calibrated network instead.
    """
    test = run.folder.outputs("test")
    logits, labels = test.logits, test.labels
    yield {
        "n": len(labels),
        "bins": bins,
        "nll": negative_log_likelihood(logits, labels),
        "brier": brier_score(logits, labels),
        "ece": expected_calibration_error(logits, labels, bins),
        "ece_if_calibrated": expected_ece_if_calibrated(logits, bins),
        "ace": adaptive_calibration_error(logits, labels, bins),
        "mce": maximum_calibration_error(logits, labels, bins),
        "mean_confidence": float(confidence(logits.double()).mean()),
    }


def reliability_table(runs: Sequence[Run], bins: int = BINS) -> pd.DataFrame:
    """Reliability bins of every method, its seeds pooled: each test image counts once a seed."""
    parts = []
    for method, own in by_row(runs).items():
        pooled = [run.folder.outputs("test") for run in own]
        logits, labels = torch.cat([o.logits for o in pooled]), torch.cat([o.labels for o in pooled])
        found = reliability_bins(logits, labels, bins)
        parts.append(found.assign(method=method, seeds=len(own), share=found["count"] / found["count"].sum()))
    columns = ["method", "seeds", "lower", "upper", "count", "share", "confidence", "accuracy"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


@over_runs(
    "n", "n_validation", "bins", "temperature", "nll", "ece", "ece_if_calibrated",
    "scaled_nll", "scaled_ece", "scaled_ece_if_calibrated",
)  # fmt: skip
def scaling_table(run: Run, bins: int = BINS) -> Rows:
    """What dividing all logits by one temperature, fitted on validation images, does to every run's calibration."""
    validation, test = run.folder.outputs("validation"), run.folder.outputs("test")
    temperature = fitted_temperature(validation.logits, validation.labels)
    row: dict[str, float] = {"n": len(test.labels), "n_validation": len(validation.labels), "bins": bins}
    row["temperature"] = temperature
    for prefix, logits in (("", test.logits), ("scaled_", test.logits / temperature)):
        row[f"{prefix}nll"] = negative_log_likelihood(logits, test.labels)
        row[f"{prefix}ece"] = expected_calibration_error(logits, test.labels, bins)
        row[f"{prefix}ece_if_calibrated"] = expected_ece_if_calibrated(logits, bins)
    yield row
