import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hdge.core import readings

logits_arrays = arrays.arrays(
    "float64", st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.floats(-50, 50, width=64)
)


@given(logits_arrays)
@settings(deadline=None)
def test_joint_log_density_is_the_logit(array):
    """log q(y|x) + log q(x) = f(x)[y]: the reading that makes a classifier an energy-based model (equation 6)."""
    logits = torch.from_numpy(array)
    joint = readings.log_q_y_given_x(logits) + readings.log_q_x(logits)[:, None]
    torch.testing.assert_close(joint, logits, rtol=1e-13, atol=1e-13)


@given(logits_arrays, st.floats(-30, 30))
@settings(deadline=None)
def test_a_constant_moves_the_density_and_not_the_labels(array, constant):
    logits = torch.from_numpy(array)
    moved = logits + constant
    torch.testing.assert_close(readings.log_q_x(moved), readings.log_q_x(logits) + constant, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(readings.confidence(moved), readings.confidence(logits), rtol=1e-12, atol=1e-12)


@given(logits_arrays)
@settings(deadline=None)
def test_confidence_is_the_predicted_labels_probability(array):
    logits = torch.from_numpy(array)
    predicted = readings.prediction(logits)
    probability = readings.log_q_y_given_x(logits).exp().gather(1, predicted[:, None]).squeeze(1)
    torch.testing.assert_close(readings.confidence(logits), probability, rtol=0, atol=0)
    assert (probability >= 1 / logits.shape[1] - 1e-12).all()


def test_closed_forms():
    logits = torch.tensor([[0.0, math.log(3.0)]], dtype=torch.float64)
    torch.testing.assert_close(readings.log_q_x(logits).exp(), torch.tensor([4.0], dtype=torch.float64))
    torch.testing.assert_close(readings.confidence(logits), torch.tensor([0.75], dtype=torch.float64))


def test_class_densities_sum_to_one_over_the_images_that_normalise_them():
    logits = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    log_partition = torch.logsumexp(logits, dim=0)
    for label in range(3):
        log_density = readings.log_q_x_given_y(logits, torch.full((20,), label), log_partition)
        assert math.isclose(log_density.exp().sum().item(), 1, rel_tol=1e-12)
