"""Pictures that a reader turns by menus and sliders in JupyterLab, and that stand still where a notebook runs alone."""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from hdge.core.readings import confidence, prediction
from hdge.evaluators.calibration import expected_calibration_error, negative_log_likelihood, reliability_bins
from hdge.evaluators.ood import auroc, scores_of
from hdge.figures.calibration import bin_bars, reliability
from hdge.figures.style import IN_COLOUR, OUT_COLOUR, subplots
from hdge.study.roster import label
from hdge.study.runs import Run, of_rows

BINS = 40
UNITS = {"log q(x)": "log q(x) + log Z (nats)", "max q(y|x)": "log-odds of max q(y|x) (nats)"}


def explore(draw: Callable[..., Figure], **choices: Sequence[Any]) -> None:
    """Show a figure for the first of each choice; beside it stand a menu for words and a slider for numbers.

    The widgets are left out where no one can answer, as when papermill or nbconvert runs the notebook.
    """
    empty = [name for name, values in choices.items() if not values]
    if empty:
        print(f"Nothing to explore: no {' and no '.join(empty)} at hand.")
    elif attended():
        from ipywidgets import interact

        interact(lambda **chosen: _show(draw, chosen), **{name: _widget(name, own) for name, own in choices.items()})
    else:
        _show(draw, {name: values[0] for name, values in choices.items()})


def attended() -> bool:
    """Check whether a reader is there: a client that runs a notebook by itself says that it accepts no input."""
    from IPython import get_ipython

    return bool(getattr(getattr(get_ipython(), "kernel", None), "_allow_stdin", False))


def _show(draw: Callable[..., Figure], chosen: dict[str, Any]) -> None:
    draw(**chosen)
    plt.show()


def _widget(name: str, values: Sequence[Any]) -> Any:
    from ipywidgets import Dropdown, SelectionSlider

    look = {"value": values[0], "description": name.replace("_", " "), "style": {"description_width": "initial"}}
    if all(isinstance(value, int | float) for value in values):
        numbers = [(f"{value:.3g}", value) for value in sorted(set(values))]
        return SelectionSlider(options=numbers, continuous_update=False, **look)
    return Dropdown(options=[(label(value), value) for value in values], **look)


def score_figure(runs: Sequence[Run], row: str, score: str, ood_set: str) -> Figure:
    """Histograms of one score of a row's runs on test images (green) and on one set (red), and the mean AUROC."""
    figure, [[ax]] = subplots(1, 1, 2.4)
    found = []
    for run in of_rows(runs, [row]):
        inside, outside = (scores_of(run.folder.outputs(name)).get(score) for name in ("test", ood_set))
        if inside is None or outside is None:
            continue
        found.append(auroc(inside, outside))
        low, high = np.quantile(np.concatenate([inside, outside]), [0.001, 0.999])
        edges = np.linspace(low, high, BINS + 1)
        for values, colour in ((inside, IN_COLOUR), (outside, OUT_COLOUR)):
            density, _ = np.histogram(values.clip(edges[0], edges[-1]), edges, density=True)
            ax.stairs(density, edges, color=colour, linewidth=0.9, alpha=0.8)
    said = f"mean AUROC {np.mean(found):.3f} of {len(found)} seeds" if found else "no such score"
    ax.set(title=f"{label(row)}, test images against {ood_set}: {said}", yticks=[], ylabel="density")
    ax.set_xlabel(UNITS.get(score, score))
    return figure


def temperature_figure(runs: Sequence[Run], row: str, temperature: float) -> Figure:
    """Reliability of a row's runs, pooled, after all logits were divided by a temperature."""
    outputs = [run.folder.outputs("test") for run in of_rows(runs, [row])]
    logits = torch.cat([one.logits for one in outputs]).double() / temperature
    labels = torch.cat([one.labels for one in outputs])
    bins = reliability_bins(logits, labels).assign(method=row)
    figure, [[upper], [lower]] = subplots(2, 1, 4.0, sharex=True, height_ratios=[3, 1])
    error, nll = expected_calibration_error(logits, labels), negative_log_likelihood(logits, labels)
    said = f"ECE {100 * error:.2f} %, NLL {nll:.3f} nats, {len(outputs)} seeds pooled"
    reliability(bins, upper).set(title=f"{label(row)} at T = {temperature:.3g}: {said}", ylabel="accuracy")
    bin_bars(bins, "count", lower)
    lower.set(xlabel="confidence, max q(y|x)", yscale="log", ylim=(0.7, None), ylabel="images")
    return figure


Attack = Callable[[Run, int], tuple[Tensor, Tensor, Tensor]]


def attacked_figure(attack: Attack, runs: Sequence[Run], row: str, radius: int) -> Figure:
    """A few test images after an attack on the first run of a row, with what the network then says of them.

    The attack gives pixels in [0, 1] (N, channels, H, W), logits (N, C) and labels (N,).
    """
    images, logits, labels = attack(of_rows(runs, [row])[0], radius)
    figure, [axes] = subplots(1, len(images), 1.6)
    for ax, image, sure, said, true in zip(
        axes, images, confidence(logits).tolist(), prediction(logits).tolist(), labels.tolist(), strict=True
    ):
        ax.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
        ax.set_title(f"{said}, {sure:.2f}", color=IN_COLOUR if said == true else OUT_COLOUR, fontsize=8)
        ax.set_axis_off()
    figure.suptitle(f"{label(row)}, L∞ radius {radius}/255: predicted class and confidence", fontsize=9)
    return figure
