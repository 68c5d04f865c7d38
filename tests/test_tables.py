import json
import math

import pytest
import torch

from hdge.data.scored import Given, Scored
from hdge.evaluators import classification, intervals, ood
from hdge.evaluators.tables import by_row, rows
from hdge.study.config import TrainConfig
from hdge.study.runs import Outputs, Run, RunFolder
from hdge.study.settings import ViewSettings


def test_wilson_limits_of_none_and_of_all_are_exact():
    assert intervals.wilson_interval(0, 10)[0] == 0
    assert intervals.wilson_interval(10, 10)[1] == 1


@pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (0.5, 0.0), (-2.0, 0.0)])
def test_seeds_that_agree_are_certain_of_a_difference_or_of_none(value, p):
    assert intervals.student_interval([value] * 3) == (value, value)
    assert intervals.student_p([value] * 3) == p
    assert math.isnan(intervals.student_p([value]))


def test_seeds_that_agree_in_nearly_all_digits_give_no_warning():
    low, high = intervals.student_interval([1.0, 1.0 + 2e-16])
    assert low <= 1 <= high
    assert intervals.student_p([1.0, 1.0 + 2e-16]) < 1e-10


COST = {
    "seconds": 90.0, "seconds_per_step": 0.1, "images_per_second": 640.0, "peak_memory_bytes": 1000,
    "forward_passes_per_step": 1.0, "backward_passes_per_step": 1.0,
}  # fmt: skip


def finished(path, row: str, operations: float, **settings) -> Run:
    """A finished run on four test images, three of them right."""
    folder, config = RunFolder(path / row), TrainConfig(method=row, epochs=10, **settings)
    folder.write_outputs("test", Outputs(torch.eye(4), torch.tensor([0, 1, 2, 0])))
    cost = {**COST, "operations_per_image": operations}
    folder.finish({"config": json.loads(config.to_json()), "cost": cost, "rollbacks": [1, 2]})
    return Run(row, 0, folder, config)


def test_cost_is_counted_in_operations_and_seconds_are_kept_apart(tmp_path):
    supcon = finished(tmp_path, "supcon", 6.0, views=ViewSettings(head_epochs=5))
    runs = [finished(tmp_path, "cross_entropy", 2.0), supcon]
    table = classification.cost_table(runs)
    assert list(table) == [
        "method", "seed", "n", "correct", "accuracy", "low", "high", "batch_size", "epochs", "times_cross_entropy",
        "operations_per_image", "forward_passes_per_step", "backward_passes_per_step", "restarts",
    ]  # fmt: skip
    assert table["times_cross_entropy"].tolist() == [1, 3]
    assert table["epochs"].tolist() == [10, 15]
    assert table["restarts"].tolist() == [2, 2]
    assert table["accuracy"].tolist() == [0.75, 0.75]
    assert classification.cost_table([supcon])["times_cross_entropy"].isna().all()
    seconds = classification.seconds_table(runs)
    assert list(seconds) == ["method", "seed", "minutes", "seconds_per_step", "images_per_second", "peak_memory_bytes"]
    assert seconds["minutes"].tolist() == [1.5, 1.5]


def test_rows_name_their_run_and_none_keep_their_columns(tmp_path):
    runs = [Run(row, seed, RunFolder(tmp_path), TrainConfig()) for row, seed in (("b", 1), ("a", 0), ("b", 0))]
    table = rows(runs, lambda run: [{"value": run.seed}] * run.seed, ["value"])
    assert table.to_dict("list") == {"method": ["b"], "seed": [1], "value": [1]}
    assert list(rows([], lambda run: [], ["value"])) == ["method", "seed", "value"]
    assert {row: [run.seed for run in own] for row, own in by_row(runs).items()} == {"b": [1, 0], "a": [0]}


def test_a_score_that_only_some_sets_have_is_left_out_of_the_others(tmp_path):
    """The archive keeps gradient norms of small sets for more seeds than of large ones."""
    norms = {"test": torch.rand(9), "near": torch.rand(9), "far": None}
    sets = {name: Outputs(torch.randn(9, 3), torch.zeros(9).long(), own) for name, own in norms.items()}
    table = ood.auroc_table([Scored("hdge", 0, Given(tmp_path, sets), TrainConfig())], 0)
    assert table.query("score == 'approximate mass'")["ood_set"].tolist() == ["near"]
    assert table.query("score == 'log q(x)'")["ood_set"].tolist() == ["near", "far"]


def test_posthoc_detectors_keep_their_order_and_their_names(tmp_path):
    run = Run("hdge", 3, RunFolder(tmp_path), TrainConfig(evaluation_sets=("near", "far")))
    high, low = torch.arange(4.0) + 10, torch.arange(3.0)
    names = [f"{detector}/{part}" for detector in ("Mahalanobis", "ODIN") for part in ("far", "near", "test")]
    table = ood.posthoc_table([(run, {name: high if name.endswith("test") else low for name in names})], 5)
    assert table[["method", "seed", "score", "ood_set"]].values.tolist() == [
        ["hdge", 3, detector, name] for detector in ("ODIN", "Mahalanobis") for name in ("near", "far")
    ]
    assert (table["auroc"] == 1).all()
    assert list(ood.posthoc_table([]))[:4] == ["method", "seed", "score", "ood_set"]
