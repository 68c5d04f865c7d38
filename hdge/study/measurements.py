"""What is measured of which runs: the one list that the DAG, `hdge measure` and the notebooks read.

Free of PyTorch, as the DAG is.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from hdge.study.dependencies import PACKAGE, code_digest, imported_modules
from hdge.study.roster import METHODS, Seeds

if TYPE_CHECKING:
    from hdge.study.profiles import Profile
    from hdge.study.runs import Run

CRITIC = "cross_entropy"  # the row whose first run scores the samples of all
SCORED = ("cross_entropy",)  # the rows on whose networks post-hoc detectors are tried


class Kind(NamedTuple):
    """One kind of measurement.

    Args:
        modules: the files of ``hdge/measure/`` that make it.
        protocol: the part of a profile that says how; empty where the module says it all.
    """

    modules: tuple[str, ...]
    protocol: str = ""


KINDS = {
    "samples": Kind(("samples", "critic"), "samples"),
    "attacks": Kind(("attacks",), "attacks"),
    "posthoc": Kind(("posthoc",)),
}


def seeds_of(kind: str, row: str) -> Seeds:
    """On which seeds of a row a kind is measured; on none of a variant."""
    if row not in METHODS:
        return "none"
    if kind == "samples":
        return METHODS[row].sampled
    if kind == "attacks":
        return METHODS[row].attacked if METHODS[row].logits == "classes" else "none"
    return "all" if row in SCORED else "none"


def chosen(runs: "Sequence[Run]", kind: str) -> "list[Run]":
    """Those of some finished runs that a kind is measured on, in their order; the first seed is the lowest there."""
    lowest: dict[str, int] = {}
    for run in runs:
        lowest[run.row] = min(run.seed, lowest.get(run.row, run.seed))
    taken = {"all": runs, "first": [run for run in runs if run.seed == lowest[run.row]], "none": []}
    return [run for run in runs if run in taken[seeds_of(kind, run.row)]]


def determined_by(profile: "Profile", row: str) -> dict[str, Any]:
    """What determines a row's measurements besides its weights: of each kind the seeds, the protocol and the code.

    :meth:`hdge.study.runs.RunFolder.measured` decides file by file; this says when to ask it.
    """
    found = {}
    for kind, (modules, protocol) in KINDS.items():
        seeds = seeds_of(kind, row)
        if seeds != "none":
            how = asdict(getattr(profile, protocol)) if protocol else {}
            code = [code_digest(imported_modules(PACKAGE / "measure" / f"{name}.py")) for name in modules]
            found[kind] = {"seeds": seeds, "protocol": how, "code": code}
    return found
