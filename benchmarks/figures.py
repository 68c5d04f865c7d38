"""The benchmarks' pictures."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hdge.figures.style import GREY, describe, subplots
from hdge.study.roster import METHODS

FORMS = {"ours": "kept up to date (ours)", "figure": "as published", "released_code": "released code"}
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
    _lines(own.assign(megabytes=own["peak_bytes"] / 1e6), "megabytes", axes[1]).set_ylabel(
        "memory beyond the queue (MB)"
    )
    for form, label in FORMS.items():
        axes[0].plot([], [], color=FORM_COLOURS[form], label=label)
    for classes, marker in MARKERS.items():
        axes[1].plot([], [], marker, color=GREY, markersize=4, label=f"C = {classes:,}")
    axes[0].legend(loc="upper left", fontsize=7)
    axes[1].legend(loc="center right", fontsize=7)
    where = table["device"].iloc[0]
    describe(
        figure,
        "The contrastive term costs the same at any length of the queue",
        f"Forward, backward and enqueue of the term alone at B = {batch} ({where}), medians of {own['rounds'].min()} "
        f"to {own['rounds'].max()} interleaved rounds; symbols are numbers of classes. The published forms write out "
        "B × C × K numbers; where that is more than half a billion they were not run.",
    )
    return figure


def step_figure(table: pd.DataFrame) -> Figure:
    """A training step as a ratio to cross-entropy's, with intervals."""
    figure, [[ax]] = subplots(1, 1, 1.2 + 0.3 * len(table))
    names = []
    for place, row in enumerate(table.to_dict("records")):
        method, ratio, low, high = row["method"], row["ratio"], row["ratio_low"], row["ratio_high"]
        size = f", K = {row['size']:,}" if row["size"] else ""
        names.append(f"{METHODS[method].label}, C = {row['classes']}, B = {row['batch']}{size}")
        ax.hlines(place, low, high, color=METHODS[method].colour)
        ax.plot(ratio, place, "o", color=METHODS[method].colour, markersize=4)
        text = f"{ratio:.3f} [{low:.3f}, {high:.3f}]"
        ax.annotate(text, (ratio, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=7)
    ax.axvline(1, color=GREY, linestyle=":", linewidth=1)
    ax.set_yticks(range(len(table)), names)
    ax.set(xscale="log", ylim=(len(table) - 0.5, -0.5), xlim=(0.9, 60), xlabel="training step ÷ cross-entropy's")
    first = table.iloc[0]
    describe(
        figure,
        "A queue of logits adds nothing to a training step; a sampler multiplies it",
        f"{first['network']} ({first['device']}, {first['precision']}): medians of {table['rounds'].min()} to "
        f"{table['rounds'].max()} interleaved rounds with 95 % bootstrap intervals over rounds. JEM takes 20 sampling "
        "steps; its arithmetic floor is 46/3 = 15.3.",
    )
    return figure
