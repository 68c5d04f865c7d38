"""The paper's formulas written as loops over Python floats, from the equations and from nothing else."""

import math
from collections.abc import Sequence

Row = Sequence[float]


def log_sum_exp(values: Sequence[float]) -> float:
    if not values:
        return -math.inf
    largest = max(values)
    return largest + math.log(math.fsum(math.exp(v - largest) for v in values))


def normalize(row: Row, kind: str) -> list[float]:
    if kind == "l2":
        length = math.sqrt(math.fsum(v * v for v in row))
        return [v / max(length, 1e-12) for v in row]
    if kind == "softmax":
        total = log_sum_exp(row)
        return [math.exp(v - total) for v in row]
    return list(row)


def cross_entropy(logits: Sequence[Row], labels: Sequence[int]) -> float:
    """Section 3.1: mean of log sum_y' exp f(x)[y'] - f(x)[y]."""
    return math.fsum(log_sum_exp(row) - row[y] for row, y in zip(logits, labels, strict=False)) / len(labels)


def log_partition(past: Sequence[Row], classes: int, temperature: float, kind: str) -> list[float]:
    """Equation 13: log sum_k exp(p_k[y] / t) for every y."""
    rows = [normalize(row, kind) for row in past]
    return [log_sum_exp([row[y] / temperature for row in rows]) for y in range(classes)]


def queue_nll(
    logits: Sequence[Row], labels: Sequence[int], past: Sequence[Row], temperature: float, kind: str
) -> float:
    """Algorithm 1: cross-entropy of [l_pos, l_neg] / t against position 0, image by image, negative by negative."""
    total = 0.0
    for row, y in zip(logits, labels, strict=False):
        positive = normalize(row, kind)[y] / temperature
        negatives = [normalize(old, kind)[y] / temperature for old in past]
        total += log_sum_exp([positive, *negatives]) - positive
    return total / len(labels)


def batch_nll(logits: Sequence[Row], labels: Sequence[int], temperature: float, kind: str) -> float:
    """Algorithm 2: every image of the batch is a negative of every other, and of itself."""
    rows = [normalize(row, kind) for row in logits]
    total = 0.0
    for row, y in zip(rows, labels, strict=False):
        total += log_sum_exp([other[y] / temperature for other in rows]) - row[y] / temperature
    return total / len(labels)


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
