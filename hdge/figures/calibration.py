"""Figures of calibration."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from hdge.figures.captions import describe, dots_phrase, seeds_phrase, unless_empty
from hdge.figures.marks import before_and_after, by_mean, handle, run_dots
from hdge.figures.style import BETTER, DOTTED, GREY, WORSE, log_if_wide, plain_log_ticks, subplots
from hdge.study.roster import colour_of, label

LEAST_IMAGES = 10  # of a bin that is drawn: the accuracy of fewer is known to no better than 0.3


def reliability(bins: pd.DataFrame, ax: Axes) -> Axes:
    """Accuracy of each bin that holds enough images, paler the fewer, and its distance from the mean confidence."""
    shown = bins[bins["count"] >= LEAST_IMAGES]
    depth = np.log(shown["count"]) / np.log(bins["count"].sum())
    centre = bin_bars(shown, "accuracy", ax, 0.15 + 0.85 * depth)
    ax.vlines(centre, shown["accuracy"], shown["confidence"], color=GREY, linewidth=1)
    ax.plot(centre, shown["confidence"], "_", color="black", markersize=6)
    ax.plot([0, 1], [0, 1], **DOTTED)
    ax.set_ylim(0, 1.02)
    return ax


def bin_bars(bins: pd.DataFrame, value: str, ax: Axes, alpha: pd.Series | float = 0.8) -> pd.Series:
    """A bar a bin of confidence; returns the bins' centres."""
    centre, width = (bins["lower"] + bins["upper"]) / 2, 0.92 * (bins["upper"] - bins["lower"])
    own = colour_of(bins["method"].iloc[0]) if len(bins) else GREY
    colours = [to_rgba(own, float(depth)) for depth in np.broadcast_to(alpha, len(bins))]
    ax.bar(centre, bins[value], width, color=colours, linewidth=0)
    ax.set_xlim(0, 1)
    return centre


@unless_empty("no run here is of a method whose bins are shown")
def reliability_figure(bins: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Reliability diagrams side by side (paper, Figure 2), each over the number of images of every confidence."""
    methods = bins["method"].unique()
    runs = runs[runs["method"].isin(methods)]
    figure, axes = subplots(2, len(methods), 4.6, sharex=True, sharey="row", height_ratios=[3, 1])
    for upper, lower, method in zip(*axes, methods, strict=True):
        own = bins[bins["method"] == method]
        error, floor = (100 * runs.loc[runs["method"] == method, ["ece", "ece_if_calibrated"]].mean()).tolist()
        reliability(own, upper).set_title(
            f"{label(method)}\nECE {error:.2f} %, if calibrated {floor:.2f} %", fontsize=8
        )
        bin_bars(own, "count", lower)
        lower.axhline(LEAST_IMAGES, **DOTTED)
        lower.set_xlabel("confidence, max q(y|x)")
    axes[1][0].set(yscale="log", ylim=(0.7, None), ylabel="images")
    axes[0][0].set_ylabel("accuracy")
    return describe(
        figure,
        f"Accuracy against confidence, in {bins['method'].eq(methods[0]).sum()} bins of confidence",
        f"Bars pool the runs ({seeds_phrase(runs)}), and ECE is the mean over seeds. n: {runs['n'].iloc[0]:,} test "
        "images a seed. A bar is the accuracy of a bin, and paler the fewer images it holds; a dash is its mean "
        f"confidence. Bins of fewer than {LEAST_IMAGES} images (dotted, below) are not drawn. A dash above its bar "
        "means overconfidence. ECE says little unless it is above that of a perfectly calibrated network with the same "
        "confidences.",
    )


MEASURES = {"nll": "NLL (nats)", "brier": "Brier score", "ece": "ECE (%)"}


@unless_empty("no run here classifies")
def errors_figure(runs: pd.DataFrame) -> Figure:
    """Both proper scores of every run, then ECE beside that of a perfectly calibrated network; lowest NLL on top."""
    methods = by_mean(runs, "nll", True)
    figure, [axes] = subplots(1, len(MEASURES), 1.7 + 0.22 * len(methods), sharey=True)
    for ax, (value, name) in zip(axes, MEASURES.items(), strict=True):
        run_dots(runs, value, name, ax, methods, 100.0 if value == "ece" else 1.0, value != "ece")
    floors = 100 * runs.groupby("method")["ece_if_calibrated"].mean()[methods]
    axes[-1].plot(floors, range(len(methods)), "D", color="black", markersize=3.5, markerfacecolor="white", zorder=2)
    for ax, value in zip(axes, MEASURES, strict=True):  # once all marks stand, because ticks depend on the view
        unit, floor = (100, runs["ece_if_calibrated"]) if value == "ece" else (1, runs[value])
        log_if_wide(ax, "x", unit * pd.concat([floor, runs[value]]), 3.0)
    diamond = handle("black", "ECE if calibrated", marker="D", markersize=3.5, markerfacecolor="white", linestyle="")
    figure.legend(handles=[diamond], loc="outside upper right")
    return describe(
        figure,
        "Calibration of every run: left is better",
        f"{dots_phrase(runs)} n: {runs['n'].iloc[0]:,} test images. NLL is the mean of −log q(y|x). NLL and Brier "
        f"score are proper: honest probabilities alone minimise them. ECE has {runs['bins'].iloc[0]} equally wide bins "
        "and is biased upwards, so that it has no interval. A diamond is the ECE that a perfectly calibrated network "
        "of the same confidences would show, averaged over seeds. A dot at its diamond shows no miscalibration. The "
        "table also has errors by bins of equally many images and of the worst bin.",
    )


@unless_empty("no run here classifies")
def scaled_figure(table: pd.DataFrame) -> Figure:
    """NLL and ECE as trained and after temperature scaling, and the temperatures; lowest NLL as trained on top."""
    methods = by_mean(table, "nll", True)
    figure, [axes] = subplots(1, 3, 1.7 + 0.22 * len(methods), sharey=True)
    named = {"nll": ("NLL (nats)", 1.0), "ece": (f"ECE, {table['bins'].iloc[0]} bins (%)", 100.0)}
    for ax, (value, (name, unit)) in zip(axes, named.items(), strict=False):
        before_and_after(table, value, f"scaled_{value}", name, ax, methods, False, unit)
        log_if_wide(ax, "x", unit * pd.concat([table[value], table[f"scaled_{value}"]]), 3.0)
    run_dots(table, "temperature", "fitted temperature T", axes[2], methods)
    axes[2].set_xscale("log")
    plain_log_ticks(axes[2].xaxis)
    axes[2].axvline(1, **DOTTED)
    marks = [
        handle(BETTER, "scaling helps"),
        handle(WORSE, "scaling hurts"),
        handle(GREY, "as trained", markerfacecolor="white", linestyle=""),
        handle(GREY, "scaled", linestyle=""),
    ]
    figure.legend(handles=marks, loc="outside upper right", ncols=4, fontsize=7)
    return describe(
        figure,
        "Temperature scaling",
        f"Left, middle: hollow and filled dots are means over seeds ({seeds_phrase(table)}), and faint lines runs. "
        "Right: faint dots are runs, large dots means, and lines 95 % Student intervals over seeds. n: "
        f"{table['n'].iloc[0]:,} test images. T is fitted on {table['n_validation'].iloc[0]:,} validation images, and "
        "scaling by it changes no prediction. If T is above 1 (dotted), the network was overconfident on them. Where a "
        "line is orange, so few validation images fit a T that makes the test images' probabilities worse.",
    )
