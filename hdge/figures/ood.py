"""Figures of out-of-distribution detection."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hdge.figures.style import (
    GREY,
    IN_COLOUR,
    OUT_COLOUR,
    describe,
    run_dots,
    seeds_phrase,
    subplots,
)
from hdge.study.roster import METHODS


def auroc_figure(table: pd.DataFrame) -> Figure:
    """AUROC: a row of panels a score, a column a set, a line a method.

    Args:
        table: :func:`hdge.evaluators.ood.auroc_table`.
    """
    scores, sets = list(dict.fromkeys(table["score"])), list(dict.fromkeys(table["ood_set"]))
    methods = list(dict.fromkeys(table["method"]))
    figure, axes = subplots(len(scores), len(sets), 1.6 + len(scores) * (0.4 + 0.19 * len(methods)), sharex="col")
    for row, score in zip(axes, scores, strict=True):
        for ax, ood_set in zip(row, sets, strict=True):
            own = table[(table["score"] == score) & (table["ood_set"] == ood_set)]
            run_dots(own, "auroc", "", ax, methods, percent=False)
            ax.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
            if row is axes[0]:
                ax.set_title(ood_set)
            if row is axes[-1]:
                ax.set_xlabel("AUROC")
            if ax is not row[0]:
                ax.set_yticklabels([])
        row[0].set_ylabel(score)
    counts = ", ".join(f"{row.ood_set} {row.n_out:,}" for row in table.drop_duplicates("ood_set").itertuples())
    describe(
        figure,
        "Telling test images from others",
        f"Dots: runs ({seeds_phrase(table)}), with 95 % bootstrap intervals over test images; "
        f"bars: means over seeds; dotted: chance. n: {table['n_in'].iloc[0]:,} in-distribution test images, "
        f"the positive class; {counts}. Methods of a single logit have no max q(y|x). Approximate mass is minus the "
        "length of the gradient of log q(x) at an image.",
    )
    return figure


def posthoc_figure(table: pd.DataFrame) -> Figure:
    """AUROC of every score of a plain classifier, post-hoc detectors included, and of HDGE: a row each.

    Args:
        table: rows of :func:`hdge.evaluators.ood.auroc_table` and :func:`hdge.measure.posthoc.posthoc_table`.
    """
    sets = list(dict.fromkeys(table["ood_set"]))
    rows = list(dict.fromkeys(zip(table["method"], table["score"], strict=True)))
    figure, [axes] = subplots(1, len(sets), 1.6 + 0.24 * len(rows), sharey=True)
    for ax, ood_set in zip(axes, sets, strict=True):
        for y, (method, score) in enumerate(rows):
            own = table[(table["method"] == method) & (table["score"] == score) & (table["ood_set"] == ood_set)]
            ax.hlines([y] * len(own), own["low"], own["high"], color=METHODS[method].colour, linewidth=0.9)
            ax.plot(own["auroc"], [y] * len(own), "o", color=METHODS[method].colour, markersize=2.5)
            ax.vlines(own["auroc"].mean(), y - 0.35, y + 0.35, color=METHODS[method].colour, linewidth=1.6)
        ax.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
        ax.set(title=ood_set, xlabel="AUROC")
    axes[0].set_yticks(range(len(rows)), [f"{METHODS[method].label}: {score}" for method, score in rows])
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    for ax in axes:
        ax.tick_params(axis="y", length=0, labelsize=7)
    counts = ", ".join(f"{row.ood_set} {row.n_out:,}" for row in table.drop_duplicates("ood_set").itertuples())
    describe(
        figure,
        "What a better score gains on the same classifier, beside what other training gains",
        f"Dots: runs ({seeds_phrase(table)}), with 95 % bootstrap intervals over test images; "
        f"bars: means over seeds; dotted: chance. n: {table['n_in'].iloc[0]:,} in-distribution test images, the "
        f"positive class; {counts}. ODIN and Mahalanobis as their authors set them, fitted on training images alone.",
    )
    return figure


def histogram_pair(table: pd.DataFrame, ax: Axes) -> Axes:
    """log q(x) of in- and out-of-distribution images of one run and set; a word where the run has no such set."""
    if table.empty:
        ax.text(0.5, 0.5, "no outputs", ha="center", va="center", transform=ax.transAxes, fontsize=7)
        ax.set_axis_off()
        return ax
    for images, colour in (("in", IN_COLOUR), ("out", OUT_COLOUR)):
        part = table[table["images"] == images]
        edges = np.append(part["lower"], part["upper"].iloc[-1])
        ax.stairs(part["share"], edges, fill=True, color=colour, alpha=0.45, linewidth=0)
        ax.stairs(part["share"], edges, color=colour, linewidth=1)
    ax.set_yticks([])
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.spines["left"].set_visible(False)
    return ax


def histogram_figure(table: pd.DataFrame) -> Figure:
    """Histograms of log q(x) (paper, Figure 1): a row a method, a column a set, the first seed of each."""
    methods, sets = list(dict.fromkeys(table["method"])), list(dict.fromkeys(table["ood_set"]))
    figure, axes = subplots(len(methods), len(sets), 1.1 + 1.25 * len(methods))
    for row, method in zip(axes, methods, strict=True):
        own = table[table["method"] == method]
        own = own[own["seed"] == own["seed"].min()]
        for ax, ood_set in zip(row, sets, strict=True):
            histogram_pair(own[own["ood_set"] == ood_set], ax)
            if row is axes[0]:
                ax.set_title(ood_set)
            if row is axes[-1]:
                ax.set_xlabel("log q(x) + log Z (nats)")
        row[0].set_ylabel(f"{METHODS[method].label}\nshare of images")
    n_in = table.loc[table["images"] == "in", "n"].iloc[0]
    outside = table[table["images"] == "out"].drop_duplicates("ood_set")
    counts = ", ".join(f"{row.ood_set} {row.n:,}" for row in outside.itertuples())
    describe(
        figure,
        "Density of test images (green) and of out-of-distribution images (red)",
        f"One run a row (seed {table['seed'].min()}). A density that knows its training data "
        f"puts red left of green. n: {n_in:,} in-distribution "
        f"test images; {counts}. Outermost bins hold what lies beyond.",
    )
    return figure
