"""Figures of out-of-distribution detection."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import special

from hdge.evaluators.ood import SCORES
from hdge.figures.captions import describe, dots_phrase, empty_figure, in_middle, seeds_phrase, unless_empty
from hdge.figures.marks import before_and_after, by_mean, handle, row_axis, run_dots, run_marks
from hdge.figures.style import BETTER, DOTTED, GREY, IN_COLOUR, OUT_COLOUR, WORSE, name_grid, subplots
from hdge.study.roster import colour_of, label


def counts_phrase(n_in: int, outside: pd.DataFrame, column: str) -> str:
    """How many images are in distribution, and how many each out-of-distribution set has."""
    counts = outside.drop_duplicates("ood_set").set_index("ood_set")[column]
    sets = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return f"n: {n_in:,} in-distribution test images; {sets}."


EDGE = 1e-3  # the axis of AUROC is logarithmic in the odds up to this far from 0 and 1, and linear beyond
TICKS = (0.5, 0.9, 0.1, 0.99, 0.7, 0.3, 1, 0.01, 0.8)  # of that axis, those first that most need their number
CHARACTER = 0.0116  # width of a number's character, as a part of a figure's panels side by side


def auroc_phrase(table: pd.DataFrame, row: str = "method") -> str:
    """What the marks and the axis of both figures of AUROC are, in sentences for a caption."""
    counts = counts_phrase(int(table["n_in"].iloc[0]), table, "n_out")
    return (
        f"{dots_phrase(table, 'bootstrap', row)} {counts} In-distribution images are the positive class, so that right "
        "is better; dotted lines are chance. The axis is logarithmic in the odds, so that 0.9, 0.99 and 1 stand apart."
    )


def spread_out(auroc: np.ndarray) -> np.ndarray:
    """Place of an AUROC on its axis: its log odds, continued linearly from ``EDGE`` to 0 and to 1."""
    inner = np.clip(auroc, EDGE, 1 - EDGE)
    return special.logit(inner) + (auroc - inner) / EDGE


def spread_in(place: np.ndarray) -> np.ndarray:
    """The AUROC at a place, the inverse of :func:`spread_out`."""
    inner = np.clip(place, special.logit(EDGE), special.logit(1 - EDGE))
    return special.expit(inner) + (place - inner) * EDGE


def auroc_axis(ax: Axes, values: pd.Series) -> None:
    """The axis of AUROC from a little below its values to a little above them, and at most to a little beyond 1."""
    ax.set_xscale("function", functions=(spread_out, spread_in))
    least, most = spread_out(np.array([np.clip(values.min(), EDGE, 0.45), np.clip(values.max(), 0.55, 1)]))
    low, high = spread_in(np.array([least - 0.4, most + 0.4]))
    high = min(high, 1 + EDGE / 2)
    ax.set_xlim(low, high)
    ticks = [tick for tick in TICKS if low < tick < high]
    ends = spread_out(np.array([low, high]))
    places = dict(zip(ticks, (spread_out(np.array(ticks)) - ends[0]) / np.ptp(ends), strict=True))
    grid = ax.get_subplotspec()
    character = CHARACTER * (grid.get_gridspec().ncols if grid else 1)
    named: list[float] = []
    for tick in ticks:
        if all(abs(places[tick] - places[other]) > character * (1 + len(f"{tick:g}{other:g}") / 2) for other in named):
            named.append(tick)
    ax.set_xticks(ticks, [f"{tick:g}" if tick in named else "" for tick in ticks], fontsize=6.5)
    ax.axvline(0.5, **DOTTED)


@unless_empty("no run here has outputs for an out-of-distribution set")
def auroc_figure(table: pd.DataFrame) -> Figure:
    """AUROC by log q(x) and by max q(y|x): a row of panels a score, a column a set; the best on top."""
    shown = table[table["score"].isin(SCORES[:2])]
    scores, sets = (shown[column].unique().tolist() for column in ("score", "ood_set"))
    orders = [by_mean(shown[shown["score"] == score], "auroc", False) for score in scores]
    rows = [len(order) for order in orders]
    figure, axes = subplots(len(scores), len(sets), 2.2 + 0.16 * sum(rows), sharex="row", height_ratios=rows)
    for row, score, order in zip(axes, scores, orders, strict=True):
        by_score = shown[shown["score"] == score]
        for ax, ood_set in zip(row, sets, strict=True):
            run_dots(by_score[by_score["ood_set"] == ood_set], "auroc", "", ax, order)
            auroc_axis(ax, by_score["auroc"])
            if ax is not row[0]:
                ax.set_yticklabels([])
    name_grid(axes, sets, scores, "AUROC")
    return describe(
        figure,
        "Telling in-distribution test images from out-of-distribution images",
        f"{auroc_phrase(table)} Methods are in order of their mean over the sets. A method of a single logit has no "
        "max q(y|x). The table also has the third score, approximate mass.",
    )


@unless_empty("no run of cross-entropy or HDGE here is scored on an out-of-distribution set")
def posthoc_figure(table: pd.DataFrame) -> Figure:
    """AUROC of every score of a plain classifier, post-hoc detectors included, and of HDGE: a row each."""
    sets = table["ood_set"].unique()
    rows = dict.fromkeys(zip(table["method"], table["score"], strict=True))
    named = [f"{label(method)}: {score}" for method, score in zip(table["method"], table["score"], strict=True)]
    figure, [axes] = subplots(1, len(sets), 1.8 + 0.24 * len(rows), sharex=True, sharey=True)
    for ax, ood_set in zip(axes, sets, strict=True):
        for y, (method, score) in enumerate(rows):
            own = table[(table["method"] == method) & (table["score"] == score) & (table["ood_set"] == ood_set)]
            run_marks(own, "auroc", y, colour_of(method), ax)
        row_axis(ax, list(dict.fromkeys(named)))
        auroc_axis(ax, table["auroc"])
        ax.set(title=ood_set, xlabel="AUROC")
    return describe(
        figure,
        "Post-hoc scores of one classifier, beside HDGE's",
        f"{auroc_phrase(table.assign(row=named), 'row')} ODIN and Mahalanobis have their authors' settings, and are "
        "fitted on training images alone. The rows of cross-entropy differ in the score alone; HDGE's rows differ in "
        "training.",
    )


@unless_empty("the total variation of these images is not at hand")
def variation_figure(table: pd.DataFrame) -> Figure:
    """What log q(x) owes to an image's total variation: their correlation, and AUROC at equal variation."""
    matched = table.dropna(subset=["auroc_matched"])
    if matched.empty:
        return empty_figure("no out-of-distribution set has images as rough as test images")
    sets, methods = matched["ood_set"].unique(), by_mean(matched, "auroc_matched", False)
    widths = [1.2, *[1.0] * len(sets)]
    figure, [axes] = subplots(1, len(widths), 2.0 + 0.19 * len(methods), sharey=True, width_ratios=widths)
    runs = table.drop_duplicates(["method", "seed"])
    run_dots(runs, "correlation", "correlation with\ntotal variation", axes[0], methods)
    axes[0].axvline(0, **DOTTED)
    axes[0].tick_params(axis="x", labelsize=6.5)
    for ax, ood_set in zip(axes[1:], sets, strict=True):
        own = matched[matched["ood_set"] == ood_set]
        before_and_after(own, "auroc", "auroc_matched", "AUROC", ax, methods, True, 1.0)
        ax.axvline(own["variation"].iloc[0], color="black", linewidth=0.9, linestyle="--")
        values = pd.concat([matched["auroc"], matched["auroc_matched"], matched["variation"]])
        auroc_axis(ax, values)
        ax.set_title(ood_set)
    marks = [
        handle(GREY, "as it is", markerfacecolor="white", linestyle=""),
        handle(BETTER, "matched: higher"),
        handle(WORSE, "matched: lower"),
        handle("black", "smoothness alone", marker="", linestyle="--"),
    ]
    figure.legend(handles=marks, loc="outside upper right", ncols=4, fontsize=7)
    left, left_out = matched["variation_matched"], sorted(set(table["ood_set"]) - set(sets))
    unlike = f"Left out for want of images as rough as test images: {', '.join(left_out)}. " if left_out else ""
    return describe(
        figure,
        "Smoothness and log q(x)",
        f"Left: Spearman's correlation of log q(x) and total variation over test images. {dots_phrase(runs)} Right: "
        "AUROC of log q(x) as it is (hollow) and among images of alike total variation (filled); dots are means over "
        f"seeds, and faint lines runs. {counts_phrase(int(matched['n_in'].iloc[0]), matched, 'n_out')} {unlike}A "
        "dashed line is the AUROC of the negative total variation itself, which no network enters. Among "
        f"alike images that is {left.min():.2f} to {left.max():.2f}, where 0.5 is perfect matching. If a filled dot "
        "lies right of its hollow dot, the density's liking for smooth images hid what it knows of the set.",
    )


