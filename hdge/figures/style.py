"""One look for every figure: marks, axes and the phrases that captions share."""

import functools
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, Literal, ParamSpec

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from pandas.io.formats.style import Styler

from hdge.evaluators.intervals import LEAST_SEEDS, student_interval
from hdge.study.roster import colour_of, label
from hdge.study.study import CAPTION_LOOK, CAPTION_WIDTH

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


def describe(figure: Figure, title: str, caption: str) -> None:
    """A title above; a caption with n, seeds, interval and what to see, below. Saving adds the scale."""
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=10)
    lines = textwrap.wrap(caption, CAPTION_WIDTH, break_on_hyphens=False)
    figure.supxlabel("\n".join(lines), **CAPTION_LOOK)


def nothing(ax: Axes, why: str) -> None:
    """Write into a panel, and print, that there is nothing to draw, and why."""
    sentence = f"Nothing to draw: {why}."
    print(sentence)
    position = ax.get_position()
    width = int(120 * position.width) or 1  # characters of this size that the text column holds
    text = textwrap.fill(sentence, max(18, width))
    in_middle(ax, text, color=GREY)
    ax.set_axis_off()


def in_middle(ax: Axes, text: str, **look: Any) -> None:
    """Small text in the middle of a panel."""
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, fontsize=7, **look)


def empty_figure(why: str) -> Figure:
    """What stands for a figure that has nothing to draw."""
    figure, [[ax]] = subplots(1, 1, 1.0)
    nothing(ax, why)
    describe(figure, "Nothing to draw", "")
    return figure


Given = ParamSpec("Given")
Drawn = Callable[Concatenate[pd.DataFrame, Given], Figure]


def unless_empty(why: str) -> Callable[[Drawn[Given]], Drawn[Given]]:
    """Has the figure of a table say why there is nothing to draw if the table has no row."""

    def decorate(draw: Drawn[Given]) -> Drawn[Given]:
        @functools.wraps(draw)
        def figure(table: pd.DataFrame, *more: Given.args, **named: Given.kwargs) -> Figure:
            return empty_figure(why) if table.empty else draw(table, *more, **named)

        return figure

    return decorate


def seeds_phrase(table: pd.DataFrame, row: str = "method") -> str:
    """How many seeds most methods, or values of another column, have, and which have another number."""
    counts = table.groupby(row, sort=False)["seed"].nunique()
    usual = int(counts.mode().max())
    others = []
    for number in sorted(set(counts) - {usual}, reverse=True):
        names = [label(str(name)) for name, count in counts.items() if count == number]
        others.append(f"{number} for {', '.join(names)}")
    return "; ".join([f"{usual} seed{'s' if usual > 1 else ''} a {row}", *others])


def dots_phrase(table: pd.DataFrame, interval: str = "", row: str = "method") -> str:
    """What :func:`run_dots` draws, in sentences for a caption; the interval is that of a run over test images."""
    band = f"A pale band is the runs' 95 % {interval} interval over test images, averaged. " if interval else ""
    return (
        f"A faint dot is a run ({seeds_phrase(table, row)}). A large dot is the mean over seeds. {band}A line is the "
        f"mean's 95 % Student interval over {LEAST_SEEDS} seeds or more."
    )


def name_grid(axes: list[list[Axes]], columns: Sequence[str], rows: Sequence[str], below: str) -> None:
    """Names above the columns of a grid, names beside its rows, and one name below it."""
    for ax, name in zip(axes[0], columns, strict=True):
        ax.set_title(name)
    for row, name in zip(axes, rows, strict=True):
        row[0].set_ylabel(name)
    for ax in axes[-1]:
        ax.set_xlabel(below)


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
    methods: Sequence[str] = (),
    percent: bool = True,
    band: bool = True,
    interval: bool = True,
) -> Axes:
    """The runs of a method in a row; a method without values leaves its row empty.

    The name is that of the horizontal axis, and the rows are by default the table's methods. Shares are drawn in
    percent. If low and high are not those of the value, no band is drawn.
    """
    methods = methods or table["method"].unique().tolist()
    table = table if band else table[["method", value]]
    for row, method in enumerate(methods):
        own = table[table["method"] == method]
        run_marks(own, value, row, colour_of(method), ax, 100.0 if percent else 1.0, interval)
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
    return (
        table.groupby("method", sort=False)[value].mean().sort_values(ascending=ascending, kind="stable").index.tolist()
    )


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


def handle(colour: str, name: str, **look: Any) -> Line2D:
    """An entry of a legend."""
    return Line2D([], [], color=colour, label=name, **{"marker": "o", "markersize": 4, **look})


def counts_range(counts: pd.Series) -> str:
    """The least and the largest of some counts, or their one value."""
    ends = dict.fromkeys(f"{count:,.0f}" for count in (counts.min(), counts.max()))
    return " to ".join(ends)
