"""Figures of classification and of training."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hdge.figures.captions import counts_range, describe, dots_phrase, nothing, seeds_phrase, unless_empty
from hdge.figures.marks import by_mean, handle, row_axis, run_dots
from hdge.figures.style import DOTTED, log_if_wide, subplots
from hdge.study.roster import colour_of, label

MOST_CLASSES = 20  # of a matrix whose numbers can be read
PAIRS = 20  # confusions that are drawn of more classes


def _least(table: pd.DataFrame, means: pd.Series, fence: float) -> float:
    """Lowest accuracy or limit, in percent, of the methods whose mean is at a fence or above."""
    near = table[table["method"].isin(means[means >= fence].index)]
    return float(100 * near[["accuracy", "low"]].min().min())


def accuracy_dots(table: pd.DataFrame, ax: Axes, methods: list[str]) -> Axes:
    """Accuracy of every run on an axis of most methods; those far below, by Tukey's outer fence, are written."""
    run_dots(table, "accuracy", "test accuracy (%)", ax, methods, 100.0)
    means = 100 * table.groupby("method")["accuracy"].mean()
    lower, upper = means.quantile([0.25, 0.75])
    least = _least(table, means, lower - 3 * (upper - lower))
    least = _least(table, means, least)  # with those whose mean lies on the axis after all
    far, most = means[means < least], 100 * table[["accuracy", "high"]].max().max()
    room = 0.04 * (most - least) or 1
    ax.set_xlim(least - room, most + room)
    for method, mean in far.items():
        place = ax.get_yaxis_transform()
        ax.text(0.02, methods.index(str(method)), f"← {mean:.1f}", transform=place, fontsize=7, va="center")
    return ax


def _arrows(ax: Axes) -> str:
    """What a caption says of the means that :func:`accuracy_dots` writes, if it writes any."""
    return "An arrow stands for a mean far left of the axis. " if ax.texts else ""


@unless_empty("no run here classifies")
def accuracy_figure(table: pd.DataFrame) -> Figure:
    """Accuracy of every run, the best method on top."""
    methods = by_mean(table, "accuracy", False)
    figure, [[ax]] = subplots(1, 1, 1.5 + 0.22 * len(methods))
    accuracy_dots(table, ax, methods)
    return describe(
        figure,
        "Test accuracy of every run",
        f"{dots_phrase(table, 'Wilson')} n: {table['n'].iloc[0]:,} test images. {_arrows(ax)}Right is better.",
    )


PANELS = {
    "train_accuracy": "training accuracy",
    "validation_accuracy": "validation accuracy",
    "validation_nll": "validation −log q(y|x) (nats)",
}


@unless_empty("no run here is of a method whose training is shown")
def learning_figure(history: pd.DataFrame) -> Figure:
    """Accuracies and validation loss over training, or the training loss of what cannot classify; a line a run."""
    panels = {column: name for column, name in PANELS.items() if column in history} or {"loss": "training loss"}
    figure, [axes] = subplots(1, len(panels), 2.9)
    for ax, (column, name) in zip(axes, panels.items(), strict=True):
        for (method, _), run in history.groupby(["method", "seed"], sort=False):
            colour = colour_of(str(method))
            ax.plot(run["epoch"], run[column], ".-", color=colour, linewidth=1, markersize=2, alpha=0.8)
        ax.set(xlabel="epoch", ylabel=name)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if len(axes) > 1:
        axes[1].sharey(axes[0])
    methods = history["method"].unique()
    handles = [handle(colour_of(method), label(method)) for method in methods]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(methods))
    return describe(
        figure,
        "How the methods learn",
        f"A line is a run ({seeds_phrase(history)}). Training accuracy is the mean over each epoch under augmentation. "
        "Validation images are held out from training, and no test image is used here.",
    )


