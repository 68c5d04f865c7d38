import collections
import io
import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.measure import peak_bytes
from hdge import LogitQueue, hybrid_loss
from hdge.core.queue import BLOCK, normalize_logits
from hdge.study.config import HOME
from tests.reference import formulas

# Sizes around the block length, where the tail's blocks begin and end.
sizes = st.one_of(st.integers(1, 12), st.integers(BLOCK - 2, BLOCK + 2), st.integers(2 * BLOCK - 1, 2 * BLOCK + 7))


@given(sizes, st.lists(st.integers(1, 200), min_size=1, max_size=8), st.integers(0, 10_000))
@settings(deadline=None, max_examples=80)
def test_ring_is_a_deque_and_its_sums_are_exact(size, batches, seed):
    generator = torch.Generator().manual_seed(seed)
    queue = LogitQueue(3, size, 0.1, "l2").double()
    past: collections.deque[torch.Tensor] = collections.deque(maxlen=size)
    for batch in batches:
        logits = torch.randn(batch, 3, generator=generator, dtype=torch.float64)
        queue.enqueue(logits)
        past.extend(normalize_logits(logits, "l2"))
        held = torch.stack(list(past))
        assert len(queue) == len(past)
        # A batch longer than the ring leaves its last entries wherever the ring stands, so compare as sets.
        # They are kept divided by t: two roundings of 1.1e-16.
        torch.testing.assert_close(sorted(queue.filled().tolist()), sorted(held.tolist()), rtol=3e-16, atol=0)
        # At most a few hundred float64 additions, each within 1.1e-16 of values up to 1/t + log K = 16.
        torch.testing.assert_close(queue.log_partition(), torch.logsumexp(held / 0.1, 0), rtol=0, atol=1e-12)


@given(st.integers(1, 12), st.lists(st.integers(1, 12), min_size=1, max_size=8))
@settings(deadline=None, max_examples=60)
def test_filled_entries_come_oldest_first(size, batches):
    queue, past, count = LogitQueue(1, size, 1.0, "none"), collections.deque(maxlen=size), 0
    for batch in batches:
        rows = torch.arange(count, count + batch, dtype=torch.float32)[:, None]
        count += batch
        queue.enqueue(rows)
        past.extend(rows.flatten().tolist())
        assert queue.filled().flatten().tolist() == list(past)


