import json

import pandas as pd
import pytest
import torch

from hdge.evaluators import sweeps
from hdge.evaluators.classification import accuracy_table
from hdge.study.config import TrainConfig
from hdge.study.runs import Outputs, Run, RunFolder
from hdge.study.settings import HybridSettings, QueueSettings, SgldSettings

BASE = {"dataset": "digits", "evaluation_sets": ("near",), "queue": QueueSettings(size=100)}


def finished(tmp_path, row: str, seed: int, work: float = 1.0, **settings) -> Run:
    """A run with random outputs, whose training took so many operations an image."""
    shared = {name: value for name, value in BASE.items() if name != "queue" or row.startswith(("hdge", "generative"))}
    config = TrainConfig(**{"method": "hdge", **shared, **settings}, seed=seed)
    folder = RunFolder(tmp_path / f"{row}-{seed}")
    generator = torch.Generator().manual_seed(1000 * len(row) + seed)
    for name in ("test", "near", "validation"):
        logits = 2 * torch.randn(60, 4, generator=generator)
        folder.write_outputs(name, Outputs(logits, torch.randint(4, (60,), generator=generator)))
    folder.write_history(pd.DataFrame({"epoch": [1, 2, 3], "validation_accuracy": [0.5, 0.9, 0.7 + 0.01 * seed]}))
    folder.finish({"config": json.loads(config.to_json()), "cost": {"operations_per_image": work}})
    return Run(row, seed, folder, config)


@pytest.fixture
def runs(tmp_path):
    rows = {
        "hdge": {},
        "hdge_small": {"queue": QueueSettings(size=5)},
        "hdge_masked": {"queue": QueueSettings(100, energy="masked"), "work": 1.5},
        "generative": {"method": "generative", "hybrid": HybridSettings(alpha=0.0)},
        "cross_entropy": {"method": "cross_entropy"},
        "hdge_other": {"queue": QueueSettings(size=5), "hybrid": HybridSettings(alpha=0.3)},
        "jem": {"method": "jem"},
        "jem_many": {"method": "jem", "sgld": SgldSettings(chains=128)},
        "hdge_mild": {"hybrid": HybridSettings(alpha=0.75)},
    }
    return [finished(tmp_path, row, seed, **settings) for row, settings in rows.items() for seed in (0, 1)]


def test_runs_belong_to_a_sweep_by_their_configs(runs):
    assert {run.row for run in sweeps.of_setting(runs, "hdge", "queue.size")} == {"hdge", "hdge_small"}
    table = sweeps.size_table(runs)
    sizes = {(row.method, row.estimate, row.size) for row in table.itertuples()}
    assert sizes == {("hdge", "K", 100), ("hdge_small", "K", 5), ("jem", "N", 64), ("jem_many", "N", 128)}
    alphas = sweeps.alpha_table(runs).drop_duplicates("method").set_index("method")["alpha"].to_dict()
    assert alphas == {"hdge": 0.5, "generative": 0.0, "cross_entropy": 1.0, "hdge_mild": 0.75}


def test_measures_are_those_of_the_other_tables(runs):
    table = sweeps.measures_table(runs)
    ours = table[table["measure"] == "accuracy"]["value"].tolist()
    assert ours == accuracy_table(runs)["accuracy"].tolist()
    assert set(table["measure"]) == set(sweeps.MEASURES)
    assert set(table.loc[table["measure"].str.startswith("AUROC"), "ood_set"]) == {"near"}
    assert set(table.loc[~table["measure"].str.startswith("AUROC"), "ood_set"]) == {"–"}


def test_departures_are_differences_to_the_run_of_the_same_seed(runs):
    table = sweeps.departures_table(runs)
    assert set(table["departure"]) == {"energies masked", sweeps.SELECTION}
    accuracy = {(run.row, run.seed): value for run, value in zip(runs, accuracy_table(runs)["accuracy"], strict=True)}
    masked = table[(table["departure"] == "energies masked") & (table["measure"] == "accuracy")]
    for row in masked.itertuples():
        assert row.difference == pytest.approx(accuracy["hdge_masked", row.seed] - accuracy["hdge", row.seed])
    cost = table[table["measure"] == sweeps.COST]
    assert cost["value"].tolist() == [1.5, 1.5]
    picked = table[table["departure"] == sweeps.SELECTION]
    assert picked["difference"].tolist() == pytest.approx([0.2, 0.19])
    effects = sweeps.effects_table(table)
    [row] = effects[effects["departure"] == sweeps.SELECTION].to_dict("records")
    assert row["difference"] == pytest.approx(0.195)
    assert row["seeds"] == 2
    assert (effects["p_holm"] >= effects["p"]).all()
