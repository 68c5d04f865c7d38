"""How often the intervals over seeds and images hold the truth, and how often they exclude 0, in simulated studies."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from hdge.evaluators.crossed import interval
from hdge.evaluators.influences import TEST, Influence, auroc_influence, mean_influence
from hdge.evaluators.intervals import LEVEL

SEEDS = (3, 5, 10)
DELTA = 0.009  # the least difference of accuracies that counts
EFFECTS = (0.0, 0.25, 0.5, 1.0, 2.0)  # in DELTA
SEED_POINTS = 0.003  # standard deviation over seeds of a difference of accuracies, beyond that of their images
# Shares of an image's variance on a probit scale: it is hard for all, for one method, or in one run.
HARD, OWN, RUN = 0.6, 0.1, 0.3

Draw = Callable[[np.random.Generator, int], Influence]


class Scenario(NamedTuple):
    """Studies of two methods that are equally good: a draw has the influences of the difference, whose truth is 0."""

    name: str
    draw: Draw
    replicates: int = 4000
    effects: tuple[float, ...] = (0.0,)


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Standard normal numbers; single precision has the draws in half the time."""
    return rng.standard_normal(shape, dtype=np.float32)


def _values(seed: float, image: float, interaction: float, n: int = 1000) -> Draw:
    """Normal differences of images, by the variances A, B and C of one seed's mean, in units of 1/n."""

    def draw(rng: np.random.Generator, seeds: int) -> Influence:
        images = math.sqrt(image) * _normal(rng, n) + math.sqrt(interaction) * _normal(rng, seeds, n)
        return mean_influence((images + math.sqrt(seed / n) * _normal(rng, seeds, 1)).astype(float))

    return draw


def _accuracies(accuracy: float, n: int, seed_points: float = 0.0) -> Draw:
    """Right and wrong predictions of two methods on the same images."""
    threshold = float(stats.norm.ppf(accuracy))
    moved = seed_points / math.sqrt(2) / float(stats.norm.pdf(threshold))

    def draw(rng: np.random.Generator, seeds: int) -> Influence:
        hard = threshold + math.sqrt(HARD) * _normal(rng, n)

        def right() -> np.ndarray:
            own = hard + math.sqrt(OWN) * _normal(rng, n) + moved * _normal(rng, seeds, 1)
            return (own + math.sqrt(RUN) * _normal(rng, seeds, n) > 0).astype(float)

        return mean_influence(right() - right())

    return draw


def _aurocs(n: int, sets: Mapping[str, tuple[int, float]], interp: bool = False) -> Draw:
    """Normal scores of two methods; the sets have their images and how far below the test images' mean they lie."""
    sizes = {TEST: n, **{name: m for name, (m, _) in sets.items()}}
    means = {TEST: 0.0, **{name: -below for name, (_, below) in sets.items()}, "interp": -0.5}
    pairs = np.stack([np.arange(n), np.roll(np.arange(n), -1)], axis=1)
    parents = {"interp": pairs} if interp else {}

    def draw(rng: np.random.Generator, seeds: int) -> Influence:
        common = {name: math.sqrt(HARD) * _normal(rng, size) for name, size in sizes.items()}

        def detector() -> Influence:
            images = {name: own + math.sqrt(OWN) * _normal(rng, sizes[name]) for name, own in common.items()}
            images |= {name: images[TEST][own].mean(axis=1) for name, own in parents.items()}
            scores = {
                name: means[name] + own + math.sqrt(RUN) * _normal(rng, seeds, len(own)) for name, own in images.items()
            }
            return auroc_influence(scores.pop(TEST) + 0.03 * _normal(rng, seeds, 1), scores, parents)

        return detector() - detector()

    return draw


SCENARIOS = (
    Scenario("values: interaction alone", _values(0, 0, 1)),
    Scenario("values: no seed variance", _values(0, 0.5, 0.5)),
    Scenario("values: seeds vary as images", _values(1, 0.5, 0.5)),
    Scenario("values: seeds dominate", _values(16, 0.5, 0.5)),
    Scenario("accuracy 97 %, n = 481", _accuracies(0.97, 481)),
    Scenario("accuracy 81 %, n = 10,000", _accuracies(0.81, 10_000), 2000),
    Scenario("accuracy 81 %, seeds vary", _accuracies(0.81, 10_000, SEED_POINTS), 2000, EFFECTS),
    Scenario("AUROC, n = 2,000, m = 500", _aurocs(2000, {"far": (500, 1.0)}), 1000),
    Scenario("AUROC of 3 sets, 1 of pairs", _aurocs(500, {"far": (500, 1.0), "near": (300, 0.5)}, True), 1000),
)


def study(scenario: Scenario, seeds: int, number: int) -> tuple[float, float, float]:
    """One study's difference, half its interval over seeds and images, and its standard error over seeds alone.

    Its random numbers are those of the scenario's name, the seeds and its number.
    """
    rng = np.random.default_rng([*scenario.name.encode(), seeds, number])
    measure = scenario.draw(rng, seeds)
    own = interval(measure)
    return own.difference, own.high - own.difference, float(measure.estimates.std(ddof=1)) / math.sqrt(seeds)


def coverage_rows(scenario: Scenario, seeds: int, studies: Sequence[tuple[float, float, float]]) -> pd.DataFrame:
    """A row an effect: how often each interval of :func:`study` holds it, and how often it excludes 0.

    An effect moves the estimates of all seeds alike, so that the intervals move with it. Student's interval over seeds
    stands beside. The error is the standard error of the coverage over studies.
    """
    difference, half, over_seeds = np.array(studies).T
    student = over_seeds * stats.t.ppf(0.5 + LEVEL / 2, seeds - 1)
    rows: list[dict[str, Any]] = []
    for effect in scenario.effects:
        row: dict[str, Any] = {"scenario": scenario.name, "seeds": seeds, "replicates": len(studies), "effect": effect}
        for name, width in (("", half), ("student_", student)):
            row |= {
                f"{name}coverage": np.mean(np.abs(difference) <= width),
                f"{name}excludes_0": np.mean(np.abs(difference + effect * DELTA) > width),
                f"{name}half_width": width.mean(),
            }
        rows.append({**row, "coverage_error": math.sqrt(row["coverage"] * (1 - row["coverage"]) / len(studies))})
    return pd.DataFrame(rows)


def measure_coverage() -> pd.DataFrame:
    """Every scenario with every number of seeds, as :func:`coverage_rows`."""
    return pd.concat(
        [
            coverage_rows(one, seeds, [study(one, seeds, number) for number in range(one.replicates)])
            for one in SCENARIOS
            for seeds in SEEDS
        ],
        ignore_index=True,
    )
