"""The forest of claims: a claim in a row, a scale in a column, differences in units of the smallest of interest."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hdge.figures.captions import counts_range, describe, empty_figure
from hdge.figures.marks import handle
from hdge.figures.style import DOTTED, GREY, subplots

TITLE = "The paper's claims against their verdicts"
LOOKS = {
    "reproduced": (">", "#009E73"), "contradicted": ("<", "#D55E00"), "no difference": ("s", "#0072B2"),
    "undecided": ("o", "#8A8A8A"),
}  # fmt: skip
TICKS = (-100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100)
NARROW_TICKS = (-100, -10, -1, 0, 1, 10, 100)
UNTESTED = "not testable here"
TURN = -1  # what is claimed to be lower is drawn as if claimed to be higher


def units(table: pd.DataFrame) -> pd.DataFrame:
    """Express differences, limits and the paper's difference in units of delta, positive towards the claim."""
    sign = np.where(table["kind"].isin(["lower", "rare"]), TURN, 1)
    scaled = table[["difference", "low", "high", "paper"]].mul(sign / table["delta"], axis=0)
    flipped = sign == TURN
    scaled.loc[flipped, ["low", "high"]] = scaled.loc[flipped, ["high", "low"]].to_numpy()
    return table.assign(**{f"{name}_in_delta": scaled[name] for name in scaled})


def forest_figure(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Every claim that is tested at one scale at least, by its estimate, interval and verdict at each scale."""
    found = {scale: units(table).set_index("claim") for scale, table in tables.items()}
    first = next(iter(found.values()), pd.DataFrame(columns=["kind"]))
    tested = [
        claim
        for claim in first.index
        if first.loc[claim, "kind"] not in ("all", "rare")
        and any(claim in table.index and table.loc[claim, "verdict"] != UNTESTED for table in found.values())
    ]
    if not tested:
        return empty_figure("no claim with a difference can be tested here")
    figure, [axes] = subplots(1, len(found), 2.0 + 0.115 * len(tested), sharey=True)
    for ax, (scale, table) in zip(axes, found.items(), strict=True):
        _column(ax, table.reindex(tested), NARROW_TICKS if len(found) > 1 else TICKS)
        ax.set_title(scale.split(" (")[0], fontsize=8)
        ax.set_xlabel("towards the claim (units of δ)" if len(found) == 1 else "towards the claim (δ)", fontsize=8)
    axes[0].set_yticks(range(len(tested)), tested, fontsize=6.5)
    axes[0].set_ylim(len(tested) - 0.5, -0.5)
    marks = [handle(colour, verdict, marker=mark, markersize=4.5) for verdict, (mark, colour) in LOOKS.items()]
    marks.append(handle("black", "paper", marker="D", markerfacecolor="none", linestyle=""))
    below_title = 1 - 0.22 / figure.get_figheight()
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0.005, below_title), "borderaxespad": 0.0}
    figure.legend(handles=marks, ncols=len(marks), fontsize=7, **place)
    drawn = pd.concat([table.reindex(tested)[["n", "seeds", "provisional"]] for table in found.values()])
    images, seeds = (counts_range(drawn.loc[drawn[column] > 0, column]) for column in ("n", "seeds"))
    hollow = "A hollow mark has fewer seeds than planned. " if drawn["provisional"].eq(True).any() else ""
    return describe(
        figure,
        f"{TITLE}\n",  # its second line is the legend's
        "A mark is a claim's primary contrast, with its 95 % interval over seeds and test images. For samples the "
        "interval is over seeds alone, and counted costs do not vary. The unit is δ, the smallest difference of "
        "interest. Right of 0 is the claimed side, and colour the verdict. A difference in the grey band is smaller "
        "than δ, whatever its colour. Claims of being as good hold right of −1. Beyond the band the axis is "
        f"logarithmic. Diamonds are the paper's differences, on its own data. {hollow}n: {images} test images and "
        f"{seeds} seeds a claim. Claims without a difference, or not testable at any scale, are not drawn.",
    )


def _column(ax: Axes, table: pd.DataFrame, numbers: Sequence[int]) -> None:
    ax.axvspan(-1, 1, color=GREY, alpha=0.12, linewidth=0)
    ax.axvline(0, **DOTTED)
    ax.grid(axis="y", linewidth=0.3)
    ax.tick_params(axis="y", length=0)
    for y, (_, row) in enumerate(table.iterrows()):
        if row["verdict"] in LOOKS:
            mark, colour = LOOKS[row["verdict"]]
            ax.plot([row["low_in_delta"], row["high_in_delta"]], [y, y], color=colour, linewidth=1.4)
            face = "white" if row["provisional"] else colour
            ax.plot(row["difference_in_delta"], y, mark, color=colour, markerfacecolor=face, markersize=4.5, zorder=4)
        else:
            # At the left edge, because the paper's diamonds lie on the claimed side.
            ax.text(0.02, y, "not testable", color=GREY, fontsize=6, va="center", transform=ax.get_yaxis_transform())
        if pd.notna(row["paper_in_delta"]):
            ax.plot(row["paper_in_delta"], y, "D", color="black", markerfacecolor="none", markersize=3.5, zorder=3)
    drawn = table[["low_in_delta", "high_in_delta", "difference_in_delta", "paper_in_delta"]].to_numpy(float)
    low, high = min(-2.0, 1.4 * np.nanmin(drawn, initial=0)), max(2.0, 1.4 * np.nanmax(drawn, initial=0))
    ax.set_xscale("symlog", linthresh=1, linscale=0.7)
    ax.set_xlim(low, high)
    ticks = [tick for tick in numbers if low <= tick <= high]
    ax.set_xticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks], fontsize=6.5)
    ax.minorticks_off()
