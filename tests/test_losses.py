import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from hdge import LogitQueue, hybrid_loss, hybrid_terms
from hdge.core import losses
from hdge.core.losses import batch_nll, queue_margins, queue_nll
from hdge.core.queue import normalize_logits
from hdge.methods.as_published import published_nll
from tests.reference import formulas

NORMALIZATIONS = ("l2", "softmax", "none")
# Sums of at most a few hundred float64 terms of size at most exp(1/t): rounding of a few hundred units of 1.1e-16.
ROUNDING = 1e-12


def draw(batch: int, classes: int, past: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (batch,), generator=generator)
    return logits, labels, 3 * torch.randn(past, classes, generator=generator, dtype=torch.float64)


def filled_queue(past: torch.Tensor, size: int, temperature: float, normalize: str) -> LogitQueue:
    queue = LogitQueue(past.shape[1], size, temperature, normalize).double()
    queue.enqueue(past)
    return queue


def loop_gradient(loss, logits: torch.Tensor) -> torch.Tensor:
    """Every component's derivative of a loop-only loss by a complex step, exact to rounding."""
    step = 1e-30
    gradient = torch.zeros_like(logits)
    for i in range(logits.shape[0]):
        for j in range(logits.shape[1]):
            rows = logits.tolist()
            rows[i][j] = complex(rows[i][j], step)
            gradient[i, j] = loss(rows).imag / step
    return gradient


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_queue_term_equals_the_equation(normalize, temperature):
    logits, labels, past = draw(batch=5, classes=4, past=9)
    queue = filled_queue(past, 9, temperature, normalize)
    expected = formulas.queue_nll(logits.tolist(), labels.tolist(), past.tolist(), temperature, normalize)
    assert queue_nll(logits, labels, queue).item() == pytest.approx(expected, rel=ROUNDING)


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
def test_batch_term_equals_the_equation(normalize):
    logits, labels, _ = draw(batch=6, classes=4, past=1)
    expected = formulas.batch_nll(logits.tolist(), labels.tolist(), 0.1, normalize)
    assert batch_nll(logits, labels, 0.1, normalize).item() == pytest.approx(expected, rel=ROUNDING)


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("with_queue", [True, False])
def test_gradient_equals_the_equations(normalize, with_queue):
    logits, labels, past = draw(batch=3, classes=3, past=5)
    temperature = 0.5

    def reference(rows: list[list[float]]) -> float:
        generative = (
            formulas.queue_nll(rows, labels.tolist(), past.tolist(), temperature, normalize)
            if with_queue
            else formulas.batch_nll(rows, labels.tolist(), temperature, normalize)
        )
        return 0.3 * formulas.cross_entropy(rows, labels.tolist()) + 0.7 * generative

    leaf = logits.clone().requires_grad_()
    if with_queue:
        loss = hybrid_loss(leaf, labels, filled_queue(past, 5, temperature, normalize), alpha=0.3)
    else:
        loss = hybrid_loss(leaf, labels, None, alpha=0.3, temperature=temperature, normalize=normalize)
    loss.backward()
    expected = loop_gradient(reference, logits)
    assert (leaf.grad - expected).abs().max() <= ROUNDING * expected.abs().max()


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("soft", [False, True])
def test_value_and_gradient_equal_the_published_form(normalize, soft):
    logits, labels, past = draw(batch=8, classes=5, past=40)
    target = soften(labels, 5) if soft else labels
    results = []
    for form in ("ours", "published"):
        leaf = logits.clone().requires_grad_()
        if form == "ours":
            loss = queue_nll(leaf, target, filled_queue(past, 40, 0.1, normalize))
        else:
            loss = published_nll(leaf, target, normalize_logits(past, normalize), 0.1, normalize)
        results.append((loss, *torch.autograd.grad(loss, leaf)))
    for ours, published in zip(*results, strict=True):
        assert (ours - published).abs().max() <= ROUNDING * published.abs().max()


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("soft", [False, True])
def test_released_codes_form_equals_its_loops_in_value_and_gradient(normalize, soft):
    logits, labels, past = draw(batch=3, classes=3, past=5)
    target = soften(labels, 3) if soft else labels

    def reference(rows: list[list[float]]) -> float:
        return formulas.queue_nll(rows, target.tolist(), past.tolist(), 0.5, normalize, formulas.masked)

    leaf = logits.clone().requires_grad_()
    queue = filled_queue(past, 5, 0.5, normalize)
    loss = published_nll(leaf, target, queue.filled(), 0.5, normalize, variant="released_code")
    loss.backward()
    assert loss.item() == pytest.approx(reference(logits.tolist()), rel=ROUNDING)
    expected = loop_gradient(reference, logits)
    assert (leaf.grad - expected).abs().max() <= ROUNDING * expected.abs().max()


