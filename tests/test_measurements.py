"""Which runs are measured, and what a request that cannot be met is told."""

import pytest

from hdge.cli import main
from hdge.study.config import HOME
from hdge.study.measurements import KINDS, determined_by, seeds_of
from hdge.study.profiles import load_profile
from hdge.study.roster import METHODS


def test_every_kind_is_made_by_modules_that_are_there():
    for kind, (modules, protocol, *_) in KINDS.items():
        assert all((HOME / "hdge" / "measure" / f"{name}.py").exists() for name in modules)
        assert not protocol or hasattr(load_profile("smoke"), protocol)
        assert any(seeds_of(kind, row) != "none" for row in METHODS)


def test_a_row_needs_what_its_method_allows_and_a_variant_what_claims_compare():
    profile = load_profile("digits")
    assert list(determined_by(profile, "cross_entropy")) == ["samples", "attacks", "posthoc", "variation"]
    assert determined_by(profile, "cross_entropy")["variation"]["seeds"] == "first"
    assert list(determined_by(profile, "supcon")) == ["attacks"]
    assert list(determined_by(profile, "igebm")) == list(determined_by(profile, "glow")) == ["samples"]
    assert determined_by(profile, "hdge_k_64") == {}
    assert determined_by(profile, "hdge_alpha_025")["attacks"]["seeds"] == "all"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["hdg", "0"], "no method 'hdg'; did you mean 'hdge'?"),
        (["hdge", "7"], "profile 'smoke' has no seed 7 of hdge; choose from 0, 1."),
        (["hdge", "0"], "hdge, seed 0: no finished run to measure; run `hdge reproduce smoke`."),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_sentence(tmp_path, capsys, words, sentence):
    assert main(["measure", "smoke", *words, "--root", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"hdge: {sentence}\n"
    assert not list(tmp_path.iterdir())
