"""The paper's formulas written as loops over Python floats, from the equations and one constant, the norm's floor."""

import cmath
import itertools
import math
from collections.abc import Callable, Sequence

from hdge.core.queue import NORM_FLOOR

Row = Sequence[float]  # or complex numbers, for derivatives by a complex step


def total(values: Sequence[float]) -> float:
    """Exactly rounded for real numbers, plain for complex ones."""
    return sum(values) if any(isinstance(v, complex) for v in values) else math.fsum(values)


def exp(value: float) -> float:
    return cmath.exp(value) if isinstance(value, complex) else math.exp(value)


def log_sum_exp(values: Sequence[float]) -> float:
    if not values:
        return -math.inf
    largest = max(v.real for v in values)
    summed = total([exp(v - largest) for v in values])
    return largest + (cmath.log(summed) if isinstance(summed, complex) else math.log(summed))


def normalize(row: Row, kind: str) -> list[float]:
    if kind == "l2":
        squares = total([v * v for v in row])
        length = cmath.sqrt(squares) if isinstance(squares, complex) else math.sqrt(squares)
        return [v / (length if length.real > NORM_FLOOR else NORM_FLOOR) for v in row]
    if kind == "softmax":
        summed = log_sum_exp(row)
        return [exp(v - summed) for v in row]
    return list(row)


def cross_entropy(logits: Sequence[Row], labels: Sequence[int]) -> float:
    """Section 3.1: mean of log sum_y' exp f(x)[y'] - f(x)[y]."""
    return total([log_sum_exp(row) - row[y] for row, y in zip(logits, labels, strict=True)]) / len(labels)


def log_partition(past: Sequence[Row], classes: int, temperature: float, kind: str) -> list[float]:
    """Equation 13: log sum_k exp(p_k[y] / t) for every y."""
    rows = [normalize(row, kind) for row in past]
    return [log_sum_exp([row[y] / temperature for row in rows]) for y in range(classes)]


def selected(row: Row, label: Row) -> float:
    """The figure's energy of a pair: the inner product of normalised logits and label."""
    return total([w * v for w, v in zip(label, row, strict=True)])


def masked(row: Row, label: Row) -> float:
    """The released code's energy of a pair: log sum_c exp(label[c] * row[c]), zeros included."""
    return log_sum_exp([w * v for w, v in zip(label, row, strict=True)])


def one_hot(label: int, classes: int) -> list[float]:
    return [1.0 if c == label else 0.0 for c in range(classes)]


def queue_nll(
    logits: Sequence[Row],
    labels: Sequence[int] | Sequence[Row],
    past: Sequence[Row],
    temperature: float,
    kind: str,
    energy: Callable[[Row, Row], float] = selected,
) -> float:
    """Algorithm 1: cross-entropy of [l_pos, l_neg] / t against position 0, image by image, negative by negative."""
    loss = 0.0
    for row, y in zip(logits, labels, strict=True):
        label = one_hot(y, len(row)) if isinstance(y, int) else y
        positive = energy(normalize(row, kind), label) / temperature
        negatives = [energy(normalize(old, kind), label) / temperature for old in past]
        loss += log_sum_exp([positive, *negatives]) - positive
    return loss / len(logits)


def batch_nll(logits: Sequence[Row], labels: Sequence[int] | Sequence[Row], temperature: float, kind: str) -> float:
    """Algorithm 2: every image of the batch is a negative of every other, and of itself."""
    rows = [normalize(row, kind) for row in logits]
    loss = 0.0
    for row, y in zip(rows, labels, strict=True):
        label = one_hot(y, len(row)) if isinstance(y, int) else y
        scores = [selected(other, label) / temperature for other in rows]
        loss += log_sum_exp(scores) - selected(row, label) / temperature
    return loss / len(logits)


def expected_calibration_error(confidences: Sequence[float], correct: Sequence[bool], bins: int) -> float:
    """Section 5.2 with bins (lower, upper]; a confidence of exactly 0 belongs to the first."""
    error = 0.0
    for m in range(bins):
        lower, upper = m / bins, (m + 1) / bins
        inside = [i for i, c in enumerate(confidences) if lower < c <= upper or (m == 0 and c == 0)]
        if inside:
            accuracy = sum(correct[i] for i in inside) / len(inside)
            confidence = math.fsum(confidences[i] for i in inside) / len(inside)
            error += len(inside) / len(confidences) * abs(accuracy - confidence)
    return error


