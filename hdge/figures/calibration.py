"""Figures of calibration."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hdge.figures.style import GREY, describe, run_dots, seeds_phrase, subplots
from hdge.study.roster import METHODS


def reliability(bins: pd.DataFrame, ax: Axes) -> Axes:
    """Accuracy of each bin of confidence, and how far it is from the confidence claimed."""
    method = bins["method"].iloc[0]
    filled = bins[bins["count"] > 0]
    width = (filled["upper"] - filled["lower"]) * 0.92
    centre = (filled["lower"] + filled["upper"]) / 2
    ax.bar(centre, filled["accuracy"], width, color=METHODS[method].colour, alpha=0.75, linewidth=0)
    ax.vlines(centre, filled["accuracy"], filled["confidence"], color=GREY, linewidth=1)
    ax.plot(centre, filled["confidence"], "_", color=GREY, markersize=6)
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    ax.set(xlim=(0, 1), ylim=(0, 1.02))
    return ax


def confidence_histogram(bins: pd.DataFrame, ax: Axes) -> Axes:
    """Share of the images in each bin of confidence."""
    centre = (bins["lower"] + bins["upper"]) / 2
    width = (bins["upper"] - bins["lower"]) * 0.92
    ax.bar(centre, bins["share"], width, color=METHODS[bins["method"].iloc[0]].colour, alpha=0.75, linewidth=0)
    ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence, max q(y|x)")
    return ax


def reliability_figure(bins: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Reliability diagrams side by side (paper, Figure 2), each over the histogram of its confidence."""
    methods = list(dict.fromkeys(bins["method"]))
    runs = runs[runs["method"].isin(methods)]
    figure, axes = subplots(2, len(methods), 4.6, sharex=True, sharey="row", height_ratios=[3, 1])
    for column, method in enumerate(methods):
        own = bins[bins["method"] == method]
        error = runs.loc[runs["method"] == method, "ece"].mean()
        reliability(own, axes[0][column]).set_title(f"{METHODS[method].label}: ECE {100 * error:.2f} %")
        confidence_histogram(own, axes[1][column])
    axes[0][0].set_ylabel("accuracy")
    axes[1][0].set_ylabel("share of images")
    describe(
        figure,
        "What a confidence is worth: accuracy in 20 bins of confidence",
        f"{seeds_phrase(runs)}, pooled in the bars; ECE is the mean over seeds. "
        f"n: {runs['n'].iloc[0]:,} test images a seed. Bars: accuracy; dashes: mean confidence; the line "
        "between them is the gap that ECE averages, weighed by the share of images below.",
    )
    return figure


MEASURES = {
    "ece": "ECE (%)",
    "ace": "adaptive (%)",
    "mce": "maximum (%)",
    "nll": "NLL (nats)",
    "brier": "Brier score",
}


def errors_figure(runs: pd.DataFrame) -> Figure:
    """Every measure of calibration of every run, ECE with its interval."""
    methods = list(dict.fromkeys(runs["method"]))
    figure, [axes] = subplots(1, len(MEASURES), 1.7 + 0.22 * len(methods))
    for ax, (value, label) in zip(axes, MEASURES.items(), strict=True):
        own = runs if value == "ece" else runs.assign(low=runs[value], high=runs[value])
        run_dots(own, value, label, ax, methods, percent=value.endswith("ce")).set_xlim(left=0)
        if ax is not axes[0]:
            ax.set_yticklabels([])
    describe(
        figure,
        "Calibration of every run, by five measures of which lower is better",
        f"Dots: runs ({seeds_phrase(runs)}), ECE with 95 % bootstrap intervals over test images; "
        f"bars: means over seeds. n: {runs['n'].iloc[0]:,} test images. ECE has 20 equally wide bins of confidence, "
        "the adaptive error as many of equally many images; the maximum error is that of the worst bin, however few "
        "images it holds. The fewer the images, the more these three are biased upwards. NLL: the mean of −log q(y|x).",
    )
    return figure


def scaled_figure(table: pd.DataFrame) -> Figure:
    """ECE as trained and after temperature scaling, and the temperatures."""
    methods = list(dict.fromkeys(table["method"]))
    figure, [axes] = subplots(1, 3, 1.7 + 0.22 * len(methods), sharey=True)
    scaled = table.assign(ece=table["scaled_ece"], low=table["scaled_low"], high=table["scaled_high"])
    for ax, own, title in ((axes[0], table, "as trained"), (axes[1], scaled, "scaled by T")):
        run_dots(own, "ece", "ECE, 20 bins (%)", ax, methods).set(xlim=(0, None), title=title)
    plain = table.assign(low=table["temperature"], high=table["temperature"])
    run_dots(plain, "temperature", "fitted temperature T", axes[2], methods, percent=False).set_xscale("log")
    axes[2].axvline(1, color=GREY, linewidth=0.8, linestyle=":")
    describe(
        figure,
        "What one number fitted on held-out images does for calibration",
        f"Dots: runs ({seeds_phrase(table)}), ECE with 95 % bootstrap intervals over "
        f"{table['n'].iloc[0]:,} test images; bars: means over seeds. T is fitted on n: "
        f"{table['n_validation'].iloc[0]:,} validation images; above 1 (dotted) the network was too sure, below it not "
        "sure enough. Scaling changes no prediction.",
    )
    return figure