@unless_empty("no run here classifies")
def cost_figure(table: pd.DataFrame) -> Figure:
    """Accuracy beside the operations of training: a row a method, the fewest operations first, a dot a run."""
    methods = table.groupby("method")["operations_per_image"].mean().sort_values(kind="stable").index.tolist()
    whole = table["operations_per_image"] * table["epochs"]
    table = table.assign(whole=whole / whole[table["method"] == "cross_entropy"].mean())
    figure, [axes] = subplots(1, 3, 1.6 + 0.22 * len(methods), sharey=True)
    accuracy_dots(table, axes[0], methods)
    for ax, column, name in (
        (axes[1], "times_cross_entropy", "operations an image\n÷ cross-entropy's"),
        (axes[2], "whole", "operations of the training\n÷ cross-entropy's"),
    ):
        if table[column].isna().all():
            nothing(ax, "no run of cross-entropy to compare with")
            continue
        run_dots(table[["method", column]], column, name, ax, methods)  # without accuracy's interval
        ax.axvline(1, **DOTTED)
        log_if_wide(ax, "x", table[column], 3.0)
    return describe(
        figure,
        "What a method's accuracy costs",
        f"{dots_phrase(table, 'Wilson')} n: {table['n'].iloc[0]:,} test images. {_arrows(axes[0])}"
        "Operations are the floating-point operations of matrix products and convolutions, forward and backward, on a "
        "training image. They do not depend on the machine. The training has them for every image and epoch. Left is "
        "cheaper in the middle and right panels, where the dotted line marks cross-entropy.",
    )


def confusion_matrix(table: pd.DataFrame, ax: Axes) -> Axes:
    """Shares of each class's images taken for each class, in percent; zeros are left blank."""
    order = table["label"].unique()
    shares = 100 * table.pivot(index="label", columns="predicted", values="share").loc[order, order]
    text = shares.map(lambda share: "" if share < 0.05 else f"{share:.0f}" if share >= 9.95 else f"{share:.1f}")
    sns.heatmap(
        shares, ax=ax, cmap="Blues", vmin=0, vmax=100, cbar=False, square=True, fmt="",
        annot=text if len(order) <= 10 else False,  # a hundred classes leave no room for numbers
        annot_kws={"size": 6},
    )  # fmt: skip
    ax.tick_params(length=0, labelsize=7)
    ax.set(xlabel="predicted", ylabel="true class")
    return ax


def frequent_confusions(table: pd.DataFrame) -> Figure:
    """The most frequent confusions, in the mean over methods: a pair of classes in a row, a mark a method."""
    wrong = table[table["label"] != table["predicted"]]
    wrong = wrong.assign(pair=wrong["label"] + " → " + wrong["predicted"], percent=100 * wrong["share"])
    percent = wrong.pivot(index="pair", columns="method", values="percent")
    shown = percent.loc[percent.mean(axis=1).nlargest(PAIRS).index]
    figure, [[ax]] = subplots(1, 1, 1.6 + 0.2 * len(shown))
    row_axis(ax, shown.index.tolist(), lines=False)
    for method in table["method"].unique():
        ax.plot(shown[method], range(len(shown)), "o", markersize=4.5, color=colour_of(method), label=label(method))
    ax.set_xlabel("share of the class's test images (%)")
    ax.set_xlim(left=0)
    figure.legend(loc="outside upper right", ncols=2, fontsize=8)
    images = table.groupby(["method", "label"])["count"].sum()
    return describe(
        figure,
        "Which classes are taken for which\n",
        f"The {len(shown)} most frequent of {len(percent):,} possible confusions, true class → predicted class. "
        f"n: {counts_range(images)} images of a class, each counted once a seed; {counts_range(table['seeds'])} seeds "
        "a method are pooled. The table has all pairs.",
    )


@unless_empty("no run of cross-entropy or HDGE is here")
def confusion_figure(table: pd.DataFrame) -> Figure:
    """A confusion matrix a method; of many classes, the most frequent confusions."""
    if table["label"].nunique() > MOST_CLASSES:
        return frequent_confusions(table)
    methods = table["method"].unique()
    longest = max(len(str(name)) for name in table["label"])
    figure, [axes] = subplots(1, len(methods), 4.44 + 0.04 * longest, sharey=True)
    for ax, method in zip(axes, methods, strict=True):
        own = table[table["method"] == method]
        seeds = own["seeds"].iloc[0]
        counted = f"n = {own['count'].sum():,}, {seeds} seed{'s' if seeds > 1 else ''}"
        confusion_matrix(own, ax).set_title(f"{label(method)} ({counted})")
        ax.set_anchor("N")  # panels are square, and the room that they leave lies below them
    for ax in axes[1:]:
        ax.set_ylabel("")
    return describe(
        figure,
        "Which classes are taken for which",
        "A number is a percentage of a class's test images, so that a row adds to 100. Seeds are pooled, so that n "
        "counts each test image once a seed. A blank is below 0.05 %. Every number off the diagonal is a confusion.",
    )
