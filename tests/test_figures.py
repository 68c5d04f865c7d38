import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from hdge import figures
from hdge.config import Method
from hdge.evaluators import calibration, ood
from hdge.figures import style, toy

METHODS = ("cross_entropy", "hdge")


@pytest.fixture(autouse=True)
def look():
    style.use_style()
    yield
    plt.close("all")


def runs_table(**columns) -> pd.DataFrame:
    rows = [{"method": m, "seed": s, "n": 50, "low": 0.4, "high": 0.6, **columns} for m in METHODS for s in (0, 1)]
    return pd.DataFrame(rows)


def drawn():
    """Every figure of the study, from small tables, with its number of panels."""
    draw = np.random.default_rng(0)
    auroc = pd.concat(
        runs_table(score=score, ood_set=name, n_in=50, n_out=40, auroc=0.5)
        for score in ood.SCORES for name in ("near", "far")
    )  # fmt: skip
    yield "auroc", auroc, figures.ood.auroc_figure(auroc, "test scale"), 4
    edges = np.linspace(0, 1, 6)
    histograms = pd.concat(
        pd.DataFrame({"method": m, "seed": 0, "ood_set": "near", "images": images, "lower": edges[:-1],
                      "upper": edges[1:], "count": 10, "n": 50, "share": 0.2})
        for m in METHODS for images in ("in", "out")
    )  # fmt: skip
    yield "histograms", histograms, figures.ood.histogram_figure(histograms, "test scale"), 2
    ece = runs_table(ece=0.5)
    yield "ece", ece, figures.calibration.ece_figure(ece, "test scale"), 1
    import torch

    bins = pd.concat(
        calibration.reliability_bins(torch.from_numpy(draw.normal(size=(50, 3))), torch.zeros(50, dtype=torch.int64))
        .assign(method=m, seeds=2, share=0.05) for m in METHODS
    )  # fmt: skip
    yield "reliability", bins, figures.calibration.reliability_figure(bins, ece, "test scale"), 4
    accuracy = runs_table(accuracy=0.5)
    yield "accuracy", accuracy, figures.classification.accuracy_figure(accuracy, "test scale"), 1
    cost = runs_table(accuracy=0.5, times_cross_entropy=2.0, minutes=3.0, seconds_per_step=0.1)
    yield "cost", cost, figures.classification.cost_figure(cost, "test scale"), 3
    history = pd.concat(
        runs_table(epoch=e, train_accuracy=0.5, validation_accuracy=0.5, validation_nll=1.0) for e in (1, 2)
    )
    yield "learning", history, figures.classification.learning_figure(history, "test scale"), 3
    confusion = pd.DataFrame(
        [{"method": m, "seeds": 2, "label": a, "predicted": b, "count": 5, "share": 0.5}
         for m in METHODS for a in "xy" for b in "xy"]
    )  # fmt: skip
    yield "confusion", confusion, figures.classification.confusion_figure(confusion, "test scale"), 2
    plane = pd.DataFrame(
        [{"method": m, "x1": a, "x2": b, "log_q_x": a + b, "confidence": 0.5}
         for m in METHODS for a in (-1.0, 0.0, 1.0) for b in (-1.0, 0.0, 1.0)]
        + [{"method": "data", "x1": 0.1 * k, "x2": 0.0, "label": k} for k in range(3)]
    )  # fmt: skip
    yield "toy", plane, toy.density_figure(plane), 8  # four planes and their colour bars


@pytest.mark.parametrize("index", range(9))
def test_every_figure_is_labelled_captioned_and_drawn_alike_twice(index, tmp_path):
    name, table, figure, panels = list(drawn())[index]
    assert len(figure.axes) == panels
    assert figure.get_suptitle()
    assert "Scale: " in figure.get_supxlabel()
    if name != "toy":
        words = figure.get_supxlabel() + figure.axes[0].get_title()
        assert any(sign in words for sign in ("n: ", "n = ", "(2 seeds"))
    assert any(ax.get_xlabel() for ax in figure.axes)
    assert any(ax.get_ylabel() or ax.get_yticklabels() for ax in figure.axes)
    again = list(drawn())[index][2]
    first = style.save_figure(figure, table, name, "first", tmp_path)
    second = style.save_figure(again, table, name, "second", tmp_path)
    assert first.read_bytes() == second.read_bytes()
    assert first.with_suffix(".csv").read_bytes() == second.with_suffix(".csv").read_bytes()
    pd.testing.assert_frame_equal(
        pd.read_csv(first.with_suffix(".csv")), table.reset_index(drop=True), check_dtype=False, rtol=1e-5
    )


def test_a_method_that_cannot_classify_shows_its_loss():
    history = runs_table(epoch=1, loss=0.5, bits_per_dimension=4.0)
    [ax] = figures.classification.learning_figure(history, "test scale").axes
    assert ax.get_ylabel() == "training loss"


def test_seeds_are_named_where_they_differ():
    table = runs_table()
    assert style.seeds_phrase(table) == "2 seeds a method"
    fewer = table[(table["method"] == "hdge") | (table["seed"] == 0)]
    assert style.seeds_phrase(fewer) == "2 seeds a method; 1 for cross-entropy"


def test_every_method_has_a_colour_and_a_name_of_its_own():
    from typing import get_args

    assert set(style.COLOURS) == set(style.LABELS) == set(get_args(Method))
    assert len(set(style.COLOURS.values())) == len(style.COLOURS)
