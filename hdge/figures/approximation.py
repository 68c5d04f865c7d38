"""Figures of notebook 07: what the contrastive term does to the gradient, and how crude its estimate is."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hdge.figures.captions import describe, empty_figure, nothing, seeds_phrase
from hdge.figures.style import GREY, plain_log_ticks, subplots
from hdge.study.roster import METHODS

NO_RUN = "no run of HDGE is here with the logits of its training images"
HDGE = METHODS["hdge"].colour


def shaded_lines(table: pd.DataFrame, by: str, x: str, y: str, name: str, ax: Axes, marker: str = "") -> Axes:
    """A column against another, averaged over runs: a line a value of a third, darker as it rises."""
    values = sorted(table[by].unique())
    for colour, value in zip(sns.color_palette("flare", len(values)), values, strict=True):
        mean = table[table[by] == value].groupby(x)[y].mean()
        ax.plot(mean.index, mean, marker + "-", color=colour, markersize=3, label=name.format(value))
    return ax


def by_epoch(table: pd.DataFrame, value: str, ax: Axes) -> Axes:
    """A value against the epoch, a line a K and one for the discriminative term."""
    mean = table[table["size"] == 0].groupby("epoch")[value].mean()
    ax.plot(mean.index, mean, color=METHODS["cross_entropy"].colour, label="log q(y|x)")
    shaded_lines(table[table["size"] > 0], "size", "epoch", value, "log q(x|y), K = {:,}", ax)
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    return ax


def gradient_figure(weights: pd.DataFrame, gradients: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Weight on the true logit against K, t and training time, and length of both terms' gradients; with its table."""
    panels = pd.concat([weights.assign(panel="trained"), gradients.assign(panel="training")])
    if weights.empty:
        return empty_figure(NO_RUN), panels
    figure, [axes] = subplots(1, 3, 3.1)
    shaded_lines(weights, "temperature", "size", "weight", "{:g}", axes[0], "o")
    axes[0].set(xscale="log", xlabel="K, past images in the queue", ylabel="weight 1 − w", ylim=(-0.03, 1.03))
    axes[0].legend(title="temperature t", loc="lower right", fontsize=7, labelspacing=0.2)
    axes[0].set_title("trained network")
    by_epoch(gradients, "weight", axes[1]).set(title="along training", ylabel="weight", ylim=(-0.03, 1.03))
    by_epoch(gradients, "length", axes[2]).set(title="along training", ylabel="gradient on the logits, length")
    axes[2].set_yscale("log")
    axes[1].legend(loc="best", fontsize=7)
    plain_log_ticks(axes[2].yaxis)
    describe(
        figure,
        "The negatives act through the weight 1 − w alone, which saturates early in K",
        f"Lines are means over runs ({seeds_phrase(weights)}). Left: n: {weights['n'].iloc[0]:,} test images; a point "
        f"has {weights['draws'].iloc[0]} random queues of training images. Middle and right: n: "
        f"{gradients['n'].iloc[0]:,} validation images after every epoch. If 1 − w is near 1, the generative term is "
        "−p[y]/t plus a constant. It then turns each logit vector towards its class's axis, whatever the negatives "
        "are.",
    )
    return figure, panels


def partition_figure(partitions: pd.DataFrame, staleness: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Error of the estimated log Z_y against K, and against its age; with its table."""
    panels = pd.concat([partitions.assign(panel="size"), staleness.assign(panel="age")])
    if partitions.empty:
        return empty_figure(NO_RUN), panels
    figure, [axes] = subplots(1, 2, 3.1)
    below = partitions[partitions["size"] < partitions["size"].max()].set_index("size")
    errors = below[["spread", "bias", "expected_spread"]].abs().groupby("size").mean()
    axes[0].plot(errors["spread"], "o", color=HDGE, markersize=4, label="spread over queues")
    axes[0].plot(errors["expected_spread"], color=HDGE, label="its first-order law")
    axes[0].plot(errors["bias"], "s", color=GREY, markersize=3.5, label="|bias|")
    axes[0].set(xscale="log", yscale="log", xlabel="K, past images in the queue", ylabel="error of log Z / K (nats)")
    axes[0].set_title("too few negatives")
    axes[0].legend()
    if staleness.empty:
        nothing(axes[1], "a run of one epoch has no older negatives")
        right = ""
    else:
        shaded_lines(staleness, "lag", "epoch", "partition_shift", "{}", axes[1])
        axes[1].set(yscale="log", xlabel="epoch", ylabel="change of log Z (nats)", title="too old negatives")
        axes[1].legend(title="age in epochs", loc="lower left")
        right = (
            f"Right: log Z over n: {staleness['n'].iloc[0]:,} validation images is compared with its value that many "
            "epochs before. "
        )
    describe(
        figure,
        "The estimate of log Z errs by its spread at small K and by its age early in training",
        f"Values are means over classes and runs ({seeds_phrase(partitions)}). Left: a size has "
        f"{partitions['draws'].iloc[0]} queues of training images of the trained network, and the truth is the sum "
        f"over all n: {partitions['size'].max():,}. {right}An error of log Z moves the gradient only through 1 − w.",
    )
    return figure, panels
