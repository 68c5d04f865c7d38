"""Figures of notebooks 07 to 09 that set variants of a method side by side."""

from collections.abc import Collection
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hdge.figures.captions import describe, nothing, seeds_phrase, unless_empty
from hdge.figures.marks import handle, row_axis, within_row
from hdge.figures.style import DOTTED, GREY, log_if_wide, subplots
from hdge.study.roster import METHODS

MARKERS = "osD^vP"  # one an out-of-distribution set
HDGE, JEM = METHODS["hdge"].colour, METHODS["jem"].colour


def over_setting(table: pd.DataFrame, setting: str, colour: str, ax: Axes, hollow: bool = False) -> None:
    """Mean over seeds against a setting, joined by a line, and a faint mark a run, in shapes of their sets."""
    look: dict[str, Any] = {"color": colour, "markerfacecolor": "white" if hollow else colour}
    for marker, ood_set in zip(MARKERS, table["ood_set"].unique(), strict=False):
        own = table[table["ood_set"] == ood_set]
        mean = own.groupby(setting)["value"].mean()
        ax.plot(own[setting], own["value"], marker, markersize=2.5, alpha=0.35, **look)
        ax.plot(mean.index, mean, marker + "-", markersize=4.5, linewidth=0.8, **look)


def flat(grid: list[list[Axes]], count: int) -> tuple[list[Axes], list[Axes]]:
    """The first panels of a grid in reading order, and the rest, emptied."""
    axes = [ax for row in grid for ax in row]
    for ax in axes[count:]:
        ax.set_axis_off()
    return axes[:count], axes[count:]


def set_handles(table: pd.DataFrame) -> list[Line2D]:
    """The marks of a table's out-of-distribution sets, for a legend."""
    sets = [name for name in table["ood_set"].unique() if name != "–"]
    return [handle(GREY, name, marker=marker, linestyle="") for marker, name in zip(MARKERS, sets, strict=False)]


@unless_empty("no run of HDGE or JEM is here")
def size_figure(table: pd.DataFrame, weights: pd.DataFrame, temperatures: Collection[float]) -> Figure:
    """Accuracy, AUROC by log q(x) and the term's weight at the runs' temperatures against the estimate's images."""
    figure, [axes] = subplots(1, 3, 3.4)
    for estimate, colour, hollow in (("K", HDGE, False), ("N", JEM, True)):
        own = table[table["estimate"] == estimate]
        accuracy = own[own["measure"] == "accuracy"].assign(value=lambda rows: 100 * rows["value"])
        over_setting(accuracy, "size", colour, axes[0], hollow)
        over_setting(own[own["measure"] == "AUROC, log q(x)"], "size", colour, axes[1], hollow)
    mean = weights[weights["temperature"].isin(temperatures)].groupby("size")["weight"].mean()
    axes[2].plot(mean.index, mean, "o-", color=HDGE, markersize=4, linewidth=1)
    sizes = sorted(table["size"].unique())
    for ax, name in zip(axes, ("test accuracy (%)", "AUROC by log q(x)", "weight 1 − w"), strict=True):
        ax.set(xscale="log", xlabel="images behind the estimate", ylabel=name)
    axes[2].set_ylim(-0.03, 1.03)
    for ax in axes[:2]:
        ax.set_xlim(sizes[0] / 1.5, 1.5 * sizes[-1])
        ax.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=7)
        ax.minorticks_off()
    for size in sizes:
        axes[2].axvline(size, **DOTTED)
    estimates = [handle(HDGE, "HDGE: K of the queue")]
    if (table["estimate"] == "N").any():
        estimates.append(handle(JEM, "JEM: N of the chains", markerfacecolor="white"))
    figure.legend(handles=[*estimates, *set_handles(table)], loc="outside upper right", ncols=3, fontsize=7)
    if not (table["measure"] == "AUROC, log q(x)").any():
        nothing(axes[1], "no run here has outputs for an out-of-distribution set")
    if mean.empty:
        nothing(axes[2], "no run of HDGE at a temperature of the table is here")
    return describe(
        figure,
        "More images behind the estimate\n",
        f"Faint marks are runs ({seeds_phrase(table)}). Large marks are means over seeds, and lines join them. n: "
        f"{table['n'].iloc[0]:,} test images. Left and middle: every size is trained anew (paper, Figure 5 and Table "
        "6). Right: the trained network has as many training images in its queue. The weight is that on the true "
        "logit. Dotted lines are the sizes of the left panel. Where the weight is flat, more negatives cannot change "
        "the gradient. Differences there have another cause.",
    )


