"""The first steps of every method: gradients of order 1, whatever the head starts from."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import create_autospec

import pytest
import torch
from torch.distributed import ProcessGroup
from torch.profiler import ProfilerActivity, profile

from benchmarks.start import LEFT_OUT, first_steps
from hdge.data.augment import to_unit
from hdge.measure.samples import random_starts
from hdge.methods.energy import Sampler
from hdge.study.errors import HdgeError
from hdge.study.roster import METHODS
from hdge.study.settings import SamplingProtocol
from hdge.training.trainer import Trainer, precision_of
from tests.test_methods import CPU, config

METHODS_WITH_A_HEAD = [method for method in METHODS if method not in LEFT_OUT]


@pytest.mark.parametrize("method", METHODS_WITH_A_HEAD)
def test_the_heads_first_gradients_are_of_order_one(method, splits):
    start = "pytorch" if method.startswith("igebm") else "zero_residual"
    own = replace(config(method), initialization=start, epochs=4)
    largest, root = first_steps(Trainer(own, splits, CPU))
    assert 0.01 < largest < 50
    assert root < 5


@pytest.mark.parametrize("method", [method for method in METHODS if "hybrid" in METHODS[method].blocks])
def test_a_head_of_zero_does_not_blow_up_a_contrast(method, splits):
    """It was 5e12 at f = 0; with t = 0.1 and the floor of 0.1, a contrast pulls at a logit by at most 100."""
    own = replace(config(method), initialization="zero_residual", epochs=4)
    largest, root = first_steps(Trainer(own, splits, CPU), zero=True)
    assert 0.01 < largest < 500
    assert root < 50


def test_a_clip_bounds_the_gradient_of_all_parameters(splits):
    run = Trainer(replace(config("hdge"), initialization="zero_residual", clip=0.25), splits, CPU)
    run.update()
    squares = sum(p.grad.square().sum() for p in run.parameters)
    # Scaled by 0.25 / (norm + 1e-6), as PyTorch's function does.
    assert float(squares.sqrt()) == pytest.approx(0.25, rel=1e-5)


def test_auto_keeps_flows_in_float32_and_takes_bfloat16_by_the_processors_flags(monkeypatch):
    for flags, expected in (({}, "float32"), ({"avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True}, "bfloat16")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda flags=flags: flags)
        assert precision_of(replace(config("hdge"), precision="auto"), CPU) == expected
        assert precision_of(replace(config("glow"), precision="auto"), CPU) == "float32"


def test_sampling_under_autocast_casts_weights_as_often_however_long_its_chains(splits):
    """Autocast keeps a weight's cast within a step only while the weight asks for a gradient."""

    def casts(steps: int) -> int:
        sgld = replace(config("jem").sgld, steps=steps)
        run = Trainer(replace(config("jem"), precision="bfloat16", sgld=sgld), splits, CPU)
        shapes = {tuple(p.shape) for p in run.model.parameters() if p.ndim > 1}
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True, acc_events=True) as seen:
            run.update()
        events = [e for e in seen.key_averages(group_by_input_shape=True) if e.key == "aten::_to_copy"]
        return sum(event.count for event in events if tuple(event.input_shapes[0]) in shapes)

    assert casts(2) == casts(6) > 0


@pytest.mark.parametrize("method", ["supcon", "contrastive_pretraining"])
def test_frozen_features_are_those_of_evaluation(method, splits):
    """With batch norm: the head's stage leaves running statistics alone, and sees features of evaluation mode."""
    run = Trainer(replace(config(method), norm="batch", dropout=0.3, augmentation="simclr"), splits, CPU)
    while run.stage == 0:
        run.train_step()
    seen = []
    run.model.head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    views = []
    plain = run._view
    run._view = lambda pixels: views.append(plain(pixels)) or views[-1]
    run.update()
    with torch.no_grad():
        torch.testing.assert_close(seen[0], run.model.eval().features(views[0]), rtol=0, atol=0)
    changed = {name for name, value in run.model.state_dict().items() if not value.equal(before[name])}
    assert changed == {"head.weight", "head.bias"}
    assert views[0].std() > 0


@pytest.mark.parametrize("method", ["cross_entropy", "hdge", "cross_entropy_bn"])
def test_a_compiled_network_is_one_graph_and_trains_as_the_plain_one(method):
    """In a process of its own, on the whole graph or not at all; the backend runs it as it is."""
    command = [sys.executable, "-m", "tests.compiled_training", method]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.stdout == "1 graph\n", done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", ["cross_entropy", "hdge", "hdge_batch", "cross_entropy_bn"])
def test_a_step_on_a_gpu_never_waits_for_the_host(method, splits):
    run = Trainer(replace(config(method), epochs=9), splits, torch.device("cuda"))
    run.update()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run.update()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_ranks_share_the_chains_and_refuse_a_number_that_cannot_be_shared(splits):
    training = splits.train
    own, group = config("jem"), create_autospec(ProcessGroup, instance=True)
    group.rank.return_value, group.size.return_value = 1, 2
    sampler = Sampler(own, training, group)
    assert sampler.count == own.sgld.chains // 2
    assert len(sampler.chains.buffer) == own.sgld.buffer // 2
    assert not sampler.chains.buffer.equal(Sampler(own, training, None).chains.buffer[: own.sgld.buffer // 2])
    uneven = replace(own, sgld=replace(own.sgld, chains=21))
    with pytest.raises(HdgeError, match="sgld.chains is 21; it must be a multiple of the 2 ranks"):
        Sampler(uneven, training, group)


@pytest.mark.parametrize("conditional", [False, True])
def test_chains_that_start_at_the_classes_have_an_equal_part_of_each(splits, conditional):
    """The class whose mean is nearest to a start is its own more often than by chance, 1 in 8."""
    own = config("igebm_conditional" if conditional else "jem")
    own = replace(own, sgld=replace(own.sgld, start="classes", conditional=conditional, buffer=160))
    chains = Sampler(own, splits.train, None).chains
    images = 2 * to_unit(splits.train.images) - 1
    means = torch.stack([images[splits.train.labels == label].mean(dim=0).flatten() for label in range(8)])
    nearest = torch.cdist(chains.buffer.flatten(1), means).argmin(dim=1)
    places = torch.arange(160)
    assert (nearest == (places // 20 if conditional else places % 8)).float().mean() > 0.6
    assert chains.buffer.abs().max() <= 1


def test_random_starts_of_classes_lie_nearest_to_their_own_class(splits):
    """By chance, 1 in 8 would."""
    protocol, labels = SamplingProtocol(start="classes"), torch.arange(8).repeat_interleave(20)
    images = 2 * to_unit(splits.train.images) - 1
    means = torch.stack([images[splits.train.labels == label].mean(dim=0).flatten() for label in range(8)])
    for own, expected in ((labels, labels), (None, torch.arange(160) % 8)):
        starts = random_starts(splits.train, 160, own, protocol, torch.Generator().manual_seed(0))
        nearest = torch.cdist(starts.flatten(1), means).argmin(dim=1)
        assert (nearest == expected).float().mean() > 0.6
    uniform = random_starts(splits.train, 160, labels, SamplingProtocol(), torch.Generator().manual_seed(0))
    assert uniform.equal(torch.empty(160, 1, 8, 8).uniform_(-1, 1, generator=torch.Generator().manual_seed(0)))
