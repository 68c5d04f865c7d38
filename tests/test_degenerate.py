"""What evaluators say of values that nothing can be counted from: one sentence, and no number."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hdge.evaluators import (
    approximation,
    calibration,
    classification,
    crossed,
    generation,
    influences,
    intervals,
    ood,
    robustness,
)
from hdge.study.errors import HdgeError
from hdge.study.runs import Outputs

pytestmark = pytest.mark.usefixtures("without_shape_checks")

OF_LABELS = {
    "ECE": calibration.expected_calibration_error,
    "MCE": calibration.maximum_calibration_error,
    "ACE": calibration.adaptive_calibration_error,
    "bins": calibration.reliability_bins,
    "Brier score": calibration.brier_score,
    "NLL": calibration.negative_log_likelihood,
    "temperature": calibration.fitted_temperature,
    "scores of labels": lambda logits, labels: approximation.label_scores(logits, labels, 0.1, "l2"),
}
OF_SCORES = {
    "AUROC": ood.auroc,
    "AUPR": ood.average_precision,
    "FPR95": ood.false_positive_rate,
    "bootstrap of AUROC": lambda inside, outside: ood.bootstrap_auroc(inside, outside, 3),
    "row": ood.detection_row,
}
OF_VALUES = {
    "inception_score": lambda values: generation.inception_score(np.abs(values)),
    "moments": generation.moments,
    "frechet_distance": lambda values: generation.frechet_distance(values, np.eye(2)),
    "square_root": generation.square_root,
    "centred_interval": lambda values: generation.centred_interval(0.0, values.flatten()),
    "percentile_interval": lambda values: intervals.percentile_interval(values.flatten()),
    "student_interval": lambda values: intervals.student_interval(values.flatten()),
    "student_p": lambda values: intervals.student_p(values.flatten()),
    "effect": lambda values: intervals.effect(values.flatten()),
    "mean_influence": influences.mean_influence,
    "auroc_influence": lambda values: influences.auroc_influence(values, {"far": np.eye(2)}),
    "crossed_interval": crossed.crossed_interval,
    "log_odds": lambda values: ood.log_odds(torch.from_numpy(values)),
    "scores_of": lambda values: ood.scores_of(Outputs(torch.from_numpy(values), torch.zeros(2))),
    "expected_ece_if_calibrated": lambda values: calibration.expected_ece_if_calibrated(torch.from_numpy(values)),
    "all_scores": lambda values: approximation.all_scores(torch.from_numpy(values), 0.1, "l2"),
    "true_logit_weight": lambda values: approximation.true_logit_weight(
        torch.from_numpy(values[:1].flatten()), torch.zeros(2)
    ),
}
STRANGE = st.sampled_from([float("nan"), float("inf"), -float("inf")])


def refused(function, *given):
    """The one sentence with which values are refused."""
    with pytest.raises(HdgeError) as caught:
        function(*given)
    said = str(caught.value)
    assert said.endswith(".")
    assert "\n" not in said
    assert ";" in said  # what is wrong; what to do about it
    return said


@pytest.mark.parametrize("name", OF_LABELS)
@given(value=STRANGE, place=st.tuples(st.integers(0, 4), st.integers(0, 2)))
@settings(deadline=None, max_examples=10)
def test_logits_that_are_not_finite_are_named_by_their_place(name, value, place):
    logits = torch.zeros(5, 3)
    logits[place] = value
    said = refused(OF_LABELS[name], logits, torch.zeros(5, dtype=torch.int64))
    assert said.startswith(f"logits[{place[0]}, {place[1]}] is {value}; it must be a finite number")


@pytest.mark.parametrize("name", OF_LABELS)
def test_labels_must_be_one_class_an_image(name):
    logits, function = torch.zeros(4, 3), OF_LABELS[name]
    assert "labels[2] is 3; it must be from 0 to 2" in refused(function, logits, torch.tensor([0, 1, 3, 4]))
    assert "labels[1] is -100; it must be from 0 to 2" in refused(function, logits, torch.tensor([0, -100, 1, 1]))
    assert "labels have shape (3,) for 4 images" in refused(function, logits, torch.tensor([0, 1, 1]))
    assert "labels have shape (4, 1) for 4 images" in refused(function, logits, torch.zeros(4, 1, dtype=torch.int64))
    assert "labels are torch.float32" in refused(function, logits, torch.zeros(4))
    assert "hold no value; give at least one image" in refused(function, logits[:0], torch.zeros(0, dtype=torch.int64))
    assert "logits have shape (4,)" in refused(function, logits[:, 0], torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize("kind", [torch.int32, torch.uint8])
@pytest.mark.parametrize("name", OF_LABELS)
def test_labels_of_another_width_are_the_same_labels(name, kind):
    logits, labels = torch.eye(3), torch.tensor([0, 1, 0])
    found, expected = (np.asarray(OF_LABELS[name](logits, own), dtype=float) for own in (labels.to(kind), labels))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", OF_SCORES)
@given(value=STRANGE, place=st.integers(0, 3))
@settings(deadline=None, max_examples=10)
def test_scores_that_are_not_finite_are_named_by_their_place(name, value, place):
    strange, fine = [0.0, 1.0, 2.0, 3.0], [1.0, 2.0]
    strange[place] = value
    assert refused(OF_SCORES[name], np.array(strange), np.array(fine)).startswith(f"scores_in[{place}] is {value};")
    assert refused(OF_SCORES[name], np.array(fine), np.array(strange)).startswith(f"scores_out[{place}] is {value};")


@pytest.mark.parametrize("name", OF_SCORES)
def test_sets_without_images_and_scores_in_columns_are_refused(name):
    two, none = np.array([0.0, 1.0]), np.array([])
    assert "scores_in have shape (0,) and hold no value" in refused(OF_SCORES[name], none, two)
    assert "scores_out have shape (0,) and hold no value" in refused(OF_SCORES[name], two, none)
    assert "scores_out have shape (2, 1); they must have 1 dimension" in refused(OF_SCORES[name], two, two[:, None])


@pytest.mark.parametrize("name", OF_VALUES)
@given(value=STRANGE)
@settings(deadline=None, max_examples=5)
def test_no_other_evaluator_counts_what_is_not_finite(name, value):
    values = np.eye(2)
    OF_VALUES[name](values)
    values[0, 1] = value
    assert "a finite number" in refused(OF_VALUES[name], values)
    assert "at least" in refused(OF_VALUES[name], np.empty((0, 2)))


@pytest.mark.parametrize("name", ["mean_a", "root_a", "mean_b", "covariance_b"])
@given(value=STRANGE)
@settings(deadline=None, max_examples=5)
def test_a_distance_of_moments_that_are_not_finite_is_not_zero(name, value):
    moments = {"mean_a": np.zeros(2), "root_a": np.eye(2), "mean_b": np.zeros(2), "covariance_b": np.eye(2)}
    assert generation.gaussian_distance(**moments) == 0
    moments[name].flat[0] = value
    place = ", ".join("0" * moments[name].ndim)
    assert refused(lambda: generation.gaussian_distance(**moments)).startswith(f"{name}[{place}] is {value};")


def test_gradient_norms_are_checked_as_logits_are():
    strange = Outputs(torch.zeros(2, 2), torch.zeros(2), torch.tensor([1.0, float("nan")]))
    assert refused(ood.scores_of, strange).startswith("gradient_norms[1] is nan;")


@pytest.mark.parametrize("successes", [-1, 4])
@pytest.mark.parametrize("interval", [intervals.wilson_interval, crossed.binomial_interval])
def test_counts_are_from_none_to_all_of_some_images(interval, successes):
    assert f"successes is {successes}; it must be from 0 to n, 3" in str(refused_count(interval, successes, 3))
    assert "n is 0; it must be at least 1" in str(refused_count(interval, 0, 0))


def refused_count(function, *given):
    with pytest.raises(HdgeError) as caught:
        function(*given)
    return caught.value


def test_bounds_of_single_numbers_are_told():
    logits, labels = torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64)
    for call, said in (
        (lambda: classification.accuracy_row(torch.zeros(0)), "n is 0"),
        (lambda: robustness.paired_interval(0, 0, 0), "n is 0"),
        (lambda: robustness.paired_interval(2, 2, 3), "successes is 4"),
        (lambda: calibration.expected_calibration_error(logits, labels, 0), "bins is 0"),
        (lambda: calibration.adaptive_calibration_error(logits, labels, 0), "bins is 0"),
        (lambda: calibration.reliability_bins(logits, labels, -1), "bins is -1"),
        (lambda: ood.false_positive_rate([1.0], [0.0], 0.0), "true_positive_rate is 0.0"),
        (lambda: ood.false_positive_rate([1.0], [0.0], float("nan")), "true_positive_rate is nan"),
        (lambda: intervals.holm([0.1, float("nan")]), r"p_values\[1\] is nan"),
        (lambda: approximation.all_scores(logits, 0.0, "l2"), "temperature is 0.0"),
        (lambda: approximation.queue_sizes(0), "images is 0"),
        (lambda: approximation.log_partition_draws(logits, [4], 0.1, "l2"), r"sizes is \[4\]"),
        (lambda: approximation.log_partition_draws(logits, [1], 0.1, "l2", 0), "draws is 0"),
        (lambda: generation.inception_score(np.full((2, 2), 0.4)), "sum of a row of probabilities is 0.8"),
        (lambda: generation.inception_score(np.array([[2.0, -1.0]])), "least of the probabilities is -1"),
    ):
        with pytest.raises(HdgeError, match=said):
            call()
    assert intervals.holm([]) == []
