import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from hdge import figures
from hdge.evaluators import calibration, ood, sweeps
from hdge.figures import style, toy
from hdge.study.config import Method

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
    """Every figure of the study as a call that draws it, with its small table and its number of panels."""
    draw = np.random.default_rng(0)
    auroc = pd.concat(
        runs_table(score=score, ood_set=name, n_in=50, n_out=40, auroc=0.5)
        for score in ood.SCORES for name in ("near", "far")
    )  # fmt: skip
    yield "auroc", auroc, lambda: figures.ood.auroc_figure(auroc, "test scale"), 6
    yield "posthoc", auroc, lambda: figures.ood.posthoc_figure(auroc, "test scale"), 2
    edges = np.linspace(0, 1, 6)
    histograms = pd.concat(
        pd.DataFrame({"method": m, "seed": 0, "ood_set": "near", "images": images, "lower": edges[:-1],
                      "upper": edges[1:], "count": 10, "n": 50, "share": 0.2})
        for m in METHODS for images in ("in", "out")
    )  # fmt: skip
    yield "histograms", histograms, lambda: figures.ood.histogram_figure(histograms, "test scale"), 2
    ece = runs_table(ece=0.5, ace=0.4, mce=0.9, nll=1.0, brier=0.3)
    yield "errors", ece, lambda: figures.calibration.errors_figure(ece, "test scale"), 5
    scaled = runs_table(ece=0.5, n_validation=20, temperature=2.0, scaled_ece=0.1, scaled_low=0.05, scaled_high=0.2)
    yield "scaled", scaled, lambda: figures.calibration.scaled_figure(scaled, "test scale"), 3
    import torch

    bins = pd.concat(
        calibration.reliability_bins(torch.from_numpy(draw.normal(size=(50, 3))), torch.zeros(50, dtype=torch.int64))
        .assign(method=m, seeds=2, share=0.05) for m in METHODS
    )  # fmt: skip
    yield "reliability", bins, lambda: figures.calibration.reliability_figure(bins, ece, "test scale"), 4
    accuracy = runs_table(accuracy=0.5)
    yield "accuracy", accuracy, lambda: figures.classification.accuracy_figure(accuracy, "test scale"), 1
    cost = runs_table(accuracy=0.5, times_cross_entropy=2.0, minutes=3.0, seconds_per_step=0.1)
    yield "cost", cost, lambda: figures.classification.cost_figure(cost, "test scale"), 3
    history = pd.concat(
        runs_table(epoch=e, train_accuracy=0.5, validation_accuracy=0.5, validation_nll=1.0) for e in (1, 2)
    )
    yield "learning", history, lambda: figures.classification.learning_figure(history, "test scale"), 3
    confusion = pd.DataFrame(
        [{"method": m, "seeds": 2, "label": a, "predicted": b, "count": 5, "share": 0.5}
         for m in METHODS for a in "xy" for b in "xy"]
    )  # fmt: skip
    yield "confusion", confusion, lambda: figures.classification.confusion_figure(confusion, "test scale"), 2
    measures = pd.concat(
        runs_table(measure=measure, better=better, ood_set="near" if "AUROC" in measure else "–", n_out=40, value=0.5)
        for measure, better in sweeps.MEASURES.items()
    )  # fmt: skip
    sizes = measures.assign(estimate=["K"] * (len(measures) // 2) + ["N"] * (len(measures) // 2), size=64)
    weights = runs_table(temperature=0.1, size=4, weight=0.7)
    yield "size", sizes, lambda: figures.sweeps.size_figure(sizes, weights, 0.1, "test scale"), 3
    alphas = measures.assign(alpha=0.5)
    yield "alpha", alphas, lambda: figures.sweeps.alpha_figure(alphas, "test scale"), 5
    departures = pd.DataFrame(
        [{"departure": d, "measure": m, "n": 50, "seed": s, "hdge": 0.5, "value": 0.5 + 0.1 * s, "difference": 0.1 * s}
         for d in ("one", "two") for m in ("accuracy", "ECE") for s in (0, 1)]
    )  # fmt: skip
    effects = sweeps.effects_table(departures)
    yield "effects", departures, lambda: figures.sweeps.effects_figure(departures, effects, "test scale"), 2
    claims = pd.DataFrame([{"claim": "one", "verdict": "reproduced"}, {"claim": "two", "verdict": "inconclusive"}])
    rows = pd.DataFrame(
        [{"claim": "one", "better": "lower", "seeds": 3, "n": 50, "difference": -1.0, "low": -1.5, "high": -0.5,
          "image_low": -1.2, "image_high": -0.8},
         {"claim": "two", "better": "higher", "seeds": 1, "n": 50, "difference": 1.0, "low": np.nan, "high": np.nan,
          "image_low": 0.5, "image_high": 1.5}]
    )  # fmt: skip
    yield "claims", rows, lambda: figures.sweeps.claims_figure(claims, rows, "test scale"), 1
    plane = pd.DataFrame(
        [{"method": m, "x1": a, "x2": b, "log_q_x": a + b, "confidence": 0.5}
         for m in METHODS for a in (-1.0, 0.0, 1.0) for b in (-1.0, 0.0, 1.0)]
        + [{"method": "data", "x1": 0.1 * k, "x2": 0.0, "label": k} for k in range(3)]
    )  # fmt: skip
    yield "toy", plane, lambda: toy.density_figure(plane), 8  # four planes and their colour bars


@pytest.mark.parametrize("index", range(15))
def test_every_figure_is_labelled_captioned_and_drawn_alike_twice(index, tmp_path):
    name, table, draw, panels = list(drawn())[index]
    figure = draw()
    assert len(figure.axes) == panels
    assert figure.get_suptitle()
    assert "Scale: " in figure.get_supxlabel()
    if name != "toy":
        words = figure.get_supxlabel() + figure.axes[0].get_title()
        assert any(sign in words for sign in ("n: ", "n = ", "(2 seeds"))
    assert any(ax.get_xlabel() for ax in figure.axes)
    assert any(ax.get_ylabel() or ax.get_yticklabels() for ax in figure.axes)
    again = draw()
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
