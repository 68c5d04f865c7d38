"""Figures of notebooks 07 to 09 that set variants of a method side by side."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hdge.figures.style import GREY, describe, plain_log_ticks, subplots
from hdge.study.roster import METHODS

MARKERS = "osD^vP"  # one an out-of-distribution set


def over_setting(table: pd.DataFrame, setting: str, colour: str, marker: str, hollow: bool, ax: Axes) -> Axes:
    """Mean over seeds against a setting, joined by a line, and a faint mark a run."""
    mean = table.groupby(setting)["value"].mean()
    face = "white" if hollow else colour
    ax.plot(table[setting], table["value"], marker, color=colour, markerfacecolor=face, markersize=2.5, alpha=0.35)
    ax.plot(mean.index, mean, marker + "-", color=colour, markerfacecolor=face, markersize=4, linewidth=1)
    return ax


def _by_set(table: pd.DataFrame, setting: str, colour: str, hollow: bool, ax: Axes) -> None:
    for marker, ood_set in zip(MARKERS, dict.fromkeys(table["ood_set"]), strict=False):
        over_setting(table[table["ood_set"] == ood_set], setting, colour, marker, hollow, ax)


def size_figure(table: pd.DataFrame, weights: pd.DataFrame, temperature: float) -> Figure:
    """Accuracy, AUROC by log q(x) and the term's weight against the images behind the estimate.

    Args:
        table: :func:`hdge.evaluators.sweeps.size_table`.
        weights: :func:`hdge.evaluators.approximation.weight_table`.
        temperature: of the runs, which picks the weights.
    """
    figure, [axes] = subplots(1, 3, 3.6, sharex=True)
    colours = {"K": METHODS["hdge"].colour, "N": METHODS["jem"].colour}
    for estimate, own in table.groupby("estimate"):
        colour, hollow = colours[str(estimate)], estimate == "N"
        accuracy = own[own["measure"] == "accuracy"].assign(value=lambda rows: 100 * rows["value"])
        over_setting(accuracy, "size", colour, "o", hollow, axes[0])
        _by_set(own[own["measure"] == "AUROC, log q(x)"], "size", colour, hollow, axes[1])
    mean = weights[weights["temperature"] == temperature].groupby("size")["weight"].mean()
    axes[2].plot(mean.index, mean, "o-", color=colours["K"], markersize=4, linewidth=1)
    axes[0].set(xscale="log", ylabel="test accuracy (%)")
    axes[1].set(ylabel="AUROC by log q(x)")
    axes[2].set(ylabel="weight 1 − w of the generative term", ylim=(-0.03, 1.03))
    for ax in axes:
        ax.set_xlabel("images behind the estimate")
    estimates = [Line2D([], [], color=colours["K"], marker="o", markersize=4, label="HDGE: K of the queue")]
    if (table["estimate"] == "N").any():
        estimates.append(
            Line2D([], [], color=colours["N"], marker="o", mfc="white", markersize=4, label="JEM: N of the chains")
        )
    axes[0].legend(handles=estimates, loc="center left", fontsize=7)
    axes[1].legend(handles=set_handles(table), loc="center left", fontsize=7)
    counts = table[table["measure"] == "accuracy"]["n"].iloc[0]
    describe(
        figure,
        "More images behind the estimate",
        f"Faint marks: runs ({seeds_by_row(table)}); lines: means over seeds. n: {counts:,} test "
        "images. Left and middle: networks trained at every size (paper, Figure 5 and Table 6). Right: the weight on "
        "the true logit of the trained network, with as many training images in its queue. If the weight is flat, "
        "more negatives cannot change the gradient, and remaining differences have other causes.",
    )
    return figure


def set_handles(table: pd.DataFrame) -> list[Line2D]:
    """The marks of a table's out-of-distribution sets, for a legend."""
    sets = [name for name in dict.fromkeys(table["ood_set"]) if name != "–"]
    return [
        Line2D([], [], color=GREY, marker=marker, linestyle="", markersize=4, label=name)
        for marker, name in zip(MARKERS, sets, strict=False)
    ]


def seeds_by_row(table: pd.DataFrame, row: str = "method") -> str:
    """How many seeds each method, or each value of another column, has."""
    counts = table.groupby(row)["seed"].nunique()
    least, most = counts.min(), counts.max()
    return f"{least} to {most} seeds" if least < most else f"{most} seed{'s' if most > 1 else ''} each"


def alpha_figure(table: pd.DataFrame) -> Figure:
    """Every measure against alpha.

    Args:
        table: :func:`hdge.evaluators.sweeps.alpha_table`.
    """
    measures = list(dict.fromkeys(table["measure"]))
    figure, [axes] = subplots(1, len(measures), 3.2, sharex=True)
    for ax, measure in zip(axes, measures, strict=True):
        own = table[table["measure"] == measure]
        _by_set(own, "alpha", METHODS["hdge"].colour, False, ax)
        ax.set(title=f"{measure}\n({own['better'].iloc[0]} is better)", xlabel="α", xticks=[0, 0.5, 1])
        ax.title.set_fontsize(7.5)
        ax.tick_params(labelsize=7)
        if own["value"].min() > 0 and own["value"].max() > 10 * own["value"].min():
            ax.set_yscale("log")
            plain_log_ticks(ax.yaxis)
    axes[0].set_ylabel("value")
    handles = set_handles(table)
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), fontsize=7)
    describe(
        figure,
        "What the weight α of log q(y|x) changes",
        f"Faint marks: runs ({seeds_by_row(table)}); lines: means over seeds; n: "
        f"{table['n'].iloc[0]:,} test images. α = 1 is cross-entropy, α = 0 the generative term alone, which trains no "
        "confidence, so that its calibration errors dwarf the others'. The paper weighs both terms alike.",
    )
    return figure


