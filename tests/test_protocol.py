"""What the protocol states: recipes of contrasts, the paper's numbers, and that it came before its data."""

import json
import subprocess
from dataclasses import asdict, replace

import numpy as np
import pytest

from hdge.study import protocol
from hdge.study.config import BLOCKS, HOME, TrainConfig
from hdge.study.profiles import archived_folder, load_profile
from hdge.verdict.claims import claims
from hdge.verdict.reported import paper_difference

JUDGED = ("digits", "cifar10-small", "cifar100-small")


def differing(one: TrainConfig, other: TrainConfig) -> set[str]:
    """The settings in which two recipes differ; the groups that belong to a method are its own affair.

    Epochs are those in which the network's features are trained.
    """
    values = []
    for config in (one, other):
        own = {name: value for name, value in asdict(config).items() if name not in ("method", "seed", *BLOCKS)}
        own["epochs"] += config.views.head_epochs if config.method == "jointloss" else 0
        values.append(own)
    return {name for name in values[0] if values[0][name] != values[1][name]}


@pytest.mark.parametrize("name", [*JUDGED, "paper", "paper-cifar100", "paper-svhn", "smoke"])
def test_the_rows_of_every_contrast_share_a_recipe(name):
    """They may differ in what the claim is about, in the settings of a method's own, and in nothing else."""
    profile = load_profile(name)
    rows = profile.methods | profile.variants
    for claim in claims():
        for baseline in claim.baselines:
            if {claim.method, baseline} <= set(rows):
                method, other = (profile.config(row, 0) for row in (claim.method, baseline))
                assert differing(method, other) <= set(claim.differs), (claim.name, baseline)
                # A claim against SupCon may give SupCon more epochs, and never fewer.
                assert baseline != "supcon" or other.epochs >= method.epochs


def test_every_row_of_a_claim_stands_in_the_default_profile():
    profile = load_profile("digits")
    for claim in claims():
        assert set(claim.rows) <= set(profile.methods | profile.variants), claim.name


def test_a_pair_of_other_recipes_is_told_apart():
    profile = load_profile("digits")
    hdge = profile.config("hdge", 0)
    assert differing(hdge, profile.config("hdge", 1)) == set()
    assert differing(hdge, replace(hdge, epochs=hdge.epochs + 1, norm="batch")) == {"epochs", "norm"}
    assert "optimizer" in differing(hdge, profile.config("cross_entropy_bn", 0))


@pytest.mark.parametrize(
    ("name", "dataset", "value"),
    [
        ("more accurate than cross-entropy", "cifar10", 0.967 - 0.958),
        ("more accurate than cross-entropy", "cifar100", 0.809 - 0.799),
        ("OOD by log q(x): best of all", "cifar10", (0.96 + 0.82 + 0.91 + 0.80 - 0.67 - 0.65 - 0.67 - 0.75) / 4),
        ("K = 64 detects better than JEM", "cifar10", (0.89 + 0.79 + 0.84 + 0.62 - 0.67 - 0.65 - 0.67 - 0.75) / 4),
        ("HDGE + JEM samples better than JEM: distance", "cifar10", np.log(37.6 / 38.4)),
        ("better calibrated than cross-entropy", "cifar10", np.nan),
    ],
)
def test_the_papers_differences_are_those_of_its_tables(name, dataset, value):
    [claim] = [claim for claim in claims() if claim.name == name]
    assert paper_difference(claim, dataset) == pytest.approx(value, nan_ok=True)


def test_the_protocol_is_its_newest_version_and_only_that():
    versions = protocol.versions()
    assert versions[-1]["sha256"] == protocol.protocol_digest()
    assert [one["version"] for one in versions] == [str(number + 1) for number in range(len(versions))]
    title = (HOME / "docs" / "protocol.md").read_text().splitlines()[0]
    assert title == f"# Protocol, version {versions[-1]['version']}"


def test_every_judged_run_of_the_repository_began_under_a_version_of_the_protocol():
    known, checked = {one["sha256"] for one in protocol.versions()}, set()
    for name in JUDGED:
        profile = load_profile(name)
        for row, seed in profile.runs(variants=True):
            record = archived_folder(name, row, seed) / "record.json"
            if record.exists():
                assert seed >= 100
                assert json.loads(record.read_text())["protocol"] in known, record
                checked.add(name)
    assert checked == set(JUDGED)


def test_the_protocol_was_committed_before_the_first_run_that_it_judges():
    """The history is the proof: the commit of version 1 is an ancestor of the first commit of a judged run."""

    def first(*paths: str) -> str:
        done = subprocess.run(
            ["git", "log", "--reverse", "--format=%H", "--diff-filter=A", "--", *paths], cwd=HOME, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        return done.stdout.split("\n")[0] if done.returncode == 0 else ""

    stated = first("hdge/verdict/claims.yaml")
    begun = first(*(f"papermill_runs/{name}/archive/*/record.json" for name in JUDGED))
    if not stated or not begun:
        pytest.skip("the checkout has no history of both")
    asked = ["git", "merge-base", "--is-ancestor", stated, begun]
    assert stated != begun
    assert subprocess.run(asked, cwd=HOME, check=False).returncode == 0


def test_every_archived_run_of_the_repository_is_one_that_its_profile_asks_for():
    checked = set()
    for folder in HOME.glob("papermill_runs/*/archive"):
        profile = load_profile(folder.parent.name)
        for path in folder.glob("*/record.json"):
            method, _, seed = path.parent.name.rpartition("-seed")
            assert profile.archived_record(method, int(seed)) == path
            checked.add(folder.parent.name)
    assert checked >= set(JUDGED)