@unless_empty("no run of HDGE is here")
def alpha_figure(table: pd.DataFrame) -> Figure:
    """Every measure against alpha."""
    measures = table["measure"].unique()
    columns = min(3, len(measures))
    figure, grid = subplots(-(-len(measures) // columns), columns, 4.9)
    axes, empty = flat(grid, len(measures))
    alphas = sorted(table["alpha"].unique())
    for ax, measure in zip(axes, measures, strict=True):
        own = table[table["measure"] == measure]
        over_setting(own, "alpha", HDGE, ax)
        ax.set_title(f"{measure} ({own['better'].iloc[0]} is better)", fontsize=8)
        ax.set_xticks(alphas, [f"{alpha:g}" for alpha in alphas])
        ax.set_xlabel("α")
        ax.tick_params(labelsize=7)
        log_if_wide(ax, "y", own["value"], 10.0)
    axes[0].set_ylabel("value")
    handles = set_handles(table)
    if handles and empty:
        empty[0].legend(handles=handles, loc="center", title="out-of-distribution set")
    return describe(
        figure,
        "What the weight α of log q(y|x) changes",
        f"Faint marks are runs ({seeds_phrase(table)}). Large marks are means over seeds, and lines join them. n: "
        f"{table['n'].iloc[0]:,} test images. α = 1 is cross-entropy, and α = 0 the generative term alone. The "
        "generative term alone trains no confidence, which its calibration errors show. The paper has α = 0.5.",
    )


def effect_dots(table: pd.DataFrame, effects: pd.DataFrame, departures: list[str], ax: Axes) -> Axes:
    """One measure: a row a departure, a dot a seed, a bar at the mean and its interval over seeds."""
    for y, departure in enumerate(departures):
        own, effect = table[table["departure"] == departure], effects[effects["departure"] == departure]
        moved = ((effect["low"] > 0) | (effect["high"] < 0)).any()
        colour = HDGE if moved else GREY
        ax.plot(own["difference"], within_row(y, len(own), 0.5), "o", color=colour, markersize=2, alpha=0.4, mew=0)
        ax.hlines([y] * len(effect), effect["low"], effect["high"], color=colour, linewidth=1.3)
        ax.plot(effect["difference"], [y] * len(effect), "o", color=colour, markersize=4, mec="white", mew=0.4)
    ax.axvline(0, **DOTTED)
    ax.tick_params(axis="x", labelsize=7)
    ax.locator_params(axis="x", nbins=4, min_n_ticks=3)
    ax.xaxis.set_major_formatter("{x:g}")  # 0, not 0.000: panels are narrow
    return row_axis(ax, departures)


@unless_empty("no run of HDGE is here")
def effects_figure(table: pd.DataFrame, effects: pd.DataFrame) -> Figure:
    """What every departure of the released code changes: a panel a measure."""
    measures, departures = (table[column].unique().tolist() for column in ("measure", "departure"))
    columns = min(3, len(measures))
    lines = -(-len(measures) // columns)
    figure, grid = subplots(lines, columns, 1.5 + lines * (0.5 + 0.2 * len(departures)), sharey=True)
    axes, _ = flat(grid, len(measures))
    for ax, measure in zip(axes, measures, strict=True):
        own, effect = (rows[rows["measure"] == measure] for rows in (table, effects))
        effect_dots(own, effect, departures, ax).set_title(measure, fontsize=8)
    grid[-1][columns // 2].set_xlabel("difference to HDGE as in Algorithm 1")
    return describe(
        figure,
        "What the released code does differently, one departure at a time",
        f"A faint dot is a run ({seeds_phrase(table, 'departure')}) less HDGE's run of the same seed. Large dots are "
        "means, and lines 95 % Student intervals over seeds; those that do not reach 0 are orange. n: "
        f"{table['n'].max():,} test images. AUROC is the mean over the "
        "out-of-distribution sets. The last row is a departure in reporting: validation accuracy of the best epoch "
        "less the last epoch's. If a line does not reach 0, the departure changes the measure.",
    )
