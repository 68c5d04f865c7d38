import json
from dataclasses import replace

import pandas as pd
import pytest
import safetensors.torch
import torch

from hdge.evaluators import ood
from hdge.figures.ood import auroc_figure, histogram_figure
from hdge.measure.rows import borrow
from hdge.study import archive, dependencies, profiles, runs, verify
from hdge.study import study as studies
from hdge.study.errors import HdgeError
from hdge.study.files import read_measured
from hdge.study.profiles import Profile
from hdge.study.runs import Outputs, Run, RunFolder
from hdge.study.study import Study

SETS = ("train", "validation", "test", "svhn", "cifar100", "celeba", "interp")


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study of three runs, of which one is finished and one optional, in a home of its own."""
    for module in (runs, profiles):
        monkeypatch.setattr(module, "HOME", tmp_path)
    made = Profile("small", "test scale", (0,), {"evaluation_sets": list(SETS[3:])}, {
        "cross_entropy": {}, "hdge": {}, "generative": {"optional": True, "hybrid": {"alpha": 0.0}},
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
    monkeypatch.setattr(studies, "load_profile", lambda name: made)
    return Study("small")


def test_an_archived_run_stands_in_for_the_run_and_its_numbers_are_the_same(study, tmp_path):
    [run], missing = study.runs()
    assert missing == [
        "cross_entropy, seed 0: no finished run.",
        "generative, seed 0: no finished run; `hdge reproduce small --only generative` trains it.",
    ]
    before = ood.auroc_table([run], replicates=10)
    archive.archive(run, study.profile)
    for path in sorted(run.folder.path.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    [archived], _ = study.runs()
    assert archived.folder == RunFolder(profiles.archived_folder("small", "hdge", 0))
    assert archived.folder.outputs("test").labels.dtype == torch.int64
    assert archived.folder.trajectory().shape == (1, 20, 10)
    assert archived.folder.history()["epoch"].tolist() == [1]
    pd.testing.assert_frame_equal(ood.auroc_table([archived], replicates=10), before)
    assert "archived" in archived.folder.record()
    with pytest.raises(HdgeError, match="has no finished run yet"):
        study.runs(archived=False)


def test_a_row_is_named_once_for_all_seeds_that_lack_the_same(study):
    study.profile = replace(study.profile, seeds=(0, 1, 2))
    assert study.runs()[1] == [
        "cross_entropy, seeds 0, 1, 2: no finished run.",
        "hdge, seeds 1, 2: no finished run.",
        "generative, seeds 0, 1, 2: no finished run; `hdge reproduce small --only generative` trains it.",
    ]


def test_what_is_wanted_is_what_is_archived_or_asked_for(study):
    assert study.profile.wanted() == [("cross_entropy", 0), ("hdge", 0)]
    assert study.profile.wanted(["generative"]) == [("generative", 0)]
    [run], _ = study.runs()
    archive.archive(run, study.profile)
    assert study.profile.wanted(["generative"]) == [("hdge", 0), ("generative", 0)]
    with pytest.raises(HdgeError, match="no method 'generativ'; did you mean 'generative'"):
        study.profile.wanted(["generativ"])


def test_a_row_or_seed_that_the_profile_lacks_is_refused(study):
    assert [run.row for run in study.runs(rows=["hdge"], seeds=[0])[0]] == ["hdge"]
    with pytest.raises(HdgeError, match="no row 'hdg'; did you mean 'hdge'"):
        study.runs(rows=["hdg"])
    with pytest.raises(HdgeError, match="no seed '100'; choose from 0"):
        study.runs(seeds=[100])


def test_sets_to_look_at_are_those_of_the_profile(study):
    [run], _ = study.runs(rows=["hdge"], sets=["celeba", "svhn"])
    assert run.stored_sets() == ["celeba", "svhn"]
    assert set(ood.auroc_table([run], replicates=10)["ood_set"]) == {"celeba", "svhn"}
    with pytest.raises(HdgeError, match="no out-of-distribution set 'celeb'; did you mean 'celeba'"):
        study.runs(rows=["hdge"], sets=["celeb"])
    assert set(ood.auroc_table([run], 0, scores=["log q(x)"])["score"]) == {"log q(x)"}
    with pytest.raises(HdgeError, match=r"no score 'log q\(y\)'; did you mean 'log q\(x\)'"):
        ood.auroc_table([run], 0, scores=["log q(y)"])


def test_an_archived_run_of_other_settings_does_not_count(study):
    [run], _ = study.runs()
    archive.archive(run, study.profile)
    other = Profile("small", "test scale", (0,), {**study.profile.settings, "epochs": 3}, study.profile.methods)
    assert study.profile.archived_record("hdge", 0) is not None
    assert other.archived_record("hdge", 0) is None
    assert ("hdge", 0) not in other.wanted(["generative"])


def test_a_measurement_is_taken_once_a_protocol_and_archived_with_its_run(study):
    [run], _ = study.runs()
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
    assert not [name for name in run.folder.record()["files"] if name.startswith("measured/")]
    archived = archive.archive(run, study.profile)
    assert "measured/attacks.safetensors.xz" in archived.record()["files"]
    assert archived.measured("attacks", {"steps": 6}, measure)["values"].equal(torch.arange(3.0))
    assert len(taken) == 3
    with pytest.raises(HdgeError, match="has no weights, and no attacks by this protocol; train the run"):
        archived.measured("attacks", {"steps": 7}, measure)


def test_what_the_first_seed_of_a_row_answers_is_archived_of_no_other(study):
    """Whichever run ends first is measured; of rows that no claim compares, the archive keeps the lowest seed's."""
    profile = replace(study.profile, seeds=(0, 1), methods={"cross_entropy": {}, "hdge_batch": {}})
    config = profile.config("cross_entropy", 0)
    for row, kept in (("hdge_batch", {0: True, 1: False}), ("cross_entropy", {0: True, 1: True})):
        for seed in kept:
            folder = RunFolder.of("small", row, seed)
            folder.write_history(pd.DataFrame({"epoch": [0]}))
            folder.write_config(config)
            folder.write_weights({"weight": torch.zeros(2)}, config)
            folder.finish({"config": json.loads(config.to_json()), "outcome": "finished", "rollbacks": []})
            folder.measured("attacks", {"steps": 5}, lambda: {"values": torch.arange(3.0)})
            archived = archive.archive(Run(row, seed, folder, config), profile)
            assert any("attacks" in name for name in archived.record()["files"]) == kept[seed]


