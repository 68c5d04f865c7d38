"""The archive: small copies of finished runs, from which the repository's notebooks can draw.

``python -m hdge.study.archive cifar10-small`` copies runs from ``papermill_runs/<profile>/runs`` to
``papermill_runs/<profile>/archive``. Their logits are condensed, all but config and record is packed, and only the
critic keeps its weights, so that samples of later runs can be scored. If a profile asks for an archived run's settings,
the DAG uses the archived run.
"""

import sys
from pathlib import Path

import safetensors.torch

from hdge.study.condensed import FOLLOWED, as_archived, as_ranks, condensed
from hdge.study.errors import HdgeError
from hdge.study.files import PACKED, atomic_write, packed
from hdge.study.measurements import CRITIC, KINDS, seeds_of
from hdge.study.profiles import Profile, archived_folder
from hdge.study.runs import Run, RunFolder
from hdge.study.study import Study

# Notebook 07 draws queues from these rows' logits of training images; those of many classes would fill the archive.
WITH_TRAINING_IMAGES = ("hdge",)
FEW_CLASSES = 10
FIRST = 3  # seeds of a row that keep the largest files: those logits, and gradient norms, which no claim reads
FIRST_OF_MANY = 1  # seeds that keep gradient norms of sets of more than FOLLOWED images


def archive(run: Run, profile: Profile) -> RunFolder:
    """Copy a run that has ended; of one that diverged or did not train, its record and history alone."""
    archived = RunFolder(archived_folder(profile.name, run.row, run.seed))
    record = run.folder.record()
    seeds = [seed for row, seed in profile.runs(variants=True) if row == run.row]
    first = run.seed in seeds[:FIRST]
    files = {"config.json": run.config.to_json().encode(), "history.csv": run.folder.content("history.csv")}
    finished = record.get("outcome", "finished") == "finished"
    names = sorted(name for name in record["files"] if name.startswith("outputs/")) if finished else []
    pooled = first and finished and run.row in WITH_TRAINING_IMAGES
    if pooled and run.folder.outputs("train").logits.shape[1] <= FEW_CLASSES:
        trajectory = run.folder.trajectory().half().contiguous()
        files["trajectory.safetensors"] = safetensors.torch.save({"logits": trajectory})
    else:
        names = [name for name in names if name != "outputs/train.safetensors"]
    if run.row == CRITIC and run.seed == seeds[0]:
        files["weights.safetensors"] = run.folder.content("weights.safetensors")
    for name in names:
        tensors = safetensors.torch.load(run.folder.content(name))
        small = condensed(name.removeprefix("outputs/").removesuffix(".safetensors"), tensors)
        if "labels" in small:
            small["labels"] = small["labels"].short()
        if run.seed not in seeds[: FIRST if len(small["logits"]) <= FOLLOWED else FIRST_OF_MANY]:
            small.pop("gradient_norms", None)
        files[name] = safetensors.torch.save(small)
    # A row of which one seed is measured has others measured as well if they end before that one.
    needless = {kind for kind in KINDS if seeds_of(kind, run.row) == "first" and run.seed != seeds[0]}
    stored = sorted((run.folder.path / "measured").glob("*.safetensors"))
    measured = [path for path in stored if path.stem not in needless]
    scored = any(path.name.startswith("critique-") for path in measured)
    for path in measured:
        files[f"measured/{path.name}"] = condensed_measurement(path, run.row, scored, run.seed == seeds[0])
    for name, content in files.items():
        if name != "config.json":
            name, content = name + PACKED, packed(content)
        atomic_write(archived.path / name, content)
    archived.finish({**record, "archived": "condensed logits in float16", "weights": run.folder.weights_digest()})
    return archived


def condensed_measurement(path: Path, row: str, scored: bool, first: bool) -> bytes:
    """Drop what no picture shows of samples, round what a critic says of them to float16, and rank post-hoc scores.

    If samples are scored and have classes, the others and their logits are dropped. Real images stay with the critic.
    Pictures and chains are shown of a row's first seed alone; of scored samples, other seeds keep logits and labels.
    """
    with safetensors.safe_open(path, "pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    left_out: set[str] = set()
    if path.name == "samples.safetensors":
        left_out |= {"samples", "logits"} if scored and "class_samples" in tensors else set()
        left_out |= set() if row == CRITIC else {"images", "image_labels"}
        left_out |= {name for name in tensors if scored and not first and not name.endswith(("logits", "labels"))}
    small = {name: tensor for name, tensor in tensors.items() if name not in left_out}
    if path.name == "posthoc.safetensors":
        small = as_ranks(small)
    if path.name.startswith("critique-"):
        small = {name: as_archived(tensor) for name, tensor in small.items()}
    return safetensors.torch.save(small, metadata)


def main(names: list[str]) -> int:
    """Archive every finished run of the named profiles."""
    try:
        for name in names:
            study, total = Study(name), 0
            ended = [study.ended(row, seed, archived=False) for row, seed in study.profile.runs(variants=True)]
            for run in [run for run in ended if run is not None]:
                folder = archive(run, study.profile)
                size = sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file())
                total += size
                print(f"{folder.path.name}: {size / 1e6:.2f} MB")
            print(f"{name}: {len([run for run in ended if run])} of {len(ended)} runs, {total / 1e6:.1f} MB")
    except HdgeError as error:
        print(f"hdge.study.archive: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
