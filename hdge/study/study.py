"""The study of one profile, as a notebook holds it: its finished runs, its tables and its pictures."""

import io
import re
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hdge.study.config import data_root
from hdge.study.errors import HdgeError, refuse_unknown
from hdge.study.profiles import archived_folder, load_profile
from hdge.study.runs import Run, RunFolder, atomic_write, project_root

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPLORED = "explored"
PLACES = 5  # decimals of a panel's place, in widths and heights of a picture
CAPTION_WIDTH = 115  # characters that a caption's line holds at the width of a text column
NO_BREAK = "\u00a0"
CAPTION_LOOK = {"x": 0.01, "ha": "left", "fontsize": 7.5, "color": "#666666"}


class Study:
    """A profile's runs and results.

    Args:
        profile: a file of ``profiles/``, without its suffix.
        root: holds papermill_runs/ and figures/. If it is empty, the checkout is read, and what is saved goes into its
            folder explored/, so that turning a parameter leaves the tracked results alone.
        data: where data sets are found; empty for $HDGE_DATA, or data/ in the checkout.
    """

    def __init__(self, profile: str, root: str | Path = "", data: str = "") -> None:
        self.profile = load_profile(profile)
        self.name, self.scale = self.profile.name, self.profile.scale
        self.root, self.data_root = project_root(root), data_root(data)
        self.saved = self.root if str(root) else self.root / EXPLORED

    def runs(
        self,
        variants: bool = False,
        archived: bool = True,
        rows: Sequence[str] = (),
        sets: Sequence[str] = (),
        seeds: Sequence[int] = (),
    ) -> tuple[list[Run], list[str]]:
        """Return the finished runs, and a sentence a row for what is missing or has other settings.

        Args:
            variants: whether runs of the profile's variants are wanted, too.
            archived: whether an archived run stands in for one that is not there.
            rows: look at these alone, even if none of their runs is finished; empty for all.
            sets: look at these out-of-distribution sets alone; empty for all.
            seeds: look at these seeds alone; empty for all.
        """
        known = self.profile.methods | self.profile.variants
        for row in rows:
            refuse_unknown("row", row, known)
        planned = self.profile.runs(variants)
        for seed in seeds:
            refuse_unknown("seed", str(seed), sorted({str(own) for _, own in planned}))
        runs: list[Run] = []
        lacking: list[tuple[str, int, str]] = []
        for row, seed in planned:
            if (rows and row not in rows) or (seeds and seed not in seeds):
                continue
            run = self.ended(row, seed, archived)
            if run is None:
                lacking.append((row, seed, self._why_missing(row, seed)))
                continue
            record, config = run.folder.record(), run.config
            if record.get("outcome", "finished") != "finished":
                lacking.append((row, seed, f"{how_it_ended(record)}; not in the tables"))
                continue
            for name in sets:
                refuse_unknown("out-of-distribution set", name, config.evaluation_sets)
            if sets:
                config = replace(config, evaluation_sets=tuple(sets))
                run = replace(run, config=config)
            folder = run.folder
            runs.append(run)
            remedy = f"delete {folder.path} to have the run trained anew"
            lost = sorted(set(config.evaluation_sets).difference(run.stored_sets()))
            lacking += [(row, seed, f"no outputs for {name}; {remedy}") for name in lost]
        if not runs and not rows and not any(self.ended(*run, archived) for run in self.profile.runs(True)):
            raise HdgeError(f"profile {self.name!r} has no finished run yet; run `hdge reproduce {self.name}`.")
        missing = lacking_by_row(lacking)
        if runs and not any(run.config.evaluation_sets for run in runs):
            missing.append("No out-of-distribution set: evaluation_sets is empty.")
        return runs, missing

    def ended(self, row: str, seed: int, archived: bool = True) -> Run | None:
        """Return a run that has ended with the profile's settings, whatever its outcome; None if there is none."""
        config = self.profile.config(row, seed)
        folder = RunFolder.of(self.name, row, seed, self.root)
        if folder.holds(config):
            return Run(row, seed, folder, config)
        if archived and self.profile.archived_record(row, seed):
            return Run(row, seed, RunFolder(archived_folder(self.name, row, seed)), config)
        return None

    def _why_missing(self, row: str, seed: int) -> str:
        folder = RunFolder.of(self.name, row, seed, self.root)
        if (folder.path / "record.json").exists():
            return "trained with other settings than the profile's"
        optional = (self.profile.methods | self.profile.variants)[row].get("optional")
        how = f"; `hdge reproduce {self.name} --only {row}` trains it" if optional else ""
        return f"no finished run{how}"

    def path(self, name: str) -> Path:
        """Return the place of a table that `hdge reproduce` has drawn."""
        return self.root / "figures" / self.name / f"{name}.csv"

    def _place(self, name: str) -> Path:
        return self.saved / "figures" / self.name / f"{name}.csv"

    def table(self, name: str) -> pd.DataFrame | None:
        """Read a stored table; return None if there is none."""
        return read_table(self.path(name)) if self.path(name).exists() else None

    def save_table(self, table: pd.DataFrame, name: str) -> pd.DataFrame:
        """Store a table by :func:`store`."""
        return store(table, self._place(name))

    def save(self, figure: "Figure", table: pd.DataFrame, name: str, scale: str = "") -> pd.DataFrame:
        """Store a table and the picture drawn from it by :func:`store`."""
        return store(table, self._place(name), figure, scale or self.scale)