def effect_dots(table: pd.DataFrame, effects: pd.DataFrame, departures: list[str], ax: Axes) -> Axes:
    """One measure: a row a departure, a dot a seed, a bar at the mean and its interval over seeds."""
    for y, departure in enumerate(departures):
        own, effect = table[table["departure"] == departure], effects[effects["departure"] == departure]
        ax.plot(own["difference"], [y] * len(own), "o", color=METHODS["hdge"].colour, markersize=2.5)
        ax.hlines([y] * len(effect), effect["low"], effect["high"], color=METHODS["hdge"].colour, linewidth=0.9)
        ax.vlines(effect["difference"], y - 0.3, y + 0.3, color=METHODS["hdge"].colour, linewidth=1.6)
    ax.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    ax.set_ylim(len(departures) - 0.5, -0.5)
    ax.set_yticks(range(len(departures)), departures)
    ax.tick_params(axis="y", length=0, labelsize=7)
    ax.tick_params(axis="x", labelsize=6)
    ax.locator_params(axis="x", nbins=2)
    ax.xaxis.set_major_formatter("{x:g}")  # 0, not 0.000: panels are narrow
    return ax


def effects_figure(table: pd.DataFrame, effects: pd.DataFrame) -> Figure:
    """What every departure of the released code changes: a panel a measure.

    Args:
        table: :func:`hdge.evaluators.sweeps.departures_table`.
        effects: :func:`hdge.evaluators.sweeps.effects_table` of it.
    """
    measures, departures = (list(dict.fromkeys(table[column])) for column in ("measure", "departure"))
    figure, [axes] = subplots(1, len(measures), 1.9 + 0.26 * len(departures), sharey=True)
    for ax, measure in zip(axes, measures, strict=True):
        own, effect = (rows[rows["measure"] == measure] for rows in (table, effects))
        effect_dots(own, effect, departures, ax).set_title(measure.replace(", ", ",\n"), fontsize=7)
    axes[len(axes) // 2].set_xlabel("difference to HDGE as in Algorithm 1")
    describe(
        figure,
        "What the released code does differently, one departure at a time",
        f"Dots: runs ({seeds_by_row(table, 'departure')}), each against HDGE's of the same seed; bars "
        f"and lines: means and 95 % Student intervals over seeds. n: {table['n'].max():,} test images; AUROC is the "
        "mean over the out-of-distribution sets. The last row is a departure in reporting: validation accuracy of the "
        "best epoch less the last epoch's.",
    )
    return figure


VERDICT_COLOURS = {"reproduced": METHODS["jem"].colour, "not reproduced": METHODS["hdge"].colour, "inconclusive": GREY}


def claims_figure(claims: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """Every claim with all its comparisons: how far each stands from no difference.

    Args:
        claims: a row a claim, of :func:`hdge.verdict.claims.claims_table`.
        rows: a row a comparison, likewise.
    """
    figure, [[ax]] = subplots(1, 1, 1.6 + 0.21 * len(claims))
    sign = rows["better"].map({"higher": 1, "lower": -1, "alike": 1})
    # With a single seed there is no interval over seeds; that over test images stands in, for what it is worth.
    half = ((rows["high"] - rows["low"]) / 2).fillna((rows["image_high"] - rows["image_low"]) / 2)
    rows = rows.assign(distance=(sign * rows["difference"] / half).clip(-5, 5))
    for y, claim in enumerate(claims.to_dict("records")):
        own = rows[(rows["claim"] == claim["claim"]) & rows["distance"].notna()]
        colour = VERDICT_COLOURS[claim["verdict"]]
        for judged, face in ((own["seeds"] >= 3, colour), (own["seeds"] < 3, "white")):
            part = own[judged]
            ax.plot(part["distance"], [y] * len(part), "o", color=colour, markerfacecolor=face, markersize=4, alpha=0.8)
        ax.text(5.3, y, claim["verdict"], color=colour, va="center", fontsize=7)
    ax.axvspan(-1, 1, color=GREY, alpha=0.12, linewidth=0)
    ax.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    ax.set_xlim(-5.2, 5.2)
    ax.set_ylim(len(claims) - 0.5, -0.5)
    ax.set_yticks(range(len(claims)), claims["claim"])
    ax.tick_params(axis="y", length=0, labelsize=7)
    ax.set_xlabel("difference ÷ half its 95 % interval, towards the claim")
    describe(
        figure,
        "The paper's claims, and how far each comparison stands from no difference",
        "A dot a comparison, in units of half its 95 % Student interval over seeds: beyond 1 it is "
        "sure on the claimed side, beyond −1 on the other, in the grey band it may be none (beyond 5 drawn at 5). "
        "Hollow: fewer seeds than the rule needs; with a single seed, in halves of the interval over test images. n: "
        "see the table. For a claim of likeness the dot says only how sure the difference is.",
    )
    return figure
