"""Profiles with too little to draw: every notebook runs, draws what there is, and says what is missing."""

import json
import shutil
from dataclasses import replace

import matplotlib.pyplot as plt
import nbformat
import pytest

from hdge.evaluators import approximation, calibration, classification, generation, intervals, ood, robustness, sweeps
from hdge.measure.attacks import attack_runs
from hdge.measure.critic import critic_of, sample_runs
from hdge.measure.posthoc import posthoc_runs
from hdge.measure.rows import measure_row
from hdge.measure.variation import variation_of
from hdge.study import contents
from hdge.study import study as studies
from hdge.study.config import HOME
from hdge.study.errors import HdgeError
from hdge.study.profiles import Profile
from hdge.study.runs import RunFolder
from hdge.study.settings import AttackProtocol, SamplingProtocol
from hdge.study.study import Study
from hdge.training.loop import train

SETTINGS = {
    "dataset": "digits", "evaluation_sets": ["uniform"], "depth": 10, "width": 1, "epochs": 1, "batch_size": 433,
    "crop_padding": 1, "warmup_steps": 0, "precision": "float32",
}  # fmt: skip
ATTACKS = AttackProtocol(
    images=8, steps=1, l2=(0.5,), linf=(16,), checked_images=4, strong_steps=1, strong_targets=1, strong_queries=2
)
WHOLE = Profile(
    "whole", "test scale", (0,), SETTINGS,
    {"cross_entropy": {}, "hdge": {"queue": {"size": 64}}, "glow": {"flow": {"levels": 1, "depth": 1, "width": 4}}},
    {"hdge_k_32": {"method": "hdge", "queue": {"size": 32}}},
    attacks=ATTACKS, samples=SamplingProtocol(chains=4, per_class=1, steps=2, record_every=1),
)  # fmt: skip
NO_SETS = {**SETTINGS, "evaluation_sets": []}
# Of each profile: its settings, methods and variants, and of them those that have a run.
CASES = {
    "no-sets": (NO_SETS, ["cross_entropy", "hdge"], ["hdge_k_32"], ["cross_entropy", "hdge", "hdge_k_32"]),
    "only-hdge": (SETTINGS, ["hdge"], [], ["hdge"]),
    "only-cross-entropy": (SETTINGS, ["cross_entropy", "hdge"], ["hdge_k_32"], ["cross_entropy"]),
    "only-a-variant": (SETTINGS, ["cross_entropy", "hdge"], ["hdge_k_32"], ["hdge_k_32"]),
    "one-logit": (NO_SETS, ["glow"], [], ["glow"]),
}
# What each prints, among other sentences.
SAID = {
    "no-sets": [
        "No out-of-distribution set: evaluation_sets is empty.",
        "Nothing to draw: a run of one epoch has no older negatives.",
    ],
    "only-hdge": ["No post-hoc scores: they need a finished run of cross-entropy, with its weights."],
    "only-cross-entropy": ["hdge, seed 0: no finished run.", "Nothing to draw: no run of HDGE is here."],
    "only-a-variant": ["Nothing to draw: no run here classifies.", "Nothing to draw: no run here was attacked."],
    "one-logit": ["Nothing to draw: no run of HDGE is here.", "No attacks: they need a finished run, with its weights"],
}


def profile_of(name: str) -> Profile:
    if name == "whole":
        return WHOLE
    settings, methods, variants, _ = CASES[name]
    rows = [{row: own for row, own in part.items() if row in some}
            for part, some in ((WHOLE.methods, methods), (WHOLE.variants, variants))]  # fmt: skip
    return replace(WHOLE, name=name, settings=settings, methods=rows[0], variants=rows[1])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A run and its measurements of every row, trained for an epoch of two steps."""
    root = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "load_profile", profile_of)
        study = Study("whole", root, str(root / "data"))
        for row, seed in WHOLE.runs(variants=True):
            folder, config = RunFolder.of("whole", row, seed, root), WHOLE.config(row, seed)
            train(config, folder, root / "data", progress=False)
            restate(folder, config)
        for row, seed in WHOLE.runs(variants=True):
            measure_row(study, row, [seed])
    return root


def restate(folder: RunFolder, config) -> None:
    """Write the record anew, as that of a run that finished with this config; two steps train nothing."""
    folder.finish({**folder.record(), "config": json.loads(config.to_json()), "outcome": "finished"})


@pytest.fixture(params=CASES)
def study(request, root, monkeypatch):
    """A profile's study, with copies of the runs that it has."""
    monkeypatch.setattr(studies, "load_profile", profile_of)
    monkeypatch.setenv("HDGE_DATA", str(root / "data"))
    study, name = Study(request.param, root), request.param
    for row in CASES[name][3]:
        folder = RunFolder.of(name, row, 0, root)
        shutil.copytree(RunFolder.of("whole", row, 0, root).path, folder.path)
        config = study.profile.config(row, 0)
        if not config.evaluation_sets:
            (folder.path / "outputs" / "uniform.safetensors").unlink()
        restate(folder, config)
    monkeypatch.setattr(generation, "REPLICATES", 2)  # a matrix square root each
    return study


