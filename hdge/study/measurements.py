"""What is measured of which runs, free of PyTorch: the one list for the DAG, `hdge measure` and the notebooks."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from hdge.study.dependencies import PACKAGE, code_digest, imported_modules
from hdge.study.protocol import judged_rows
from hdge.study.roster import METHODS, Seeds

if TYPE_CHECKING:
    from hdge.study.profiles import Profile
    from hdge.study.runs import Run

CRITIC = "cross_entropy"  # the row whose first run scores all samples


class Kind(NamedTuple):
    """A kind of measurement: its files in ``hdge/measure/``, its protocol in a profile, and the measures of claims.

    ``of_critic`` are the seeds of a kind that the critic's row alone is measured on.
    """

    modules: tuple[str, ...]
    protocol: str = ""
    judged: tuple[str, ...] = ()
    of_critic: Seeds = "none"


KINDS = {
    "samples": Kind(("samples", "critic"), "samples", ("log score", "log distance")),
    "attacks": Kind(("attacks",), "attacks", ("robust",)),
    "posthoc": Kind(("posthoc",), of_critic="all"),
    "variation": Kind(("variation",), of_critic="first"),  # of images, so that one run stores it for all
}


def seeds_of(kind: str, row: str) -> Seeds:
    """Choose the seeds of a row on which a kind is measured: all if a claim compares them."""
    if KINDS[kind].of_critic != "none":
        return KINDS[kind].of_critic if row == CRITIC else "none"
    if row in judged_rows(*KINDS[kind].judged):
        return "all"
    if row not in METHODS:
        return "none"
    return METHODS[row].sampled if kind == "samples" else METHODS[row].attacked


def chosen(runs: "Sequence[Run]", kind: str) -> "list[Run]":
    """Select the finished runs that a kind is measured on; the first seed is the lowest among them."""
    from hdge.study.runs import first_seeds  # where it is used: the DAG does without PyTorch

    taken = {"all": runs, "first": first_seeds(runs), "none": []}
    return [run for run in runs if run in taken[seeds_of(kind, run.row)]]


def determined_by(profile: "Profile", row: str) -> dict[str, Any]:
    """Collect what determines a row's measurements besides its weights: seeds, protocol and code of each kind."""
    found = {}
    for kind, (modules, protocol, *_) in KINDS.items():
        seeds = seeds_of(kind, row)
        if seeds != "none":
            how = asdict(getattr(profile, protocol)) if protocol else {}
            code = [code_digest(imported_modules(PACKAGE / "measure" / f"{name}.py")) for name in modules]
            found[kind] = {"seeds": seeds, "protocol": how, "code": code}
    return found