def mann_whitney(scores_in: Sequence[float], scores_out: Sequence[float]) -> float:
    """Share of pairs in which the in-distribution image scores higher, ties counted half."""
    wins = sum(1.0 if s > r else 0.5 if s == r else 0.0 for s in scores_in for r in scores_out)
    return wins / (len(scores_in) * len(scores_out))


def quantile(values: Sequence[float], numerator: int, denominator: int) -> float:
    """The value at a share of the way through sorted values, between two of them if need be."""
    place, rest = divmod((len(values) - 1) * numerator, denominator)
    low, high = sorted(values)[place], sorted(values)[min(place + 1, len(values) - 1)]
    return low + rest / denominator * (high - low)


def stratified_mann_whitney(
    inside: Sequence[tuple[float, float]], outside: Sequence[tuple[float, float]], strata: int
) -> float:
    """Pairs of score and covariate: shares of pairs won within strata, weighed by n m / (n + m + 1)."""
    covariates = [covariate for _, covariate in (*inside, *outside)]
    edges = [-math.inf, *(quantile(covariates, k, strata) for k in range(1, strata)), math.inf]
    summed = weights = 0.0
    for low, high in itertools.pairwise(edges):
        s, r = ([score for score, covariate in images if low <= covariate < high] for images in (inside, outside))
        if s and r:
            weight = len(s) * len(r) / (len(s) + len(r) + 1)
            summed, weights = summed + weight * mann_whitney(s, r), weights + weight
    return summed / weights if weights else math.nan


def total_variation(image: Sequence[Sequence[Sequence[int]]]) -> int:
    """Rudin, Osher & Fatemi 1992, anisotropic: a sum over channels, rows and columns of an image."""
    total = 0
    for channel in image:
        for i, row in enumerate(channel):
            for j, pixel in enumerate(row):
                total += abs(channel[i + 1][j] - pixel) if i + 1 < len(channel) else 0
                total += abs(row[j + 1] - pixel) if j + 1 < len(row) else 0
    return total


def supervised_contrastive(rows: Sequence[Row], labels: Sequence[int], temperature: float) -> float:
    """Khosla et al. 2020, equation 2: every other view of the same class is a positive, every other view a negative."""
    unit = [normalize(row, "l2") for row in rows]
    loss = 0.0
    for i, row in enumerate(unit):
        scores = {a: selected(row, other) / temperature for a, other in enumerate(unit) if a != i}
        positives = [p for p in scores if labels[p] == labels[i]]
        everything = log_sum_exp(list(scores.values()))
        loss -= math.fsum(scores[p] - everything for p in positives) / len(positives)
    return loss / len(rows)


def simclr(rows: Sequence[Row], temperature: float) -> float:
    """Chen et al. 2020, equation 1: the other view of the same image is the positive."""
    half = len(rows) // 2
    return supervised_contrastive(rows, [i % half for i in range(len(rows))], temperature)


def adaptive_calibration_error(confidences: list[float], right: list[bool], bins: int) -> float:
    """Images in order of confidence, dealt into bins whose sizes differ by at most one, larger ones first."""
    images = sorted(zip(confidences, range(len(right)), right, strict=True))
    total, start = 0.0, 0
    for m in range(bins):
        size = len(images) // bins + (1 if m < len(images) % bins else 0)
        part = images[start : start + size]
        start += size
        total += abs(sum(c for c, _, _ in part) - sum(1 for _, _, ok in part if ok))
    return total / len(images)


def average_precision(inside: list[float], outside: list[float]) -> float:
    """Sum over distinct thresholds, from the highest, of the gain in recall times the precision."""
    total, recall = 0.0, 0.0
    for threshold in sorted({*inside, *outside}, reverse=True):
        true = sum(1 for score in inside if score >= threshold)
        false = sum(1 for score in outside if score >= threshold)
        total += (true / len(inside) - recall) * true / (true + false)
        recall = true / len(inside)
    return total


def false_positive_rate(inside: list[float], outside: list[float], percent: int) -> float:
    """Outside images at or above the highest threshold that keeps so many percent of the inside ones."""
    for threshold in sorted(inside, reverse=True):
        if 100 * sum(1 for score in inside if score >= threshold) >= percent * len(inside):
            return sum(1 for score in outside if score >= threshold) / len(outside)
    raise ValueError("no threshold keeps them")
