"""One look for every figure."""

import textwrap
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from hdge.study.roster import METHODS
from hdge.study.study import CAPTION_LOOK, CAPTION_WIDTH

IN_COLOUR, OUT_COLOUR = "#009E73", "#D55E00"  # the paper's green and red, in their distinguishable shades
GREY = "#666666"
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


def use_style() -> None:
    """Set the study's look for all figures drawn from here on."""
    sns.set_theme(context="paper", style="ticks", rc=STYLE)


def subplots(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, list[list[Axes]]]:
    """A figure of column width with a grid of axes, always two-dimensional."""
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, height), squeeze=False, **options)
    return figure, axes.tolist()


def describe(figure: Figure, title: str, caption: str) -> None:
    """A title that says what to see, above; a caption with n, seeds and interval, below. Saving adds the scale."""
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=10)
    figure.supxlabel("\n".join(textwrap.wrap(caption, CAPTION_WIDTH)), **CAPTION_LOOK)


def seeds_phrase(table: pd.DataFrame) -> str:
    """How many seeds each method has, in words for a caption."""
    counts = table.groupby("method", sort=False)["seed"].nunique()
    most = int(counts.max())
    fewer = []
    for number in sorted(set(counts) - {most}, reverse=True):
        names = [METHODS[str(method)].label for method, count in counts.items() if count == number]
        fewer.append(f"{number} for {', '.join(names)}")
    return "; ".join([f"{most} seed{'s' if most > 1 else ''} a method", *fewer])


def run_dots(
    table: pd.DataFrame, value: str, label: str, ax: Axes, methods: list[str] | None = None, percent: bool = True
) -> Axes:
    """A row a method: a dot a run with its interval over test images, a bar at the mean over seeds.

    Args:
        table: columns method, ``value``, low, high, the last three from 0 to 1.
        value: the column to draw.
        label: of the horizontal axis.
        ax: where to draw.
        methods: the rows, by default those of the table; a method without values leaves its row empty.
        percent: whether to draw percent.
    """
    methods = methods or list(dict.fromkeys(table["method"]))
    unit = 100 if percent else 1
    for row, method in enumerate(methods):
        own = table[table["method"] == method]
        if own.empty:
            continue
        y = [row + 0.2 * (i - (len(own) - 1) / 2) for i in range(len(own))]
        ax.hlines(y, unit * own["low"], unit * own["high"], color=METHODS[method].colour, linewidth=0.9)
        ax.plot(unit * own[value], y, "o", color=METHODS[method].colour, markersize=2.5)
        ax.vlines(unit * own[value].mean(), row - 0.35, row + 0.35, color=METHODS[method].colour, linewidth=1.6)
    ax.set_yticks(range(len(methods)), [METHODS[method].label for method in methods])
    ax.tick_params(axis="y", length=0, labelsize=7)
    ax.set_ylim(len(methods) - 0.5, -0.5)
    ax.set_xlabel(label)
    return ax


def plain_log_ticks(axis: Axis) -> None:
    """Numbers at 1, 2 and 5 of each decade, for a logarithmic axis that may span less than one."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend(figure: Figure, methods: list[str]) -> None:
    """The methods' colours, once a figure, above the axes."""
    handles = [
        Line2D([], [], color=METHODS[m].colour, marker="o", markersize=3.5, label=METHODS[m].label) for m in methods
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(methods))
