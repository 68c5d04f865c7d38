"""Words in figures: titles, the phrases that captions share, and why there is nothing to draw."""

import functools
import textwrap
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hdge.evaluators.intervals import LEAST_SEEDS
from hdge.figures.style import GREY, subplots
from hdge.study.roster import label
from hdge.study.study import CAPTION_LOOK, CAPTION_WIDTH


def describe(figure: Figure, title: str, caption: str) -> Figure:
    """A title above; a caption with n, seeds, interval and what to see, below. Saving adds the scale."""
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=10)
    lines = textwrap.wrap(caption, CAPTION_WIDTH, break_on_hyphens=False)
    figure.supxlabel("\n".join(lines), **CAPTION_LOOK)
    return figure


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
    return describe(figure, "Nothing to draw", "")


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


def counts_range(counts: pd.Series) -> str:
    """The least and the largest of some counts, or their one value."""
    ends = dict.fromkeys(f"{count:,.0f}" for count in (counts.min(), counts.max()))
    return " to ".join(ends)
