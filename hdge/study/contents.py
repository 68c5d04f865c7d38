"""What each notebook draws and needs: the one list that the DAG, the claims and the report read."""

from typing import Literal, NamedTuple

Needs = Literal["nothing", "methods", "variants"]
Measured = Literal["", "samples", "attacks", "posthoc"]


class Contents(NamedTuple):
    """What one notebook leaves in ``figures/<profile>/``.

    Args:
        needs: the runs it reads: none, those of the profile's methods, or those of its variants as well.
        pictures: each a picture and the table it is drawn from.
        of_variants: pictures that only a profile with variants has.
        tables: tables without a picture; one without a name of its own has the notebook's.
        measured: what it reads besides outputs; see :mod:`hdge.study.measurements`.
    """

    needs: Needs
    pictures: tuple[str, ...]
    of_variants: tuple[str, ...] = ()
    tables: tuple[str, ...] = ("verdict",)
    measured: Measured = ""


NOTEBOOKS = {
    "00_tour": Contents("nothing", ("density",), tables=()),
    "02_ood": Contents("methods", ("auroc", "histograms", "posthoc"), measured="posthoc"),
    "03_calibration": Contents("methods", ("ece", "reliability", "scaled")),
    "04_classification": Contents(
        "methods", ("accuracy", "confusion", "cost", "learning"), tables=("seconds", "verdict")
    ),
    "05_generation": Contents("methods", ("chains", "samples", "scores"), measured="samples"),
    "06_robustness": Contents("methods", ("curves", "gap"), measured="attacks"),
    "07_approximation": Contents("variants", ("gradient", "partition"), ("size",)),
    "08_paper_vs_code": Contents("variants", (), ("effects",)),
    "09_verdict": Contents("variants", ("alpha", "claims"), tables=("",)),
}
VERDICT = "09_verdict"  # reads the tables of all others


def notebooks(variants: bool) -> list[str]:
    """The notebooks that have something to draw, with a profile's variants or without."""
    return [name for name, own in NOTEBOOKS.items() if own.pictures or variants]


def pictures(notebook: str, variants: bool) -> list[str]:
    """The full names of a notebook's pictures."""
    own = NOTEBOOKS[notebook]
    return [f"{notebook}_{name}" for name in sorted(own.pictures + (own.of_variants if variants else ()))]


def tables(notebook: str, variants: bool) -> list[str]:
    """The full names of all tables of a notebook, those of its pictures included."""
    named = [f"{notebook}_{name}".rstrip("_") for name in NOTEBOOKS[notebook].tables]
    return pictures(notebook, variants) + named
