"""One look for every figure, and the one way to save it: picture and table side by side."""

import io
import textwrap
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from hdge.study.runs import atomic_write, project_root

# One colour a method throughout the study: a hue of Okabe and Ito's palette, told apart by every kind of colour vision,
# for each family of methods, and shades of it within. Where many methods meet they are named beside their marks.
COLOURS = {
    "cross_entropy": "#56B4E9", "cross_entropy_bn": "#0072B2", "supcon": "#CC79A7",
    "contrastive_pretraining": "#A35C86", "jointloss": "#7A4065", "generative": "#F0A35E", "hdge": "#D55E00",
    "hdge_batch": "#8F3F00", "hdge_jem": "#B8A200", "jem": "#009E73", "igebm": "#00674B",
    "igebm_conditional": "#5CC8A6", "glow": "#7F7F7F", "glow_conditional": "#B3B3B3", "adversarial_l2": "#3B3B3B",
    "adversarial_linf": "#000000",
}  # fmt: skip
LABELS = {
    "cross_entropy": "cross-entropy", "cross_entropy_bn": "cross-entropy + batch norm", "supcon": "SupCon",
    "contrastive_pretraining": "SimCLR + linear head", "jointloss": "JointLoss", "generative": "HDGE: log q(x|y) only",
    "hdge": "HDGE", "hdge_batch": "HDGE: batch form", "hdge_jem": "HDGE + JEM", "jem": "JEM", "igebm": "IGEBM",
    "igebm_conditional": "conditional IGEBM", "glow": "Glow", "glow_conditional": "conditional Glow",
    "adversarial_l2": "adversarial: L2", "adversarial_linf": "adversarial: L∞",
}  # fmt: skip
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
    """A title that says what to see, above; a caption with n, seeds, interval and scale, below."""
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=10)
    wrapped = "\n".join(textwrap.wrap(caption, 115))
    figure.supxlabel(wrapped, x=0.01, ha="left", fontsize=7.5, color=GREY)


def save_table(table: pd.DataFrame, name: str, profile: str, root: str | Path = "") -> Path:
    """Write ``figures/<profile>/<name>.csv`` to six significant digits."""
    path = project_root(root) / "figures" / profile / f"{name}.csv"
    atomic_write(path, table.to_csv(index=False, float_format="%.6g").encode())
    return path


def save_figure(figure: Figure, table: pd.DataFrame, name: str, profile: str, root: str | Path = "") -> Path:
    """Write ``figures/<profile>/<name>.csv`` and the picture drawn from it, ``<name>.svg``.

    The same table gives the same bytes: ids come from a fixed salt and the file carries no date.

    Returns:
        The picture's path.
    """
    path = save_table(table, name, profile, root).with_suffix(".svg")
    picture = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "hdge"}):
        figure.savefig(picture, format="svg", metadata={"Date": None})
    atomic_write(path, picture.getvalue())
    return path


def seeds_phrase(table: pd.DataFrame) -> str:
    """How many seeds each method has, in words for a caption."""
    counts = table.groupby("method", sort=False)["seed"].nunique()
    most = int(counts.max())
    fewer = []
    for number in sorted(set(counts) - {most}, reverse=True):
        names = [LABELS[str(method)] for method, count in counts.items() if count == number]
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
        ax.hlines(y, unit * own["low"], unit * own["high"], color=COLOURS[method], linewidth=0.9)
        ax.plot(unit * own[value], y, "o", color=COLOURS[method], markersize=2.5)
        ax.vlines(unit * own[value].mean(), row - 0.35, row + 0.35, color=COLOURS[method], linewidth=1.6)
    ax.set_yticks(range(len(methods)), [LABELS[method] for method in methods])
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
    handles = [Line2D([], [], color=COLOURS[m], marker="o", markersize=3.5, label=LABELS[m]) for m in methods]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(methods))
