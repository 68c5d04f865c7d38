"""The archive: small copies of finished runs, from which the repository's notebooks can draw.

``python -m hdge.study.archive cifar10-small`` copies runs from ``papermill_runs/<profile>/runs`` to
``papermill_runs/<profile>/archive``. Their logits are condensed and packed, and only the critic keeps its weights, so
that samples of later runs can be scored. If a profile asks for an archived run's settings, the DAG uses the archived
run.
"""

import sys
from pathlib import Path

import safetensors.torch

from hdge.study.condensed import condensed
from hdge.study.errors import HdgeError
from hdge.study.files import PACKED, atomic_write, packed
from hdge.study.measurements import CRITIC
from hdge.study.profiles import Profile, archived_folder
from hdge.study.runs import Run, RunFolder
from hdge.study.study import Study

# Notebook 07 draws queues from these rows' logits of training images; those of many classes would fill the archive.
WITH_TRAINING_IMAGES = ("hdge",)
FEW_CLASSES = 10
FIRST = 3  # seeds of a row that keep the largest files: those logits, and gradient norms, which no claim reads


def archive(run: Run, profile: Profile) -> RunFolder:
    """Copy a run that has ended; of one that diverged or did not train, its record and history alone."""
    archived = RunFolder(archived_folder(profile.name, run.row, run.seed))
    record = run.folder.record()
    seeds = [seed for row, seed in profile.runs(variants=True) if row == run.row]
    first = run.seed in seeds[:FIRST]
    files = {
        "config.json": run.config.to_json().encode(),
        "history.csv": run.folder.content("history.csv"),
    }
    names = sorted(name for name in record["files"] if name.startswith("outputs/"))
    pooled = first and run.row in WITH_TRAINING_IMAGES and record.get("outcome", "finished") == "finished"
    if pooled and run.folder.outputs("train").logits.shape[1] <= FEW_CLASSES:
        trajectory = run.folder.trajectory().half().contiguous()
        files["trajectory.safetensors"] = safetensors.torch.save({"logits": trajectory})
    else:
        names = [name for name in names if name != "outputs/train.safetensors"]
    if record.get("outcome", "finished") != "finished":
        names = []
    if run.row == CRITIC and run.seed == seeds[0]:
        files["weights.safetensors"] = run.folder.content("weights.safetensors")
    for name in names:
        tensors = safetensors.torch.load(run.folder.content(name))
        small = condensed(name.removeprefix("outputs/").removesuffix(".safetensors"), tensors)
        if "labels" in small:
            small["labels"] = small["labels"].short()
        if not first:
            small.pop("gradient_norms", None)
        files[name] = safetensors.torch.save(small)
    for name, content in files.items():
        if name.endswith(".safetensors"):
            name, content = name + PACKED, packed(content)
        atomic_write(archived.path / name, content)
    measured = sorted((run.folder.path / "measured").glob("*.safetensors"))
    scored = any(path.name.startswith("critique-") for path in measured)
    for path in measured:
        content = shown_samples(path) if scored and path.name == "samples.safetensors" else path.read_bytes()
        atomic_write(archived.path / "measured" / path.name, content)
    how = "condensed logits in float16"
    archived.finish({**record, "archived": how, "weights": run.folder.weights_digest()})
    return archived


def shown_samples(path: Path) -> bytes:
    """Drop what no picture shows: if the file has class samples, its other samples and their logits."""
    with safetensors.safe_open(path, "pt") as file:
        names = set(file.keys())
        left_out = {"samples", "logits"} if "class_samples" in names else set()
        tensors = {name: file.get_tensor(name) for name in names - left_out}
        return safetensors.torch.save(tensors, file.metadata())


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
