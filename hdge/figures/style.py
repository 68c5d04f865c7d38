"""One look for every figure: colours, sizes, axes, and tables in notebooks."""

from collections.abc import Sequence
from typing import Any, Literal

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from pandas.io.formats.style import Styler

IN_COLOUR, OUT_COLOUR = "#009E73", "#D55E00"  # the paper's green and red, in their distinguishable shades
BETTER, WORSE = "#0072B2", "#D55E00"
GREY = "#666666"
DOTTED: dict[str, Any] = {"color": GREY, "linewidth": 0.8, "linestyle": ":"}  # a line to compare with
WIDTH = 7.0  # inches: a text column on A4

STYLE = {
    "figure.dpi": 120,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "hdge",
    "figure.constrained_layout.use": True,
}
ONE_LINE = {"white-space": "nowrap", "text-align": "left"}
LONG_TEXT = 60  # characters, from which a column of text is broken into lines so that the table fits a window
LINES = {"white-space": "normal", "min-width": "22em", "text-align": "left"}


def use_style() -> None:
    """Set the study's look for all figures drawn from here on."""
    sns.set_theme(context="paper", style="ticks", rc=STYLE)


def readable(table: pd.DataFrame) -> Styler:
    """Show a whole table in a notebook: numbers to four significant digits, short text on one line, no row numbers."""

    def written(value: Any) -> str:
        if isinstance(value, float):
            return format(value, ".4g")
        return format(value, ",") if isinstance(value, int) and not isinstance(value, bool) else str(value)

    table = table if table.index.is_unique else table.reset_index(drop=True)
    long = table.map(lambda value: isinstance(value, str) and len(value) > LONG_TEXT).any()
    styled = table.style.format(written, na_rep="–").set_properties(None, **ONE_LINE)
    styled = styled.set_properties(table.columns[long], **LINES)
    return styled.hide(axis="index") if table.index.nlevels == 1 and table.index.name is None else styled


def subplots(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, list[list[Axes]]]:
    """A figure of column width with a grid of axes, always two-dimensional."""
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, height), squeeze=False, **options)
    return figure, axes.tolist()


def name_grid(axes: list[list[Axes]], columns: Sequence[str], rows: Sequence[str], below: str) -> None:
    """Names above the columns of a grid, names beside its rows, and one name below it."""
    for ax, name in zip(axes[0], columns, strict=True):
        ax.set_title(name)
    for row, name in zip(axes, rows, strict=True):
        row[0].set_ylabel(name)
    for ax in axes[-1]:
        ax.set_xlabel(below)


def plain_log_ticks(axis: Axis) -> None:
    """Numbers at 1, 2 and 5 of each decade; at decades alone if the axis spans two, at every other if it spans four."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20) if high < 100 * low else LogLocator(numticks=4))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def log_if_wide(ax: Axes, axis: Literal["x", "y"], values: pd.Series, ratio: float) -> None:
    """A logarithmic axis for positive values whose largest is more than so many times the smallest."""
    if 0 < ratio * values.min() < values.max():
        ax.set(**{f"{axis}scale": "log"})
        plain_log_ticks(getattr(ax, f"{axis}axis"))
