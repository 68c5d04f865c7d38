"""What the loss takes beyond the plain case: other precisions, integers, reductions, images that do not count."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from hdge import LogitQueue, conditional_nll, hybrid_loss, hybrid_terms
from hdge.core import losses
from hdge.core.losses import batch_nll, queue_margins, queue_nll
from hdge.core.queue import NORM_FLOOR, normalize_logits
from hdge.methods.as_published import published_nll
from tests.reference import formulas
from tests.test_losses import NORMALIZATIONS, ROUNDING, draw, filled_queue, loop_gradient, soften

HALF = (torch.float16, torch.bfloat16)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("scale", [0.0, 1e-4, 1.0, 1e4])
def test_half_precision_is_taken_up_to_float32_first(dtype, normalize, soft, scale):
    logits, labels, past = draw(batch=6, classes=4, past=9)
    logits = (scale * logits / 3).to(dtype)
    target = soften(labels, 4).float() if soft else labels
    queue = LogitQueue(4, 9, 0.1, normalize)
    queue.enqueue(past)
    for options in ({"queue": queue}, {"queue": None, "temperature": 0.1, "normalize": normalize}):
        leaf = logits.clone().requires_grad_()
        loss = hybrid_loss(leaf, target, **options)
        assert loss.equal(hybrid_loss(logits.float(), target, **options))
        assert loss.dtype == torch.float32
        loss.backward()
        assert leaf.grad.isfinite().all()
    for loss in (queue_nll(logits, target, queue), batch_nll(logits, target, 0.1, normalize)):
        assert loss.dtype == torch.float32


def test_autocast_does_not_reach_the_sums_over_soft_labels():
    logits, labels, past = (part.float() if part.is_floating_point() else part for part in draw(6, 4, 9))
    soft = soften(labels, 4).float()
    queue = LogitQueue(4, 9)
    queue.enqueue(past)
    for past_or_batch in (queue, None):
        with torch.autocast("cpu", torch.bfloat16):
            inside = conditional_nll(logits, soft, past_or_batch)
        assert inside.equal(conditional_nll(logits, soft, past_or_batch))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_may_be_integers_of_any_type(dtype):
    logits, labels, past = draw(batch=7, classes=5, past=11)
    for queue in (filled_queue(past, 11, 0.1, "l2"), None):
        assert hybrid_loss(logits, labels.to(dtype), queue).equal(hybrid_loss(logits, labels, queue))


FORMS = ("queue", "batch")


@pytest.mark.parametrize("at_hand", [True, False])
@pytest.mark.parametrize("ignored", [-100, 255, 2])
@pytest.mark.parametrize("form", FORMS)
def test_ignored_images_are_as_if_they_were_not_in_the_batch(form, ignored, at_hand, monkeypatch):
    if not at_hand:
        monkeypatch.setattr(losses, "values_at_hand", lambda tensor: False)
    logits, labels, past = draw(batch=9, classes=5, past=11)
    labels[[1, 4]] = ignored
    kept = labels != ignored
    queue = filled_queue(past, 11, 0.1, "l2") if form == "queue" else None
    for reduction in ("mean", "sum", "none"):
        leaf, fewer = logits.clone().requires_grad_(), logits[kept].clone().requires_grad_()
        terms = hybrid_terms(leaf, labels, queue, reduction=reduction, ignore_index=ignored)
        expected = hybrid_terms(fewer, labels[kept], queue, reduction=reduction)
        for term, other in zip(terms, expected, strict=True):
            if reduction == "none":
                assert not term[~kept].any()
                term = term[kept]
            torch.testing.assert_close(term, other, rtol=ROUNDING, atol=0)
        sum(term.sum() for term in terms).backward()
        sum(term.sum() for term in expected).backward()
        assert not leaf.grad[~kept].any()
        assert (leaf.grad[kept] - fewer.grad).abs().max() <= ROUNDING * fewer.grad.abs().max()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("soft", [False, True])
def test_reductions_are_of_one_number_an_image(form, soft):
    logits, labels, past = draw(batch=9, classes=5, past=11)
    labels = soften(labels, 5) if soft else labels
    queue = filled_queue(past, 11, 0.1, "l2") if form == "queue" else None
    each = hybrid_loss(logits, labels, queue, 0.3, reduction="none")
    assert each.shape == (9,)
    for reduction in ("mean", "sum"):
        # Two ways to add nine numbers in float64, and alpha before or after.
        found = hybrid_loss(logits, labels, queue, 0.3, reduction=reduction)
        torch.testing.assert_close(getattr(each, reduction)(), found, rtol=ROUNDING, atol=0)


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_of_which_nothing_counts_is_as_in_cross_entropy(form):
    queue = LogitQueue(3, 8, start="noise") if form == "queue" else None
    nothing = (torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    ignored = (torch.randn(2, 3), torch.full((2,), -100))
    for logits, labels in (nothing, ignored):
        leaf = logits.requires_grad_()
        for term in hybrid_terms(leaf, labels, queue):
            assert term.isnan()
        loss = hybrid_loss(leaf, labels, queue, reduction="sum")
        assert loss.item() == 0
        assert not torch.autograd.grad(loss, leaf)[0].any()
    assert hybrid_loss(torch.zeros(0, 3), torch.zeros(0, 3), queue).isnan()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": np.zeros(2, dtype=np.int64)}, r"labels are of type ndarray; .* torch.as_tensor\(labels\)"),
        ({"labels": torch.zeros(2, 1, dtype=torch.int64)}, r"of shape \(2, 1\); they must be integers of shape \(2,\)"),
        ({"labels": torch.zeros(2, dtype=torch.bool)}, "labels are torch.bool"),
        ({"labels": torch.tensor([-100, 4])}, r"labels run from 0 to 4; they must lie in \[0, 4\)"),
        ({"labels": torch.tensor([-100, 1]), "ignore_index": 1}, r"labels run from -100 to 0"),
        ({"alpha": math.nan}, "alpha is nan"),
        ({"reduction": "max"}, "reduction is 'max'; choose from mean, sum, none"),
    ],
)
def test_what_is_not_taken_is_refused_in_a_sentence(arguments, message, without_shape_checks):
    values = {"logits": torch.zeros(2, 4), "labels": torch.zeros(2, dtype=torch.int64), "queue": None} | arguments
    with pytest.raises(ValueError, match=message):
        hybrid_loss(**values)


@pytest.mark.parametrize("size", ["64", 64.0, None, -1])
def test_a_size_that_is_no_whole_number_is_refused(size, without_shape_checks):
    with pytest.raises(ValueError, match=f"size is {size!r}; it must be a whole number, at least 1"):
        LogitQueue(5, size)


# Any size of logits that float64 can square, 0 and the floor's neighbourhood among them.
sizes = st.one_of(st.just(0.0), st.floats(1e-150, 1e150), st.floats(NORM_FLOOR / 2, 2 * NORM_FLOOR))


@given(st.lists(sizes, min_size=1, max_size=6), st.integers(2, 5), st.sampled_from([0.1, 1.0]), st.integers(0, 10_000))
@settings(deadline=None, max_examples=100)
def test_no_image_pulls_harder_than_the_norms_floor_allows(scales, classes, temperature, seed):
    logits, labels, past = draw(len(scales), classes, 7, seed)
    logits = (F.normalize(logits, dim=1) * torch.tensor(scales, dtype=torch.float64)[:, None]).requires_grad_()
    queue = filled_queue(past, 7, temperature, "l2")
    steepest = 1 / (temperature * NORM_FLOOR)
    weight = torch.sigmoid(-queue_margins(logits, labels, queue).detach())
    (gradient,) = torch.autograd.grad(conditional_nll(logits, labels, queue, reduction="sum"), logits)
    assert (gradient.norm(dim=1) <= weight * steepest * (1 + ROUNDING)).all()
    (gradient,) = torch.autograd.grad(batch_nll(logits, labels, temperature), logits)
    assert (gradient.norm(dim=1) <= steepest * (1 + ROUNDING)).all()
    assert gradient.norm(dim=1).sum() <= 2 * steepest * (1 + ROUNDING)


@pytest.mark.parametrize("with_queue", [True, False])
def test_the_gradient_below_the_floor_is_that_of_the_loops(with_queue):
    logits, labels, past = draw(batch=4, classes=3, past=5)
    logits *= torch.tensor([0, 1e-3, 0.01, 1])[:, None]
    past[0] = 0
    assert (logits.norm(dim=1) < NORM_FLOOR).tolist() == [True, True, True, False]

    def reference(rows: list[list[float]]) -> float:
        if with_queue:
            return formulas.queue_nll(rows, labels.tolist(), past.tolist(), 0.5, "l2")
        return formulas.batch_nll(rows, labels.tolist(), 0.5, "l2")

    leaf = logits.clone().requires_grad_()
    (
        queue_nll(leaf, labels, filled_queue(past, 5, 0.5, "l2")) if with_queue else batch_nll(leaf, labels, 0.5)
    ).backward()
    expected = loop_gradient(reference, logits)
    assert (leaf.grad - expected).abs().max() <= ROUNDING * expected.abs().max()


def test_both_published_energies_take_the_queues_rows_as_they_are():
    """Softmax is not idempotent: a row that had it twice would be flatter, and the loss too small."""
    logits, labels, past = draw(batch=6, classes=4, past=9)
    queue = filled_queue(past, 9, 0.1, "softmax")
    assert not normalize_logits(queue.filled(), "softmax").allclose(queue.filled())
    for variant, energy in (("figure", formulas.selected), ("released_code", formulas.masked)):
        loss = published_nll(logits, labels, queue.filled(), 0.1, "softmax", variant)
        expected = formulas.queue_nll(logits.tolist(), labels.tolist(), past.tolist(), 0.1, "softmax", energy)
        assert loss.item() == pytest.approx(expected, rel=ROUNDING)
