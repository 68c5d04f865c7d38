"""Figures of samples: the samples themselves, the chains that made them, and their scores."""

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from hdge.evaluators.generation import ACCURACY, REFERENCES
from hdge.figures.captions import describe, dots_phrase, in_middle, seeds_phrase, unless_empty
from hdge.figures.marks import run_dots
from hdge.figures.style import DOTTED, GREY, IN_COLOUR, OUT_COLOUR, WIDTH, subplots
from hdge.study.roster import label

ROWS = 2  # of a class's samples in its method's strip
GAP = 4  # white pixels between classes; one between samples of a class
MOST_CLASSES = 10  # the width has room for no more
STARTS = {"noise": ("random starts", OUT_COLOUR), "data": ("test images", IN_COLOUR)}


def _grid(table: pd.DataFrame) -> tuple[int, int, int]:
    """Number of a class's samples, and their rows and columns in its method's strip."""
    each = int(table["index"].max()) + 1
    rows = min(ROWS, each)
    return each, rows, -(-each // rows)


def sample_strip(table: pd.DataFrame, pictures: Sequence[np.ndarray], ax: Axes) -> Axes:
    """One method's samples, class after class from left to right, each (channels, H, W) of uint8."""
    channels, height, width = pictures[0].shape
    classes = table["class"].unique().tolist()
    _, rows, columns = _grid(table)
    stride = columns * (width + 1) + GAP - 1
    canvas = np.full((rows * (height + 1) - 1, len(classes) * stride - GAP, channels), 255, dtype=np.uint8)
    for name, index, picture in zip(table["class"], table["index"], pictures, strict=True):
        top, left = index // columns * (height + 1), classes.index(name) * stride + index % columns * (width + 1)
        canvas[top : top + height, left : left + width] = picture.transpose(1, 2, 0)
    shown = canvas if channels == 3 else canvas[:, :, 0]
    ax.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="none", aspect="auto")
    ax.set_xticks([(i + 0.5) * stride - GAP / 2 - 0.5 for i in range(len(classes))], classes)
    ax.set_yticks([])
    ax.tick_params(length=0, labelbottom=False)
    ax.spines[:].set_visible(False)
    return ax


@unless_empty("no run here of the methods shown was sampled class by class")
def samples_figure(table: pd.DataFrame, pictures: Sequence[np.ndarray]) -> Figure:
    """Class-conditional samples (paper, Figure 3): a strip a method, real images above them."""
    classes = table["class"].unique().tolist()[:MOST_CLASSES]
    methods = table["method"].unique()
    each, rows, columns = _grid(table)
    strip = rows * (WIDTH - 1.1) / (columns * len(classes)) * pictures[0].shape[1] / pictures[0].shape[2]
    figure, axes = subplots(len(methods), 1, 1.15 + len(methods) * (strip + 0.06))
    for [ax], method in zip(axes, methods, strict=True):
        places = np.flatnonzero((table["method"] == method) & table["class"].isin(classes)).tolist()
        sample_strip(table.iloc[places], [pictures[i] for i in places], ax)
        ax.set_ylabel(textwrap.fill(label(method), 13), rotation=0, ha="right", va="center", fontsize=8)
    axes[0][0].tick_params(labeltop=True, labelsize=8 if max(len(name) for name in classes) < 9 else 6.5)
    axes[-1][0].set_xlabel("class", fontsize=8)
    own, taken = table[table["method"] != REFERENCES["test"]], f"the first {each}" if each > 1 else "one"
    return describe(
        figure,
        "Samples of every class, below real images",
        f"Samples are ends of chains of log q(x|y) from random starts ({seeds_phrase(own)}); a flow samples directly. "
        f"n: {len(own):,} samples, {taken} of a class. None is chosen, and the table has statistics of each. "
        "Pixels are clipped to their range for the picture, the chains are not. If a network has learnt a class, its "
        "samples resemble the images above. Saturated samples, black and white alone, come from chains that left the "
        "range. There log q(x|y) rises beyond every image, so there is no density of images to sample.",
    )


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