@pytest.mark.parametrize(("classes", "width"), [(10, 0.2239), (100, 0.0234)])
def test_masking_squeezes_the_released_codes_energy(classes, width):
    """With one negative alike in all but its own class, the loss spans the range of the energy's difference over t."""
    label, temperature = torch.tensor([0]), 1e-3
    high, low = torch.zeros(1, classes, dtype=torch.float64), torch.zeros(1, classes, dtype=torch.float64)
    high[0, 0], low[0, 0] = 1.0, -5.0  # the second is normalised to -1
    loss = published_nll(low, label, high, temperature, "l2", variant="released_code")
    assert loss.item() * temperature == pytest.approx(width, abs=5e-5)
    assert published_nll(low, label, high, temperature, "l2").item() * temperature == pytest.approx(2, abs=1e-9)


def soften(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Label smoothing of 0.1, and for the last sample an even mix with its neighbour's label, as mixup does."""
    soft = 0.9 * F.one_hot(labels, classes).double() + 0.1 / classes
    soft[-1] = (soft[-1] + soft[0]) / 2
    return soft


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
def test_soft_labels_equal_the_loops_in_chunks_of_any_size(normalize, monkeypatch):
    logits, labels, past = draw(batch=6, classes=4, past=23)
    soft = soften(labels, 4)
    queue = filled_queue(past, 23, 0.2, normalize)
    expected = formulas.queue_nll(logits.tolist(), soft.tolist(), past.tolist(), 0.2, normalize)
    for chunk in (1, 30, 2**20):
        monkeypatch.setattr(losses, "CHUNK", chunk)
        assert queue_nll(logits, soft, queue).item() == pytest.approx(expected, rel=ROUNDING)
    expected = formulas.batch_nll(logits.tolist(), soft.tolist(), 0.2, normalize)
    assert batch_nll(logits, soft, 0.2, normalize).item() == pytest.approx(expected, rel=ROUNDING)


def test_one_hot_distributions_are_hard_labels():
    logits, labels, past = draw(batch=6, classes=4, past=23)
    one_hot = F.one_hot(labels, 4).double()
    for queue in (filled_queue(past, 23, 0.1, "l2"), None):
        soft, hard = hybrid_loss(logits, one_hot, queue), hybrid_loss(logits, labels, queue)
        torch.testing.assert_close(soft, hard, rtol=ROUNDING, atol=0)


def test_margins_tell_the_gradient():
    logits, labels, past = draw(batch=5, classes=4, past=9)
    queue = filled_queue(past, 9, 1.0, "none")
    leaf = logits.clone().requires_grad_()
    queue_nll(leaf, labels, queue).backward()
    weight = torch.sigmoid(-queue_margins(logits, labels, queue))
    expected = -F.one_hot(labels, 4) * weight[:, None] / 5
    torch.testing.assert_close(leaf.grad, expected, rtol=ROUNDING, atol=1e-15)


def test_alpha_one_is_cross_entropy_and_alpha_zero_the_generative_term_to_the_bit():
    logits, labels, past = draw(batch=7, classes=5, past=11)
    queue = filled_queue(past, 11, 0.1, "l2")
    assert hybrid_loss(logits, labels, queue, alpha=1.0).equal(F.cross_entropy(logits, labels))
    assert hybrid_loss(logits, labels, queue, alpha=0.0).equal(queue_nll(logits, labels, queue))


def test_half_and_half_is_half_of_the_published_sum():
    logits, labels, past = draw(batch=7, classes=5, past=11)
    queue = filled_queue(past, 11, 0.1, "l2")
    terms = hybrid_terms(logits, labels, queue)
    published = terms.discriminative + terms.generative
    torch.testing.assert_close(2 * hybrid_loss(logits, labels, queue, alpha=0.5), published, rtol=1e-15, atol=0)


@pytest.mark.parametrize("size", [1, 7, 300])
def test_equal_logits_cost_log_of_one_more_than_the_negatives(size):
    logits, labels = torch.zeros(4, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    queue = filled_queue(torch.zeros(size, 3, dtype=torch.float64), size, 0.1, "none")
    assert queue_nll(logits, labels, queue).item() == pytest.approx(math.log(size + 1), rel=ROUNDING)
    assert batch_nll(logits, labels, 0.1, "none").item() == pytest.approx(math.log(4), rel=ROUNDING)


def test_high_temperature_forgets_the_logits():
    logits, labels, past = draw(batch=4, classes=3, past=8)
    # Scores are at most 1/t = 1e-9 in size, so the loss is log(K + 1) to 2e-9.
    assert queue_nll(logits, labels, filled_queue(past, 8, 1e9, "l2")).item() == pytest.approx(math.log(9), abs=2e-9)


def test_nothing_to_contrast_with_costs_nothing():
    logits, labels, _ = draw(batch=1, classes=3, past=1)
    logits.requires_grad_()
    empty = LogitQueue(3, 8).double()
    for loss in (queue_nll(logits, labels, empty), batch_nll(logits, labels)):
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.item() == pytest.approx(0, abs=1e-15)
        assert gradient.abs().max().item() == pytest.approx(0, abs=1e-14)


def test_a_class_without_images_in_the_batch_is_no_obstacle():
    logits, _, past = draw(batch=4, classes=6, past=8)
    labels = torch.full((4,), 2)
    assert hybrid_loss(logits, labels, filled_queue(past, 8, 0.1, "l2")).isfinite()
    assert hybrid_loss(logits, labels, None).isfinite()


def test_huge_raw_logits_do_not_overflow():
    logits, labels, past = draw(batch=4, classes=3, past=8)
    leaf = (1e4 * logits).float().requires_grad_()
    queue = LogitQueue(3, 8, 0.1, "none")
    queue.enqueue((1e4 * past).float())
    for loss in (hybrid_loss(leaf, labels, queue), hybrid_loss(leaf, labels, None, normalize="none")):
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert loss.isfinite()
        assert gradient.isfinite().all()


batches = st.tuples(st.integers(1, 6), st.integers(2, 5), st.integers(1, 12), st.integers(0, 10_000))


@given(batches, st.sampled_from(NORMALIZATIONS))
@settings(deadline=None, max_examples=60)
def test_order_of_batch_queue_and_classes_does_not_matter(shape, normalize):
    batch, classes, size, seed = shape
    logits, labels, past = draw(batch, classes, size, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    rows, entries, columns = (torch.randperm(n, generator=generator) for n in (batch, size, classes))
    position = columns.argsort()

    loss = hybrid_loss(logits, labels, filled_queue(past, size, 0.1, normalize))
    shuffled = filled_queue(past[entries][:, columns], size, 0.1, normalize)
    again = hybrid_loss(logits[rows][:, columns], position[labels[rows]], shuffled)
    torch.testing.assert_close(again, loss, rtol=ROUNDING, atol=ROUNDING)


@given(batches, st.sampled_from(NORMALIZATIONS))
@settings(deadline=None, max_examples=60)
def test_one_more_negative_never_lowers_the_loss(shape, normalize):
    batch, classes, size, seed = shape
    logits, labels, past = draw(batch, classes, size + 1, seed)
    fewer = queue_nll(logits, labels, filled_queue(past[:-1], size + 1, 0.1, normalize))
    more = queue_nll(logits, labels, filled_queue(past, size + 1, 0.1, normalize))
    assert more >= fewer - ROUNDING * (1 + fewer.abs())
    assert fewer >= 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"logits": torch.zeros(3)}, "logits have shape"),
        ({"labels": torch.zeros(2)}, r"they must be integers of shape \(2,\)"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "of shape"),
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"alpha": -0.1}, "alpha is -0.1"),
        ({"queue": LogitQueue(5, 8)}, "4 classes; the queue was made for 5"),
        ({"queue": LogitQueue(4, 8), "temperature": 0.2}, "brings its own temperature"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"labels": torch.tensor([0, 4])}, r"labels run from 0 to 4; they must lie in \[0, 4\)"),
        ({"labels": torch.tensor([-1, 3])}, r"labels run from -1 to 3; they must lie in \[0, 4\)"),
        ({"labels": torch.full((2, 4), 0.5)}, r"labels of image 0 are \[0.5, 0.5, 0.5, 0.5\]; they must .* sum to 1"),
        ({"labels": torch.tensor([[1.0, 0, 0, 0], [2, -1, 0, 0]])}, r"labels of image 1 are \[2.0, -1.0, .* 0 or more"),
        ({"logits": torch.tensor([[0, 0, 0, 0], [0, math.nan, 0, 0]])}, r"logits hold nan \(image 1 .* be finite"),
        ({"logits": torch.tensor([[math.inf, 0, 0, 0], [0, 0, 0, 0]])}, r"logits hold inf \(image 0 .* be finite"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(arguments, message, without_shape_checks):
    values = {"logits": torch.zeros(2, 4), "labels": torch.zeros(2, dtype=torch.int64), "queue": None} | arguments
    with pytest.raises(ValueError, match=message):
        hybrid_loss(**values)
