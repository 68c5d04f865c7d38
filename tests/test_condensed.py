"""What the archive leaves out of logits changes no score, no prediction and no label's probability."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hdge.core.readings import confidence, log_q_x, log_q_y_given_x, of_label, prediction
from hdge.evaluators.calibration import brier_score, fitted_temperature
from hdge.evaluators.ood import detection_row
from hdge.study.condensed import FOLLOWED, KEPT, as_ranks, condense, condensed, expand

# float16 keeps 11 bits: a logit of at most 16 is off by at most 2^-8, half the gap of 2^-7 above 8.
ROUNDED = 2**-8


@settings(deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(3, 120), st.integers(1, 12), st.floats(0.1, 3.0))
def test_readings_survive_up_to_half_precision(seed, classes, kept, scale):
    generator = torch.Generator().manual_seed(seed)
    logits = (scale * torch.randn(20, classes, generator=generator)).clamp(-15, 15)
    labels = torch.randint(classes, (20,), generator=generator)
    own = expand(condense(logits, labels, kept))
    assert own.shape == logits.shape
    # All logits move by at most ROUNDED, so their log-sum does as well, and a difference of two by twice as much.
    torch.testing.assert_close(log_q_x(own), log_q_x(logits), rtol=0, atol=ROUNDED + 1e-5)
    for reading in (lambda f: of_label(log_q_y_given_x(f), labels), lambda f: confidence(f).log()):
        if kept > 1 or classes <= 2 * kept:
            torch.testing.assert_close(reading(own), reading(logits), rtol=0, atol=2 * ROUNDED + 1e-5)
    top_two = logits.topk(2, dim=1).values
    clear = top_two[:, 0] - top_two[:, 1] > 2 * ROUNDED
    if kept > 1:
        assert torch.equal(prediction(own)[clear], prediction(logits)[clear])


@settings(deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(2, 120))
def test_scores_of_unlabelled_images_need_one_logit(seed, classes):
    images = 20
    logits = torch.randn(images, classes, generator=torch.Generator().manual_seed(seed)) * 3
    stored = condensed("svhn", {"logits": logits.clamp(-15, 15), "labels": torch.zeros(images)})
    assert stored["logits"].shape[1] == (classes if classes == 2 else 1)
    own = expand(stored)
    torch.testing.assert_close(log_q_x(own), log_q_x(logits.clamp(-15, 15)), rtol=0, atol=ROUNDED + 1e-5)
    torch.testing.assert_close(confidence(own).log(), confidence(logits.clamp(-15, 15)).log(), rtol=0, atol=2 * ROUNDED)


@example(329, 20, 700109.0)
@settings(deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(2, 30), st.floats(200, 1e6))
def test_readings_of_log_densities_survive_as_those_of_small_logits(seed, classes, size):
    """Log-densities of an image share a size of any number of nats, and differ by some nats between classes."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randint(-int(size), int(size), (20, 1), generator=generator).float()
    logits = shared + torch.randint(-240, 240, (20, classes), generator=generator) / 16  # exact in float32
    logits[0] = -size - torch.arange(classes)  # one image at least is large
    labels = torch.randint(classes, (20,), generator=generator)
    stored = condense(logits, labels)
    own = expand(stored)
    assert stored["offset"].dtype == torch.float32
    assert torch.equal(prediction(own), prediction(logits))
    # Differences of at most 30 are off by at most 2^-7 in float16, and by half a gap of float32 once the offset is
    # added. The largest logit is exact.
    off = 2**-7 + (size + 60) * 2**-24
    for reading in (lambda f: of_label(log_q_y_given_x(f), labels), lambda f: confidence(f).log()):
        torch.testing.assert_close(reading(own.double()), reading(logits.double()), rtol=0, atol=2 * off)
    torch.testing.assert_close(log_q_x(own.double()), log_q_x(logits.double()), rtol=0, atol=off)


def test_a_difference_beyond_float16_is_a_probability_of_0():
    logits = torch.tensor([[-70_000.0, -200_000.0], [1.0, 2.0]])
    stored = condense(logits, None)
    assert stored["logits"].isfinite().all()
    assert expand(stored).softmax(1)[0].tolist() == [1, 0]
    torch.testing.assert_close(expand(stored)[1], logits[1], rtol=0, atol=0)