def test_archived_attacks_of_the_same_weights_are_borrowed(study):
    [run], _ = study.runs()

    def measure():
        return {"values": torch.arange(3.0)}

    run.folder.measured("attacks", {"steps": 5}, measure)
    archive.archive(run, study.profile)
    path = run.folder.measured_path("attacks")
    path.unlink()
    borrow(study, run)
    found, how = read_measured(path, archived=False)
    assert found["values"].equal(torch.arange(3.0))
    own = dependencies.code_digest(dependencies.imported_modules(dependencies.PACKAGE / "measure" / "attacks.py"))
    assert how["code"] == own
    path.unlink()
    run.folder.write_weights({"weight": torch.ones(2)}, run.config)
    run.folder.finish(run.folder.record())
    borrow(study, run)
    assert not path.exists()  # the weights are others


def test_variants_change_a_methods_row_and_are_drawn_from_only_where_asked_for(study):
    study.profile.variants["hdge_small"] = {"method": "hdge", "queue": {"size": 5}}
    assert study.profile.config("hdge_small", 0).method == "hdge"
    assert study.profile.config("hdge_small", 0).queue.size == 5
    assert ("hdge_small", 0) not in study.profile.runs() + study.profile.wanted()
    assert ("hdge_small", 0) in study.profile.wanted(variants=True)
    assert any("hdge_small, seed 0" in sentence for sentence in study.runs(variants=True)[1])
    assert not any("hdge_small" in sentence for sentence in study.runs()[1])


def test_samples_that_are_only_scored_are_not_archived_once_they_are(study):
    [run], _ = study.runs()
    names = ("samples", "logits", "class_samples", "class_logits", "noise_log_q_x")
    tensors = {name: torch.full((2,), place) for place, name in enumerate(names)}
    asked = ("samples", {"steps": 5}, lambda: tensors)
    run.folder.measured(*asked)
    assert archive.archive(run, study.profile).measured(*asked).keys() == tensors.keys()
    run.folder.measured("critique-study", {"steps": 5}, lambda: {"features": torch.zeros(3)})
    archived = archive.archive(run, study.profile).measured(*asked)
    assert archived.keys() == {"class_samples", "class_logits", "noise_log_q_x"}
    other = archive.condensed_measurement(run.folder.measured_path("samples"), run.row, scored=True, first=False)
    assert safetensors.torch.load(other).keys() == {"class_logits"}


