import math

import numpy as np
import pytest
import torch

from hdge.evaluators import generation


def with_moments(mean: np.ndarray, covariance: np.ndarray, n: int = 50, seed: int = 0) -> np.ndarray:
    """Features with exactly this mean and unbiased covariance, up to rounding."""
    draw = np.random.default_rng(seed).normal(size=(n, len(mean)))
    draw -= draw.mean(axis=0)
    white = draw @ np.linalg.inv(np.linalg.cholesky(np.cov(draw, rowvar=False))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def rotation(size: int, seed: int = 1) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


# Covariances of order 1 in float64: rounding is some hundred times 2.2e-16 before the square root of an eigenvalue.
EXACT = {"rel": 1e-10, "abs": 1e-10}


def test_the_distance_of_commuting_gaussians_is_the_closed_form():
    """With common axes it is |m - m'|^2 + sum (sqrt a - sqrt b)^2."""
    a, b, turn = np.array([1.0, 4.0, 0.25]), np.array([9.0, 1.0, 2.0]), rotation(3)
    mean_a, mean_b = np.array([0.0, 1.0, 2.0]), np.array([2.0, 1.0, -1.0])
    first, second = (with_moments(m, turn * v @ turn.T, seed=s) for m, v, s in ((mean_a, a, 0), (mean_b, b, 1)))
    expected = 4 + 9 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert generation.frechet_distance(first, second) == pytest.approx(expected, **EXACT)


def test_the_distance_in_two_dimensions_is_the_closed_form():
    """Tr (AB)^(1/2) = sqrt(Tr AB + 2 sqrt(det AB)) for 2 x 2, whose axes need not agree."""
    a, b = np.array([[2.0, 0.7], [0.7, 1.0]]), np.array([[1.0, -0.4], [-0.4, 3.0]])
    first, second = with_moments(np.zeros(2), a), with_moments(np.ones(2), b, seed=1)
    root = math.sqrt(np.trace(a @ b) + 2 * math.sqrt(np.linalg.det(a) * np.linalg.det(b)))
    expected = 2 + np.trace(a) + np.trace(b) - 2 * root
    assert generation.frechet_distance(first, second) == pytest.approx(expected, **EXACT)


def test_the_distance_is_symmetric_zero_for_equal_sets_and_blind_to_rotation():
    draw = np.random.default_rng(0)
    first, second = draw.normal(size=(40, 5)) @ draw.normal(size=(5, 5)), draw.normal(size=(30, 5)) + 1
    value, turn = generation.frechet_distance(first, second), rotation(5)
    assert value > 1
    assert generation.frechet_distance(second, first) == pytest.approx(value, **EXACT)
    assert generation.frechet_distance(first @ turn, second @ turn) == pytest.approx(value, **EXACT)
    assert generation.frechet_distance(3 * first, 3 * second) == pytest.approx(9 * value, **EXACT)
    assert generation.frechet_distance(first, first[::-1]) == pytest.approx(0, abs=1e-10)


def test_the_distance_is_biased_by_as_much_as_its_docstring_says():
    draw, width, n, m = np.random.default_rng(0), 6, 400, 600
    values = [
        generation.frechet_distance(draw.normal(size=(n, width)), draw.normal(size=(m, width))) for _ in range(100)
    ]
    expected = width * (width + 5) / 4 * (1 / n + 1 / m)
    # A sum of D (D + 3) / 2 = 27 squares varies by about sqrt(2 / 27) = 27 %, the mean of 100 by 2.7 %; four of them,
    # and the next order in 1 / n, of some D / n = 1.5 %.
    assert np.mean(values) == pytest.approx(expected, rel=0.125)


def test_fewer_images_than_features_still_have_a_distance():
    draw = np.random.default_rng(0)
    first = draw.normal(size=(4, 30))
    # A covariance of rank 3 has 27 eigenvalues that rounding leaves at 1e-15 or so, and their roots at 3e-8.
    assert generation.frechet_distance(first, first) == pytest.approx(0, abs=1e-5)
    assert generation.frechet_distance(first, first + 1) == pytest.approx(30, abs=1e-5)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [(np.ones((1, 2)), np.ones((3, 2)), "at least 2 images"), (np.ones((3, 2)), np.ones((3, 4)), "2 and 4 wide"),
     (np.full((3, 2), np.nan), np.ones((3, 2)), "finite")],
)  # fmt: skip
@pytest.mark.usefixtures("without_shape_checks")
def test_the_distance_refuses_what_has_none(first, second, message):
    with pytest.raises(ValueError, match=message):
        generation.frechet_distance(first, second)


def looped_score(rows: list[list[float]]) -> float:
    classes = range(len(rows[0]))
    marginal = [math.fsum(row[y] for row in rows) / len(rows) for y in classes]
    each = [math.fsum(row[y] * math.log(row[y] / marginal[y]) for y in classes if row[y] > 0) for row in rows]
    return math.exp(math.fsum(each) / len(rows))


def test_the_inception_formula_equals_the_loop():
    p = np.random.default_rng(0).dirichlet(np.full(4, 0.3), size=30)
    p[:5] = np.eye(4)[[0, 1, 2, 0, 3]]
    # Sums of 120 terms of order 1.
    assert generation.inception_score(p) == pytest.approx(looped_score(p.tolist()), rel=1e-12)
    halves = [looped_score(part.tolist()) for part in (p[:15], p[15:])]
    assert generation.inception_score(p, splits=2) == pytest.approx(np.mean(halves), rel=1e-12)


def test_the_inception_formula_has_its_ends():
    assert generation.inception_score(np.tile([0.2, 0.3, 0.5], (6, 1))) == pytest.approx(1, rel=1e-12)
    assert generation.inception_score(np.tile(np.eye(5), (3, 1))) == pytest.approx(5, rel=1e-12)
    assert generation.inception_score(np.tile([0.0, 1.0], (3, 1))) == 1
    with pytest.raises(ValueError, match="sum to 1"):
        generation.inception_score(np.ones((3, 2)))
    with pytest.raises(ValueError, match="splits is 4"):
        generation.inception_score(np.eye(3), splits=4)


def test_both_formulas_are_torch_fidelitys():
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric

    draw = torch.Generator().manual_seed(0)
    first, second = (torch.randn(80, 6, generator=draw, dtype=torch.float64) * s for s in (1.0, 1.7))
    theirs = fid_statistics_to_metric(*(fid_features_to_statistics(f) for f in (first, second)), verbose=False)
    # Theirs takes roots of the eigenvalues of a matrix that is not symmetric.
    ours = generation.frechet_distance(first.numpy(), second.numpy())
    assert ours == pytest.approx(theirs["frechet_inception_distance"], rel=1e-9)
    score = isc_features_to_metric(5 * first, splits=4, shuffle=False)["inception_score_mean"]
    assert generation.inception_score((5 * first).softmax(dim=1).numpy(), splits=4) == pytest.approx(score, rel=1e-12)
