"""Figures of out-of-distribution detection."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hdge.figures.style import (
    DOTTED,
    IN_COLOUR,
    OUT_COLOUR,
    describe,
    dots_phrase,
    name_grid,
    row_axis,
    run_dots,
    run_marks,
    subplots,
    unless_empty,
)
from hdge.study.roster import METHODS, label


def counts_phrase(n_in: int, outside: pd.DataFrame, column: str) -> str:
    """How many images are in distribution, and how many each out-of-distribution set has."""
    counts = outside.drop_duplicates("ood_set").set_index("ood_set")[column]
    sets = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return f"n: {n_in:,} in-distribution test images; {sets}."


def auroc_phrase(table: pd.DataFrame) -> str:
    """What the marks of both figures of AUROC are, in sentences for a caption."""
    counts = counts_phrase(int(table["n_in"].iloc[0]), table, "n_out")
    return f"{dots_phrase(table, 'bootstrap')} Dotted lines are chance. {counts}"


@unless_empty("no run here has outputs for an out-of-distribution set")
def auroc_figure(table: pd.DataFrame) -> Figure:
    """AUROC: a row of panels a score, a column a set, a line a method."""
    scores, sets, methods = (table[column].unique().tolist() for column in ("score", "ood_set", "method"))
    figure, axes = subplots(len(scores), len(sets), 1.6 + len(scores) * (0.4 + 0.19 * len(methods)), sharex="col")
    for row, score in zip(axes, scores, strict=True):
        for ax, ood_set in zip(row, sets, strict=True):
            own = table[(table["score"] == score) & (table["ood_set"] == ood_set)]
            run_dots(own, "auroc", "", ax, methods, percent=False)
            ax.axvline(0.5, **DOTTED)
            if ax is not row[0]:
                ax.set_yticklabels([])
    name_grid(axes, sets, scores, "AUROC")
    describe(
        figure,
        "Telling in-distribution test images from out-of-distribution images",
        f"{auroc_phrase(table)} In-distribution images are the positive class, so that right is better. A method of a "
        "single logit has no max q(y|x). Approximate mass is minus the length of the gradient of log q(x) at an image.",
    )
    return figure


@unless_empty("no run of cross-entropy or HDGE here is scored on an out-of-distribution set")
def posthoc_figure(table: pd.DataFrame) -> Figure:
    """AUROC of every score of a plain classifier, post-hoc detectors included, and of HDGE: a row each."""
    sets = table["ood_set"].unique()
    rows = dict.fromkeys(zip(table["method"], table["score"], strict=True))
    figure, [axes] = subplots(1, len(sets), 1.6 + 0.24 * len(rows), sharey=True)
    for ax, ood_set in zip(axes, sets, strict=True):
        for y, (method, score) in enumerate(rows):
            own = table[(table["method"] == method) & (table["score"] == score) & (table["ood_set"] == ood_set)]
            run_marks(own, "auroc", y, METHODS[method].colour, ax)
        ax.axvline(0.5, **DOTTED)
        ax.set(title=ood_set, xlabel="AUROC")
        row_axis(ax, [f"{label(method)}: {score}" for method, score in rows])
    describe(
        figure,
        "Post-hoc scores of one classifier, beside HDGE's",
        f"{auroc_phrase(table)} In-distribution images are the positive class, so that right is better. ODIN and "
        "Mahalanobis have their authors' settings, and are fitted on training images alone. The rows of cross-entropy "
        "differ in the score alone; HDGE's rows differ in training.",
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


@unless_empty("no run here of the methods shown has outputs for an out-of-distribution set")
def histogram_figure(table: pd.DataFrame) -> Figure:
    """Histograms of log q(x) (paper, Figure 1): a row a method, a column a set, the first seed of each."""
    methods, sets = table["method"].unique(), table["ood_set"].unique().tolist()
    figure, axes = subplots(len(methods), len(sets), 1.1 + 1.25 * len(methods))
    for row, method in zip(axes, methods, strict=True):
        own = table[table["method"] == method]
        own = own[own["seed"] == own["seed"].min()]
        for ax, ood_set in zip(row, sets, strict=True):
            histogram_pair(own[own["ood_set"] == ood_set], ax)
    name_grid(axes, sets, [f"{label(method)}\nshare of images" for method in methods], "log q(x) + log Z (nats)")
    inside, outside = (table[table["images"] == images] for images in ("in", "out"))
    describe(
        figure,
        "Density of in-distribution test images (green) and of out-of-distribution images (red)",
        f"A row shows one run (seed {table['seed'].min()}). {counts_phrase(int(inside['n'].iloc[0]), outside, 'n')} "
        "The outermost bins also hold the images beyond them. If a density detects a set, red lies left of green.",
    )
    return figure
