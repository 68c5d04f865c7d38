"""Intervals over seeds and images, written from their equations with loops alone."""

import math

from scipy import stats


def total_and_df(estimates: list[float], blocks: list[list[list[float]]], variance, level: float) -> tuple[float, ...]:
    """T's square root, its degrees of freedom and both limits, from each seed's influences in each set of images.

    The variance of one seed's influences is a function of them; the blocks are those that it and the others share.
    """
    seeds = len(estimates)
    mean = sum(estimates) / seeds
    between = sum((e - mean) ** 2 for e in estimates) / (seeds - 1)
    pooled = [[sum(block[s][i] for s in range(seeds)) / seeds for i in range(len(block[0]))] for block in blocks]
    over_images = variance(pooled)
    within = sum(variance([block[s] for block in blocks]) for s in range(seeds)) / seeds
    squares = [u**2 for block in pooled for u in block]
    least = over_images / 4 + max(squares)
    total = max(between / seeds + over_images - max(0.0, within - over_images) / (seeds - 1), least)
    df_image = min(min(map(len, pooled)) - 1, 2 * sum(squares) ** 2 / sum(square**2 for square in squares))
    share = min(1.0, between / seeds / total)
    df = 1 / (share / (seeds - 1) + (1 - share) / df_image)
    half = stats.t.ppf(0.5 + level / 2, df) * math.sqrt(total)
    return math.sqrt(total), df, mean - half, mean + half


def unrelated(blocks: list[list[float]]) -> float:
    """Variance of a sum over images that are drawn by themselves, in each set."""
    return sum(len(block) / (len(block) - 1) * sum(u**2 for u in block) for block in blocks)


def related(u: list[float], v: list[float], parents: list[tuple[int, int]]) -> float:
    """Variance of a sum over test images and images made of pairs of them: products of all pairs that depend."""
    found = sum(x * x for x in u)
    for j, pair in enumerate(parents):
        found += sum(2 * v[j] * u[i] for i in pair)
        for k, other in enumerate(parents):
            if j == k or set(pair) & set(other):
                found += v[j] * v[k]
    return found * len(u) / (len(u) - 1)


def mean_parts(values: list[list[float]]) -> tuple[list[float], list[list[float]]]:
    """Each seed's mean over images, and influences."""
    estimates = [sum(row) / len(row) for row in values]
    return estimates, [[(d - e) / len(row) for d in row] for row, e in zip(values, estimates, strict=True)]


def placements(inside: list[float], outside: list[float]) -> tuple[float, list[float], list[float]]:
    """AUROC and DeLong's components of the images in and out of distribution, by comparing all pairs."""
    beats = [[1.0 if s > r else 0.5 if s == r else 0.0 for r in outside] for s in inside]
    of_in = [sum(row) / len(outside) for row in beats]
    of_out = [sum(row[j] for row in beats) / len(inside) for j in range(len(outside))]
    return sum(of_in) / len(inside), of_in, of_out


def auroc_parts(
    inside: list[list[float]], sets: list[list[list[float]]]
) -> tuple[list[float], list[list[float]], list[list[list[float]]]]:
    """Each seed's mean AUROC over sets, and influences of images in distribution and of each set's images."""
    estimates, u, v = [], [], [[] for _ in sets]
    for s, own in enumerate(inside):
        found = [placements(own, each[s]) for each in sets]
        estimates.append(sum(area for area, _, _ in found) / len(sets))
        u.append([sum(of_in[i] - area for area, of_in, _ in found) / len(sets) / len(own) for i in range(len(own))])
        for k, (area, _, of_out) in enumerate(found):
            v[k].append([(value - area) / len(sets) / len(of_out) for value in of_out])
    return estimates, u, v
