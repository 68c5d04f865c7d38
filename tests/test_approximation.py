import math
import time

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.measure import interleaved, median_interval, peak_bytes
from hdge import LogitQueue, figures
from hdge.core.losses import queue_nll
from hdge.evaluators import approximation
from hdge.figures import style
from hdge.study.config import TrainConfig
from hdge.study.errors import HdgeError
from hdge.study.runs import Outputs, Run, RunFolder
from hdge.study.settings import QueueSettings
from tests.reference import formulas

IMAGES, CLASSES, EPOCHS = 300, 3, 5


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs with made-up logits: what the tables are computed from, without any training."""
    found = []
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        config = TrainConfig(method="hdge", seed=seed, queue=QueueSettings(size=IMAGES))
        folder = RunFolder(tmp_path_factory.mktemp("run") / f"hdge-seed{seed}")
        folder.write_config(config)
        for name in ("train", "validation", "test"):
            logits = torch.randn(IMAGES, CLASSES, generator=generator)
            folder.write_outputs(name, Outputs(logits, torch.randint(CLASSES, (IMAGES,), generator=generator)))
        folder.write_trajectory([torch.randn(IMAGES, CLASSES, generator=generator) for _ in range(EPOCHS)])
        folder.finish({"config": {}})
        found.append(Run("hdge", seed, folder, config))
    return found


def test_runs_without_the_logits_of_training_images_are_left_out_and_named(runs, tmp_path):
    """As the archive keeps them of many classes."""
    bare = Run("hdge", 7, RunFolder(tmp_path), runs[0].config)
    pooled, without = approximation.with_pools([*runs, bare])
    assert pooled == runs
    assert without[0].startswith("hdge, seed 7: archived without the logits of training images")
    assert approximation.with_pools(runs) == (runs, [])
    assert approximation.gradient_table([]).empty


def test_weight_is_the_terms_gradient_on_the_score():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    labels = torch.randint(4, (6,), generator=generator)
    queue = LogitQueue(4, 9, temperature=1.0, normalize="none").double()
    queue.enqueue(torch.randn(9, 4, dtype=torch.float64, generator=generator))
    (gradient,) = torch.autograd.grad(6 * queue_nll(logits, labels, queue), logits)
    scores = approximation.label_scores(logits.detach(), labels, 1.0, "none")
    weight = approximation.true_logit_weight(scores, queue.log_partition()[labels])
    torch.testing.assert_close(-gradient.gather(1, labels[:, None]).squeeze(1), weight, rtol=1e-12, atol=0)


@pytest.mark.parametrize("normalize", ["l2", "softmax", "none"])
def test_drawn_partitions_end_in_the_whole_sum_and_are_unbiased_in_z(normalize):
    pool = torch.randn(40, CLASSES, generator=torch.Generator().manual_seed(0))
    drawn = approximation.log_partition_draws(pool, [1, 10, 40], 0.7, normalize, draws=4000)
    whole = torch.tensor(formulas.log_partition(pool.double().tolist(), CLASSES, 0.7, normalize), dtype=torch.float64)
    torch.testing.assert_close(drawn[:, 2], whole.expand(4000, -1), rtol=1e-12, atol=0)
    for k, size in enumerate((1, 10)):
        estimates = (drawn[:, k] + math.log(40 / size)).exp() / whole.exp()
        # Four standard errors of a mean of 4000 draws.
        assert ((estimates.mean(0) - 1).abs() < 4 * estimates.std(0) / math.sqrt(4000)).all()


def test_partition_errors_follow_their_first_order_law_at_large_sizes(runs):
    table = approximation.partition_table(runs)
    large = table[table["size"] == 256].groupby("seed")[["spread", "expected_spread"]].mean()
    assert large.index.tolist() == [0, 1]
    # A standard deviation from 32 draws is known to 1 / sqrt(2 * 31) = 13 %, a mean over 3 classes to 7 %; thrice that.
    assert np.allclose(large["spread"] / large["expected_spread"], 1, atol=0.22)
    whole = table[table["size"] == IMAGES]
    assert len(whole) == 2 * CLASSES
    assert (whole[["bias", "spread", "expected_spread"]].abs() < 1e-12).all(axis=None)


def test_weight_rises_with_k_from_nothing_to_one(runs):
    table = approximation.weight_table(runs)
    for _, part in table.groupby(["seed", "temperature"]):
        assert part["weight"].is_monotonic_increasing
        assert part["weight"].between(0, 1).all()
    assert set(table["size"]) == {1, 4, 16, 64, 256, IMAGES}
    chosen = approximation.weight_table(runs, sizes=[7, 64])
    assert set(chosen["size"]) == {7, 64, IMAGES}
    same = ["seed", "temperature", "size"]
    both = chosen.merge(table, on=same)  # sizes are nested in the same orders of images
    assert set(both["seed"]) == {0, 1}
    assert set(both["size"]) == {64, IMAGES}
    assert np.allclose(both["weight_x"], both["weight_y"], rtol=1e-12, atol=0)
    with pytest.raises(HdgeError, match="sizes is .*; it must be some numbers from 1 to"):
        approximation.partition_table(runs, sizes=[10 * IMAGES])
    one = table[(table["size"] == IMAGES) & (table["temperature"] == 1.0)]
    assert len(one) == 2
    assert one["low"].tolist() == pytest.approx(one["high"].tolist())  # the whole pool leaves nothing to draw


def test_staleness_is_the_change_between_epochs(runs):
    table = approximation.staleness_table(runs)
    row = table[(table["seed"] == 0) & (table["epoch"] == 3) & (table["lag"] == 2)].iloc[0]
    path, labels = runs[0].folder.trajectory(), runs[0].folder.outputs("validation").labels
    now, then = (approximation.label_scores(path[epoch], labels, 0.1, "l2") for epoch in (2, 0))
    assert row["score_change"] == pytest.approx(math.sqrt(((now - then) ** 2).mean().item()))
    partitions = [formulas.log_partition(path[e].double().tolist(), CLASSES, 0.1, "l2") for e in (2, 0)]
    assert row["partition_shift"] == pytest.approx(np.mean(np.abs(np.subtract(*partitions))))
    assert set(table["lag"]) == {1, 2, 4}
    assert approximation.staleness_table([]).columns.equals(table.columns)


def test_gradient_lengths_are_the_gradients_of_the_two_terms(runs):
    table = approximation.gradient_table(runs[:1])
    logits = runs[0].folder.trajectory()[0].double().requires_grad_()
    labels = runs[0].folder.outputs("validation").labels
    entropy = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    (gradient,) = torch.autograd.grad(entropy, logits)
    first = table[table["epoch"] == 1].set_index("size")
    assert first.loc[0, "length"] == pytest.approx(gradient.norm(dim=1).mean().item())
    # A queue as long as the validation set, filled with it, has the partition function that the table scales.
    queue = LogitQueue(CLASSES, IMAGES).double()
    queue.enqueue(logits.detach())
    (gradient,) = torch.autograd.grad(IMAGES * queue_nll(logits, labels, queue), logits)
    assert first.loc[IMAGES, "length"] == pytest.approx(gradient.norm(dim=1).mean().item())
    assert first.loc[1, "length"] < first.loc[64, "length"] < first.loc[IMAGES, "length"]


def test_summary_has_an_interval_over_seeds_and_both_figures_are_drawn(runs):
    weights, gradients = approximation.weight_table(runs), approximation.gradient_table(runs)
    partitions, staleness = approximation.partition_table(runs), approximation.staleness_table(runs)
    summary = approximation.summary_table(runs, weights, partitions, staleness)
    assert (summary["seeds"] == 2).all()
    assert ((summary["low"] <= summary["value"]) & (summary["value"] <= summary["high"])).all()
    style.use_style()
    for figure, table in (
        figures.approximation.gradient_figure(weights, gradients),
        figures.approximation.partition_figure(partitions, staleness),
    ):
        assert "2 seeds" in figure.get_supxlabel()
        assert all(ax.get_xlabel() and ax.get_ylabel() for ax in figure.axes)
        assert isinstance(table, pd.DataFrame)


def test_peak_memory_counts_what_is_held_at_once():
    def call():
        first = torch.zeros(1000)
        second = first + 1
        del first
        return second * 2

    assert peak_bytes(call) >= 2 * 4000
    assert peak_bytes(call) < 3 * 4000


def test_interleaved_rounds_take_turns():
    order = []
    slow = {name: (lambda name=name: (order.append(name), time.sleep(0.03))) for name in "ab"}  # too slow to repeat
    times = interleaved(slow, budget=0.0)
    assert len(times["a"]) == len(times["b"]) == 5
    assert order[-10:] == ["a", "b"] * 5
    assert min(times["a"]) >= 0.03
    assert median_interval(np.array([1.0, 1.0, 1.0])) == (1.0, 1.0, 1.0)