def execute(notebook: str, study: Study) -> None:
    """Run a notebook's code here, with a study's parameters."""
    space = {"display": print}
    for cell in nbformat.read(HOME / "notebooks" / f"{notebook}.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, f"{notebook}", "exec"), space)
        if "parameters" in cell.metadata.get("tags", []):
            space |= {"profile": study.name, "root": str(study.root)}
    plt.close("all")


def test_every_notebook_draws_what_there_is_and_says_what_is_missing(study, capsys):
    variants, drawn = bool(study.profile.variants), []
    for notebook in contents.notebooks(variants):
        if contents.NOTEBOOKS[notebook].needs != "nothing":
            execute(notebook, study)
            drawn += contents.tables(notebook, variants)
    said = capsys.readouterr().out.splitlines()
    for sentence in SAID[study.name]:
        assert any(line.startswith(sentence) for line in said), sentence
    for name in drawn:
        assert len(study.table(name).columns) > 2, name
        text = study.path(name).with_suffix(".svg")
        assert not text.exists() or "</svg>" in text.read_text()
    verdicts = study.table("09_verdict_claims")
    rare = verdicts["kind"] == "rare"
    assert set(verdicts.loc[~rare, "verdict"]) == {"not testable here"}  # one seed tests nothing
    counted = "hdge" in CASES[study.name][3]  # a run counts towards stability, and one alone decides nothing
    assert verdicts.loc[rare, "verdict"].tolist() == ["undecided" if counted else "not testable here"]
    assert verdicts["reason"].notna().all()


def test_tables_without_rows_have_the_columns_of_those_with(root, monkeypatch):
    monkeypatch.setattr(studies, "load_profile", profile_of)
    monkeypatch.setattr(generation, "REPLICATES", 2)
    data = root / "data"
    runs, missing = Study("whole", root, str(data)).runs(variants=True)
    assert not missing
    runs = [run for run in runs if run.classifies]
    hdge = [run for run in runs if run.row == "hdge"]
    sampled, reference, _ = sample_runs(runs[:2], WHOLE.samples, data, critic_of(runs))
    attacked, scored = attack_runs(runs[:2], ATTACKS, data)[0], posthoc_runs(runs[:1], data)[0]
    variation = variation_of(runs[0], data)
    assert all([sampled, attacked, scored, variation])
    tables = [
        (approximation.weight_table, hdge), (approximation.partition_table, hdge), (approximation.gradient_table, hdge),
        (calibration.calibration_table, runs), (calibration.reliability_table, runs), (calibration.scaling_table, runs),
        (classification.accuracy_table, runs), (classification.cost_table, runs), (classification.seconds_table, runs),
        (classification.confusion_table, runs), (ood.auroc_table, runs), (lambda own: ood.auroc_table(own, 0), runs),
        (ood.log_q_x_histograms, runs), (ood.posthoc_table, scored), (robustness.robustness_table, attacked),
        (robustness.gap_table, attacked), (generation.chains_table, sampled), (sweeps.measures_table, runs),
        (lambda own: generation.scores_table(own, reference if own else {}, "study"), sampled),
        (lambda own: generation.samples_table(own, "study")[0], sampled), (sweeps.size_table, runs),
        (lambda own: ood.variation_table(own, variation), runs),
        (sweeps.alpha_table, runs), (sweeps.departures_table, runs),
        (lambda own: sweeps.effects_table(sweeps.departures_table(own)), runs),
        (lambda own: intervals.over_seeds(calibration.calibration_table(own), "ece", ["n", "method"]), runs),
    ]  # fmt: skip
    for table, measured in tables:
        full, empty = table(measured), table([])
        assert len(full), list(full)
        assert empty.empty
        assert list(empty) == list(full)
    curves = classification.learning_curves([])
    assert set(curves) <= set(classification.learning_curves(runs))


def test_outputs_that_are_not_finite_are_named_by_their_file(root, tmp_path):
    folder = RunFolder(tmp_path)
    for name in ("outputs", "record.json"):
        source = RunFolder.of("whole", "hdge", 0, root).path / name
        shutil.copytree(source, tmp_path / name) if source.is_dir() else shutil.copy(source, tmp_path / name)
    outputs, record = folder.outputs("test"), folder.record()
    for strange in (float("nan"), float("inf")):
        outputs.logits[3, 1] = strange
        folder.write_outputs("test", outputs)
        folder.finish(record)
        with pytest.raises(HdgeError, match=r"outputs/test.safetensors: logits\[3, 1\] is (nan|inf); it must"):
            folder.outputs("test")


def test_a_study_without_any_run_is_told_what_to_run(tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "load_profile", profile_of)
    with pytest.raises(HdgeError, match="has no finished run yet; run `hdge reproduce whole`"):
        Study("whole", tmp_path).runs()
