"""Does the study reproduce? Runs trained here beside their archived copies."""

from dataclasses import dataclass

from hdge.core.readings import prediction
from hdge.study.errors import HdgeError
from hdge.study.runs import Run, RunFolder
from hdge.study.study import Study


@dataclass(frozen=True)
class Comparison:
    """A run trained here, beside its archived copy: largest difference of a logit, and difference of accuracy.

    If one of the two did not finish, there are no logits to compare; ``ended`` says how both ended.
    """

    row: str
    seed: int
    same_weights: bool
    logit: float = 0.0
    accuracy: float = 0.0
    ended: str = ""


def comparisons(study: Study) -> list[Comparison]:
    """Compare every run that has ended in the study's root with its archived copy of the same settings."""
    found = []
    for row, seed in study.profile.runs(variants=True):
        record, run = study.profile.archived_record(row, seed), study.ended(row, seed, archived=False)
        if record and run:
            found.append(_compared(run, RunFolder(record.parent)))
    return found


def _compared(run: Run, archived: RunFolder) -> Comparison:
    same = run.folder.weights_digest() == archived.weights_digest()
    one, two = (folder.record().get("outcome", "finished") for folder in (run.folder, archived))
    if not one == two == "finished":
        return Comparison(run.row, run.seed, same and one == two, ended=f"{one} here, {two} in the archive")
    own, other = run.folder.outputs("test"), archived.outputs("test")
    logit = (own.logits - other.logits).abs().max().item()
    here, there = ((prediction(o.logits) == o.labels).double().mean().item() for o in (own, other))
    return Comparison(run.row, run.seed, same, logit, here - there)


def report(study: Study) -> list[str]:
    """Say in one line a row, and one for all, how the runs trained here compare with the archive, if any does."""
    found = comparisons(study)
    lines = []
    for row in dict.fromkeys(one.row for one in found):
        own = [one for one in found if one.row == row and not one.ended]
        lines += [f"{row}, {_counted(own, 'seed')}: {_said(own)}"] if own else []
        lines += [f"{row}, seed {one.seed}: {one.ended}" for one in found if one.row == row and one.ended]
    finished = [one for one in found if not one.ended]
    lines += [f"against the archive, {_counted(finished, 'run')}: {_said(finished)}"] if finished else []
    if not all(one.same_weights for one in found):
        # Other processors round otherwise, and training multiplies the difference.
        drawn = f"figures/{study.name}"
        lines.append(f"{drawn} shows the runs trained here; `git checkout {drawn}` restores those of the archive")
    return lines


def verified(study: Study) -> list[str]:
    """Give the :func:`report`, which must say something.

    Raises:
        HdgeError: no run is both trained here and archived.
    """
    lines = report(study)
    if not lines:
        where = f"no run of {study.name!r} in {study.root} has an archived copy to compare with"
        raise HdgeError(f"{where}; run `hdge reproduce {study.name}`.")
    return lines


def _counted(found: list[Comparison], what: str) -> str:
    return f"{len(found)} {what}{'s' * (len(found) > 1)}"


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
