"""What docs/results.md says beside the verdicts, from tables made by hand."""

import pandas as pd
import pytest

from hdge.study.profiles import load_profile
from hdge.verdict.answer import after_holm
from hdge.verdict.caveats import attacks, calibration, caveats, scores, smoothness
from hdge.verdict.results import claim_line, single_comparisons

INCEPTION = "Inception-score formula on the study's classifier"
STRONG = "APGD, FAB and Square"
TABLES = {
    "02_ood_variation": pd.DataFrame(
        [("jem", "near", -0.5, 0.6, 0.7), ("jem", "far", -0.5, 0.4, 0.8), ("hdge", "far", 0.2, 0.9, 0.75)],
        columns=["method", "ood_set", "correlation", "auroc", "auroc_matched"],
    ),
    "03_calibration_scaled": pd.DataFrame(
        [("cross_entropy", 0.5, 0.4), ("cross_entropy", 0.7, 0.5), ("hdge", 0.25, 0.25), ("jem", 9.0, 1.0)],
        columns=["method", "nll", "scaled_nll"],
    ),
    "05_generation_scores": pd.DataFrame(
        [("test images", INCEPTION, 6.0), ("jem", INCEPTION, 5.0), ("hdge", INCEPTION, 7.0),
         ("random starts", INCEPTION, 8.0), ("jem", "Fréchet distance", 90.0)],
        columns=["method", "score", "value"],
    ),
    "06_robustness_gap": pd.DataFrame(
        [("hdge", STRONG, True), ("hdge", STRONG, False), ("generative", STRONG, True),
         ("generative", "PGD through noise", False), ("jem", "PGD through noise", True), ("jem", STRONG, False)],
        columns=["method", "check", "masked"],
    ),
}  # fmt: skip


def test_each_measure_has_its_caveat():
    said = " ".join(smoothness(TABLES.get))
    assert "-0.50 for JEM and +0.20 for HDGE" in said
    assert "On far, JEM has an AUROC of 0.40 and HDGE of 0.90." in said
    assert "from 0.600 to 0.450 nats, and that of HDGE from 0.250 to 0.250." in " ".join(calibration(TABLES.get))
    assert scores(TABLES.get)[1] == "Samples of these methods have more: HDGE 7.00."
    said = " ".join(attacks(load_profile("cifar10-small"), TABLES.get))
    assert "L2 0.25 (pixels of [0, 1]) and L∞ 1/255, on 200 images a run." in said
    assert "In every run of HDGE: log q(x|y) only, PGD leaves" in said
    assert len(caveats(load_profile("cifar10-small"), TABLES.get)) == 4


def test_without_a_table_nothing_is_said():
    assert caveats(load_profile("digits"), lambda name: None) == []
    empty = {name: table.iloc[:0] for name, table in TABLES.items()}
    assert caveats(load_profile("digits"), empty.get) == []
    below = TABLES["05_generation_scores"].query("method != 'hdge'")
    assert scores({"05_generation_scores": below}.get) == []


def test_verdicts_that_stand_after_holm_are_counted():
    claims = pd.DataFrame(
        [
            ("reproduced", 0.01),
            ("reproduced", 0.06),
            ("contradicted", 0.049),
            ("undecided", 0.001),
            ("reproduced", None),
        ],
        columns=["verdict", "p_holm"],
    )
    assert after_holm(claims) == "Holm's p is below 0.05 for 1 of those reproduced and 1 of those contradicted."


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ([0.1, 0.2, 0.3, 0.4], ["4 of 4 single comparisons agree"]),
        ([0.1, -0.2, 0.3, 0.4], ["3 of 4 single comparisons agree, not two -0.2"]),
        ([-0.1, -0.2, -0.3, -0.4], ["0 of 4 single comparisons agree"]),
        ([0.1], []),
    ],
)
def test_few_single_comparisons_against_a_claim_are_named(differences, said):
    names = ["one", "two", "three", "four"][: len(differences)]
    singles = pd.DataFrame({"claim": "it", "baseline": "jem", "within": names, "difference": differences})
    row = {"claim": "it", "difference": 0.1, "measure": "log q(x)"}
    assert single_comparisons(row, singles.assign(towards_claim=singles["difference"])) == said
    assert single_comparisons({**row, "claim": "another"}, singles) == single_comparisons(row, None) == []


@pytest.mark.parametrize(
    ("kind", "verdict", "p", "cell"),
    [
        ("higher", "reproduced", 0.0301, "| 0.03 |"), ("higher", "reproduced", 1e-9, "| < 0.001 |"),
        ("alike", "contradicted", 1.0, "| – | **contradicted** (why; more) |"),
        ("alike", "reproduced", 0.01, "| 0.01 |"), ("lower", "contradicted", 0.4, "| 0.4 |"),
    ],
)  # fmt: skip
def test_holms_p_stands_where_it_is_of_the_verdict(kind, verdict, p, cell):
    row = {
        "claim": "it", "where": "section 1", "measure": "nll", "kind": kind, "paper": None, "seeds": 3.0,
        "planned": 3.0, "delta": 0.02, "provisional": False, "verdict": verdict, "reason": "why", "p_holm": p,
        "difference": 0.1, "low": 0.05, "high": 0.15, "method_mean": 0.3, "baseline_mean": 0.2, "baseline": "jem",
    }  # fmt: skip
    assert cell in claim_line(row, ["more"])
