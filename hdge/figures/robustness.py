"""Figures of adversarial robustness."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hdge.figures.style import GREY, describe, seeds_phrase, subplots
from hdge.study.roster import METHODS

AXES = {"l2": "L2 radius (pixels of [0, 1])", "linf": "L∞ radius (1/255)"}
# The two that the first claim compares; their bands and wider lines lie above the others.
FOREMOST = ("cross_entropy", "hdge")


def line_style(method: str) -> Any:
    """Solid or dashed: lines of one hue cross often, and their shade alone does not tell them apart."""
    dashes = METHODS[method].dashes
    return (0, dashes) if dashes else "-"


def curve(table: pd.DataFrame, ax: Axes) -> Axes:
    """Accuracy against radius under one norm: a line a method at the mean over seeds.

    Args:
        table: columns method, seed, radius, accuracy, low, high, chance, of one attack and norm.
        ax: where to draw.
    """
    for method, own in table.groupby("method", sort=False):
        mean = own.groupby("radius")[["accuracy", "low", "high"]].mean()
        name, first = str(method), method in FOREMOST
        if first:
            ax.fill_between(mean.index, mean["low"], mean["high"], color=METHODS[name].colour, alpha=0.2, linewidth=0)
        ax.plot(
            mean.index, mean["accuracy"], "o", color=METHODS[name].colour, markersize=2.5, linewidth=2 if first else 1,
            linestyle=line_style(name), zorder=4 if first else 3,
        )  # fmt: skip
    ax.axhline(table["chance"].iloc[0], color=GREY, linewidth=0.8, linestyle=":")
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlim(left=0)
    return ax


def curves_figure(table: pd.DataFrame) -> Figure:
    """Accuracy against the radius of the attack (paper, Figure 4): a panel a norm, a line a method.

    Args:
        table: :func:`hdge.evaluators.robustness.robustness_table`.
    """
    table = table[table["attack"] == "PGD"]
    methods, norms = list(dict.fromkeys(table["method"])), list(dict.fromkeys(table["norm"]))
    seeds = table.groupby("method", sort=False)["seed"].nunique()
    several = [f"{count} for {METHODS[str(method)].label}" for method, count in seeds.items() if count > 1]
    counted = ", ".join(["one seed (n = 1) a method", *several, *["then their mean"][: len(several)]])
    figure, [axes] = subplots(1, len(norms), 3.9, sharey=True)
    for ax, norm in zip(axes, norms, strict=True):
        curve(table[table["norm"] == norm], ax).set_xlabel(AXES[norm])
    axes[0].set_ylabel("accuracy under attack")
    handles = [
        Line2D(
            [], [], color=METHODS[m].colour, marker="o", markersize=2.5, label=METHODS[m].label,
            linewidth=2 if m in FOREMOST else 1, linestyle=line_style(m),
        )
        for m in methods
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside right upper", fontsize=7)
    describe(
        figure,
        "What attacks leave of the accuracy",
        f"Lines: {counted}. Bands are 95 % Wilson intervals over test images, averaged over seeds, of the two methods "
        "that the first claim compares. The interval of another line at the same accuracy is as wide. The attack is "
        "projected gradient descent on the network without evaluation noise. An image counts as right at a radius only "
        f"if it is right at all smaller radii. Dotted: chance. n: {table['n'].iloc[0]:,} test images.",
    )
    return figure


def gaps(table: pd.DataFrame, methods: list[str], ax: Axes) -> Axes:
    """A row a run: accuracy under PGD and under what checks it, joined by a line that shows their distance.

    Args:
        table: columns method, seed, pgd, checked, masked, of one check, norm and radius.
        methods: the rows; a method without a check leaves its row empty.
        ax: where to draw.
    """
    for row, method in enumerate(methods):
        own = table[table["method"] == method]
        for pgd, checked, masked in zip(own["pgd"], own["checked"], own["masked"], strict=True):
            ax.plot([checked, pgd], [row, row], color=METHODS[method].colour, linewidth=2.5 if masked else 1)
            ax.plot(pgd, row, "o", color=METHODS[method].colour, markersize=5, markerfacecolor="white")
            ax.plot(checked, row, "D", color=METHODS[method].colour, markersize=3.5)
            if masked:
                left = checked > 0.3  # where there is room for the word
                ax.annotate(
                    "masked", (checked if left else pgd, row), (-5 if left else 5, 0), fontsize=6.5, color=GREY,
                    textcoords="offset points", va="center", ha="right" if left else "left",
                )  # fmt: skip
    ax.set_yticks(range(len(methods)), [METHODS[method].label for method in methods])
    ax.tick_params(axis="y", length=0, labelsize=7)
    ax.set_ylim(len(methods) - 0.5, -0.5)
    ax.set_xlim(-0.03, 1.03)
    ax.grid(axis="y", linewidth=0.3)
    return ax


def gap_figure(table: pd.DataFrame) -> Figure:
    """PGD beside what checks it: a panel a check and radius, a row a method.

    Args:
        table: :func:`hdge.evaluators.robustness.gap_table`.
    """
    methods = list(dict.fromkeys(table["method"]))
    panels = list(table.groupby(["check", "norm", "radius"], sort=False))
    figure, [axes] = subplots(1, len(panels), 1.9 + 0.2 * len(methods), sharey=True)
    for ax, ((check, norm, radius), own) in zip(axes, panels, strict=True):
        size = f"L2, {radius:g}" if norm == "l2" else f"L∞, {radius:g}/255"
        gaps(own, methods, ax).set_title(f"{check}\n{size}")
        ax.set_xlabel("accuracy")
    handles = [
        Line2D([], [], color=GREY, marker="o", markersize=5, markerfacecolor="white", label="PGD"),
        Line2D([], [], color=GREY, marker="D", markersize=3.5, label="the check above the panel"),
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    describe(
        figure,
        "Does PGD tell the whole truth?",
        f"Accuracy under PGD and under what checks it, on the same images ({seeds_phrase(table)}); "
        f"n: {table['n'].iloc[0]:,} test images. Paired 95 % intervals of the distance are in the table. Masked: the "
        "check lies further below PGD than the rule's bound, so PGD alone overstates the method. Methods "
        "trained without noise have no attack through it.",
    )
    return figure
