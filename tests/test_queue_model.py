"""The queue as a part of somebody's model: cast, moved, saved, averaged, copied, and fed a batch that overflowed."""

import copy
import math
import pickle

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from hdge import LogitQueue, hybrid_loss
from hdge.core import queue as queue_module
from hdge.core.queue import normalize_logits, sum_dtype

EPSILON = 2**-24  # one rounding in float32, relative


def model_with_queue(**settings) -> nn.Module:
    model = nn.Linear(2, 3)
    model.queue = LogitQueue(3, **({"size": 300} | settings))
    return model


def fed(queue: LogitQueue, batches: int = 7) -> LogitQueue:
    """The queue after batches of 64."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(batches):
        queue.enqueue(torch.randn(64, 3, generator=generator))
    return queue


def alike(one: LogitQueue, other: LogitQueue) -> bool:
    return one.filled().equal(other.filled()) and one.log_partition().equal(other.log_partition())


CASTS = {
    "half": lambda model: model.half(),
    "bfloat16": lambda model: model.bfloat16(),
    "to": lambda model: model.to(torch.float16),
    "type": lambda model: model.type(torch.bfloat16),
    "float": lambda model: model.half().float(),
}


@pytest.mark.parametrize("cast", CASTS)
def test_a_cast_of_the_model_leaves_the_queue_as_it_is(cast):
    model, plain = model_with_queue(), fed(LogitQueue(3, 300))
    fed(model.queue)
    CASTS[cast](model)
    assert alike(model.queue, plain)
    fed(model.queue, 3)
    assert alike(model.queue, fed(plain, 3))


def test_a_cast_to_float64_takes_the_entries_along_and_one_to_half_never_takes_them_lower():
    queue = LogitQueue(3, 8).double()
    assert queue.entries.dtype == queue.head.dtype == torch.float64
    assert queue.half().entries.dtype == torch.float64
    assert queue.float().entries.dtype == torch.float32
    assert queue.head.dtype == queue.tail.dtype == torch.float64


def test_sums_are_in_float32_where_the_device_has_no_float64(monkeypatch):
    assert sum_dtype(torch.device("mps")) == torch.float32
    assert sum_dtype(torch.device("cuda")) == torch.float64
    queue = LogitQueue(3, 300)
    monkeypatch.setattr(queue_module, "sum_dtype", lambda device: torch.float32)
    fed(queue.to("cpu"), 20)
    assert queue.head.dtype == queue.tail.dtype == torch.float32
    # Scores of at most 10 are rounded once, which scales their exponentials by 1 + 10 epsilon. A logsumexp over a
    # block or batch and each of at most 5 batches, 3 blocks and 2 last additions rounds numbers of at most 10 + log 300
    # below 16, by half a unit in the last place of 16 epsilon, and its sum of at most 128 terms by 128 epsilon.
    bound = 10 * EPSILON + (5 + 3 + 2) * (16 + 16 + 128) * EPSILON
    exact = torch.logsumexp(queue.filled().double() / queue.temperature, 0)
    assert (queue.log_partition().double() - exact).abs().max() < bound


def test_a_state_is_tensors_alone_and_safetensors_bring_it_back(tmp_path):
    model, other = model_with_queue(), model_with_queue()
    fed(model.queue)
    assert all(isinstance(value, torch.Tensor) for value in model.state_dict().values())
    safetensors.torch.save_model(model, tmp_path / "model.safetensors")
    assert safetensors.torch.load_model(other, tmp_path / "model.safetensors") == (set(), [])
    assert alike(model.queue, other.queue)
    safetensors.torch.save_file(model.queue.state_dict(), tmp_path / "queue.safetensors")
    other.queue.load_state_dict(safetensors.torch.load_file(tmp_path / "queue.safetensors"))
    assert alike(fed(model.queue), fed(other.queue))


def test_averages_of_a_model_leave_its_queue_alone():
    model = model_with_queue()
    fed(model.queue)
    twin, averaged = copy.deepcopy(model), AveragedModel(model, use_buffers=True)
    before = copy.deepcopy(model.queue)
    fed(model.queue, 2)
    for name, value in twin.state_dict().items():  # in place, as most moving averages are written
        value.copy_(0.9 * value + 0.1 * model.state_dict()[name])
    averaged.update_parameters(model)
    for queue in (twin.queue, averaged.module.queue):
        assert alike(queue, before)


def test_a_cast_of_a_state_by_dtype_still_loads():
    model, other = model_with_queue(), model_with_queue()
    fed(model.queue)
    state = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    other.load_state_dict(state)
    assert len(other.queue) == 300
    assert other.queue.entries.dtype == torch.float32


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_classes": 4}, "num_classes=3 in the state, but num_classes=4 here"),
        ({"size": 16}, "size=300 in the state, but size=16 here"),
        ({"temperature": 0.2}, "temperature=0.1 in the state, but temperature=0.2 here"),
        ({"normalize": "softmax"}, "normalize='l2' in the state, but normalize='softmax' here"),
    ],
)
def test_a_state_of_other_settings_is_refused_by_name(changed, message):
    state = fed(LogitQueue(3, 300)).state_dict()
    other = LogitQueue(**{"num_classes": 3, "size": 300} | changed)
    with pytest.raises(RuntimeError, match=message):
        other.load_state_dict(state)
    assert len(other) == 0


def test_a_checkpoint_without_a_queue_leaves_it_as_it_is():
    model = model_with_queue()
    before = copy.deepcopy(fed(model.queue))
    keys = model.load_state_dict(nn.Linear(2, 3).state_dict(), strict=False)
    assert set(keys.missing_keys) == {f"queue.{name}" for name in queue_module.STATE}
    assert alike(model.queue, before)
    with pytest.raises(RuntimeError, match="Missing key.*queue.entries"):
        model.load_state_dict(nn.Linear(2, 3).state_dict())
    with pytest.raises(RuntimeError, match="Unexpected key.*queue.other"):
        model.load_state_dict(model.state_dict() | {"queue.other": torch.zeros(1)})


def test_copies_go_on_alike_and_by_themselves():
    queue = fed(LogitQueue(3, 300))
    for twin in (copy.deepcopy(queue), pickle.loads(pickle.dumps(queue))):
        assert alike(twin, queue)
        assert alike(fed(twin, 2), fed(copy.deepcopy(queue), 2))
        assert not alike(twin, queue)


@pytest.mark.parametrize("start", ["empty", "noise"])
def test_a_queue_made_on_the_meta_device_begins_when_it_gets_a_place(start):
    with torch.device("meta"):
        model = model_with_queue(start=start)
    assert model.queue.entries.is_meta
    assert model.queue.count.device.type == "cpu"
    model.to_empty(device="cpu")
    assert len(model.queue) == (300 if start == "noise" else 0)
    assert model.queue.log_partition().isfinite().all() == (start == "noise")
    with torch.device("meta"):
        other = model_with_queue(start=start)
    other.load_state_dict(model.state_dict(), assign=True)
    assert alike(other.queue, model.queue)


def test_default_device_and_dtype_are_no_concern_of_the_queue():
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        queue = LogitQueue(3, 8, start="noise")
        assert (queue.entries.dtype, queue.head.dtype) == (torch.float32, torch.float64)
        assert (queue.count.device.type, len(queue)) == ("cpu", 8)
        queue.state_dict()
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("normalize", ["l2", "softmax", "none"])
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_images_that_are_not_finite_take_a_place_and_count_for_nothing(normalize, bad, monkeypatch):
    monkeypatch.setattr(queue_module, "values_at_hand", lambda tensor: False)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(90, 3, generator=generator)
    rows[7, 2] = rows[60, 0] = bad
    queue = LogitQueue(3, 100, 0.5, normalize)
    queue.enqueue(rows[:50])
    queue.enqueue(rows[50:])
    kept = normalize_logits(rows[rows.isfinite().all(dim=1)], normalize)
    assert len(queue) == 90
    # Divided by t = 1/2 and multiplied again: exact.
    assert queue.filled().equal(kept)
    # Scores of at most 8 sum to log Z below 16: rounded in two sums of 50 terms and at the end.
    exact = torch.logsumexp(kept.double() / 0.5, 0)
    assert (queue.log_partition().double() - exact).abs().max() < (2 * (50 + 16 + 8) + 16) * EPSILON
    soft, labels = torch.full((4, 3), 1 / 3), torch.tensor([0, 1, 2, 0])
    for target in (labels, soft, nn.functional.one_hot(labels, 3).float()):
        assert hybrid_loss(rows[:4], target, queue).isfinite()


def test_raw_logits_whose_scores_overflow_count_for_nothing():
    queue = LogitQueue(2, 8, 0.1, "none")
    queue.enqueue(torch.tensor([[3e38, 0.0], [0.0, 0.0]]))
    assert queue.log_partition().tolist() == [0, 0]
