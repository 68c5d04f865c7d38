import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch

from hdge.evaluators.ood import auroc
from hdge.study import study as studies
from hdge.study.profiles import Profile
from hdge.study.protocol import stated
from hdge.study.runs import Outputs, RunFolder
from hdge.study.settings import AttackProtocol
from hdge.study.study import Study
from hdge.verdict import judge
from hdge.verdict.claims import CHANCE, Claim, claims
from hdge.verdict.evidence import Evidence
from hdge.verdict.judge import COLUMNS, judged

ATTACKS = AttackProtocol(images=40, l2=(0.5,), linf=(8,), checked=(("l2", 0.5), ("linf", 8.0)), noise_radius=8)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study without runs, of three rows and a reference, four seeds each."""
    rows = {"cross_entropy": {}, "hdge": {}, "generative": {"hybrid": {"alpha": 0.0}}}
    twice = {"cross_entropy_twice": {"method": "cross_entropy", "epochs": 400, "seeds": [0]}}
    made = Profile(
        "made", "test scale", (0, 1, 2, 3), {"evaluation_sets": ["near", "far"], "dataset": "cifar10"}, rows, twice,
        attacks=ATTACKS, references=("cross_entropy",),
    )  # fmt: skip
    monkeypatch.setattr(studies, "load_profile", lambda name: made)
    return Study("made", tmp_path)


def add(study, row, seed, right=0.8, sure=3.0, apart=2.0, precision="float32", **record):
    """A finished run: accuracy, logits' size and distance of the two sets from the test images as wanted."""
    config = study.profile.config(row, seed)
    folder = RunFolder.of(study.name, row, seed, study.root)
    folder.write_config(config)
    generator = torch.Generator().manual_seed(17 * seed + sum(map(ord, row)))
    labels = torch.arange(200) % 4
    predicted = torch.where(torch.arange(200) < 200 * right, labels, (labels + 1) % 4)
    logits = torch.nn.functional.one_hot(predicted, 4) * sure + 0.1 * torch.randn(200, 4, generator=generator)
    folder.write_outputs("test", Outputs(logits, labels))
    for name in ("near", "far"):
        outside = logits[:100] - apart * (name == "far") - 0.5 * apart + 0.5 * torch.randn(100, 4, generator=generator)
        folder.write_outputs(name, Outputs(outside, labels[:100]))
    folder.finish(
        {"config": json.loads(config.to_json()), "outcome": "finished", "rollbacks": [], "weights": f"{row}{seed}",
         "cost": {"operations_per_image": 100.0 if row == "hdge" else 300.0}, "machine": {"precision": precision},
         **record}
    )  # fmt: skip
    return folder


def a_claim(**changes):
    given = {
        "name": "a claim", "group": stated()["groups"][0], "where": "section 0", "words": "words", "kind": "higher",
        "method": "hdge", "baselines": ("cross_entropy",), "delta": 0.01, "because": "a reason",
    }  # fmt: skip
    return Claim(**{**given, **changes})


def verdict_of(study, monkeypatch, claim):
    monkeypatch.setattr(judge, "claims", lambda: (claim,))
    table, singles = judged(study)
    assert table.columns.tolist()[:-1] == list(COLUMNS)
    return table.iloc[0], singles


def test_a_claim_of_all_tasks_is_judged_alone_as_among_the_others(study):
    for seed in range(4):
        add(study, "cross_entropy", seed)
        add(study, "hdge", seed, right=0.9)
    alone, among = judged(study, "overall")[0], judged(study)[0]
    assert alone["kind"].unique().tolist() == ["all"]
    expected = among.set_index("claim").loc[alone["claim"], ["verdict", "reason"]]
    assert alone.set_index("claim")[["verdict", "reason"]].equals(expected)


def test_a_claim_is_judged_on_the_seeds_and_images_that_both_rows_share(study, monkeypatch):
    for seed in range(4):
        add(study, "cross_entropy", seed, right=0.7)
        if seed < 3:
            add(study, "hdge", seed, right=0.8)
    add(study, "cross_entropy_twice", 0, right=0.7)
    row, singles = verdict_of(study, monkeypatch, a_claim())
    assert row["verdict"] == "reproduced"
    assert row[["seeds", "planned", "n", "provisional"]].tolist() == [3, 4, 200, True]
    assert row[["method_mean", "baseline_mean", "difference"]].tolist() == pytest.approx([0.8, 0.7, 0.1])
    # Every seed has the same images right: the interval is that of 200 paired images, 20 of which differ.
    assert row["low"] == pytest.approx(0.1 - 1.97 * np.sqrt(0.1 * 0.9 / 199), abs=0.02)
    assert row[["singles", "held"]].tolist() == [1, 1]
    assert singles["towards_claim"].tolist() == pytest.approx([0.1])
    assert row["protocol"] == "exploratory"


