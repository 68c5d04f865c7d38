"""Figures of samples: the samples themselves, the chains that made them, and their scores."""

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from hdge.evaluators.generation import ACCURACY, REFERENCES, SCORES
from hdge.figures.style import (
    GREY,
    IN_COLOUR,
    OUT_COLOUR,
    WIDTH,
    describe,
    run_dots,
    seeds_phrase,
    subplots,
)
from hdge.study.roster import label

ROWS = 2  # of a class's samples in its method's strip
GAP = 4  # white pixels between classes; one between samples of a class
MOST_CLASSES = 10  # the width has room for no more
STARTS = {"noise": ("noise", OUT_COLOUR), "data": ("test images", IN_COLOUR)}


def two_lines(method: str) -> str:
    """A method's name, or that of a reference, broken where it is long."""
    return textwrap.fill(label(method), 13)


def empty_figure(title: str, caption: str) -> Figure:
    """What is drawn where there is nothing to draw: why."""
    figure, [[ax]] = subplots(1, 1, 1.0)
    ax.set_axis_off()
    describe(figure, title, caption)
    return figure


def sample_strip(table: pd.DataFrame, pictures: Sequence[np.ndarray], ax: Axes) -> Axes:
    """One method's samples, class after class from left to right, in :data:`ROWS` rows.

    Args:
        table: a row a picture: class, index (of the class, from 0).
        pictures: uint8, shape (channels, H, W), in the table's order.
        ax: where to draw.
    """
    channels, height, width = pictures[0].shape
    classes = list(dict.fromkeys(table["class"]))
    columns = -(-(int(table["index"].max()) + 1) // ROWS)
    stride = columns * (width + 1) + GAP - 1
    canvas = np.full((ROWS * (height + 1) - 1, len(classes) * stride - GAP, channels), 255, dtype=np.uint8)
    for name, index, picture in zip(table["class"], table["index"], pictures, strict=True):
        top, left = index // columns * (height + 1), classes.index(name) * stride + index % columns * (width + 1)
        canvas[top : top + height, left : left + width] = picture.transpose(1, 2, 0)
    shown = canvas if channels == 3 else canvas[:, :, 0]
    ax.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="none", aspect="auto")
    ax.set_xticks([(i + 0.5) * stride - GAP / 2 - 0.5 for i in range(len(classes))], classes)
    ax.set_yticks([])
    ax.tick_params(length=0, labelbottom=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def samples_figure(table: pd.DataFrame, pictures: Sequence[np.ndarray]) -> Figure:
    """Class-conditional samples (paper, Figure 3): a strip a method, real images above them.

    Args:
        table: :func:`hdge.evaluators.generation.samples_table`.
        pictures: its pictures, in the same order.
    """
    if table.empty:
        return empty_figure("Samples of every class", "No run here has classes to sample from.")
    classes = list(dict.fromkeys(table["class"]))[:MOST_CLASSES]
    methods = list(dict.fromkeys(table["method"]))
    each = int(table["index"].max()) + 1
    columns = len(classes) * -(-each // ROWS)
    strip = ROWS * (WIDTH - 1.1) / columns * pictures[0].shape[1] / pictures[0].shape[2]
    figure, axes = subplots(len(methods), 1, 1.15 + len(methods) * (strip + 0.06))
    for [ax], method in zip(axes, methods, strict=True):
        places = np.flatnonzero((table["method"] == method) & table["class"].isin(classes)).tolist()
        sample_strip(table.iloc[places], [pictures[i] for i in places], ax)
        ax.set_ylabel(two_lines(method), rotation=0, ha="right", va="center", fontsize=8)
    axes[0][0].tick_params(labeltop=True, labelsize=8 if max(len(name) for name in classes) < 9 else 6.5)
    axes[-1][0].set_xlabel("class", fontsize=8)
    own = table[table["method"] != REFERENCES["test"]]
    describe(
        figure,
        "Samples of every class, below real images",
        f"{seeds_phrase(own)}. Chains of log q(x|y) from uniform noise (a flow samples directly), with "
        f"pixels clipped to their range: the first {each} of a class, none chosen. n: {len(own):,} samples; the table "
        "beside the picture has their statistics.",
    )
    return figure


def chain_line(table: pd.DataFrame, value: str, ax: Axes) -> Axes:
    """One column of the chains against the step: a line a start, with the band from low to high for log q(x)."""
    for start, (_, colour) in STARTS.items():
        own = table[table["start"] == start]
        drawn = own[own[value] > 0] if value == "distance" else own  # no logarithm at the start
        ax.plot(drawn["step"], drawn[value], color=colour, linewidth=1.2)
        if value == "log_q_x":
            ax.fill_between(own["step"], own["low"], own["high"], color=colour, alpha=0.25, linewidth=0)
    ax.set_xticks([0, table["step"].max() // 2, table["step"].max()])
    ax.tick_params(labelsize=7)
    return ax


def chains_figure(table: pd.DataFrame) -> Figure:
    """How chains move: a column a method; log q(x) along the chain, distance from the start, changed predictions.

    Args:
        table: :func:`hdge.evaluators.generation.chains_table`.
    """
    if table.empty:
        return empty_figure("How chains move", "No run here was sampled by chains.")
    methods = list(dict.fromkeys(table["method"]))
    figure, axes = subplots(3, len(methods), 5.2, sharex=True)
    labels = ("log q(x) + log Z (nats)", "distance from start\n(pixels in [0, 1])", "share with\nanother argmax f(x)")
    for row, value, name in zip(axes, ("log_q_x", "distance", "changed"), labels, strict=True):
        row[0].set_ylabel(name, fontsize=8)
        for ax, method in zip(row, methods, strict=True):
            own = table[table["method"] == method]
            if own[value].isna().all():
                ax.text(
                    0.5, 0.5, "one logit,\nno classes", ha="center", va="center", fontsize=7, transform=ax.transAxes
                )
            chain_line(own, value, ax)
            if value == "log_q_x":
                ax.set_title(two_lines(method), fontsize=8)
                ax.yaxis.set_major_locator(MaxNLocator(4))
            elif value == "changed":
                ax.set_ylim(-0.03, 1.03)
            else:
                far = table.loc[table["distance"] > 0, "distance"]
                ax.set_yscale("log")
                ax.set_ylim(far.min() / 1.5, max(1.5, 1.5 * far.max()))
                ax.axhline(1, color=GREY, linewidth=0.8, linestyle=":")
                ax.yaxis.set_major_locator(LogLocator())
                ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                if ax is not row[0]:
                    ax.set_yticklabels([])
            if value == "changed":
                ax.set_xlabel("step", fontsize=8)
    counts = table.drop_duplicates("start").set_index("start")["n"]
    describe(
        figure,
        "Do chains settle where the data are? From noise (red) and from test images (green)",
        f"{seeds_phrase(table)}. Chains of log q(x) without clipping. Lines: medians of log q(x), "
        "means of the root-mean-square distance; bands: 5 to 95 % of the chains. "
        f"n: {counts['noise']:,} chains from noise, {counts['data']:,} from test images. If a density has learnt "
        "the data, red rises to green and green stays. If nothing holds the density back, both rise and leave the "
        "range of pixels (distances above the dotted 1). Compare log q(x) within a column only.",
    )
    return figure


def scores_figure(table: pd.DataFrame) -> Figure:
    """Accuracy and the two scores of every method's samples, with those of real images and of noise.

    Args:
        table: :func:`hdge.evaluators.generation.scores_table`.
    """
    own = table[~table["method"].isin(list(REFERENCES.values()))]
    methods, scores = list(dict.fromkeys(own["method"])), list(dict.fromkeys(own["score"]))
    figure, [axes] = subplots(1, len(scores), 1.75 + 0.25 * len(methods), sharey=True)
    for ax, score in zip(axes, scores, strict=True):
        part = table[table["score"] == score]
        percent = score == ACCURACY
        axis = f"{score} (%)" if percent else score.replace(" on ", "\non ")
        run_dots(part, "value", axis, ax, methods, percent=percent)
        for name, style in zip(REFERENCES.values(), ("--", ":"), strict=True):
            for value in part.loc[part["method"] == name, "value"]:
                ax.axvline(value, color=GREY, linewidth=0.9, linestyle=style)
        positive = part["value"][part["value"] > 0]
        if score in (SCORES["study"][1], SCORES["inception"][1]) and positive.max() > 10 * positive.min():
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(LogLocator(numticks=4))
            ax.xaxis.set_minor_locator(NullLocator())
    samples = own.loc[own["score"] != ACCURACY, "n"]
    judged = (
        f"Samples: n: {int(samples.iloc[0]):,} a method, ends of chains of log q(x) from noise (a flow's own samples), "
        "with 95 % bootstrap intervals over samples. Dashed: as many test images; dotted: as much uniform noise. The "
        "distance is to all training images; few samples raise it, also that of the test images, its floor. "
        if len(samples)
        else "No samples could be scored. "
    )
    tested = own.loc[own["score"] == ACCURACY, "n"]
    accurate = (
        f"Accuracy: n: {int(tested.iloc[0]):,} test images, Wilson intervals; a single logit has none."
        if len(tested)
        else ""
    )
    describe(figure, "What samples are worth", f"{seeds_phrase(own)}. {judged}{accurate}")
    return figure
