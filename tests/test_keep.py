import json

import pytest
import torch

from hdge.evaluators import ood
from hdge.figures.ood import auroc_figure, histogram_figure
from hdge.study import archive as keep
from hdge.study import profiles, runs
from hdge.study.config import HdgeError
from hdge.study.profiles import Profile, load_profile
from hdge.study.runs import Outputs, RunFolder, finished_runs

SETS = ("train", "validation", "test", "svhn", "cifar100", "celeba", "interp")


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """A profile of three runs, of which one is finished and one optional, in a home of its own."""
    for module in (runs, profiles):
        monkeypatch.setattr(module, "HOME", tmp_path)
    made = Profile("small", "test scale", (0,), {"evaluation_sets": list(SETS[3:])}, {
        "cross_entropy": {}, "hdge": {}, "generative": {"optional": True, "alpha": 0.0},
    })  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    folder, config = RunFolder.of("small", "hdge", 0), made.config("hdge", 0)
    folder.write_config(config)
    folder.write_trajectory([torch.randn(20, 10, generator=generator)])
    folder.write_weights({"weight": torch.zeros(2)}, config)
    (folder.path / "history.csv").write_text("epoch\n1\n")
    for name in SETS:
        logits = 5 * torch.randn(400, 10, generator=generator)
        folder.write_outputs(name, Outputs(logits, torch.randint(10, (400,), generator=generator)))
    folder.finish({"config": json.loads(config.to_json()), "outcome": "finished", "rollbacks": []})
    return made


def test_a_kept_run_stands_in_for_the_run_and_its_numbers_hardly_move(profile, tmp_path):
    [run], missing = finished_runs(profile)
    assert missing == [
        "cross_entropy, seed 0: no finished run.",
        "generative, seed 0: no finished run; `hdge reproduce small --only generative` trains it.",
    ]
    before = ood.auroc_table([run], replicates=10)
    keep.keep(run, profile)
    for path in sorted(run.folder.path.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    [kept], _ = finished_runs(profile)
    assert kept.folder == RunFolder.kept("small", "hdge", 0)
    assert kept.folder.outputs("test").labels.dtype == torch.int64
    assert kept.folder.trajectory().shape == (1, 20, 10)
    # Rounding a score by 2^-11 of itself can only swap pairs that are closer than that: few of 160,000.
    assert (ood.auroc_table([kept], replicates=10)["auroc"] - before["auroc"]).abs().max() < 2e-3
    assert "kept" in kept.folder.record()
    with pytest.raises(HdgeError, match="has no finished run yet"):
        finished_runs(profile, kept=False)


def test_what_is_wanted_is_what_is_kept_or_asked_for(profile):
    assert profile.wanted() == [("cross_entropy", 0), ("hdge", 0)]
    assert profile.wanted(["generative"]) == [("generative", 0)]
    [run], _ = finished_runs(profile)
    keep.keep(run, profile)
    assert profile.wanted(["generative"]) == [("hdge", 0), ("generative", 0)]
    with pytest.raises(HdgeError, match="no method 'generativ'; did you mean 'generative'"):
        profile.wanted(["generativ"])


def test_a_kept_run_of_other_settings_does_not_count(profile):
    [run], _ = finished_runs(profile)
    keep.keep(run, profile)
    other = Profile("small", "test scale", (0,), {**profile.settings, "epochs": 3}, profile.methods)
    assert profile.kept_record("hdge", 0) is not None
    assert other.kept_record("hdge", 0) is None
    assert ("hdge", 0) not in other.wanted(["generative"])


def test_every_kept_run_of_the_repository_is_one_that_its_profile_asks_for():
    for path in profiles.HOME.glob("papermill_runs/*/kept/*/record.json"):
        method, _, seed = path.parent.name.rpartition("-seed")
        assert load_profile(path.parts[-4]).kept_record(method, int(seed)) == path


def test_a_measurement_is_taken_once_a_protocol_and_kept_with_its_run(profile):
    [run], _ = finished_runs(profile)
    taken = []

    def measure():
        taken.append(1)
        return {"values": torch.arange(3.0)}

    for protocol, times in (({"steps": 5}, 1), ({"steps": 5}, 1), ({"steps": 6}, 2)):
        assert run.folder.measured("attacks", protocol, measure)["values"].equal(torch.arange(3.0))
        assert len(taken) == times
    run.folder.write_weights({"weight": torch.ones(2)}, run.config)
    run.folder.finish({"config": json.loads(run.config.to_json())})
    run.folder.measured("attacks", {"steps": 6}, measure)
    assert len(taken) == 3  # the weights are others
    kept = keep.keep(run, profile)
    assert kept.measured("attacks", {"steps": 6}, measure)["values"].equal(torch.arange(3.0))
    assert len(taken) == 3
    with pytest.raises(HdgeError, match="has no weights, and no attacks by this protocol; train the run"):
        kept.measured("attacks", {"steps": 7}, measure)


def test_variants_change_a_methods_row_and_are_drawn_from_only_where_asked_for(profile):
    profile.variants["hdge_small"] = {"method": "hdge", "queue_size": 5}
    assert profile.config("hdge_small", 0).method == "hdge"
    assert profile.config("hdge_small", 0).queue_size == 5
    assert ("hdge_small", 0) not in profile.runs() + profile.wanted()
    assert ("hdge_small", 0) in profile.wanted(variants=True)
    assert any("hdge_small, seed 0" in sentence for sentence in finished_runs(profile, variants=True)[1])
    assert not any("hdge_small" in sentence for sentence in finished_runs(profile)[1])


def test_samples_that_are_only_judged_are_not_kept_once_they_are(profile):
    [run], _ = finished_runs(profile)
    tensors = {"samples": torch.zeros(9), "logits": torch.zeros(9), "class_samples": torch.ones(2)}

    def measure():
        return tensors

    run.folder.measured("samples", {"steps": 5}, measure)
    assert keep.keep(run, profile).measured("samples", {"steps": 5}, measure).keys() == tensors.keys()
    run.folder.measured("judged-study", {"steps": 5}, lambda: {"features": torch.zeros(3)})
    kept = keep.keep(run, profile).measured("samples", {"steps": 5}, measure)
    assert kept.keys() == {"class_samples"}
    assert kept["class_samples"].equal(tensors["class_samples"])


def test_a_set_whose_outputs_are_lost_is_said_and_the_others_are_drawn(profile, tmp_path):
    folder, config = RunFolder.of("small", "cross_entropy", 0), profile.config("cross_entropy", 0)
    for name in SETS:
        folder.write_outputs(name, Outputs(torch.randn(30, 10), torch.zeros(30, dtype=torch.int64)))
    folder.finish({"config": json.loads(config.to_json()), "outcome": "finished", "rollbacks": []})
    (folder.path / "outputs" / "svhn.safetensors").unlink()
    found, missing = finished_runs(profile)
    assert [sentence for sentence in missing if "svhn" in sentence] == [
        f"cross_entropy, seed 0: no outputs for svhn; delete {folder.path} to have the run trained anew."
    ]
    table = ood.auroc_table(found, replicates=10)
    counted = table.groupby("method")["ood_set"].unique().map(set)
    assert counted["hdge"] == set(SETS[3:])
    assert counted["cross_entropy"] == set(SETS[4:])
    assert len(auroc_figure(table, "test scale").axes) == 2 * 4
    panels = histogram_figure(ood.log_q_x_histograms(found), "test scale").axes
    assert sum("no outputs" in [text.get_text() for text in ax.texts] for ax in panels) == 1