def test_precision_that_differs_is_no_pair(study, monkeypatch):
    for seed in range(4):
        add(study, "cross_entropy", seed)
        add(study, "hdge", seed, precision="float32" if seed < 2 else "bfloat16")
    add(study, "cross_entropy_twice", 0)
    row, _ = verdict_of(study, monkeypatch, a_claim())
    assert row["verdict"] == "not testable here"
    unlike = ", ".join(f"{seed} (bfloat16 and float32)" for seed in (2, 3))
    told = f"hdge and cross_entropy have 2 seeds in common; the rule needs 3; precisions differ at seed {unlike}"
    assert row["reason"] == told


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ({"right": 0.7, "twice": 0.8}, "cross_entropy had too few epochs: twice as many gain 10.0 points of accuracy"),
        ({"sure": 8.0, "twice": 0.7}, "cross_entropy had too few epochs: twice as many lower the NLL by"),
        ({"twice": None}, "the reference of cross_entropy, with twice the epochs, is not trained yet"),
        ({"right": 1.0}, "cross_entropy errs on 0.00 % of images, which leaves no room for δ"),
        ({"outcome": "diverged", "rollbacks": [1, 2]}, "cross_entropy, seed 0: diverged for good after 2 restarts"),
    ],
)
def test_gates_hold_a_claim_up_and_say_why(study, monkeypatch, spoil, reason):
    twice = spoil.pop("twice", 0.75)
    ends = {name: spoil.pop(name) for name in ("outcome", "rollbacks") if name in spoil}
    for seed in range(3):
        add(study, "cross_entropy", seed, **({"right": 0.7} | spoil), **(ends if seed == 0 else {}))
        add(study, "hdge", seed)
    if twice:
        add(study, "cross_entropy_twice", 0, right=twice)
    row, _ = verdict_of(study, monkeypatch, a_claim())
    assert row["verdict"] == "not testable here"
    assert row["reason"].startswith(reason)


def test_the_strongest_valid_baseline_is_taken_and_a_missing_one_holds_the_claim_up(study, monkeypatch):
    several = a_claim(baselines=("cross_entropy", "generative"))
    for seed in range(3):
        add(study, "cross_entropy", seed, right=0.6)
        add(study, "hdge", seed)
    add(study, "cross_entropy_twice", 0, right=0.6)
    row, _ = verdict_of(study, monkeypatch, several)
    assert row[["verdict", "reason"]].tolist() == ["not testable here", "generative is not trained here"]
    for seed in range(3):
        add(study, "generative", seed, right=0.7)
    row, singles = verdict_of(study, monkeypatch, several)
    assert row[["baseline", "verdict"]].tolist() == ["generative", "reproduced"]
    assert singles["baseline"].tolist() == ["cross_entropy", "generative"]
    end = {"term": "loss", "last_epoch": 3.0, "constant_prediction": 2.0}
    add(study, "generative", 3, outcome="not trained", end=end)
    row, _ = verdict_of(study, monkeypatch, several)
    assert row["baseline"] == "cross_entropy"  # a run of the stronger one did not train


def test_detection_is_pooled_over_sets_and_compared_with_chance(study, monkeypatch):
    folders = [add(study, "hdge", seed, apart=1.0) for seed in range(3)]
    claim = a_claim(measure="log q(x)", baselines=(CHANCE,), delta=0.02)
    row, singles = verdict_of(study, monkeypatch, claim)
    expected = [
        auroc(folder.outputs("test").logits.logsumexp(1), folder.outputs(name).logits.logsumexp(1))
        for folder in folders for name in ("near", "far")
    ]  # fmt: skip
    assert row["method_mean"] == pytest.approx(np.mean(expected), abs=1e-9)  # sums of some ten thousand halves
    assert row["difference"] == pytest.approx(np.mean(expected) - 0.5, abs=1e-9)
    assert singles["within"].tolist() == ["near", "far"]
    assert singles["difference"].mean() == pytest.approx(row["difference"], abs=1e-9)


