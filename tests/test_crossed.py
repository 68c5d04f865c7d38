import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from hdge.evaluators.crossed import Crossed, binomial_interval, crossed_interval, interval
from hdge.evaluators.influences import auroc_influence, average, mean_influence
from hdge.study.errors import HdgeError
from tests.reference import crossed as loops

# Float64 sums of fewer than 1000 numbers, whose variances cancel to a quarter of their terms at most: 4000 eps = 1e-12,
# squared in the degrees of freedom, and a hundred times that. Limits near 0 cancel once more.
RELATIVE, ABSOLUTE = 1e-10, 1e-12

# Whole numbers, so that values tie and some variances vanish.
differences = arrays.arrays(
    np.float64, st.tuples(st.integers(2, 5), st.integers(2, 12)), elements=st.integers(-3, 3).map(float)
)
noisy = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def crossed_auroc(method, baseline=None, parents=None) -> Crossed:
    """Interval of the difference of two methods' AUROC, or of one method's less chance, from their scores."""
    other = 0.5 if baseline is None else auroc_influence(*baseline, parents)
    return interval(auroc_influence(*method, parents) - other)


def limits(found: Crossed) -> tuple[float, ...]:
    return found.se, found.df, found.low, found.high


def pairs(n: int, rng: np.random.Generator) -> np.ndarray:
    """Parents as interpolated images have them: each test image with the next along a cycle."""
    cycle = rng.permutation(n)
    return np.stack([cycle, np.roll(cycle, -1)], axis=1)


@given(noisy, st.integers(2, 6), st.integers(2, 15), st.sampled_from([0.0, 0.1, 3.0]))
@settings(deadline=None)
def test_a_mean_difference_is_the_loops(rng, seeds, images, spread):
    values = rng.normal(size=(seeds, images)) + rng.normal(size=images) + spread * rng.normal(size=(seeds, 1))
    estimates, u = loops.mean_parts(values.tolist())
    expected = loops.total_and_df(estimates, [u], loops.unrelated, 0.9)
    assert limits(crossed_interval(values, 0.9)) == pytest.approx(expected, rel=RELATIVE, abs=ABSOLUTE)


@given(noisy, st.integers(2, 4), st.booleans())
@settings(deadline=None)
def test_a_pooled_auroc_is_the_loops(rng, seeds, ties):
    inside, near, far = (rng.normal(mean, 1, (seeds, n)) for mean, n in ((1, 11), (0, 7), (-1, 5)))
    if ties:
        inside, near, far = inside.round(), near.round(), far.round()
    estimates, u, v = loops.auroc_parts(inside.tolist(), [near.tolist(), far.tolist()])
    influence = auroc_influence(inside, {"near": near, "far": far})
    assert influence.estimates == pytest.approx(estimates, rel=RELATIVE)
    for name, expected in (("test", u), ("near", v[0]), ("far", v[1])):
        # Differences of components of at most 1, divided by the number of images.
        assert influence.parts[name] == pytest.approx(np.array(expected), abs=1e-15)
    if any(any(row) for row in u):  # else all scores are apart, which the loops do not treat
        expected = loops.total_and_df([e - 0.5 for e in estimates], [u, *v], loops.unrelated, 0.95)
        found = crossed_auroc((inside, {"near": near, "far": far}))
        assert limits(found) == pytest.approx(expected, rel=RELATIVE, abs=ABSOLUTE)


@given(noisy, st.integers(3, 9))
@settings(deadline=None)
def test_interpolated_images_vary_with_their_parents(rng, n):
    parents = pairs(n, rng)
    inside = rng.normal(1, 1, (2, n))
    outside = inside[:, parents].mean(axis=2) + rng.normal(0, 0.5, (2, n))
    influence = auroc_influence(inside, {"interp": outside}, {"interp": parents})
    found = influence.image_variance()
    for seed in range(2):
        u, v = influence.parts["test"][seed].tolist(), influence.parts["interp"][seed].tolist()
        expected = max(loops.related(u, v, parents.tolist()), loops.unrelated([u, v]) / 4)
        assert found[seed] == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_variance_of_interpolated_images_is_that_of_many_test_sets(sign):
    rng, n, draws = np.random.default_rng(0), 200, 2000
    parents = pairs(n, rng)
    inside = rng.normal(0, 1, (draws, n))
    # Children that score as their parents do move with them, and AUROC moves less; others make it move more.
    outside = sign * inside[:, parents].mean(axis=2) + rng.normal(-0.5, 1, (draws, n))
    influence = auroc_influence(inside, {"interp": outside}, {"interp": parents})
    # The variance of 2000 draws is known to sqrt(2 / 2000) = 3.2 %: three of that.
    assert influence.image_variance().mean() == pytest.approx(influence.estimates.var(), rel=0.1)
    unrelated = auroc_influence(inside, {"interp": outside}).image_variance().mean()
    assert (unrelated > influence.image_variance().mean()) == (sign > 0)


