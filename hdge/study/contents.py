"""What each notebook draws and needs: the one list that the DAG, the claims and the report read."""

from typing import Literal, NamedTuple


class Contents(NamedTuple):
    """What one notebook leaves in ``figures/<profile>/``.

    ``needs`` says which runs the notebook reads: none, the methods' runs, or the variants' runs as well. Each picture
    has the table that it is drawn from. A profile without variants lacks ``of_variants``.
    """

    needs: Literal["nothing", "methods", "variants"]
    pictures: tuple[str, ...]
    of_variants: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    measured: tuple[Literal["samples", "attacks", "posthoc", "variation"], ...] = ()


NOTEBOOKS = {
    "00_tour": Contents("nothing", ("density",)),
    "02_ood": Contents("methods", ("auroc", "histograms", "posthoc", "variation"), measured=("posthoc", "variation")),
    "03_calibration": Contents("methods", ("ece", "reliability", "scaled")),
    "04_classification": Contents("methods", ("accuracy", "confusion", "cost", "learning"), tables=("seconds",)),
    "05_generation": Contents("methods", ("chains", "samples", "scores"), measured=("samples",)),
    "06_robustness": Contents("methods", ("curves", "gap"), measured=("attacks",)),
    "07_approximation": Contents("variants", ("gradient", "partition"), ("size",), tables=("summary",)),
    "08_paper_vs_code": Contents("variants", (), ("effects",), tables=("verdict",)),
    "09_verdict": Contents("variants", ("alpha", "claims"), tables=("singles",)),
}
VERDICT = "09_verdict"  # reads the tables of all others


def notebooks(variants: bool) -> list[str]:
    """List the notebooks that have something to draw, with a profile's variants or without."""
    return [name for name, own in NOTEBOOKS.items() if own.pictures or variants]


def pictures(notebook: str, variants: bool) -> list[str]:
    """List the full names of a notebook's pictures."""
    own = NOTEBOOKS[notebook]
    return [f"{notebook}_{name}" for name in sorted(own.pictures + (own.of_variants if variants else ()))]


def tables(notebook: str, variants: bool) -> list[str]:
    """List the full names of a notebook's tables, which include its pictures' tables."""
    named = [f"{notebook}_{name}" for name in NOTEBOOKS[notebook].tables]
    return pictures(notebook, variants) + named
