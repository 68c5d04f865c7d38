"""The verdict on profiles that leave out what a claim asks for: a row that says why, and no error."""

import json

import pytest
import torch

from hdge.study import study as studies
from hdge.study.profiles import Profile
from hdge.study.runs import Outputs, RunFolder
from hdge.study.settings import AttackProtocol
from hdge.study.study import Study
from hdge.verdict.claims import claims
from hdge.verdict.judge import judged

DETECTION = ("log q(x)", "max q(y|x)")


def study_of(tmp_path, monkeypatch, settings, rows, sets, images=20, spoil=None):
    """A study of three seeds a row, with outputs of the sets; ``spoil`` is written into one logit of each."""
    made = Profile("made", "test scale", (0, 1, 2), settings, rows, attacks=AttackProtocol(checked=()))
    monkeypatch.setattr(studies, "load_profile", lambda name: made)
    study = Study("made", tmp_path)
    for row, seed in made.runs():
        folder, config = RunFolder.of("made", row, seed, tmp_path), made.config(row, seed)
        generator = torch.Generator().manual_seed(seed)
        for name in ("test", *sets):
            logits = torch.randn(images, 4, generator=generator)
            if spoil is not None:
                logits[0, 0] = spoil
            folder.write_outputs(name, Outputs(logits, torch.arange(images) % 4))
        record = {
            "outcome": "finished",
            "rollbacks": [],
            "machine": {"precision": "float32"},
            "weights": f"{row}{seed}",
        }
        folder.finish({**record, "config": json.loads(config.to_json()), "cost": {"operations_per_image": 1.0}})
    return study


def reasons(study):
    """Every claim's verdict and reason."""
    table, singles = judged(study)
    assert len(table) == len(claims())
    assert table["reason"].str.len().gt(0).all()
    return table.set_index("claim"), singles


@pytest.mark.parametrize("rows", [("cross_entropy",), ("hdge",), ("cross_entropy", "hdge", "generative")])
def test_without_sets_no_claim_of_detection_is_tested(tmp_path, monkeypatch, rows):
    methods = {row: {"hybrid": {"alpha": 0.0}} if row == "generative" else {} for row in rows}
    table, singles = reasons(study_of(tmp_path, monkeypatch, {"evaluation_sets": []}, methods, ()))
    detecting = table[table["measure"].isin(DETECTION)]
    assert set(detecting["verdict"]) == {"not testable here"}
    assert not singles["claim"].isin(detecting.index).any()
    if "hdge" in rows:
        assert detecting["reason"].str.contains("hdge has no out-of-distribution set").any()


def test_sets_and_data_may_be_given_by_rows_or_left_to_the_defaults(tmp_path, monkeypatch):
    own = {"dataset": "cifar100", "evaluation_sets": ["near"]}
    table, singles = reasons(study_of(tmp_path, monkeypatch, {}, {"cross_entropy": own, "hdge": own}, ["near"]))
    assert singles.loc[singles["within"] != "", "within"].unique().tolist() == ["near"]
    # The paper's difference is that of the row's own data: CIFAR-100's, by its Table 2.
    assert table.loc["more accurate than cross-entropy", "paper"] == pytest.approx(0.809 - 0.799)
    reasons(study_of(tmp_path / "defaults", monkeypatch, {}, {"hdge": {}}, ["svhn"]))


@pytest.mark.parametrize(
    ("images", "spoil", "said"),
    [(1, None, "the number of images of 'test' is 1; it must be at least 2"),
     (20, float("nan"), "test.safetensors: logits[0, 0] is nan; it must be a finite number")],
)  # fmt: skip
def test_outputs_that_nothing_can_be_counted_from_are_a_reason(tmp_path, monkeypatch, images, spoil, said):
    rows = {"cross_entropy": {}, "hdge": {}}
    study = study_of(tmp_path, monkeypatch, {"evaluation_sets": ["near"]}, rows, ["near"], images, spoil)
    table, _ = reasons(study)
    held_up = table[table["reason"].str.contains(said, regex=False)]
    assert set(held_up["verdict"]) == {"not testable here"}
