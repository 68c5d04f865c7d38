"""Marks in figures: a row a method, the runs of a row with their mean, and entries of legends."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from hdge.evaluators.intervals import LEAST_SEEDS, student_interval
from hdge.figures.style import BETTER, GREY, WORSE
from hdge.study.roster import colour_of, label


def row_axis(ax: Axes, names: Sequence[str], lines: bool = True) -> Axes:
    """Names a row each, the first on top, with a faint line through each row."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0, labelsize=7)
    if lines:
        ax.grid(axis="y", linewidth=0.3)
    return ax


def within_row(row: int, count: int, height: float = 0.6) -> list[float]:
    """Places one below the other within a row, for its runs."""
    return [row + height * ((i + 0.5) / count - 0.5) for i in range(count)]


def run_marks(
    own: pd.DataFrame, value: str, row: int, colour: str, ax: Axes, unit: float = 1.0, interval: bool = True
) -> None:
    """The runs of one row: a faint dot each, and their mean with its interval over seeds.

    If the table has columns low and high, a pale band spans their means.
    """
    own = own.dropna(subset=[value])
    if own.empty:
        return
    values = unit * own[value].to_numpy()
    if "low" in own:
        low, high = unit * own["low"].mean(), unit * own["high"].mean()
        ax.fill_between([low, high], row - 0.32, row + 0.32, color=colour, alpha=0.22, linewidth=0)
    ax.plot(values, within_row(row, len(own)), "o", color=colour, markersize=1.8, alpha=0.4, mew=0)
    if interval and len(own) >= LEAST_SEEDS:
        ax.hlines(row, *student_interval(values.tolist()), color=colour, linewidth=1.3)
    ax.plot(values.mean(), row, "o", color=colour, markersize=4, mec="white", mew=0.4, zorder=3)


def run_dots(
    table: pd.DataFrame,
    value: str,
    name: str,
    ax: Axes,
    methods: Sequence[str],
    unit: float = 1.0,
    interval: bool = True,
) -> Axes:
    """The runs of a method in a row, against an axis of this name; a method without values leaves its row empty."""
    for row, method in enumerate(methods):
        own = table[table["method"] == method]
        run_marks(own, value, row, colour_of(method), ax, unit, interval)
    row_axis(ax, [label(method) for method in methods]).set_xlabel(name)
    return ax


def before_and_after(
    table: pd.DataFrame, before: str, after: str, name: str, ax: Axes, methods: Sequence[str], higher: bool, unit: float
) -> Axes:
    """Two columns, hollow and filled: means joined by a line, blue if the second is better, and a faint line a run."""
    for y, method in enumerate(methods):
        own = unit * table.loc[table["method"] == method, [before, after]]
        for ends, place in zip(own.to_numpy(), within_row(y, len(own)), strict=True):
            ax.plot(ends, [place, place], color=GREY, linewidth=0.5, alpha=0.4)
        first, second = own.mean()
        colour = BETTER if (second >= first) == higher else WORSE
        ax.plot([first, second], [y, y], color=colour, linewidth=1.8)
        ax.plot(first, y, "o", color=colour, markerfacecolor="white", markersize=4)
        ax.plot(second, y, "o", color=colour, markersize=4)
    row_axis(ax, [label(method) for method in methods]).set_xlabel(name)
    return ax


def by_mean(table: pd.DataFrame, value: str, ascending: bool) -> list[str]:
    """The table's methods in order of their means."""
    means = table.groupby("method", sort=False)[value].mean()
    return means.sort_values(ascending=ascending, kind="stable").index.tolist()


def handle(colour: str, name: str, **look: Any) -> Line2D:
    """An entry of a legend."""
    return Line2D([], [], color=colour, label=name, **{"marker": "o", "markersize": 4, **look})
