"""Figures of out-of-distribution detection."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hdge.figures.style import COLOURS, GREY, IN_COLOUR, LABELS, OUT_COLOUR, describe, legend, seeds_phrase, subplots


def auroc_dots(table: pd.DataFrame, ax: Axes) -> Axes:
    """AUROC of one score: a row a set, a dot a run with its bootstrap interval, a bar at the mean over seeds.

    Args:
        table: rows of :func:`hdge.evaluators.ood.auroc_table` for one score.
        ax: where to draw.
    """
    sets, methods = list(dict.fromkeys(table["ood_set"])), list(dict.fromkeys(table["method"]))
    for m, method in enumerate(methods):
        lane = 0.7 * ((m + 0.5) / len(methods) - 0.5)
        for row, ood_set in enumerate(sets):
            part = table[(table["method"] == method) & (table["ood_set"] == ood_set)]
            y = row + lane + np.linspace(-0.1, 0.1, len(part)) * (len(part) > 1)
            ax.hlines(y, part["low"], part["high"], color=COLOURS[method], linewidth=0.9, alpha=0.7)
            ax.plot(part["auroc"], y, "o", color=COLOURS[method], markersize=3.5)
            ax.vlines(part["auroc"].mean(), row + lane - 0.16, row + lane + 0.16, color=COLOURS[method], linewidth=2)
    ax.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    ax.set_yticks(range(len(sets)), sets)
    ax.set_ylim(len(sets) - 0.5, -0.5)
    ax.set_xlabel("AUROC (0.5 is chance)")
    return ax


def auroc_figure(table: pd.DataFrame, scale: str) -> Figure:
    """Both scores side by side."""
    scores = list(dict.fromkeys(table["score"]))
    height = 1.6 + 0.55 * table["ood_set"].nunique()
    figure, [axes] = subplots(1, len(scores), height, sharex=True, sharey=True)
    for ax, score in zip(axes, scores, strict=True):
        auroc_dots(table[table["score"] == score], ax)
        ax.set_title(f"score: {score}")
    legend(figure, list(dict.fromkeys(table["method"])))
    counts = ", ".join(f"{row.ood_set} {row.n_out:,}" for row in table.drop_duplicates("ood_set").itertuples())
    describe(
        figure,
        "Telling test images from others by their logits",
        f"Scale: {scale}. Dots: runs ({seeds_phrase(table)}), with 95 % bootstrap intervals over test images; "
        f"bars: means over seeds. n: {table['n_in'].iloc[0]:,} in-distribution test images, "
        f"the positive class; {counts}.",
    )
    return figure


def histogram_pair(table: pd.DataFrame, ax: Axes) -> Axes:
    """log q(x) of in- and out-of-distribution images of one run and set."""
    for images, colour in (("in", IN_COLOUR), ("out", OUT_COLOUR)):
        part = table[table["images"] == images]
        edges = np.append(part["lower"], part["upper"].iloc[-1])
        ax.stairs(part["share"], edges, fill=True, color=colour, alpha=0.45, linewidth=0)
        ax.stairs(part["share"], edges, color=colour, linewidth=1)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    return ax


def histogram_figure(table: pd.DataFrame, scale: str) -> Figure:
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
        row[0].set_ylabel(f"{LABELS[method]}\nshare of images")
    n_in = table.loc[table["images"] == "in", "n"].iloc[0]
    outside = table[table["images"] == "out"].drop_duplicates("ood_set")
    counts = ", ".join(f"{row.ood_set} {row.n:,}" for row in outside.itertuples())
    describe(
        figure,
        "Density of test images (green) and of out-of-distribution images (red)",
        f"Scale: {scale}. One run a row (seed {table['seed'].min()}). A density that knows its training data "
        f"puts red left of green. n: {n_in:,} in-distribution "
        f"test images; {counts}. Outermost bins hold what lies beyond.",
    )
    return figure
