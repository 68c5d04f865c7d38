"""The benchmarks' pictures."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hdge.figures.captions import describe
from hdge.figures.marks import handle, row_axis
from hdge.figures.style import DOTTED, GREY, subplots
from hdge.study.roster import METHODS, label

FORMS = {"ours": "sums kept up to date", "figure": "as published", "released_code": "released code"}
FORM_COLOURS = {"ours": METHODS["hdge"].colour, "figure": "#0072B2", "released_code": "#CC79A7"}
MARKERS = {10: "o", 100: "s", 1000: "^"}


def _lines(table: pd.DataFrame, value: str, ax: Axes) -> Axes:
    """A line a form and number of classes, against K."""
    for form, colour in FORM_COLOURS.items():
        for classes, marker in MARKERS.items():
            own = table[(table["form"] == form) & (table["classes"] == classes)]
            ax.plot(own["size"], own[value], marker=marker, color=colour, markersize=4, linewidth=1)
    ax.set(xscale="log", yscale="log", xlabel="K, past images in the queue")
    return ax


def term_figure(table: pd.DataFrame, batch: int = 256) -> Figure:
    """Time and peak memory of the term alone against K, at one batch size."""
    own = table[(table["batch"] == batch) & (table["form"] != "cross_entropy")]
    figure, [axes] = subplots(1, 2, 3.3)
    _lines(own, "ratio", axes[0]).set_ylabel("time ÷ cross-entropy's")
    memory = own.assign(megabytes=own["peak_bytes"] / 1e6)
    _lines(memory, "megabytes", axes[1]).set_ylabel("memory beyond the queue (MB)")
    forms = [handle(FORM_COLOURS[form], name, marker="") for form, name in FORMS.items()]
    classes = [handle(GREY, f"C = {count:,}", marker=marker, linestyle="") for count, marker in MARKERS.items()]
    axes[0].legend(handles=forms, loc="upper left", fontsize=7)
    axes[1].legend(handles=classes, loc="center right", fontsize=7)
    where = table["device"].iloc[0]
    return describe(
        figure,
        "The contrastive term costs the same at any length of the queue",
        f"A point is a median of n: {own['rounds'].min()} to {own['rounds'].max()} interleaved rounds of the term "
        f"alone: forward, backward and enqueue at B = {batch} ({where}). Symbols are numbers of classes. The published "
        "forms write out B × C × K numbers, and were not run where these are more than half a billion. A flat line "
        "means that the length of the queue costs nothing.",
    )


def step_figure(table: pd.DataFrame) -> Figure:
    """A training step as a ratio to cross-entropy's, with intervals."""
    figure, [[ax]] = subplots(1, 1, 1.2 + 0.3 * len(table))
    names = []
    for place, row in enumerate(table.to_dict("records")):
        method, ratio, low, high = row["method"], row["ratio"], row["ratio_low"], row["ratio_high"]
        size = f", K = {row['size']:,}" if row["size"] else ""
        names.append(f"{label(method)}, C = {row['classes']}, B = {row['batch']}{size}")
        ax.hlines(place, low, high, color=METHODS[method].colour)
        ax.plot(ratio, place, "o", color=METHODS[method].colour, markersize=4)
        text = f"{ratio:.3f} [{low:.3f}, {high:.3f}]"
        ax.annotate(text, (ratio, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=7)
    ax.axvline(1, **DOTTED)
    row_axis(ax, names, lines=False).set(xscale="log", xlim=(0.9, 60), xlabel="training step ÷ cross-entropy's")
    first = table.iloc[0]
    return describe(
        figure,
        "A queue of logits adds nothing to a training step; a sampler multiplies it",
        f"A dot is a median of n: {table['rounds'].min()} to {table['rounds'].max()} interleaved rounds, and a line "
        f"its 95 % bootstrap interval over rounds. The network is {first['network']} ({first['device']}, "
        f"{first['precision']}). A method at the dotted line costs as much as cross-entropy. JEM takes 20 sampling "
        "steps in a training step, and its operations alone are 46/3 = 15.3 times cross-entropy's.",
    )


def coverage_figure(table: pd.DataFrame) -> Figure:
    """How often intervals over seeds and images hold the truth, and how often they exclude 0, by seeds."""
    numbers = sorted(table["seeds"].unique())
    looks = dict(zip(numbers, zip(("#56B4E9", "#0072B2", "#000000"), ("o", "s", "^"), strict=True), strict=True))
    figure, [[held, excluded]] = subplots(1, 2, 3.6, width_ratios=(1.2, 1))
    names = table["scenario"].unique().tolist()
    held.axvspan(94, 96, color="#dddddd")
    for place, number in enumerate(numbers):
        colour, marker = looks[number]
        own = table[(table["seeds"] == number) & (table["effect"] == 0)].set_index("scenario").loc[names]
        y = [row + 0.22 * (place - (len(numbers) - 1) / 2) for row in range(len(names))]
        held.errorbar(
            100 * own["coverage"], y, xerr=196 * own["coverage_error"],
            fmt=marker, color=colour, markersize=3, linewidth=0.8,
        )  # fmt: skip
    row_axis(held, names, lines=False).set(xlim=(92, 100), xlabel="intervals that hold the truth (%)")
    powers = table[table["scenario"].isin(table.loc[table["effect"] > 0, "scenario"])]
    for number in sorted(set(powers["seeds"])):
        own = powers[powers["seeds"] == number]
        colour, marker = looks[number]
        look = {"marker": marker, "color": colour, "markersize": 3, "linewidth": 1}
        excluded.plot(own["effect"], 100 * own["excludes_0"], label=f"{number} seeds", **look)
        excluded.plot(own["effect"], 100 * own["student_excludes_0"], linestyle=":", **look)
    excluded.axhline(5, **DOTTED)
    excluded.set(xlabel="true difference ÷ 0.9 points", ylabel="intervals that exclude 0 (%)")
    excluded.legend(loc=(0.62, 0.15), fontsize=7)
    return describe(
        figure,
        "Intervals over seeds and images hold the truth as often as they say",
        f"A mark is a share of {table['replicates'].min():,} to {table['replicates'].max():,} simulated studies of two "
        "methods on the same images, and a line its 95 % Monte-Carlo interval. The band is 94 to 96 %. On the right, "
        "81 % of 10,000 images are right and seeds vary by 0.3 points beyond their images; a dotted curve is Student's "
        "interval over seeds, which excludes a true 0 too often. Curves should start at 5 % and rise fast.",
    )
