"""Figures of adversarial robustness."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hdge.evaluators.robustness import PGD
from hdge.figures.style import DOTTED, GREY, describe, handle, row_axis, seeds_phrase, subplots, unless_empty
from hdge.study.roster import METHODS, label

AXES = {"l2": "L2 radius (pixels of [0, 1])", "linf": "L∞ radius (1/255)"}
# The two that the first claim compares; their bands and wider lines lie above the others.
FOREMOST = ("cross_entropy", "hdge")


def look(method: str) -> dict[str, Any]:
    """Width and dashes of a method's line: lines of one hue cross often, and their shade alone does not part them."""
    dashes = METHODS[method].dashes
    return {"linewidth": 2 if method in FOREMOST else 1, "linestyle": (0, dashes) if dashes else "-", "markersize": 2.5}


def curve(table: pd.DataFrame, ax: Axes) -> Axes:
    """Accuracy against radius, of one attack and norm: a line a method at the mean over seeds."""
    for method in table["method"].unique():
        mean = table[table["method"] == method].groupby("radius")[["accuracy", "low", "high"]].mean()
        colour, first = METHODS[method].colour, method in FOREMOST
        if first:
            ax.fill_between(mean.index, mean["low"], mean["high"], color=colour, alpha=0.2, linewidth=0)
        ax.plot(mean.index, mean["accuracy"], marker="o", color=colour, zorder=4 if first else 3, **look(method))
    ax.axhline(table["chance"].iloc[0], **DOTTED)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlim(left=0)
    return ax


@unless_empty("no run here was attacked")
def curves_figure(table: pd.DataFrame) -> Figure:
    """Accuracy against the radius of the attack (paper, Figure 4): a panel a norm, a line a method."""
    table = table[table["attack"] == PGD]
    norms = table["norm"].unique()
    figure, [axes] = subplots(1, len(norms), 3.9, sharey=True)
    for ax, norm in zip(axes, norms, strict=True):
        curve(table[table["norm"] == norm], ax).set_xlabel(AXES[norm])
    axes[0].set_ylabel("accuracy under attack")
    handles = [handle(METHODS[method].colour, label(method), **look(method)) for method in table["method"].unique()]
    figure.legend(handles=handles, loc="outside right upper", fontsize=7)
    describe(
        figure,
        "Accuracy under attack",
        f"A line is the mean over seeds ({seeds_phrase(table)}). n: {table['n'].iloc[0]:,} test images. Bands are 95 % "
        "Wilson intervals over test images, averaged over seeds, of the two methods that the first claim compares. At "
        "the same accuracy the interval of another line is as wide. The attack is projected gradient descent on the "
        "network without evaluation noise. An image counts as right at a radius if it is right at all smaller radii, "
        "too. The dotted line is chance. Higher is more robust.",
    )
    return figure


def gaps(table: pd.DataFrame, methods: list[str], ax: Axes) -> Axes:
    """A row a method: accuracy under PGD and under one check, joined by a line; a method without a check has none."""
    for row, method in enumerate(methods):
        own, colour = table[table["method"] == method], METHODS[method].colour
        for pgd, checked, masked in zip(own["pgd"], own["checked"], own["masked"], strict=True):
            ax.plot([checked, pgd], [row, row], color=colour, linewidth=2.5 if masked else 1)
            ax.plot(pgd, row, "o", color=colour, markersize=5, markerfacecolor="white")
            ax.plot(checked, row, "D", color=colour, markersize=3.5)
            if masked:
                left = checked > 0.3  # where there is room for the word
                ax.annotate(
                    "masked", (checked if left else pgd, row), (-5 if left else 5, 0), fontsize=6.5, color=GREY,
                    textcoords="offset points", va="center", ha="right" if left else "left",
                )  # fmt: skip
    ax.set_xlim(-0.03, 1.03)
    ax.grid(axis="y", linewidth=0.3)
    return row_axis(ax, [label(method) for method in methods])


@unless_empty("no run here was attacked by what checks PGD")
def gap_figure(table: pd.DataFrame) -> Figure:
    """PGD beside what checks it: a panel a check and radius, a row a method."""
    methods = table["method"].unique().tolist()
    panels = list(table.groupby(["check", "norm", "radius"], sort=False))
    figure, [axes] = subplots(1, len(panels), 1.9 + 0.2 * len(methods), sharey=True)
    for ax, ((check, norm, radius), own) in zip(axes, panels, strict=True):
        size = f"L2, {radius:g}" if norm == "l2" else f"L∞, {radius:g}/255"
        gaps(own, methods, ax).set(title=f"{check}\n{size}", xlabel="accuracy")
    handles = [
        handle(GREY, PGD, markersize=5, markerfacecolor="white"),
        handle(GREY, "the check above the panel", marker="D", markersize=3.5),
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    describe(
        figure,
        "PGD beside the attacks that check it",
        f"Both marks of a row are accuracies on the same images of one run ({seeds_phrase(table)}). n: "
        f"{table['n'].iloc[0]:,} test images. The table has paired 95 % intervals of their difference over test "
        "images. If the check is below PGD by more than a bound fixed beforehand, the row is masked, and PGD alone "
        "overstates the method's robustness. Methods trained without noise have no attack through noise.",
    )
    return figure
