"""All measurements of a row's runs, which the DAG makes before notebooks read them."""

from collections.abc import Sequence

from tqdm import tqdm

from hdge.measure.attacks import attack_run, to_attack
from hdge.measure.critic import critic_of, criticise, criticise_reference
from hdge.measure.network import has_weights
from hdge.measure.posthoc import posthoc_scores
from hdge.measure.samples import sample_run
from hdge.measure.variation import variation_of
from hdge.study.dependencies import PACKAGE, code_digest, imported_modules
from hdge.study.errors import HdgeError, refuse_unknown
from hdge.study.files import read_measured, write_measured
from hdge.study.measurements import CRITIC, chosen, seeds_of
from hdge.study.profiles import archived_folder
from hdge.study.runs import Run, RunFolder
from hdge.study.study import Study


def measure_row(study: Study, row: str, seeds: Sequence[int]) -> list[str]:
    """Measure what some runs of a row do not store yet, and give one sentence for each thing that is left out.

    If one of the runs is the critic, it scores real images as well. All finished runs of the row decide which of them
    are measured, whichever seeds are asked for.
    """
    known = study.profile.methods | study.profile.variants
    refuse_unknown("method", row, known)
    for seed in seeds:
        if (row, seed) not in study.profile.runs(variants=True):
            planned = ", ".join(str(own) for name, own in study.profile.runs(variants=True) if name == row)
            raise HdgeError(f"profile {study.name!r} has no seed {seed} of {row}; choose from {planned}.")
        if not (RunFolder.of(study.name, row, seed, study.root).path / "record.json").exists():
            raise HdgeError(f"{row}, seed {seed}: no finished run to measure; run `hdge reproduce {study.name}`.")
    with_critic = CRITIC in known and seeds_of("samples", row) != "none"
    runs, missing = study.runs(True, rows=[row, CRITIC] if with_critic else [row])
    own = [run for run in runs if run.row == row]
    asked = [run for run in own if run.seed in seeds and has_weights(run)]
    for run in asked:
        borrow(study, run)
    for kind, measure in (("posthoc", posthoc_scores), ("variation", variation_of)):
        for run in [run for run in chosen(own, kind) if run in asked]:
            measure(run, study.data_root)
    attacked = [run for run in to_attack(own)[0] if run in asked]
    for run in tqdm(attacked, desc=f"{row} attacks", unit="run", disable=not attacked):
        attack_run(run, study.profile.attacks, study.data_root)
    missing += _sample_and_score(study, runs, asked)
    for seed in seeds:
        folder = RunFolder.of(study.name, row, seed, study.root)
        folder.stamp("measured/done.txt", (folder.path / "measured").glob("*.safetensors"))
    return missing


def borrow(study: Study, run: Run) -> None:
    """Take over the archived attacks and post-hoc scores of the same weights, as notebooks take the archive's.

    They count as made by the present code, because the archive's do. Another protocol's are made anew.
    """
    archived = RunFolder(archived_folder(study.name, run.row, run.seed))
    if study.profile.archived_record(run.row, run.seed) and archived.weights_digest() == run.folder.weights_digest():
        for name in ("attacks", "posthoc"):
            found = read_measured(archived.measured_path(name), archived=True)
            if found is not None and not run.folder.measured_path(name).exists():
                code = code_digest(imported_modules(PACKAGE / "measure" / f"{name}.py"))
                write_measured(run.folder.measured_path(name), found[0], {**found[1], "code": code, "read": []})


def _sample_and_score(study: Study, runs: Sequence[Run], asked: Sequence[Run]) -> list[str]:
    protocol, sampled = study.profile.samples, chosen(runs, "samples")
    critic = critic_of(sampled)
    missing = []
    for run in [run for run in sampled if run in asked]:
        samples = sample_run(run, protocol, study.data_root)
        if critic is None or not critic.folder.stores("weights.safetensors"):
            missing.append(f"{run.row}, seed {run.seed}: not scored, for no {CRITIC} run has its weights here.")
            continue
        criticise(run, samples, critic, protocol)
        if run.folder == critic.folder:
            criticise_reference(critic, run.config.dataset, protocol, study.data_root)
    return missing
