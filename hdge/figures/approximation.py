"""Figures of notebook 07: what the contrastive term does to the gradient, and how crude its estimate is."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hdge.figures.style import GREY, describe, plain_log_ticks, seeds_phrase, subplots
from hdge.study.roster import METHODS


def _shades(count: int) -> list:
    return sns.color_palette("flare", count)


def weight_by_size(table: pd.DataFrame, ax: Axes) -> Axes:
    """1 - w against K, a line a temperature, averaged over runs."""
    temperatures = sorted(table["temperature"].unique())
    for colour, temperature in zip(_shades(len(temperatures)), temperatures, strict=True):
        mean = table[table["temperature"] == temperature].groupby("size")["weight"].mean()
        ax.plot(mean.index, mean, "o-", color=colour, markersize=3, label=f"{temperature:g}")
    ax.set(xscale="log", xlabel="K, past images in the queue", ylabel="weight 1 − w", ylim=(-0.03, 1.03))
    ax.legend(title="temperature t", loc="lower right", fontsize=7, labelspacing=0.2)
    return ax


def by_epoch(table: pd.DataFrame, value: str, ax: Axes) -> Axes:
    """A value against the epoch, a line a K and one for the discriminative term, averaged over runs."""
    sizes = sorted(set(table["size"]) - {0})
    mean = table.groupby(["size", "epoch"])[value].mean()
    ax.plot(mean[0].index, mean[0], color=METHODS["cross_entropy"].colour, label="log q(y|x)")
    for colour, size in zip(_shades(len(sizes)), sizes, strict=True):
        ax.plot(mean[size].index, mean[size], color=colour, label=f"log q(x|y), K = {size:,}")
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    return ax


def gradient_figure(weights: pd.DataFrame, gradients: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """The weight on the true logit against K, t and training time, and the length of both terms' gradients.

    Args:
        weights: :func:`hdge.evaluators.approximation.weight_table`.
        gradients: :func:`hdge.evaluators.approximation.gradient_table`.

    Returns:
        The figure, and both tables as one, told apart by the column "panel".
    """
    figure, [axes] = subplots(1, 3, 3.1)
    weight_by_size(weights, axes[0]).set_title("trained network")
    by_epoch(gradients, "weight", axes[1]).set(title="along training", ylabel="weight", ylim=(-0.03, 1.03))
    by_epoch(gradients, "length", axes[2]).set(title="along training", ylabel="gradient on the logits, length")
    axes[2].set_yscale("log")
    axes[1].legend(loc="best", fontsize=7)
    plain_log_ticks(axes[2].yaxis)
    describe(
        figure,
        "All that the negatives do to the gradient is the weight 1 − w, and it saturates early in K",
        f"{seeds_phrase(weights)}, lines are means over them. Left: {weights['n'].iloc[0]:,} test "
        f"images, {weights['draws'].iloc[0]} random queues of training images a point. Middle and right: "
        f"{gradients['n'].iloc[0]:,} validation images after every epoch. If 1 − w is near 1, the generative term "
        "is −p[y]/t plus a constant. The term then turns each logit vector towards its class's axis, whatever the "
        "negatives are.",
    )
    return figure, pd.concat([weights.assign(panel="trained"), gradients.assign(panel="training")])


def partition_figure(partitions: pd.DataFrame, staleness: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Error of the estimated log Z_y against K, and its age.

    Args:
        partitions: :func:`hdge.evaluators.approximation.partition_table`.
        staleness: :func:`hdge.evaluators.approximation.staleness_table`.

    Returns:
        The figure, and both tables as one, told apart by the column "panel".
    """
    figure, [axes] = subplots(1, 2, 3.1)
    below = partitions[partitions["size"] < partitions["size"].max()]
    spread, bias = (below.groupby("size")[name].agg(lambda v: v.abs().mean()) for name in ("spread", "bias"))
    expected = below.groupby("size")["expected_spread"].mean()
    axes[0].plot(spread.index, spread, "o", color=METHODS["hdge"].colour, markersize=4, label="spread over queues")
    axes[0].plot(expected.index, expected, color=METHODS["hdge"].colour, label="its first-order law")
    axes[0].plot(bias.index, bias, "s", color=GREY, markersize=3.5, label="|bias|")
    axes[0].set(xscale="log", yscale="log", xlabel="K, past images in the queue", ylabel="error of log Z / K (nats)")
    axes[0].set_title("too few negatives")
    axes[0].legend()
    lags = sorted(staleness["lag"].unique())
    for colour, lag in zip(_shades(len(lags)), lags, strict=True):
        shift = staleness[staleness["lag"] == lag].groupby("epoch")["partition_shift"].mean()
        axes[1].plot(shift.index, shift, color=colour, label=f"{lag}")
    axes[1].set(yscale="log", xlabel="epoch", ylabel="change of log Z (nats)", title="too old negatives")
    axes[1].legend(title="age in epochs", loc="lower left")
    describe(
        figure,
        "The estimate of log Z errs by its spread at small K and by its age early in training",
        f"{seeds_phrase(partitions)}; means over classes and seeds. Left: queues drawn from the "
        f"training images of the trained network, {partitions['draws'].iloc[0]} a size; truth is the sum over all "
        f"{partitions['size'].max():,}. Right: log Z over {staleness['n'].iloc[0]:,} validation images against its "
        "value that many epochs before. An error of log Z moves the gradient only through the weight 1 − w.",
    )
    return figure, pd.concat([partitions.assign(panel="size"), staleness.assign(panel="age")])
