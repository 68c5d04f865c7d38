"""Does the study reproduce? Runs trained here beside their archived copies."""

from dataclasses import dataclass

from hdge.core.readings import prediction
from hdge.study.errors import HdgeError
from hdge.study.profiles import archived_folder
from hdge.study.runs import Outputs, RunFolder
from hdge.study.study import Study


@dataclass(frozen=True)
class Comparison:
    """A run trained here, beside its archived copy: largest difference of a logit, and difference of accuracy."""

    row: str
    seed: int
    same_weights: bool
    logit: float
    accuracy: float


def comparisons(study: Study) -> list[Comparison]:
    """Compare every finished run of the study's root that the repository archives by the same settings."""
    found = []
    for row, seed in study.profile.runs(variants=True):
        if study.profile.archived_record(row, seed) is None:
            continue
        here = RunFolder.of(study.name, row, seed, study.root)
        if here.holds(study.profile.config(row, seed)):
            found.append(_compared(row, seed, here, RunFolder(archived_folder(study.name, row, seed))))
    return found


def _compared(row: str, seed: int, here: RunFolder, archived: RunFolder) -> Comparison:
    own, other = here.outputs("test"), archived.outputs("test")
    logit = (own.logits - other.logits).abs().max().item()
    same = here.weights_digest() == archived.weights_digest()
    return Comparison(row, seed, same, logit, _accuracy(own) - _accuracy(other))


def _accuracy(outputs: Outputs) -> float:
    return (prediction(outputs.logits) == outputs.labels).double().mean().item()


def report(study: Study) -> list[str]:
    """Say in one line a row, and one for all, how the runs trained here compare with the archive.

    Raises:
        HdgeError: no run is both trained here and archived.
    """
    found = comparisons(study)
    if not found:
        raise HdgeError(
            f"no run of {study.name!r} in {study.root} has an archived copy to compare with; run "
            f"`hdge reproduce {study.name}`."
        )
    lines = []
    for row in dict.fromkeys(one.row for one in found):
        own = [one for one in found if one.row == row]
        lines.append(f"{row}, {len(own)} seeds: {_said(own)}")
    lines.append(f"all {len(found)} runs against the archive: {_said(found)}")
    if not all(one.same_weights for one in found):
        # Other processors round otherwise, and training multiplies the difference.
        drawn = f"figures/{study.name}"
        lines.append(f"{drawn} shows the runs trained here; `git checkout {drawn}` restores those of the archive")
    return lines


def _said(found: list[Comparison]) -> str:
    same = sum(one.same_weights for one in found)
    if same == len(found):
        return "weights equal to the bit"
    logit, accuracy = max(one.logit for one in found), max(abs(one.accuracy) for one in found)
    mean = sum(one.accuracy for one in found) / len(found)
    return (
        f"weights of {same} equal to the bit; largest difference of a test logit {logit:.3g}, of an accuracy "
        f"{100 * accuracy:.2f} points, whose mean is {100 * mean:+.2f}"
    )