@unless_empty("no run here was sampled by chains")
def chains_figure(table: pd.DataFrame) -> Figure:
    """How chains move: a column a method; log q(x) along the chain, distance from the start, changed predictions."""
    methods = table["method"].unique()
    figure, axes = subplots(3, len(methods), 5.2, sharex=True)
    labels = ("log q(x) + log Z (nats)", "distance from start\n(pixels in [0, 1])", "share with\nanother argmax f(x)")
    for row, name in zip(axes, labels, strict=True):
        row[0].set_ylabel(name, fontsize=8)
    far = table.loc[table["distance"] > 0, "distance"]
    for upper, middle, lower, method in zip(*axes, methods, strict=True):
        own = table[table["method"] == method]
        chain_line(own, "log_q_x", upper).set_title(textwrap.fill(label(method), 13), fontsize=8)
        upper.yaxis.set_major_locator(MaxNLocator(4))
        chain_line(own, "distance", middle).set(yscale="log", ylim=(far.min() / 1.5, max(1.5, 1.5 * far.max())))
        middle.axhline(1, **DOTTED)
        middle.yaxis.set_major_locator(LogLocator())
        middle.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        if middle is not axes[1][0]:
            middle.set_yticklabels([])
        chain_line(own, "changed", lower).set_ylim(-0.03, 1.03)
        lower.set_xlabel("step", fontsize=8)
        if own["changed"].isna().all():
            in_middle(lower, "one logit,\nno classes")
    counts = table.drop_duplicates("start").set_index("start")["n"]
    return describe(
        figure,
        "Chains from random starts (red) and from test images (green)",
        f"Chains of log q(x) are not clipped ({seeds_phrase(table)}). n: {counts['noise']:,} chains from random "
        f"starts, {counts['data']:,} from test images. Lines are medians of log q(x), means of the root-mean-square "
        "distance and shares of chains. Bands hold 5 to 95 % of the chains. If a density has learnt the data, red "
        "rises to green and green stays. If it has not, both rise and leave the range of pixels, at distances above "
        "the dotted 1. Values of log q(x) compare within a column only.",
    )


@unless_empty("no run here was sampled and scored")
def scores_figure(table: pd.DataFrame) -> Figure:
    """Accuracy and the two scores of every method's samples, with those of real images and of noise."""
    own = table[~table["method"].isin(list(REFERENCES.values()))]
    methods, scores = own["method"].unique().tolist(), own["score"].unique()
    figure, [axes] = subplots(1, len(scores), 1.75 + 0.25 * len(methods), sharey=True)
    for ax, score in zip(axes, scores, strict=True):
        part, percent = table[table["score"] == score], score == ACCURACY
        name = f"{score} (%)" if percent else score.replace(" on ", "\non ")
        run_dots(part, "value", name, ax, methods, 100.0 if percent else 1.0)
        for reference, style in zip(REFERENCES.values(), ("--", ":"), strict=True):
            for value in part.loc[part["method"] == reference, "value"]:
                ax.axvline(value, color=GREY, linewidth=0.9, linestyle=style)
        positive = part["value"][part["value"] > 0]
        if score.startswith("Fréchet") and positive.max() > 10 * positive.min():
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(LogLocator(numticks=4))
            ax.xaxis.set_minor_locator(NullLocator())
    accuracy, samples = own[own["score"] == ACCURACY]["n"], own[own["score"] != ACCURACY]["n"]
    caption = [dots_phrase(own)]
    if len(samples):
        caption.append(
            f"n: {int(samples.iloc[0]):,} samples a run; pale bands are 95 % bootstrap intervals over samples, "
            "averaged over runs. Samples are ends of chains of log q(x) from random starts; a flow samples directly. "
            "Dashed lines are as many test images, and dotted lines as many random starts. The distance is to all "
            "training images. If samples are few, every distance is larger, and that of the test images is the least "
            "to expect."
        )
    else:
        caption.append("No samples could be scored.")
    if len(accuracy):
        caption.append(f"Accuracy has n: {int(accuracy.iloc[0]):,} test images, and its bands are Wilson intervals.")
    return describe(figure, "Scores of samples, beside test accuracy", " ".join(caption))
