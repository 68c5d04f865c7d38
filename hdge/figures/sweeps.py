"""Figures of notebooks 07 to 09 that set variants of a method side by side."""

from collections.abc import Collection
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hdge.figures.style import (
    DOTTED,
    GREY,
    describe,
    handle,
    log_if_wide,
    nothing,
    row_axis,
    seeds_phrase,
    subplots,
    unless_empty,
)
from hdge.study.roster import METHODS

MARKERS = "osD^vP"  # one an out-of-distribution set
HDGE, JEM = METHODS["hdge"].colour, METHODS["jem"].colour


def over_setting(table: pd.DataFrame, setting: str, colour: str, marker: str, hollow: bool, ax: Axes) -> Axes:
    """Mean over seeds against a setting, joined by a line, and a faint mark a run."""
    mean = table.groupby(setting)["value"].mean()
    look: dict[str, Any] = {"color": colour, "markerfacecolor": "white" if hollow else colour}
    ax.plot(table[setting], table["value"], marker, markersize=2.5, alpha=0.35, **look)
    ax.plot(mean.index, mean, marker + "-", markersize=4, linewidth=1, **look)
    return ax


def _by_set(table: pd.DataFrame, setting: str, colour: str, hollow: bool, ax: Axes) -> None:
    for marker, ood_set in zip(MARKERS, table["ood_set"].unique(), strict=False):
        over_setting(table[table["ood_set"] == ood_set], setting, colour, marker, hollow, ax)


def set_handles(table: pd.DataFrame) -> list[Line2D]:
    """The marks of a table's out-of-distribution sets, for a legend."""
    sets = [name for name in table["ood_set"].unique() if name != "–"]
    return [handle(GREY, name, marker=marker, linestyle="") for marker, name in zip(MARKERS, sets, strict=False)]


@unless_empty("no run of HDGE or JEM is here")
def size_figure(table: pd.DataFrame, weights: pd.DataFrame, temperatures: Collection[float]) -> Figure:
    """Accuracy, AUROC by log q(x) and the term's weight at the runs' temperatures against the estimate's images."""
    figure, [axes] = subplots(1, 3, 3.6, sharex=True)
    for estimate, colour, hollow in (("K", HDGE, False), ("N", JEM, True)):
        own = table[table["estimate"] == estimate]
        accuracy = own[own["measure"] == "accuracy"].assign(value=lambda rows: 100 * rows["value"])
        over_setting(accuracy, "size", colour, "o", hollow, axes[0])
        _by_set(own[own["measure"] == "AUROC, log q(x)"], "size", colour, hollow, axes[1])
    mean = weights[weights["temperature"].isin(temperatures)].groupby("size")["weight"].mean()
    axes[2].plot(mean.index, mean, "o-", color=HDGE, markersize=4, linewidth=1)
    axes[0].set(xscale="log", ylabel="test accuracy (%)")
    axes[1].set(ylabel="AUROC by log q(x)")
    axes[2].set(ylabel="weight 1 − w of the generative term", ylim=(-0.03, 1.03))
    for ax in axes:
        ax.set_xlabel("images behind the estimate")
    estimates = [handle(HDGE, "HDGE: K of the queue")]
    if (table["estimate"] == "N").any():
        estimates.append(handle(JEM, "JEM: N of the chains", markerfacecolor="white"))
    axes[0].legend(handles=estimates, loc="center left", fontsize=7)
    axes[1].legend(handles=set_handles(table), loc="center left", fontsize=7)
    if not (table["measure"] == "AUROC, log q(x)").any():
        nothing(axes[1], "no run here has outputs for an out-of-distribution set")
    if mean.empty:
        nothing(axes[2], "no run of HDGE at a temperature of the table is here")
    describe(
        figure,
        "More images behind the estimate",
        f"Faint marks are runs ({seeds_phrase(table)}), and lines are means over seeds. n: {table['n'].iloc[0]:,} test "
        "images. Left and middle: every size is trained anew (paper, Figure 5 and Table 6). Right: the trained network "
        "has as many training images in its queue, and the weight is that on the true logit. Where the weight is flat, "
        "more negatives cannot change the gradient. Differences there have another cause.",
    )
    return figure


@unless_empty("no run of HDGE is here")
def alpha_figure(table: pd.DataFrame) -> Figure:
    """Every measure against alpha."""
    measures = table["measure"].unique()
    figure, [axes] = subplots(1, len(measures), 3.2, sharex=True)
    for ax, measure in zip(axes, measures, strict=True):
        own = table[table["measure"] == measure]
        _by_set(own, "alpha", HDGE, False, ax)
        ax.set(title=f"{measure}\n({own['better'].iloc[0]} is better)", xlabel="α", xticks=[0, 0.5, 1])
        ax.title.set_fontsize(7.5)
        ax.tick_params(labelsize=7)
        log_if_wide(ax, "y", own["value"], 10.0)
    axes[0].set_ylabel("value")
    handles = set_handles(table)
    if handles:
        figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), fontsize=7)
    describe(
        figure,
        "What the weight α of log q(y|x) changes",
        f"Faint marks are runs ({seeds_phrase(table)}), and lines are means over seeds. n: {table['n'].iloc[0]:,} test "
        "images. α = 1 is cross-entropy, and α = 0 the generative term alone. The generative term alone trains no "
        "confidence, which its calibration errors show. The paper has α = 0.5.",
    )
    return figure


def effect_dots(table: pd.DataFrame, effects: pd.DataFrame, departures: list[str], ax: Axes) -> Axes:
    """One measure: a row a departure, a dot a seed, a bar at the mean and its interval over seeds."""
    for y, departure in enumerate(departures):
        own, effect = table[table["departure"] == departure], effects[effects["departure"] == departure]
        ax.plot(own["difference"], [y] * len(own), "o", color=HDGE, markersize=2.5)
        ax.hlines([y] * len(effect), effect["low"], effect["high"], color=HDGE, linewidth=0.9)
        ax.vlines(effect["difference"], y - 0.3, y + 0.3, color=HDGE, linewidth=1.6)
    ax.axvline(0, **DOTTED)
    ax.tick_params(axis="x", labelsize=6)
    ax.locator_params(axis="x", nbins=2)
    ax.xaxis.set_major_formatter("{x:g}")  # 0, not 0.000: panels are narrow
    return row_axis(ax, departures)


@unless_empty("no run of HDGE is here")
def effects_figure(table: pd.DataFrame, effects: pd.DataFrame) -> Figure:
    """What every departure of the released code changes: a panel a measure."""
    measures, departures = (table[column].unique().tolist() for column in ("measure", "departure"))
    figure, [axes] = subplots(1, len(measures), 1.9 + 0.26 * len(departures), sharey=True)
    for ax, measure in zip(axes, measures, strict=True):
        own, effect = (rows[rows["measure"] == measure] for rows in (table, effects))
        name = measure.replace(", ", ",\n").replace(" ÷", "\n÷")
        effect_dots(own, effect, departures, ax).set_title(name, fontsize=7)
    axes[len(axes) // 2].set_xlabel("difference to HDGE as in Algorithm 1")
    describe(
        figure,
        "What the released code does differently, one departure at a time",
        f"A dot is a run ({seeds_phrase(table, 'departure')}) less HDGE's run of the same seed. Bars are means, and "
        f"lines 95 % Student intervals over seeds. n: {table['n'].max():,} test images. AUROC is the mean over the "
        "out-of-distribution sets. The last row is a departure in reporting: validation accuracy of the best epoch "
        "less the last epoch's. If a line does not reach 0, the departure changes the measure.",
    )
    return figure
