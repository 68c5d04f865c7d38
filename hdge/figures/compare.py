"""The picture of a comparison of networks by pairs."""

import pandas as pd
from matplotlib.figure import Figure

from hdge.figures.captions import counts_range, describe, unless_empty
from hdge.figures.marks import handle, row_axis
from hdge.figures.style import BETTER, DOTTED, GREY, WORSE, subplots
from hdge.study.roster import label

COLOURS = {"better": BETTER, "worse": WORSE, "no difference": "#009E73", "undecided": GREY}


@unless_empty("a comparison takes two methods with a seed in common")
def comparison_figure(table: pd.DataFrame) -> Figure:
    """Draw the difference of every pair with its interval: a panel a measure, a row a pair."""
    measures = table["measure"].unique()
    pairs = list(dict.fromkeys(zip(table["method"], table["baseline"], strict=True)))
    figure, [axes] = subplots(1, len(measures), 1.9 + 0.25 * len(pairs), sharey=True)
    for ax, measure in zip(axes, measures, strict=True):
        own = table[table["measure"] == measure].set_index(["method", "baseline"])
        delta = own["delta"].iloc[0]
        ax.axvspan(-delta, delta, color=GREY, alpha=0.12, linewidth=0)
        ax.axvline(0, **DOTTED)
        for y, pair in enumerate(pairs):
            if pair in own.index:
                row = own.loc[pair]
                ax.plot([row["low"], row["high"]], [y, y], color=COLOURS[row["outcome"]], linewidth=1.4)
                ax.plot(row["difference"], y, "o", color=COLOURS[row["outcome"]], markersize=4.5)
        row_axis(ax, [f"{label(one)} less {label(other)}" for one, other in pairs], lines=False)
        ax.set(title=measure, xlabel=own["unit"].iloc[0])
        ax.tick_params(axis="x", labelsize=6.5)
        ax.locator_params(axis="x", nbins=4)
    marks = [handle(colour, name) for name, colour in COLOURS.items()]
    figure.legend(handles=marks, loc="outside upper right", ncols=4)
    over = " or over ".join(table["over"].unique())
    return describe(
        figure,
        "Differences of two networks",
        f"A dot is the mean difference, and a line its 95 % interval over {over}. The grey band holds differences "
        "below δ, too small to matter. NLL is better when it is lower, the others when they are higher. Holm's p in "
        f"the table counts all {len(table)} comparisons. n: {counts_range(table['n'])} images.",
    )
