from dataclasses import replace

import pandas as pd
import pytest

from hdge.study import contents
from hdge.study.profiles import load_profile
from hdge.study.study import Study
from hdge.verdict import summary
from hdge.verdict.claims import CHANCE, CLAIMS, GROUPS, Claim, against, differing
from hdge.verdict.rule import comparisons, judge_claim
from hdge.verdict.summary import claims_table, paper_says

TWO_SETS = Claim(
    "accuracy",
    "best of all",
    "section 0",
    "words",
    "table",
    "auroc",
    "higher",
    against("hdge", "cross_entropy", "jem"),
    ("ood_set",),
)


def table(hdge: dict[str, float], others: dict[str, float], seeds: int = 3) -> pd.DataFrame:
    """AUROC by set of HDGE and of two others that are alike, with a spread over seeds of a hundredth."""
    values = {"hdge": hdge, "cross_entropy": others, "jem": others}
    return pd.DataFrame(
        [{"method": method, "seed": seed, "ood_set": name, "n_in": 50, "n_out": 40, "auroc": value + 0.01 * (seed - 1)
          * (method == "hdge")}
         for method, sets in values.items() for name, value in sets.items() for seed in range(seeds)]
    )  # fmt: skip


LEVEL = {"near": 0.7, "far": 0.7}


@pytest.mark.parametrize(
    ("hdge", "seeds", "verdict", "reason"),
    [
        ({"near": 0.8, "far": 0.9}, 3, "reproduced", "4 of 4 on the claimed side"),
        ({"near": 0.8, "far": 0.4}, 3, "not reproduced", "2 of 4 go the other way, Holm-corrected"),
        ({"near": 0.8, "far": 0.7}, 3, "inconclusive", "2 of 4 may be no difference"),
        ({"near": 0.8, "far": 0.9}, 2, "inconclusive", "4 of 4 rest on fewer than 3 seeds"),
    ],
)
def test_all_comparisons_must_hold_and_one_against_refutes(hdge, seeds, verdict, reason):
    rows = comparisons(TWO_SETS, {"table": table(hdge, LEVEL, seeds)})
    assert len(rows) == 4
    assert judge_claim(TWO_SETS, rows) == (verdict, reason)


def test_a_claim_may_ask_for_fewer_than_all():
    """With "near" sure by t = 17 and 2 degrees of freedom, p = 0.0033, twice; 3 p for 2 of 4 is below 5 %."""
    rows = comparisons(TWO_SETS, {"table": table({"near": 0.8, "far": 0.7}, LEVEL)})
    assert judge_claim(TWO_SETS, rows).verdict == "inconclusive"
    assert judge_claim(replace(TWO_SETS, least=2), rows) == ("reproduced", "2 of 4 on the claimed side")
    assert judge_claim(replace(TWO_SETS, least=3), rows).verdict == "inconclusive"
    against_half = comparisons(TWO_SETS, {"table": table({"near": 0.8, "far": 0.4}, LEVEL)})
    assert judge_claim(replace(TWO_SETS, least=2), against_half).verdict == "reproduced"
    assert judge_claim(replace(TWO_SETS, least=3), against_half).verdict == "not reproduced"


def test_a_contrary_comparison_must_survive_the_correction():
    """t = -5.4 with 2 degrees of freedom has p = 0.033: below 5 % alone, above it once four comparisons are counted."""
    level = table({"near": 0.8, "far": 0.7 - 5.4 * 0.01 / 3**0.5}, LEVEL)
    rows = comparisons(TWO_SETS, {"table": level})
    against_it = rows[rows["within"] == "far"]
    assert (against_it["p"] < 0.05).all()
    assert (against_it["p_holm"] > 0.05).all()
    assert judge_claim(TWO_SETS, rows).verdict == "inconclusive"


def test_a_missing_baseline_leaves_a_claim_open():
    part = table({"near": 0.8, "far": 0.9}, LEVEL)
    rows = comparisons(TWO_SETS, {"table": part[part["method"] != "jem"]})
    assert judge_claim(TWO_SETS, rows) == ("inconclusive", "not measured here: jem")


def test_a_claim_against_chance_compares_with_a_half():
    claim = Claim("accuracy", "above chance", "", "", "table", "auroc", "higher", against("hdge", CHANCE), ("ood_set",))
    rows = comparisons(claim, {"table": table({"near": 0.8, "far": 0.9}, LEVEL)})
    assert rows["baseline_mean"].tolist() == [0.5, 0.5]
    assert judge_claim(claim, rows).verdict == "reproduced"


def test_claims_without_tables_are_rows_all_the_same():
    rows, everything = claims_table({}, "test scale")
    assert len(rows) == len(CLAIMS)
    assert set(rows["reason"]) == {"not measured at this scale"}
    assert everything.empty


def test_every_claim_speaks_of_rows_and_tables_that_the_default_profile_has():
    profile = load_profile("digits")
    tables = {name for notebook in contents.NOTEBOOKS for name in contents.tables(notebook, variants=True)}
    known = {*profile.methods, *profile.variants, CHANCE}
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert {name for pair in claim.pairs for name in pair} <= known, claim.name
        assert claim.table in tables
        assert claim.group in GROUPS


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("more accurate than cross-entropy", "cifar10: 96.7 against 95.8; cifar100: 80.9 against 79.9"),
        ("OOD by log q(x): best of all", "20 of 20 comparisons in its favour"),
        ("K = 64 detects better than JEM", "3 of 4 comparisons in its favour"),
        ("HDGE + JEM samples better than JEM: distance", "cifar10: 37.6 against 38.4"),
        ("better calibrated than cross-entropy", "no numbers known"),
    ],
)
def test_the_papers_numbers_are_those_of_its_tables(name, numbers):
    [claim] = [claim for claim in CLAIMS if claim.name == name]
    assert paper_says(claim) == numbers


def test_stored_tables_are_found_by_name(tmp_path):
    study = Study("digits", tmp_path)
    study.save_table(pd.DataFrame({"method": ["hdge"], "seed": [0]}), "02_ood_auroc")
    assert list(summary.stored_tables(study)) == ["02_ood_auroc"]


@pytest.mark.parametrize("name", ["digits", "cifar10-reduced", "paper", "paper-cifar100", "paper-svhn", "smoke"])
def test_the_rows_of_every_pair_share_a_recipe(name):
    """They may differ in what the claim is about, in the settings of a method's own, and in nothing else."""
    profile = load_profile(name)
    for claim in CLAIMS:
        for pair in claim.pairs:
            if set(pair) <= set(profile.methods | profile.variants):
                method, baseline = (profile.config(row, 0) for row in pair)
                assert differing(method, baseline) <= set(claim.differs), (claim.name, pair)


def test_a_pair_of_other_recipes_is_told_apart():
    profile = load_profile("digits")
    hdge = profile.config("hdge", 0)
    assert differing(hdge, profile.config("hdge", 1)) == set()
    assert differing(hdge, replace(hdge, epochs=hdge.epochs + 1, norm="batch")) == {"epochs", "norm"}
    assert "optimizer" in differing(hdge, profile.config("cross_entropy_bn", 0))
