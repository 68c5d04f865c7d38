"""Figures of classification and of training."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hdge.figures.style import (
    GREY,
    describe,
    legend,
    plain_log_ticks,
    run_dots,
    seeds_phrase,
    subplots,
)
from hdge.study.roster import METHODS


def accuracy_figure(table: pd.DataFrame) -> Figure:
    """Accuracy of every run."""
    figure, [[ax]] = subplots(1, 1, 1.5 + 0.22 * table["method"].nunique())
    run_dots(table, "accuracy", "test accuracy (%)", ax)
    describe(
        figure,
        "Test accuracy of every run",
        f"Dots: runs ({seeds_phrase(table)}), with 95 % Wilson intervals over test images; "
        f"bars: means over seeds. n: {table['n'].iloc[0]:,} test images.",
    )
    return figure


def learning_curve(history: pd.DataFrame, column: str, ax: Axes) -> Axes:
    """One column of the history against the epoch, a thin line a run."""
    for (method, _), run in history.groupby(["method", "seed"], sort=False):
        ax.plot(
            run["epoch"], run[column], ".-", color=METHODS[str(method)].colour, linewidth=1, markersize=2, alpha=0.8
        )
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return ax


PANELS = {
    "train_accuracy": "training accuracy",
    "validation_accuracy": "validation accuracy",
    "validation_nll": "validation −log q(y|x) (nats)",
}


def learning_figure(history: pd.DataFrame) -> Figure:
    """Accuracies and validation loss over training, or the training loss of what cannot classify."""
    panels = {column: label for column, label in PANELS.items() if column in history} or {"loss": "training loss"}
    figure, [axes] = subplots(1, len(panels), 2.9)
    for ax, (column, label) in zip(axes, panels.items(), strict=True):
        learning_curve(history, column, ax).set_ylabel(label)
    if len(axes) > 1:
        axes[1].sharey(axes[0])
    legend(figure, list(dict.fromkeys(history["method"])))
    describe(
        figure,
        "How the methods learn",
        f"A line a run ({seeds_phrase(history)}). Training accuracy is the mean over each epoch under "
        "augmentation; validation images are held out from training, and the test images are not used here.",
    )
    return figure


def cost_figure(table: pd.DataFrame) -> Figure:
    """Accuracy beside the counted work of training: a row a method, the cheapest image first, a dot a run.

    Args:
        table: :func:`hdge.evaluators.classification.cost_table`.
    """
    methods = table.groupby("method")["operations_per_image"].mean().sort_values(kind="stable").index.tolist()
    figure, [axes] = subplots(1, 3, 1.6 + 0.22 * len(methods), sharey=True)
    run_dots(table, "accuracy", "test accuracy (%)", axes[0], methods)
    whole = table.assign(whole=table["operations_per_image"] * table["epochs"] / 1e9)
    for ax, column, name in (
        (axes[1], "times_cross_entropy", "operations an image ÷ cross-entropy's"),
        (axes[2], "whole", "10⁹ operations for each training image"),
    ):
        run_dots(whole.assign(low=whole[column], high=whole[column]), column, name, ax, methods, percent=False)
        ax.xaxis.label.set_fontsize(7.5)
        if whole[column].max() > 3 * whole[column].min():
            ax.set_xscale("log")
            plain_log_ticks(ax.xaxis)
    axes[1].axvline(1, color=GREY, linewidth=0.8, linestyle=":")
    describe(
        figure,
        "What a method's accuracy costs",
        f"A dot is a run ({seeds_phrase(table)}); bars are means over seeds. Accuracy has 95 % Wilson intervals over "
        f"test images; n: {table['n'].iloc[0]:,}. Operations are floating-point operations of matrix products and "
        "convolutions, forward and backward, counted over a whole training step. The right panel counts all epochs. "
        "A method to the left of another is cheaper.",
    )
    return figure


def confusion_matrix(table: pd.DataFrame, ax: Axes) -> Axes:
    """Shares of each class's images taken for each class, in percent; zeros are left blank."""
    order = list(dict.fromkeys(table["label"]))
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


def confusion_figure(table: pd.DataFrame) -> Figure:
    """A confusion matrix a method."""
    methods = list(dict.fromkeys(table["method"]))
    longest = max(len(str(label)) for label in table["label"])
    figure, [axes] = subplots(1, len(methods), 4.4 + 0.08 * longest, sharey=True)
    for ax, method in zip(axes, methods, strict=True):
        own = table[table["method"] == method]
        seeds = own["seeds"].iloc[0]
        counted = f"n = {own['count'].sum():,}, {seeds} seed{'s' if seeds > 1 else ''}"
        confusion_matrix(own, ax).set_title(f"{METHODS[method].label} ({counted})")
    for ax in axes[1:]:
        ax.set_ylabel("")
    describe(
        figure,
        "Which classes are taken for which",
        "Percent of each class's test images, seeds pooled (each test image counts once a seed); "
        "rows add to 100, blanks are below 0.05 %.",
    )
    return figure
