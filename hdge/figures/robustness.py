"""Figures of adversarial robustness."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hdge.evaluators.intervals import LEAST_SEEDS, student_interval
from hdge.evaluators.robustness import PGD, WORST
from hdge.figures.captions import describe, seeds_phrase, unless_empty
from hdge.figures.marks import handle, row_axis, within_row
from hdge.figures.style import DOTTED, GREY, subplots
from hdge.study.roster import METHODS, label

AXES = {"l2": "L2 radius (pixels of [0, 1])", "linf": "L∞ radius (1/255)"}
# The rows that claims compare, each with colour, dashes and marker of its own: the roster's shades of one hue, and its
# two near-blacks, cannot be told apart where lines cross.
FOREMOST: dict[str, dict[str, Any]] = {
    "cross_entropy": {"color": "#56B4E9", "linestyle": "-", "marker": "o"},
    "hdge": {"color": "#D55E00", "linestyle": "-", "marker": "s"},
    "generative": {"color": "#E69F00", "linestyle": (0, (1, 1.2)), "marker": "^"},
    "adversarial_l2": {"color": "#CC79A7", "linestyle": (0, (4, 1.5)), "marker": "D"},
    "adversarial_linf": {"color": "#000000", "linestyle": (0, (6, 1, 1, 1)), "marker": "v"},
}
FAINT: dict[str, Any] = {"color": "#BBBBBB", "linewidth": 0.8}
WORST_MARK: dict[str, Any] = {"markersize": 9, "markeredgecolor": "black", "markeredgewidth": 0.6, "zorder": 5}


def curve(table: pd.DataFrame, ax: Axes) -> Axes:
    """Accuracy against radius, of one attack and norm: a line a method at the mean, and a band over seeds."""
    for method in table["method"].unique():
        by_radius = table[table["method"] == method].groupby("radius")["accuracy"]
        mean = by_radius.mean()
        if method not in FOREMOST:
            ax.plot(mean.index, mean, **FAINT, zorder=2)
            continue
        look = FOREMOST[method]
        if by_radius.size().min() >= LEAST_SEEDS:
            low, high = np.clip([student_interval(own.tolist()) for _, own in by_radius], 0, 1).T
            ax.fill_between(mean.index, low, high, color=look["color"], alpha=0.2, linewidth=0, zorder=3)
        ax.plot(mean.index, mean, **look, linewidth=1.6, markersize=3.5, zorder=4)
    ax.axhline(table["chance"].iloc[0], **DOTTED)
    ax.set_ylim(-0.02, 1.02)
    # Radii double from one to the next: on a linear axis most of them crowd where curves fall.
    ax.set_xscale("function", functions=(np.sqrt, np.square))
    radii = sorted(table["radius"].unique())
    ax.set_xticks(radii, [f"{radius:g}" for radius in radii], fontsize=7)
    ax.set_xlim(left=0)
    return ax


@unless_empty("no run here was attacked")
def curves_figure(table: pd.DataFrame) -> Figure:
    """Accuracy against the radius of the attack (paper, Figure 4): a panel a norm, a line a method."""
    worst, table = table[(table["attack"] == WORST) & table["method"].isin(FOREMOST)], table[table["attack"] == PGD]
    norms, methods = table["norm"].unique(), table["method"].unique()
    figure, [axes] = subplots(1, len(norms), 3.9, sharey=True)
    for ax, norm in zip(axes, norms, strict=True):
        curve(table[table["norm"] == norm], ax).set_xlabel(AXES[norm])
        for (method, radius), own in worst[worst["norm"] == norm].groupby(["method", "radius"], sort=False)["accuracy"]:
            ax.plot(radius, own.mean(), "*", color=FOREMOST[method]["color"], **WORST_MARK)
    axes[0].set_ylabel("accuracy under attack")
    handles = [
        Line2D([], [], label=label(method), linewidth=1.6, markersize=3.5, **look)
        for method, look in FOREMOST.items() if method in methods
    ]  # fmt: skip
    if len(worst):
        handles.append(handle(GREY, "worst of five attacks", linestyle="", marker="*", **WORST_MARK))
    others = len(set(methods) - set(FOREMOST))
    if others:
        handles.append(Line2D([], [], label=f"{others} other methods", **FAINT))
    figure.legend(handles=handles, loc="outside upper right", ncols=3, fontsize=7)
    return describe(
        figure,
        "Accuracy under attack\n",
        f"A line is the mean over seeds ({seeds_phrase(table)}). Bands are 95 % Student intervals over {LEAST_SEEDS} "
        f"seeds or more. n: {table['n'].iloc[0]:,} test images. Coloured lines are of methods that claims compare; the "
        "table names the others. A line is projected gradient descent on the network without evaluation noise. A star "
        "is the accuracy under the worst of five attacks, and verdicts rest on it. If a line lies far above its star, "
        "the gradients lead nowhere, and the line overstates the method. An image counts as right at "
        "a radius if it is right at all smaller radii, too. The axis shows square "
        "roots of radii. The dotted line is chance. Higher is more robust.",
    )


def gaps(table: pd.DataFrame, methods: list[str], ax: Axes) -> Axes:
    """A row a method: mean accuracy under PGD and under one check, joined by a line, and faint marks a run."""
    for row, method in enumerate(methods):
        own, colour = table[table["method"] == method], METHODS[method].colour
        if own.empty:
            continue
        offsets = within_row(row, len(own))
        if len(own) > 1:
            ax.hlines(offsets, own["checked"], own["pgd"], color=colour, linewidth=0.6, alpha=0.5)
            ax.plot(own["checked"], offsets, "D", color=colour, markersize=1.5, alpha=0.5, mew=0)
        pgd, checked, masked = own["pgd"].mean(), own["checked"].mean(), int(own["masked"].sum())
        ax.plot([checked, pgd], [row, row], color=colour, linewidth=2.5 if masked else 1)
        ax.plot(pgd, row, "o", color=colour, markersize=5.5, markerfacecolor="white")
        ax.plot(checked, row, "D", color=colour, markersize=3)
        if masked:
            text = "masked" if len(own) == 1 else f"{masked} of {len(own)} masked"
            place = max(pgd, own["pgd"].max()), row
            ax.annotate(text, place, (5, 0), textcoords="offset points", va="center", fontsize=6, color=GREY)
    return row_axis(ax, [label(method) for method in methods])


@unless_empty("no run here was attacked by what checks PGD")
def gap_figure(table: pd.DataFrame) -> Figure:
    """PGD beside what checks it: a panel a check and radius, a row a method."""
    methods = table["method"].unique().tolist()
    panels = list(table.groupby(["check", "norm", "radius"], sort=False))
    figure, [axes] = subplots(1, len(panels), 1.9 + 0.2 * len(methods), sharey=True)
    for ax, ((check, norm, radius), own) in zip(axes, panels, strict=True):
        size = f"L2, {radius:g}" if norm == "l2" else f"L∞, {radius:g}/255"
        gaps(own, methods, ax).set(title=f"{check}\n{size}", xlabel="accuracy under attack")
        low, high = own[["pgd", "checked"]].min().min(), own[["pgd", "checked"]].max().max()
        wide = max(0.1, high - low)  # with room for a word to the right
        ax.set_xlim(low - 0.1 * wide, high + (0.6 if own["masked"].any() else 0.1) * wide)
        ax.title.set_fontsize(8)
    handles = [
        handle(GREY, PGD, markersize=5, markerfacecolor="white"),
        handle(GREY, "the check above the panel", marker="D", markersize=3.5),
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return describe(
        figure,
        "PGD beside the attacks that check it",
        f"Both marks of a row are mean accuracies over seeds ({seeds_phrase(table)}) on the same images; faint lines "
        f"are runs. n: {table['n'].iloc[0]:,} test images. The table has paired 95 % intervals of their difference "
        "over test images. If the check is below PGD by more than a bound fixed beforehand, the run is masked, and PGD "
        "alone overstates the method's robustness. Methods trained without noise have no attack through noise.",
    )