def test_a_set_whose_outputs_are_lost_is_said_and_the_others_are_drawn(study, tmp_path):
    folder, config = RunFolder.of("small", "cross_entropy", 0), study.profile.config("cross_entropy", 0)
    for name in SETS:
        folder.write_outputs(name, Outputs(torch.randn(30, 10), torch.zeros(30, dtype=torch.int64)))
    folder.finish({"config": json.loads(config.to_json()), "outcome": "finished", "rollbacks": []})
    (folder.path / "outputs" / "svhn.safetensors").unlink()
    found, missing = study.runs()
    assert [sentence for sentence in missing if "svhn" in sentence] == [
        f"cross_entropy, seed 0: no outputs for svhn; delete {folder.path} to have the run trained anew."
    ]
    table = ood.auroc_table(found, replicates=10)
    counted = table.groupby("method")["ood_set"].unique().map(set)
    assert counted["hdge"] == set(SETS[3:])
    assert counted["cross_entropy"] == set(SETS[4:])
    assert len(auroc_figure(table).axes) == 2 * 4
    panels = histogram_figure(ood.log_q_x_histograms(found)).axes
    assert sum("no outputs" in [text.get_text() for text in ax.texts] for ax in panels) == 1


def test_a_measurement_is_taken_anew_if_code_that_it_imports_or_a_file_that_it_read_has_changed(study, tmp_path):
    """The digest covers every module behind the measurement, not the one that holds it alone."""
    [run], _ = study.runs()
    taken, source = [], tmp_path / "samples.bin"
    source.write_bytes(b"one")

    def measure():
        taken.append(1)
        return {"values": torch.zeros(1)}

    def ask():
        run.folder.measured("critique-study", {"steps": 5}, measure, [source])
        return len(taken)

    assert [ask(), ask()] == [1, 1]
    source.write_bytes(b"two")
    assert [ask(), ask()] == [2, 2]
    digests = iter(["another", "another"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "code_digest", lambda modules: next(digests))
        assert [ask(), ask()] == [3, 3]


def test_a_run_that_failed_is_archived_by_its_record_alone(study):
    [run], _ = study.runs()
    record = run.folder.record()
    run.folder.finish({**record, "outcome": "diverged", "rollbacks": [{"step": 3, "back_to": 1}]})
    folder = archive.archive(run, study.profile)
    assert folder.record()["outcome"] == "diverged"
    assert not (folder.path / "outputs").exists()
    assert study.ended("hdge", 0, archived=True).folder == run.folder
    assert verify.report(study) == ["hdge, seed 0: diverged here, diverged in the archive"]
    run.folder.finish({**record, "outcome": "finished"})
    assert verify.report(study)[0] == "hdge, seed 0: finished here, diverged in the archive"


def test_the_proof_is_trained_although_it_is_archived_and_the_rest_only_when_asked_for(study):
    [run], _ = study.runs()
    archive.archive(run, study.profile)
    assert study.profile.trained() == [("cross_entropy", 0)]
    assert study.profile.trained(fresh=True) == [("cross_entropy", 0), ("hdge", 0)]
    proving = replace(study.profile, proof=("hdge",), seeds=(0, 1, 2, 3))
    assert proving.trained() == [("hdge", 0), ("hdge", 1), ("hdge", 2)]
    assert proving.wanted() == [("hdge", 0), ("hdge", 1), ("hdge", 2)]
    assert proving.trained(["cross_entropy"]) == [("cross_entropy", seed) for seed in range(4)]
    assert replace(study.profile, proof=()).trained() == []


def test_archived_logits_are_packed_and_a_damaged_pack_is_told_by_name(study):
    [run], _ = study.runs()
    folder = archive.archive(run, study.profile)
    [packed] = (folder.path / "outputs").glob("test.*")
    assert packed.name == "test.safetensors.xz"
    assert folder.outputs("test").logits.shape == run.folder.outputs("test").logits.shape
    packed.write_bytes(packed.read_bytes()[:-1])
    with pytest.raises(HdgeError, match="test.safetensors.xz does not match its record.json; restore the archived run"):
        folder.outputs("test")


def test_a_run_is_compared_with_its_archived_copy(study):
    assert verify.report(study) == []
    with pytest.raises(HdgeError, match="no run of 'small' in .* has an archived copy to compare with"):
        verify.verified(study)
    [run], _ = study.runs()
    archive.archive(run, study.profile)
    assert verify.report(study) == [
        "hdge, 1 seed: weights equal to the bit", "against the archive, 1 run: weights equal to the bit"
    ]  # fmt: skip
    record, outputs = run.folder.record(), run.folder.outputs("test")
    logits = outputs.logits.clone()
    logits[0, 0] += 0.5  # as many of the first image's halves as float16 has there
    run.folder.write_outputs("test", Outputs(logits, outputs.labels))
    run.folder.write_weights({"weight": torch.ones(2)}, run.config)
    run.folder.finish(record)
    [one] = verify.comparisons(study)
    assert not one.same_weights
    assert one.logit == pytest.approx(0.5, abs=2**-7)  # rounding to float16 below 16
    *_, said, remedy = verify.report(study)
    assert "weights of 0 equal to the bit; largest difference of a test logit 0.5" in said
    assert (
        remedy
        == "figures/small shows the runs trained here; `git checkout figures/small` restores those of the archive"
    )