def test_dependent_images_leave_a_quarter_of_the_variance():
    inside, parents = np.array([[0.0, 1, 2, 3]]), np.array([[0, 1], [1, 2], [2, 3], [3, 0]])
    outside = inside[:, parents].mean(axis=2)
    influence = auroc_influence(inside, {"interp": outside}, {"interp": parents})
    u, v = influence.parts["test"][0].tolist(), influence.parts["interp"][0].tolist()
    assert loops.related(u, v, parents.tolist()) < loops.unrelated([u, v]) / 4
    assert influence.image_variance()[0] == pytest.approx(loops.unrelated([u, v]) / 4, rel=RELATIVE)


@given(differences, noisy)
@settings(deadline=None)
def test_the_order_of_images_and_seeds_does_not_count(values, rng):
    other = values[rng.permutation(len(values))][:, rng.permutation(values.shape[1])]
    found, moved = (dataclasses.astuple(crossed_interval(each)) for each in (values, other))
    assert found == pytest.approx(moved, rel=RELATIVE, abs=ABSOLUTE)


@given(noisy, st.integers(2, 4))
@settings(deadline=None)
def test_swapped_methods_swap_the_interval(rng, seeds):
    a, b = (rng.normal(size=(seeds, 9)) for _ in range(2))
    one, other = crossed_interval(a - b), crossed_interval(b - a)
    assert (one.low, one.high, one.p) == pytest.approx((-other.high, -other.low, other.p), rel=RELATIVE, abs=ABSOLUTE)
    assert one.p_above(0.1) == pytest.approx(1 - other.p_above(-0.1), rel=RELATIVE)
    first, second = ((rng.normal(size=(seeds, 9)), {"out": rng.normal(-1, 1, (seeds, 6))}) for _ in range(2))
    one, other = crossed_auroc(first, second), crossed_auroc(second, first)
    assert (one.low, one.high, one.p) == pytest.approx((-other.high, -other.low, other.p), rel=RELATIVE, abs=ABSOLUTE)


@given(noisy, st.floats(1e-3, 1e3))
@settings(deadline=None)
def test_another_unit_changes_limits_and_no_p(rng, unit):
    values = rng.normal(size=(3, 20))
    one, other = crossed_interval(values), crossed_interval(unit * values)
    assert (other.low, other.high) == pytest.approx(
        (unit * one.low, unit * one.high), rel=RELATIVE, abs=unit * ABSOLUTE
    )
    assert (other.p, other.df) == pytest.approx((one.p, one.df), rel=RELATIVE)


def test_equal_seeds_leave_the_interval_over_images():
    values = np.tile(np.random.default_rng(0).normal(0.1, 1, 1000), (4, 1))
    found = crossed_interval(values)
    assert found.se_seed == 0
    assert (found.low, found.high) == pytest.approx((found.image_low, found.image_high), rel=RELATIVE)
    # The paired t-test of images has N - 1 degrees of freedom; fewer from fourth powers move a limit by 1 in 1000.
    assert found.se == pytest.approx(stats.sem(values[0]), rel=RELATIVE)
    paired = stats.ttest_1samp(values[0], 0).confidence_interval(0.95)
    assert found.high - found.low == pytest.approx(paired.high - paired.low, rel=2e-3)


def test_seeds_that_dominate_leave_students_interval():
    values = np.repeat([[0.1], [0.5], [0.3]], 50_000, axis=1)
    values += 1e-3 * np.random.default_rng(0).normal(size=values.shape)
    expected = stats.ttest_1samp(values.mean(axis=1), 0).confidence_interval(0.95)
    found = crossed_interval(values)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-4)
    assert found.df == pytest.approx(2, rel=1e-4)


def test_one_image_in_every_seed_is_no_certain_difference():
    n = 40_000
    same, others = np.zeros((3, n)), np.zeros((3, n))
    same[:, 7] = -1
    others[[0, 1, 2], [7, 8, 9]] = -1
    # By hand, up to 1/n. One image whose value is -1: I = 1/n², T = 5/4 I, and two degrees of freedom.
    found = crossed_interval(same)
    assert found.p == pytest.approx(2 * stats.t.sf(math.sqrt(4 / 5), 2), rel=1e-3)
    assert found.low < -1 / n < 0 < found.high
    # Three images whose mean is -1/3: I = 1/(3 n²) is all interaction, T = (1/12 + 1/9) / n², six degrees of freedom.
    found = crossed_interval(others)
    assert found.p == pytest.approx(2 * stats.t.sf(math.sqrt(36 / 7), 6), rel=1e-3)
    assert found.low < -1 / n < 0 < found.high


