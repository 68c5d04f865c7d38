"""What a step of a method costs, counted and not timed."""

import pytest
import torch
from torch import nn

from hdge import LogitQueue
from hdge.study.settings import QueueSettings
from hdge.training.cost import operations_per_image
from hdge.training.trainer import Trainer
from tests.test_methods import CPU, config


@pytest.mark.parametrize("method", ["hdge", "hdge_jem"])
def test_a_step_looks_at_the_queues_log_partition_once(method, splits, monkeypatch):
    """Between ranks each look is two all-reduces: twice would double the promised traffic."""
    run, seen = Trainer(config(method), splits, CPU), []
    queue = next(module for module in run.method.modules() if isinstance(module, LogitQueue))
    whole = queue.log_partition
    monkeypatch.setattr(queue, "log_partition", lambda: seen.append(1) or whole())
    run.train_step()
    assert len(seen) == 1


def test_operations_are_those_of_the_layers_by_hand():
    """A linear layer costs 2 B I O forward, as much for its weights and, but for the first layer, for its input."""
    from torch.utils.flop_counter import FlopCounterMode

    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    with FlopCounterMode(display=False) as counter:
        model(torch.rand(4, 6)).sum().backward()
    assert counter.get_total_flops() == 2 * 4 * (2 * 6 * 5 + 3 * 5 * 3)


def test_counted_work_has_its_floor_and_leaves_the_run_alone(splits):
    def counted(method: str) -> float:
        return operations_per_image(config(method), splits, CPU)

    plain = counted("cross_entropy")
    assert counted("hdge") == plain
    two_passes = operations_per_image(config("hdge", queue=QueueSettings(forward_passes=2, size=200)), splits, CPU)
    assert two_passes == pytest.approx(2 * plain, rel=1e-3)  # but for the logits' own backward pass
    # 20 chains beside 200 images: two passes of the input's gradient each, then a pass with all gradients.
    assert counted("jem") == pytest.approx(plain * (1 + 0.1 + 0.1 * 2 * 2 / 3), rel=0.02)
    torch.manual_seed(3)
    run = Trainer(config("cross_entropy"), splits, CPU)
    before = run.model.stem.weight.detach().clone()
    counted("cross_entropy")
    assert run.model.stem.weight.equal(before)


def test_the_counted_work_is_that_of_the_plain_network_whether_or_not_training_compiles_it(splits, monkeypatch):
    monkeypatch.setattr(nn.Module, "compile", lambda *_, **__: pytest.fail("compiled for one counted step"))
    assert operations_per_image(config("hdge", compile=True), splits, CPU) == operations_per_image(
        config("hdge"), splits, CPU
    )
