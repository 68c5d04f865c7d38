"""The figure of the tour: a density on the plane."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from hdge.figures.captions import describe
from hdge.figures.style import GREY, name_grid, subplots
from hdge.study.roster import label

READINGS = {"log_q_x": "log q(x) + log Z (nats)", "confidence": "max q(y|x)"}


def density_figure(table: pd.DataFrame) -> Figure:
    """Both readings of every method over the plane; rows of method "data" are training points x1, x2 with a label."""
    points = table[table["method"] == "data"]
    methods = [method for method in dict.fromkeys(table["method"]) if method != "data"]
    figure, axes = subplots(2, len(methods), 6.4, sharex=True, sharey=True)
    for row, (reading, name) in zip(axes, READINGS.items(), strict=True):
        look: dict[str, Any] = {"cmap": "viridis", "shading": "nearest", "rasterized": True}
        if reading == "confidence":  # it compares between columns; densities do not, which have a constant each
            look |= {"vmin": table[reading].min(), "vmax": table[reading].max()}
        for ax, method in zip(row, methods, strict=True):
            grid = table[table["method"] == method].pivot(index="x2", columns="x1", values=reading)
            mesh = ax.pcolormesh(grid.columns, grid.index, grid, **look)
            ax.set(aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
            figure.colorbar(mesh, ax=ax, label=name)
            for marker, (_, own) in zip("o^s", points.groupby("label"), strict=True):
                ax.plot(own["x1"], own["x2"], marker, color="white", markeredgecolor=GREY, markersize=2.5, mew=0.3)
    name_grid(axes, [label(method) for method in methods], ["x₂", "x₂"], "x₁")
    return describe(
        figure,
        "Density and confidence on a plane, around three arms of training points",
        f"A column is one network (seed 0). n: {len(points)} of the training points, in white, with a shape a class. "
        "Brighter is higher. If a density has learnt the data, it is bright on the arms and dark away from them.",
    )
