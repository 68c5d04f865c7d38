import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.ticker import FixedFormatter, FuncFormatter

from hdge import figures
from hdge.evaluators import calibration, ood, sweeps
from hdge.figures import captions, claims, style, toy
from hdge.study import roster
from hdge.study.study import Study

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
    yield "auroc", auroc, lambda: figures.ood.auroc_figure(auroc), 4
    yield "posthoc", auroc, lambda: figures.ood.posthoc_figure(auroc), 2
    smooth = pd.concat(
        runs_table(ood_set=name, n_in=50, n_out=40, correlation=0.2, auroc=0.5, auroc_matched=0.6, variation=0.3,
                   variation_matched=0.5)
        for name in ("near", "far")
    )  # fmt: skip
    yield "variation", smooth, lambda: figures.ood.variation_figure(smooth), 3
    edges = np.linspace(0, 1, 6)
    histograms = pd.concat(
        pd.DataFrame({"method": m, "seed": 0, "ood_set": "near", "images": images, "lower": edges[:-1],
                      "upper": edges[1:], "count": 10, "n": 50, "share": 0.2})
        for m in METHODS for images in ("in", "out")
    )  # fmt: skip
    yield "histograms", histograms, lambda: figures.ood.histogram_figure(histograms), 2
    ece = runs_table(bins=20, ece=0.5, ece_if_calibrated=0.1, nll=1.0, brier=0.3)
    yield "errors", ece, lambda: figures.calibration.errors_figure(ece), 3
    scaled = runs_table(bins=20, ece=0.5, n_validation=20, temperature=2.0, scaled_ece=0.1, nll=1.0, scaled_nll=2.0)
    yield "scaled", scaled, lambda: figures.calibration.scaled_figure(scaled), 3
    import torch

    bins = pd.concat(
        calibration.reliability_bins(torch.from_numpy(draw.normal(size=(50, 3))), torch.zeros(50, dtype=torch.int64))
        .assign(method=m, seeds=2, share=0.05) for m in METHODS
    )  # fmt: skip
    yield "reliability", bins, lambda: figures.calibration.reliability_figure(bins, ece), 4
    accuracy = runs_table(accuracy=0.5)
    yield "accuracy", accuracy, lambda: figures.classification.accuracy_figure(accuracy), 1
    cost = runs_table(accuracy=0.5, times_cross_entropy=2.0, operations_per_image=1e6, epochs=3)
    yield "cost", cost, lambda: figures.classification.cost_figure(cost), 3
    history = pd.concat(
        runs_table(epoch=e, train_accuracy=0.5, validation_accuracy=0.5, validation_nll=1.0) for e in (1, 2)
    )
    yield "learning", history, lambda: figures.classification.learning_figure(history), 3
    confusion = pd.DataFrame(
        [{"method": m, "seeds": 2, "label": a, "predicted": b, "count": 5, "share": 0.5}
         for m in METHODS for a in "xy" for b in "xy"]
    )  # fmt: skip
    yield "confusion", confusion, lambda: figures.classification.confusion_figure(confusion), 2
    names = [f"class {i}" for i in range(figures.classification.MOST_CLASSES + 1)]
    frequent = pd.DataFrame(
        [{"method": m, "seeds": 2, "label": a, "predicted": b, "count": 5, "share": 0.05}
         for m in METHODS for a in names for b in names]
    )  # fmt: skip
    yield "confusions", frequent, lambda: figures.classification.confusion_figure(frequent), 1
    measures = pd.concat(
        runs_table(measure=measure, better=better, ood_set="near" if "AUROC" in measure else "–", n_out=40, value=0.5)
        for measure, better in sweeps.MEASURES.items()
    )  # fmt: skip
    sizes = measures.assign(estimate=["K"] * (len(measures) // 2) + ["N"] * (len(measures) // 2), size=64)
    weights = runs_table(temperature=0.1, size=4, weight=0.7)
    yield "size", sizes, lambda: figures.sweeps.size_figure(sizes, weights, [0.1]), 3
    alphas = measures.assign(alpha=0.5)
    yield "alpha", alphas, lambda: figures.sweeps.alpha_figure(alphas), 6
    departures = pd.DataFrame(
        [{"departure": d, "measure": m, "n": 50, "seed": s, "hdge": 0.5, "value": 0.5 + 0.1 * s, "difference": 0.1 * s}
         for d in ("one", "two") for m in ("accuracy", "ECE") for s in (0, 1)]
    )  # fmt: skip
    effects = sweeps.effects_table(departures)
    yield "effects", departures, lambda: figures.sweeps.effects_figure(departures, effects), 2
    rows = pd.DataFrame(
        [{"claim": "one", "kind": "lower", "verdict": "reproduced", "delta": 0.5, "difference": -1.0, "low": -1.5,
          "high": -0.5, "paper": -0.8, "provisional": True, "n": 50, "seeds": 2},
         {"claim": "two", "kind": "higher", "verdict": "not testable here", "delta": 0.1, "difference": np.nan,
          "low": np.nan, "high": np.nan, "paper": np.nan, "provisional": np.nan, "n": np.nan, "seeds": np.nan}]
    )  # fmt: skip
    other = rows.assign(verdict=["undecided", "no difference"], difference=0.0, low=-0.01, high=0.01)
    yield "claims", rows, lambda: claims.forest_figure({"one (1)": rows, "two": other}), 2
    plane = pd.DataFrame(
        [{"method": m, "x1": a, "x2": b, "log_q_x": a + b, "confidence": 0.5}
         for m in METHODS for a in (-1.0, 0.0, 1.0) for b in (-1.0, 0.0, 1.0)]
        + [{"method": "data", "x1": 0.1 * k, "x2": 0.0, "label": k} for k in range(3)]
    )  # fmt: skip
    yield "toy", plane, lambda: toy.density_figure(plane), 8  # four planes and their colour bars


@pytest.mark.parametrize("name", [name for name, *_ in drawn()])
def test_every_figure_is_labelled_captioned_and_drawn_alike_twice(name, tmp_path):
    [(table, draw, panels)] = [found for drawing, *found in drawn() if drawing == name]
    figure = draw()
    assert len(figure.axes) == panels
    assert figure.get_suptitle()
    if name not in ("toy", "claims"):  # n of a claim stands in its table
        words = figure.get_supxlabel() + figure.axes[0].get_title()
        assert any(sign in words for sign in ("n: ", "n = ", "(2 seeds"))
    assert any(ax.get_xlabel() for ax in figure.axes)
    first = figure.axes[0]
    assert first.get_ylabel() or isinstance(first.yaxis.get_major_formatter(), FixedFormatter | FuncFormatter)
    again = draw()
    study = Study("smoke", tmp_path)
    stored, path = study.save(figure, table, name), study.path(name)
    before = path.read_bytes(), path.with_suffix(".svg").read_bytes()
    assert figure.get_supxlabel().startswith(f"Scale: {study.scale}. ")
    study.save(again, table, name)
    assert (path.read_bytes(), path.with_suffix(".svg").read_bytes()) == before
    again.canvas.draw()
    extents = [text.get_window_extent() for text in again.texts]  # the title and the caption
    assert all(0 <= extent.x0 < extent.x1 <= again.bbox.x1 for extent in extents)
    pd.testing.assert_frame_equal(stored, table.reset_index(drop=True), check_dtype=False, rtol=1e-5)


def test_a_method_that_cannot_classify_shows_its_loss():
    history = runs_table(epoch=1, loss=0.5, bits_per_dimension=4.0)
    [ax] = figures.classification.learning_figure(history).axes
    assert ax.get_ylabel() == "training loss"


@pytest.mark.parametrize("range_", [(0.5, 0.6), (0.3, 0.85), (0.05, 0.9), (0.001, 0.95), (0.2, 1.0), (0.0, 1.0)])
@pytest.mark.parametrize("columns", [4, 5])
def test_numbers_on_an_axis_of_auroc_keep_apart(range_, columns):
    figure, [axes] = style.subplots(1, columns, 2.0)
    axes[0].set_yticks([0], [max((entry.label for entry in roster.METHODS.values()), key=len)], fontsize=7)
    for ax in axes:
        figures.ood.auroc_axis(ax, pd.Series(range_))
    figure.canvas.draw()
    for ax in axes:
        named = sorted((text for text in ax.get_xticklabels() if text.get_text()), key=lambda text: text.get_position())
        assert "0.5" in [text.get_text() for text in named]
        boxes = [text.get_window_extent() for text in named]
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_confidences_of_the_tour_share_a_scale_and_densities_do_not():
    *_, (name, table, draw, _) = drawn()
    assert name == "toy"
    table.loc[table["method"] == "hdge", ["log_q_x", "confidence"]] *= 1.5
    meshes = [ax.collections[0].get_clim() for ax in draw().axes[:4]]
    assert meshes[0] != meshes[1]
    assert meshes[2] == meshes[3] == (0.5, 0.75)


def test_seeds_are_named_where_they_differ():
    table = runs_table()
    assert captions.seeds_phrase(table) == "2 seeds a method"
    fewer = table[(table["method"] == "hdge") | (table["seed"] == 0)]
    assert captions.seeds_phrase(fewer) == "2 seeds a method; 1 for cross-entropy"


def test_every_method_has_a_colour_and_a_name_of_its_own():
    for values in (
        [entry.colour for entry in roster.METHODS.values()],
        [entry.label for entry in roster.METHODS.values()],
    ):
        assert len(set(values)) == len(roster.METHODS)


def test_what_is_judged_is_what_is_stored(tmp_path):
    study = Study("smoke", tmp_path)
    stored = study.save_table(pd.DataFrame({"value": [1 / 3, 2 / 3]}), "thirds")
    assert stored["value"].tolist() == [0.333333, 0.666667]
    pd.testing.assert_frame_equal(study.table("thirds"), stored)
    assert study.save_table(pd.DataFrame(), "nothing").empty
    assert study.table("absent") is None