@pytest.mark.parametrize("value", [0.0, 1.0, -0.25, 0.1])
def test_equal_values_have_an_interval_of_one_image(value):
    found = crossed_interval(np.full((3, 50), value))
    half = stats.t.ppf(0.975, 2) / 50
    assert (found.low, found.high) == pytest.approx((value - half, value + half), rel=RELATIVE)
    assert (found.p == 1) if value == 0 else 0 < found.p < 1
    apart = crossed_auroc((np.ones((3, 50)), {"out": np.zeros((3, 50))}))
    assert (apart.low, apart.high) == pytest.approx((0.5 - half, 0.5 + half), rel=RELATIVE)


def test_one_seed_has_an_interval_over_images_alone():
    values = np.random.default_rng(0).normal(size=(1, 100))
    found = crossed_interval(values)
    for name in ("low", "high", "p", "se", "df", "se_seed"):
        assert math.isnan(getattr(found, name))
    assert math.isnan(found.p_above())
    assert found.image_low < found.difference < found.image_high
    assert found.difference == pytest.approx(values.mean(), rel=RELATIVE)
    assert found.se_image == pytest.approx(stats.sem(values[0]), rel=RELATIVE)


def test_one_sided_p_agrees_with_the_interval():
    found = crossed_interval(np.random.default_rng(0).normal(0.1, 1, (4, 300)))
    assert found.p_above(found.low) == pytest.approx(0.025, rel=1e-6)
    assert found.p_above(found.high) == pytest.approx(0.975, rel=1e-6)
    assert found.p == pytest.approx(2 * found.p_above(), rel=1e-6)
    assert found.p_above(-1.0) < 1e-6 < 1 - 1e-6 < found.p_above(1.0)


def test_contrasts_are_linear():
    rng = np.random.default_rng(0)
    a, b, c, d = rng.normal(size=(4, 3, 30))
    once, twice = (
        mean_influence((a - b) - (c - d)),
        (mean_influence(a) - mean_influence(b)) - (mean_influence(c) - mean_influence(d)),
    )
    # The differences cancel numbers of order 1.
    assert dataclasses.astuple(interval(once)) == pytest.approx(dataclasses.astuple(interval(twice)), rel=1e-9)
    both = interval(average([mean_influence(a, "attacked"), mean_influence(b, "attacked")]))
    assert dataclasses.astuple(both) == pytest.approx(dataclasses.astuple(crossed_interval((a + b) / 2)), rel=1e-9)


def test_measures_of_other_images_vary_by_themselves():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 30)), rng.normal(size=(2, 40))
    apart = mean_influence(a) - mean_influence(b, "others")
    expected = mean_influence(a).image_variance() + mean_influence(b).image_variance()
    assert apart.image_variance() == pytest.approx(expected, rel=RELATIVE)
    with pytest.raises(HdgeError, match="2 seeds of 40 images in one measure"):
        mean_influence(a) - mean_influence(b)
    with pytest.raises(HdgeError, match="compare the seeds"):
        mean_influence(a) - mean_influence(b[:1], "others")


def test_what_says_nothing_of_images_is_refused():
    good = np.random.default_rng(0).normal(size=(2, 5))
    with pytest.raises(HdgeError, match="at least 2"):
        crossed_interval(good[:, :1])
    with pytest.raises(HdgeError, match=r"nan.*finite"):
        crossed_interval(np.where(good == good[1, 1], np.nan, good))
    with pytest.raises(HdgeError, match="out-of-distribution sets is 0"):
        crossed_auroc((good, {}))
    with pytest.raises(HdgeError, match="its 5 images"):
        crossed_auroc((good, {"out": good}), parents={"out": np.array([[0, 1]])})
    with pytest.raises(HdgeError, match=r"in \[0, 5\)"):
        crossed_auroc((good, {"out": good}), parents={"out": np.array([[0, 5]] * 5)})


def test_the_exact_interval_holds_few_successes():
    # By hand: no success among n leaves 1 - 0.025^(1/n).
    assert binomial_interval(0, 10) == pytest.approx((0, 1 - 0.025**0.1), rel=RELATIVE)
    assert binomial_interval(10, 10) == pytest.approx((0.025**0.1, 1), rel=RELATIVE)