@pytest.mark.parametrize("normalize", ["l2", "softmax", "none"])
def test_log_partition_equals_the_equation(normalize):
    past = torch.randn(20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    queue = LogitQueue(4, 20, 0.3, normalize).double()
    queue.enqueue(past)
    expected = formulas.log_partition(past.tolist(), 4, 0.3, normalize)
    assert queue.log_partition().tolist() == pytest.approx(expected, rel=1e-13)


def test_a_hundred_laps_in_float32_do_not_drift():
    generator = torch.Generator().manual_seed(0)
    queue = LogitQueue(5, 1000, 0.1, "l2")
    for step in range(100 * 1000 // 64 + 1):
        # The scale of the entries wanders, so that large terms keep leaving sums that small ones stay in.
        logits = torch.randn(64, 5, generator=generator)
        logits[:, 0] += 8 * math.sin(step / 40)
        queue.enqueue(logits)
        if step % 97 == 0:
            exact = torch.logsumexp(queue.filled().double() / queue.temperature, 0)
            # Only one float32 sum over a block or a batch enters, then float64: a score of at most 10 is rounded
            # once (6e-7), its exponential and the sum of 128 add at most 128 / 2 roundings (4e-6), whatever the lap.
            assert (queue.log_partition().double() - exact).abs().max() < 1e-5


def test_old_giants_leave_nothing_behind():
    """After entries of 1e4 have left, the sum of the small ones is as if they had never been: nothing is subtracted."""
    queue = LogitQueue(2, 10, 0.1, "none")
    queue.enqueue(torch.full((10, 2), 1e4))
    assert queue.log_partition().tolist() == pytest.approx([1e5 + math.log(10)] * 2)
    queue.enqueue(torch.full((10, 2), -1e4))
    assert queue.log_partition().tolist() == pytest.approx([-1e5 + math.log(10)] * 2)


def test_empty_queue_sums_to_nothing():
    assert LogitQueue(3, 8).log_partition().tolist() == [-math.inf] * 3


def test_state_survives_saving_and_goes_on_alike():
    generator = torch.Generator().manual_seed(0)
    queue, copy = LogitQueue(3, 300), LogitQueue(3, 300)
    for _ in range(7):
        queue.enqueue(torch.randn(64, 3, generator=generator))
    buffer = io.BytesIO()
    torch.save(queue.state_dict(), buffer)
    buffer.seek(0)
    copy.load_state_dict(torch.load(buffer, weights_only=True))
    more = torch.randn(100, 3, generator=generator)
    for each in (queue, copy):
        each.enqueue(more)
    assert copy.filled().equal(queue.filled())
    assert copy.log_partition().equal(queue.log_partition())


def test_no_gradient_enters_the_queue():
    queue = LogitQueue(3, 8)
    queue.enqueue(torch.randn(4, 3, requires_grad=True))
    assert not queue.entries.requires_grad
    assert not queue.log_partition().requires_grad


def test_a_step_compiles_into_one_graph_that_serves_every_lap():
    command = [sys.executable, "-m", "tests.compiled_step"]
    ended = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=True)
    assert ended.stdout == "1 graph\n"


@pytest.mark.parametrize("size", [2_000, 65_536])
def test_a_step_holds_no_more_than_a_few_batches_of_logits(size):
    batch, classes = 256, 10
    queue = LogitQueue(classes, size)
    for _ in range(size // 1000 + 1):
        queue.enqueue(torch.randn(1000, classes))
    logits, labels = torch.randn(batch, classes, requires_grad=True), torch.randint(classes, (batch,))

    def step():
        hybrid_loss(logits, labels, queue, alpha=0.5).backward()
        logits.grad = None
        queue.enqueue(logits.detach())

    # B x C numbers and up to a block of C, a dozen times over, in float32; K of them would be 655,360 at the least.
    assert peak_bytes(step) < 12 * (batch + BLOCK) * classes * 4 < 4 * 65_536 * classes


def test_noise_start_counts_as_a_full_queue_until_it_has_left():
    torch.manual_seed(0)
    queue = LogitQueue(3, 8, start="noise")
    assert len(queue) == 8
    assert queue.filled().norm(dim=1).tolist() == pytest.approx([1] * 8)
    queue.enqueue(torch.ones(8, 3))
    assert queue.filled().flatten().tolist() == pytest.approx([1 / math.sqrt(3)] * 24)


def test_a_queue_longer_than_the_training_set_warns_with_both_numbers():
    with pytest.warns(UserWarning, match="queue size 900 is not below the 866 training images"):
        LogitQueue(3, 900, training_images=866)
    LogitQueue(3, 865, training_images=866)  # any warning would be an error


def test_moving_takes_the_sums_along_and_leaves_the_count_where_no_step_waits_for_it():
    queue = LogitQueue(3, 8).to("meta")
    assert {tensor.device.type for tensor in (queue.entries, queue.head, queue.tail)} == {"meta"}
    assert queue.count.device.type == "cpu"


def test_logits_that_are_not_finite_are_refused_and_nothing_is_stored():
    queue = LogitQueue(2, 8)
    with pytest.raises(ValueError, match="logits hold nan .image 1 of the batch.; they must be finite"):
        queue.enqueue(torch.tensor([[0, 1], [math.nan, 0]]))
    assert len(queue) == 0


def test_half_precision_logits_are_stored_in_float32():
    queue = LogitQueue(3, 8)
    queue.enqueue(torch.randn(4, 3, dtype=torch.bfloat16))
    assert queue.entries.dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes is 0"),
        ({"num_classes": 3, "size": 0}, "size is 0"),
        ({"num_classes": 3, "temperature": 0.0}, "temperature is 0.0"),
        ({"num_classes": 3, "temperature": math.inf}, "temperature is inf"),
        ({"num_classes": 3, "normalize": "L2"}, "normalize is 'L2'; choose from l2, softmax, none"),
        ({"num_classes": 3, "start": "random"}, "start is 'random'; choose from empty, noise"),
    ],
)
def test_bad_arguments_are_refused(arguments, message, without_shape_checks):
    with pytest.raises(ValueError, match=message):
        LogitQueue(**arguments)


def test_logits_of_another_shape_are_refused_and_nothing_is_stored(without_shape_checks):
    queue = LogitQueue(3, 8)
    with pytest.raises(ValueError, match="4 classes; the queue was made for 3"):
        queue.enqueue(torch.zeros(2, 4))
    assert len(queue) == 0