def histogram_pair(table: pd.DataFrame, ax: Axes) -> Axes:
    """log q(x) of in- and out-of-distribution images of one set, a line a run; a word where there is no such set."""
    if table.empty:
        in_middle(ax, "no outputs")
        ax.set_axis_off()
        return ax
    seeds = table["seed"].nunique()
    for images, colour in (("in", IN_COLOUR), ("out", OUT_COLOUR)):
        for _, part in table[table["images"] == images].groupby("seed"):
            edges = np.append(part["lower"], part["upper"].iloc[-1])
            density = part["share"] / (part["upper"] - part["lower"])  # bins of another run are not as wide
            ax.stairs(density, edges, color=colour, linewidth=0.8, alpha=0.8)
            ax.stairs(density, edges, fill=True, color=colour, alpha=0.4 / seeds, linewidth=0)
    ax.set_yticks([])
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.spines["left"].set_visible(False)
    return ax


@unless_empty("no run here of the methods shown has outputs for an out-of-distribution set")
def histogram_figure(table: pd.DataFrame) -> Figure:
    """Histograms of log q(x) (paper, Figure 1): a row a method, a column a set, every seed a line."""
    methods, sets = table["method"].unique(), table["ood_set"].unique().tolist()
    figure, axes = subplots(len(methods), len(sets), 1.1 + 1.25 * len(methods))
    for row, method in zip(axes, methods, strict=True):
        own = table[table["method"] == method]
        for ax, ood_set in zip(row, sets, strict=True):
            histogram_pair(own[own["ood_set"] == ood_set], ax)
    name_grid(axes, sets, [f"{label(method)}\nshare a nat" for method in methods], "log q(x) + log Z (nats)")
    inside, outside = (table[table["images"] == images] for images in ("in", "out"))
    return describe(
        figure,
        "Density of in-distribution test images (green) and of out-of-distribution images (red)",
        f"A line is a run ({seeds_phrase(table)}). {counts_phrase(int(inside['n'].iloc[0]), outside, 'n')} log Z is "
        "another constant in every run, so that runs may lie apart; compare red with green of one run. The outermost "
        "bins also hold the images beyond them. If a density detects a set, red lies left of green.",
    )
