import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hdge.evaluators import calibration, intervals, ood, robustness
from hdge.study.runs import Outputs
from hdge.verdict import reported
from tests.reference import formulas

scores = st.lists(st.integers(-5, 5).map(float) | st.floats(-1e4, 1e4), min_size=1, max_size=12)


def logits_of(confidences: list[float]) -> torch.Tensor:
    """Two-class logits whose confidence in class 0 is as given, from 0.5 to 1."""
    c = torch.tensor(confidences, dtype=torch.float64)
    return torch.stack([c.log(), (1 - c).clamp_min(1e-300).log()], dim=1)  # whose confidence rounds to 1


@given(scores, scores)
@settings(deadline=None)
def test_auroc_counts_pairs(inside, outside):
    # Both are sums of at most 144 halves over their number: exact but for one division and scikit-learn's trapezes.
    assert ood.auroc(inside, outside) == pytest.approx(formulas.mann_whitney(inside, outside), abs=1e-12)


@given(scores, scores)
@settings(deadline=None)
def test_auroc_sees_order_only_and_swaps_to_its_complement(inside, outside):
    value = ood.auroc(inside, outside)
    distinct = sorted({*inside, *outside})
    ranks = {score: rank for rank, score in enumerate(distinct)}
    assert ood.auroc([ranks[s] for s in inside], [ranks[s] for s in outside]) == pytest.approx(value, abs=1e-12)
    assert ood.auroc(outside, inside) == pytest.approx(1 - value, abs=1e-12)


def test_auroc_of_two_gaussians_is_the_closed_form():
    draw = np.random.default_rng(0)
    inside, outside = draw.normal(1, 1, 20_000), draw.normal(0, 1, 20_000)
    truth = stats.norm.cdf(1 / math.sqrt(2))
    # The standard error of AUROC is at most sqrt(A (1 - A) / min(n, m)) = 0.003; four of them.
    assert ood.auroc(inside, outside) == pytest.approx(truth, abs=0.012)


@given(scores, scores)
@settings(deadline=None)
def test_average_precision_and_false_positives_equal_their_loops(inside, outside):
    expected = formulas.average_precision(inside, outside)
    assert ood.average_precision(inside, outside) == pytest.approx(expected, abs=1e-12)
    assert ood.false_positive_rate(inside, outside, 0.95) == formulas.false_positive_rate(inside, outside, 95)


@given(st.integers(0, 2**31 - 1), st.integers(2, 12), st.floats(0.1, 4.0))
@settings(deadline=None)
def test_log_odds_are_those_of_the_confidence(seed, classes, scale):
    logits = scale * torch.randn(20, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    odds, sure = ood.log_odds(logits), calibration.confidence(logits)
    # 1 − q loses the digits of q, of which an error of 2^-52 remains: the bound of the log-odds is that over 1 − q.
    torch.testing.assert_close(odds, torch.special.logit(sure), rtol=1e-12, atol=float(2**-48 / (1 - sure).min()))
    assert (odds >= -math.log(classes - 1) - 1e-12).all()
    loops = [float(own.max() - own[own != own.max()].logsumexp(0)) for own in logits]
    assert odds.tolist() == pytest.approx(loops, rel=1e-12, abs=1e-12)


def test_no_score_sees_labels():
    generator = torch.Generator().manual_seed(0)
    logits, norms = torch.randn(9, 4, generator=generator), torch.rand(9, generator=generator)
    one = ood.scores_of(Outputs(logits, torch.zeros(9, dtype=torch.int64), norms))
    other = ood.scores_of(Outputs(logits, torch.arange(9) % 4, norms))
    assert list(one) == list(other) == list(ood.SCORES)
    for name in one:
        assert (one[name] == other[name]).all()
    single = ood.scores_of(Outputs(logits[:, :1], torch.zeros(9, dtype=torch.int64)))
    assert list(single) == ["log q(x)"]


def test_bootstrap_replicates_are_aurocs_of_resamples():
    draw = np.random.default_rng(0)
    inside, outside = draw.integers(0, 8, 30).astype(float), draw.integers(0, 8, 20).astype(float) - 1
    replicates = ood.bootstrap_auroc(inside, outside, replicates=20, seed=5)
    rng = np.random.default_rng(5)
    for replicate in replicates:
        resampled_in, resampled_out = inside[rng.integers(30, size=30)], outside[rng.integers(20, size=20)]
        expected = formulas.mann_whitney(resampled_in.tolist(), resampled_out.tolist())
        assert replicate == pytest.approx(expected, abs=1e-12)


def test_bootstrap_interval_covers_as_often_as_it_says():
    draw = np.random.default_rng(0)
    truth, covered, trials = stats.norm.cdf(1 / math.sqrt(2)), 0, 200
    for trial in range(trials):
        inside, outside = draw.normal(1, 1, 150), draw.normal(0, 1, 150)
        low, high = intervals.percentile_interval(ood.bootstrap_auroc(inside, outside, 200, seed=trial))
        covered += low <= truth <= high
    # 190 of 200 expected with a standard error of 3.1; the percentile interval is known to fall a little short.
    assert covered >= 178


@given(st.lists(st.tuples(st.floats(0.5, 1), st.booleans()), min_size=1, max_size=40), st.integers(1, 25))
@settings(deadline=None)
def test_ece_equals_the_loop(images, bins):
    logits = logits_of([c for c, _ in images])
    labels = torch.tensor([0 if right else 1 for _, right in images])
    confidences = calibration.confidence(logits)
    right = (calibration.prediction(logits) == labels).tolist()
    # The loop's edges m / bins are those of linspace to the bit in all but rounding; keep clear of them.
    edges = np.linspace(0, 1, bins + 1)[1:-1]
    if len(edges) and np.abs(confidences.numpy()[:, None] - edges).min() < 1e-12:
        return
    expected = formulas.expected_calibration_error(confidences.tolist(), right, bins)
    assert calibration.expected_calibration_error(logits, labels, bins) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.tuples(st.floats(0.5, 1), st.booleans()), min_size=1, max_size=40), st.integers(1, 25))