def test_robustness_is_the_worst_of_all_attacks_over_both_norms(study, monkeypatch):
    for row, strong in (("hdge", 30), ("cross_entropy", 20)):
        for seed in range(3):
            folder = add(study, row, seed)
            pgd, few = torch.ones(2, 40, dtype=torch.uint8), torch.zeros(2, 40, dtype=torch.uint8)
            pgd[1, :4] = 0  # PGD alone breaks these
            few[:, :strong] = 1
            withstood = {"l2": pgd, "linf": pgd.clone(), "strong": few}
            folder.measured("attacks", asdict(ATTACKS), lambda found=withstood: found)
    add(study, "cross_entropy_twice", 0)
    row, _ = verdict_of(study, monkeypatch, a_claim(measure="robust", delta=0.05))
    assert row[["method_mean", "baseline_mean"]].tolist() == pytest.approx([26 / 40, 16 / 40])
    assert row["n"] == 40


def test_cost_is_exact_and_stability_counts_every_run(study, monkeypatch):
    for seed in range(3):
        add(study, "hdge", seed, rollbacks=[{"step": 5}] if seed == 1 else [])
        add(study, "cross_entropy", seed)
    add(study, "cross_entropy_twice", 0)
    row, _ = verdict_of(study, monkeypatch, a_claim(kind="lower", measure="log operations", delta=0.69))
    assert row[["difference", "low", "high"]].tolist() == pytest.approx([np.log(1 / 3)] * 3)
    assert row[["verdict", "p"]].tolist() == ["reproduced", 0.0]
    # Of the eight runs that are planned, one has diverged: at best, the interval ends at 0.53.
    for delta, more in ((0.1, "; the 8 planned could not decide it"), (0.6, "")):
        rare = a_claim(kind="rare", measure="diverged", methods=("hdge", "generative"), delta=delta)
        row, _ = verdict_of(study, monkeypatch, rare)
        assert row["reason"] == f"the interval reaches across δ: 1 of 3 runs diverged{more}"
    assert row[["n", "planned", "difference"]].tolist() == pytest.approx([3, 8, 1 / 3])


def test_samples_are_judged_over_seeds_if_they_beat_noise(study, monkeypatch):
    for seed in range(3):
        add(study, "hdge", seed)
        add(study, "cross_entropy", seed)
    add(study, "cross_entropy_twice", 0)
    named = "Fréchet distance on the study's features"
    rows = [("hdge", seed, named, 100.0 + seed) for seed in range(3)]
    rows += [("cross_entropy", seed, named, 200.0 + seed) for seed in range(3)]
    claim = a_claim(kind="lower", measure="log distance", delta=0.02)
    for noise, verdict in ((800.0, "reproduced"), (150.0, "not testable here")):
        of_noise = ("random starts", np.nan, named, noise)
        table = pd.DataFrame([*rows, of_noise], columns=["method", "seed", "score", "value"])
        study.save_table(table, "05_generation_scores")
        row, _ = verdict_of(study, monkeypatch, claim)
        assert row["verdict"] == verdict, row["reason"]


def test_claims_without_runs_are_rows_all_the_same(study):
    table, singles = judged(study)
    assert table["claim"].tolist() == [claim.name for claim in claims()]
    assert set(table["verdict"]) == {"not testable here"}
    assert table["reason"].str.len().gt(0).all()
    assert singles.empty
    assert "towards_claim" in singles


def test_a_group_is_judged_as_in_the_whole(study):
    for seed in range(3):
        add(study, "hdge", seed)
        add(study, "cross_entropy", seed, right=0.7)
    add(study, "cross_entropy_twice", 0)
    whole, _ = judged(study)
    for group in stated()["groups"][:-1]:  # the last speaks of the others
        own, _ = judged(study, group)
        pd.testing.assert_frame_equal(
            own.drop(columns="p_holm"), whole[whole["group"] == group].drop(columns="p_holm").reset_index(drop=True),
            check_dtype=False,
        )  # fmt: skip
    tested = whole["p"].notna()
    assert tested.sum() >= 2
    assert (whole.loc[tested, "p_holm"] >= whole.loc[tested, "p"]).all()


def test_evidence_counts_what_has_ended_and_what_failed(study):
    add(study, "hdge", 0)
    add(study, "hdge", 1, outcome="diverged", rollbacks=[{"step": 3}])
    evidence = Evidence.of(study)
    assert sorted(evidence.ended["hdge"]) == [0, 1]
    assert evidence.failures("hdge") == ["hdge, seed 1: diverged for good after 1 restarts"]
    assert evidence.planned("hdge") == [0, 1, 2, 3]