def test_the_rest_by_hand():
    """Probabilities 1/2, 1/4 and four of 1/16, with two kept: the rest, 1/4 together, is 1/16 each."""
    logits = torch.tensor([[1 / 2, 1 / 16, 1 / 4, 1 / 16, 1 / 16, 1 / 16]]).log()
    stored = condense(logits, torch.tensor([2]), 2)
    assert stored["classes"].tolist() == [[0, 2]]
    torch.testing.assert_close(stored["rest"].float(), torch.tensor([1 / 16]).log(), rtol=2**-11, atol=0)
    torch.testing.assert_close(expand(stored).exp(), logits.exp(), rtol=2**-9, atol=0)


def test_a_wrong_label_is_kept_even_if_it_is_the_least_likely():
    logits = torch.arange(30.0)[None]
    own = expand(condense(logits, torch.tensor([0]), 4))
    assert own[0, 0] == 0
    assert own[0, 27:].tolist() == [27, 28, 29]


def test_condensing_twice_is_condensing_once():
    logits = torch.randn(50, 40, generator=torch.Generator().manual_seed(1)).half().float()
    labels = torch.arange(50) % 40
    once = condense(logits, labels)
    twice = condense(expand(once), labels)
    assert all(torch.equal(once[name], twice[name]) for name in ("logits", "classes"))
    torch.testing.assert_close(once["rest"].float(), twice["rest"].float(), rtol=2**-10, atol=0)


def test_the_brier_score_is_at_most_too_low_by_what_the_rest_could_add():
    """Among C − k equal probabilities squares are least; the largest that was left out bounds what is missing."""
    logits = 2 * torch.randn(500, 100, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(100, (500,), generator=torch.Generator().manual_seed(1))
    own = expand(condense(logits, labels))
    q = torch.softmax(logits.double(), dim=1).sort(dim=1, descending=True).values
    bound = float((q[:, KEPT - 1 :].sum(dim=1) * q[:, KEPT - 1]).mean())
    assert -1e-2 * bound - 1e-4 <= brier_score(logits, labels) - brier_score(own, labels) <= bound + 1e-4


@pytest.mark.parametrize(
    ("name", "images", "kept"),
    [("train", 3000, 100), ("test", 3000, KEPT), ("validation", FOLLOWED, KEPT), ("svhn", 3000, 1)],
)
def test_how_much_of_a_set_is_kept(name, images, kept):
    logits, labels = torch.randn(3000, 100), torch.arange(3000) % 100
    stored = condensed(name, {"logits": logits, "labels": labels, "gradient_norms": torch.ones(3000)})
    assert stored["logits"].shape == (images, kept)
    assert stored["logits"].dtype == stored["gradient_norms"].dtype == torch.float16
    assert ("labels" in stored) == (name != "svhn")
    if "labels" in stored:
        assert torch.equal(stored["labels"], labels[:images])


def test_a_temperature_fitted_on_condensed_logits_is_that_of_all_up_to_what_the_rest_hides():
    """The truth of ten classes scaled by 1.1, four of them kept."""
    generator = torch.Generator().manual_seed(2)
    truth = 3 * torch.randn(2000, 10, generator=generator)
    labels = torch.distributions.Categorical(logits=truth).sample()
    whole, own = 1.1 * truth, expand(condense(1.1 * truth, labels))
    assert fitted_temperature(own, labels) == pytest.approx(fitted_temperature(whole, labels), rel=0.05)


def test_a_log_density_is_not_rounded():
    logits = torch.tensor([[4097.5], [-3.0]])
    assert torch.equal(expand(condensed("test", {"logits": logits, "labels": torch.zeros(2)})), logits)


@given(st.integers(0, 2**31 - 1), st.integers(2, 40), st.integers(1, 40))
def test_ranks_tell_sets_apart_as_scores_do(seed, inside, outside):
    """Scores of three values tie within sets and between them."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {"ODIN/svhn": outside, "ODIN/test": inside, "Mahalanobis/test": inside, "Mahalanobis/svhn": outside}
    scores = {name: torch.randint(3, (size,), generator=generator) / 3 - 100 for name, size in sizes.items()}
    ranks = as_ranks(scores)
    assert {rank.dtype for rank in ranks.values()} == {torch.uint16}
    for detector in ("ODIN", "Mahalanobis"):
        rows = [
            detection_row(*(own[f"{detector}/{name}"].double().numpy() for name in ("test", "svhn")), replicates=5)
            for own in (scores, ranks)
        ]
        assert rows[0] == rows[1]


def test_more_ranks_than_two_bytes_count_take_four():
    ranks = as_ranks({"ODIN/test": torch.arange(2**16 + 1).flip(0).float()})["ODIN/test"]
    assert ranks.dtype == torch.int32
    assert ranks.tolist() == list(range(2**16, -1, -1))