def lacking_by_row(lacking: Sequence[tuple[str, int, str]]) -> list[str]:
    """Say once of a row what several of its seeds lack."""
    seeds: dict[tuple[str, str], list[str]] = {}
    for row, seed, what in lacking:
        seeds.setdefault((row, what), []).append(str(seed))
    return [f"{row}, seed{'s'[: len(own) > 1]} {', '.join(own)}: {what}." for (row, what), own in seeds.items()]


def how_it_ended(record: dict[str, Any]) -> str:
    """Say in a few words how a run ended that did not finish."""
    if record["outcome"] == "diverged":
        return f"diverged for good after {len(record['rollbacks'])} restarts"
    end = record["end"]
    return (
        f"did not train: {end['term']} was {end['last_epoch']:.4g} in the last epoch, "
        f"and is {end['constant_prediction']:.4g} for a constant prediction"
    )


def store(table: pd.DataFrame, path: Path, figure: "Figure | None" = None, scale: str = "") -> pd.DataFrame:
    """Store a table, with the picture drawn from it if there is one; return it as a reader and a verdict see it."""
    write_table(table, path)
    if figure is not None:
        write_picture(figure, path.with_suffix(".svg"), scale)
    return read_table(path)


def read_table(path: Path) -> pd.DataFrame:
    """Read a stored table; a file with a line break alone holds an empty table."""
    return pd.read_csv(path) if path.stat().st_size > 1 else pd.DataFrame()


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table to six significant digits."""
    atomic_write(path, table.to_csv(index=False, float_format="%.6g").encode())


def write_picture(figure: "Figure", path: Path, scale: str = "") -> None:
    """Write a picture whose caption begins with the scale; the same figure gives the same bytes."""
    import matplotlib as mpl

    caption = figure.get_supxlabel().replace("\n", " ")
    if scale and not caption.startswith("Scale: "):
        caption = f"Scale: {scale}. {caption}"
    if caption:
        kept = re.sub(r"\bn: ", f"n:{NO_BREAK}", caption)  # no line ends between them
        wrapped = "\n".join(textwrap.wrap(kept, CAPTION_WIDTH, break_on_hyphens=False))
        figure.supxlabel(wrapped.replace(NO_BREAK, " "), **CAPTION_LOOK)
    with mpl.rc_context({"svg.hashsalt": "hdge"}):
        figure.savefig(io.BytesIO(), format="svg")  # lays the figure out
        _round_places(figure)
        picture = io.BytesIO()
        figure.savefig(picture, format="svg", metadata={"Date": None})
    atomic_write(path, picture.getvalue())


def _round_places(figure: "Figure") -> None:
    """Round where panels lie, and leave them there: the last bits of a layout hang on where objects lie in memory."""
    figure.set_layout_engine("none")
    for ax in figure.axes:
        left, bottom, width, height = (round(float(value), PLACES) for value in ax.get_position().bounds)
        ax.set_position((left, bottom, width, height))
