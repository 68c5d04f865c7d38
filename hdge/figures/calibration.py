"""Figures of calibration."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hdge.figures.style import DOTTED, GREY, describe, dots_phrase, run_dots, seeds_phrase, subplots, unless_empty
from hdge.study.roster import METHODS, label


def reliability(bins: pd.DataFrame, ax: Axes) -> Axes:
    """Accuracy of each bin of confidence, and its distance from the mean confidence."""
    filled = bins[bins["count"] > 0]
    centre = bin_bars(filled, "accuracy", ax)
    ax.vlines(centre, filled["accuracy"], filled["confidence"], color=GREY, linewidth=1)
    ax.plot(centre, filled["confidence"], "_", color=GREY, markersize=6)
    ax.plot([0, 1], [0, 1], **DOTTED)
    return ax


def bin_bars(bins: pd.DataFrame, value: str, ax: Axes) -> pd.Series:
    """A bar a bin of confidence; returns the bins' centres."""
    centre, width = (bins["lower"] + bins["upper"]) / 2, 0.92 * (bins["upper"] - bins["lower"])
    colour = METHODS[bins["method"].iloc[0]].colour
    ax.bar(centre, bins[value], width, color=colour, alpha=0.75, linewidth=0)
    ax.set(xlim=(0, 1), ylim=(0, 1.02))
    return centre


@unless_empty("no run here is of a method whose bins are shown")
def reliability_figure(bins: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Reliability diagrams side by side (paper, Figure 2), each over the histogram of its confidence."""
    methods = bins["method"].unique()
    runs = runs[runs["method"].isin(methods)]
    figure, axes = subplots(2, len(methods), 4.6, sharex=True, sharey="row", height_ratios=[3, 1])
    for upper, lower, method in zip(*axes, methods, strict=True):
        own = bins[bins["method"] == method]
        error = runs.loc[runs["method"] == method, "ece"].mean()
        reliability(own, upper).set_title(f"{label(method)}: ECE {100 * error:.2f} %")
        bin_bars(own, "share", lower)
        lower.set_xlabel("confidence, max q(y|x)")
    axes[0][0].set_ylabel("accuracy")
    axes[1][0].set_ylabel("share of images")
    describe(
        figure,
        "Accuracy against confidence, in 20 bins of confidence",
        f"Bars pool the runs ({seeds_phrase(runs)}), and ECE is the mean over seeds. n: {runs['n'].iloc[0]:,} test "
        "images a seed. A bar is the accuracy of a bin, and a dash its mean confidence. The line between them is the "
        "gap that ECE averages, weighed by the share of images below. A dash above its bar means overconfidence.",
    )
    return figure


MEASURES = {
    "ece": "ECE (%)",
    "ace": "adaptive (%)",
    "mce": "maximum (%)",
    "nll": "NLL (nats)",
    "brier": "Brier score",
}


@unless_empty("no run here classifies")
def errors_figure(runs: pd.DataFrame) -> Figure:
    """Every measure of calibration of every run, ECE with its interval."""
    methods = runs["method"].unique().tolist()
    figure, [axes] = subplots(1, len(MEASURES), 1.7 + 0.22 * len(methods))
    for ax, (value, name) in zip(axes, MEASURES.items(), strict=True):
        run_dots(runs, value, name, ax, methods, value.endswith("ce"), interval=value == "ece").set_xlim(left=0)
        if ax is not axes[0]:
            ax.set_yticklabels([])
    describe(
        figure,
        "Calibration of every run, by five measures of which lower is better",
        f"{dots_phrase(runs, 'bootstrap')} Only ECE has an interval. n: {runs['n'].iloc[0]:,} test images. ECE has 20 "
        "equally wide bins of confidence. The adaptive error has as many bins of equally many images. The maximum "
        "error is that of the worst bin, however few images it holds. If images are few, these three are biased "
        "upwards. NLL is the mean of −log q(y|x).",
    )
    return figure


@unless_empty("no run here classifies")
def scaled_figure(table: pd.DataFrame) -> Figure:
    """ECE as trained and after temperature scaling, and the temperatures."""
    methods = table["method"].unique().tolist()
    figure, [axes] = subplots(1, 3, 1.7 + 0.22 * len(methods), sharey=True)
    scaled = table.assign(ece=table["scaled_ece"], low=table["scaled_low"], high=table["scaled_high"])
    for ax, own, title in ((axes[0], table, "as trained"), (axes[1], scaled, "scaled by T")):
        run_dots(own, "ece", "ECE, 20 bins (%)", ax, methods).set(xlim=(0, None), title=title)
    run_dots(table, "temperature", "fitted temperature T", axes[2], methods, False, interval=False).set_xscale("log")
    axes[2].axvline(1, **DOTTED)
    describe(
        figure,
        "Calibration before and after temperature scaling",
        f"{dots_phrase(table, 'bootstrap')} T has no interval. n: {table['n'].iloc[0]:,} test images. T is fitted on "
        f"{table['n_validation'].iloc[0]:,} validation images, and scaling by it changes no prediction. If T is above "
        "1 (dotted), the network was overconfident; if T is below 1, it was underconfident.",
    )
    return figure