@settings(deadline=None)
def test_maximum_and_adaptive_errors_equal_their_loops(images, bins):
    logits = logits_of([c for c, _ in images])
    labels = torch.tensor([0 if right else 1 for _, right in images])
    confidences, right = calibration.confidence(logits).tolist(), (calibration.prediction(logits) == labels).tolist()
    expected = formulas.adaptive_calibration_error(confidences, right, bins)
    assert calibration.adaptive_calibration_error(logits, labels, bins) == pytest.approx(expected, abs=1e-12)
    worst = calibration.maximum_calibration_error(logits, labels, bins)
    table = calibration.reliability_bins(logits, labels, bins)
    gaps = [abs(row.accuracy - row.confidence) for row in table.itertuples() if row.count]
    assert worst == pytest.approx(max(gaps), abs=1e-12)
    assert worst >= calibration.expected_calibration_error(logits, labels, bins) - 1e-12


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("images", "classes", "scale"), [(1000, 5, 1.0), (481, 8, 6.0), (37, 3, 20.0)])
@pytest.mark.parametrize("bins", [1, 7, 20])
def test_errors_of_calibration_equal_netcals(images, classes, scale, bins):
    """From three classes on: it reads two as one probability."""
    from netcal.metrics import ECE, MCE

    draw = torch.Generator().manual_seed(images)
    logits = scale * torch.randn(images, classes, generator=draw, dtype=torch.float64)
    labels = torch.randint(classes, (images,), generator=draw)
    q, y = torch.softmax(logits, dim=1).numpy(), labels.numpy()
    # Both average n numbers of at most 1 in float64, in other orders.
    close = {"rel": 0, "abs": 4 * images * np.finfo(float).eps}
    for ours, theirs in ((calibration.expected_calibration_error, ECE), (calibration.maximum_calibration_error, MCE)):
        assert ours(logits, labels, bins) == pytest.approx(theirs(bins).measure(q, y), **close)


def test_brier_score_of_certainty_and_of_ignorance():
    sure = torch.tensor([[1e4, 0.0], [1e4, 0.0]])
    assert calibration.brier_score(sure, torch.tensor([0, 0])) == 0
    assert calibration.brier_score(sure, torch.tensor([0, 1])) == 1  # one image wrong: (1 + 1) / 2
    assert calibration.brier_score(torch.zeros(3, 4), torch.tensor([0, 1, 2])) == pytest.approx(0.75)


def test_fitted_temperature_finds_the_one_that_labels_were_drawn_at():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(20_000, 5, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(torch.softmax(logits / 2.0, dim=1), 1, generator=generator).squeeze(1)
    found = calibration.fitted_temperature(logits, labels)
    # The information on log T is the mean variance of f/T under q, about 1 here: a standard error of 1/sqrt(n) = 0.7 %.
    assert found == pytest.approx(2.0, rel=0.035)
    assert calibration.fitted_temperature(7 * logits, labels) == pytest.approx(7 * found, rel=1e-3)


def test_ece_keeps_its_last_bin():
    """A confidence of exactly 1 shares the bin of 0.96, as (0.95, 1] says: (0.9 + 1) / 2 - (1 + 0.96) / 2 = 0.03."""
    logits = torch.cat([torch.tensor([[1e4, 0.0]] * 10, dtype=torch.float64), logits_of([0.96] * 10)])
    labels = torch.tensor([0] * 9 + [1] + [0] * 10)
    assert calibration.expected_calibration_error(logits, labels, 20) == pytest.approx(0.03, abs=1e-12)


def test_bins_are_closed_above_and_hold_every_image():
    confidences = np.array([0.0, 0.05, 0.05 + 1e-9, 0.5, 0.55, 0.95, 1.0])
    assert calibration._bin_of(confidences, 20).tolist() == [0, 0, 1, 9, 10, 18, 19]
    bins = calibration.reliability_bins(logits_of([0.7, 0.72, 1.0]), torch.tensor([0, 1, 0]), 20)
    assert bins["count"].sum() == 3
    assert len(bins) == 20
    filled = bins[bins["count"] > 0]
    assert filled["confidence"].tolist() == pytest.approx([0.7, 0.72, 1.0])
    assert filled["accuracy"].tolist() == [1, 0, 1]


def test_a_calibrated_classifier_has_no_error():
    logits, labels = logits_of([0.75] * 8), torch.tensor([0] * 6 + [1] * 2)
    assert calibration.expected_calibration_error(logits, labels) == pytest.approx(0, abs=1e-12)
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert calibration.negative_log_likelihood(logits, labels) == pytest.approx(expected, rel=1e-12)


@given(st.lists(st.floats(0.5, 1), min_size=1, max_size=8), st.integers(1, 25))
@settings(deadline=None)
def test_ece_if_calibrated_is_the_mean_over_all_labels(confidences, bins):
    logits = logits_of(confidences)
    sure = calibration.confidence(logits).tolist()
    expected = 0.0
    for right in itertools.product((0, 1), repeat=len(sure)):
        labels = torch.tensor([1 - r for r in right])
        chance = math.prod(c if r else 1 - c for c, r in zip(sure, right, strict=True))
        # A tie of both logits predicts class 0, whose label is 0, so that the loop's images are right as drawn.
        expected += chance * calibration.expected_calibration_error(logits, labels, bins)
    # 256 products of 8 rounded factors, each of relative error 1e-15.
    assert calibration.expected_ece_if_calibrated(logits, bins) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("n", "c"), [(1, 0.75), (20, 0.97), (481, 0.999), (2000, 0.52)])
