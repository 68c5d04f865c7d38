"""One page to send: a profile's verdicts, and every picture and table behind them; the executed notebooks beside it."""

import os
from pathlib import Path

import pandas as pd

from hdge.figures.executed import executed_page
from hdge.figures.page import Section, page
from hdge.study import contents
from hdge.study.config import HOME
from hdge.study.errors import HdgeError
from hdge.study.files import atomic_write
from hdge.study.study import Study
from hdge.study.values import read_json
from hdge.verdict.answer import clearest, counts_phrase, said

LONGEST = 40  # rows of a table that a page shows; the file has all


def write_report(study: Study) -> list[str]:
    """Write ``papermill_runs/<profile>/report.html`` from stored tables; return its main sentences, and its path last.

    Every executed notebook gets a page in ``notebooks/``, to which the report links.

    Raises:
        HdgeError: the profile's verdicts are not stored yet.
    """
    claims = study.table("09_verdict_claims")
    if claims is None:
        raise HdgeError(f"{study.path('09_verdict_claims')} does not exist; run `hdge reproduce {study.name}` first.")
    target = study.root / "papermill_runs" / study.name / "report.html"
    told = [f"Scale: {study.scale}.", f"{len(claims)} claims of the paper: {counts_phrase(claims)}."]
    for verdict in ("reproduced", "contradicted", "no difference"):
        told += [text[0].upper() + text[1:] for text in clearest(claims, verdict)]
    sections = [
        Section(f"Claims about {group}", tables=[_answers(own)]) for group, own in claims.groupby("group", sort=False)
    ]
    sections += [_of_notebook(study, name, target.parent) for name in contents.notebooks(bool(study.profile.variants))]
    protocol = "docs/protocol.md states the claims, the rule and its gates. No number here is at the paper's scale."
    atomic_write(target, page(f"The HDGE study: {study.name}", [*told, protocol], sections).encode())
    return [*told, str(target)]


def _answers(claims: pd.DataFrame) -> pd.DataFrame:
    """Put a claim's answer into the words of docs/results.md, with the paper's difference in the measure's own unit."""
    answers = claims[["claim", "verdict"]].assign(here=[said(row) for row in claims.to_dict("records")])
    return answers.join(claims[["paper", "delta", "seeds", "n", "p_holm", "reason", "where"]])


def _of_notebook(study: Study, notebook: str, here: Path) -> Section:
    """Show a notebook's pictures and short tables, with links to its tables and to a page of its executed copy."""
    variants = bool(study.profile.variants)
    stored = [path for name in contents.tables(notebook, variants) if (path := study.path(name)).exists()]
    pictures = [study.path(name).with_suffix(".svg") for name in contents.pictures(notebook, variants)]
    tables = [
        table for path in stored if 0 < len(table := pd.read_csv(path)) <= LONGEST and notebook != contents.VERDICT
    ]
    executed = here / "notebooks" / f"{notebook}.ipynb"
    source = HOME / "notebooks" / f"{notebook}.ipynb"
    copy = source
    if executed.exists():
        copy = executed.with_suffix(".html")
        atomic_write(copy, executed_page(executed).encode())
    links = [(path.name, os.path.relpath(path, here)) for path in [*stored, copy]]
    first = read_json(source, "restore it")["cells"][0]["source"]
    title = "".join(first).split("\n")[0].lstrip("# ")
    return Section(title, (), tables, [path for path in pictures if path.exists()], links)