def test_ece_if_calibrated_of_equal_confidences_is_de_moivres(n, c):
    """The mean absolute deviation of a binomial number of errors: 2 m C(n, m) p^m (1 - p)^(n - m + 1), m = [np] + 1."""
    m = math.floor(n * (1 - c)) + 1
    expected = 2 * m * stats.binom.pmf(m, n, 1 - c) * c / n
    # Rounding of the confidence through its logarithm, and n products in turn: 2000 x 1e-16.
    assert calibration.expected_ece_if_calibrated(logits_of([c] * n)) == pytest.approx(expected, rel=1e-9)
    assert calibration.expected_ece_if_calibrated(logits_of([1.0] * n)) == 0


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (7, 10), (481, 500)])
def test_wilson_limits_solve_the_score_equation(successes, n):
    z = stats.norm.ppf(0.975)
    for limit in intervals.wilson_interval(successes, n):
        deviation = abs(successes / n - limit)
        assert deviation == pytest.approx(z * math.sqrt(limit * (1 - limit) / n), abs=1e-12)


def test_student_interval_is_the_textbooks():
    low, high = intervals.student_interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2 - 4.302652729911275 / math.sqrt(3), 2 + 4.302652729911275 / math.sqrt(3)))
    assert all(math.isnan(limit) for limit in intervals.student_interval([1.0]))


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=6))
@settings(deadline=None)
def test_a_p_value_below_five_percent_is_an_interval_without_zero(values):
    low, high = intervals.student_interval(values)
    p = intervals.student_p(values)
    if abs(p - 0.05) > 1e-9 and np.ptp(values) > 1e-6:
        assert (p < 0.05) == (low > 0 or high < 0)


def test_holm_is_the_textbooks():
    assert intervals.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert intervals.holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_and_never_reorders(p_values):
    adjusted = intervals.holm(p_values)
    order = np.argsort(p_values, kind="stable")
    assert all(own <= corrected <= 1 for own, corrected in zip(p_values, adjusted, strict=True))
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()
    assert min(adjusted) == pytest.approx(min(1.0, len(p_values) * min(p_values)))


def test_reported_numbers_are_there_with_their_sources():
    table = reported.reported()
    assert table["value"].notna().all()
    assert table["source"].str.startswith("arXiv:").all()
    ours = table.query("table == 'ood' and task == 'log_qx' and model == 'hdge' and dataset == 'svhn'")
    assert ours["value"].tolist() == [0.96]


def test_paired_interval_covers_as_often_as_it_says():
    """Exactly: over all outcomes of 20 images of which 15 % are lost by one side alone and 5 % by the other."""
    n, first, second = 20, 0.15, 0.05
    covered = 0.0
    for i in range(n + 1):
        for j in range(n + 1 - i):
            chance = math.comb(n, i) * math.comb(n - i, j) * first**i * second**j * (1 - first - second) ** (n - i - j)
            low, high = robustness.paired_interval(i, j, n)
            covered += chance * (low <= first - second <= high)
    assert 0.94 <= covered <= 0.99  # adjusted intervals are slightly wide


@pytest.mark.parametrize("gaps", [(20.0, 18.0), (60.0, 50.0), (9000.0, 8000.0)])
def test_confidences_that_are_rounded_to_1_are_still_ranked(gaps):
    """1 − q is exp(−gap): both q are 1 in float32, and beyond 37 in float64, and 0.5 would be the AUROC of ties."""
    sure, less = (torch.tensor([[gap, 0.0]]).repeat(2, 1) for gap in gaps)
    scores = [
        ood.scores_of(Outputs(logits, torch.zeros(2, dtype=torch.int64)))["max q(y|x)"] for logits in (sure, less)
    ]
    assert ood.auroc(*scores) == 1
