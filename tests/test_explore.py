"""Pictures that widgets turn: what they show, and that they stand still without a reader."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from hdge.data.images import ImageSet
from hdge.data.sources import is_at_hand
from hdge.evaluators.ood import SCORES
from hdge.figures import explore as exploring
from hdge.figures.explore import attacked_figure, explore, score_figure, temperature_figure
from hdge.figures.style import readable
from hdge.measure import attacks
from hdge.study.config import HOME, TrainConfig
from hdge.study.notebooks import execute
from hdge.study.runs import Outputs, Run, RunFolder
from tests.test_robustness import SMALL, small_case


@pytest.fixture
def runs(tmp_path):
    """Two seeds of a classifier whose logits on other images are half as long, without gradient norms."""
    found = []
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        folder = RunFolder(tmp_path / f"cross_entropy-seed{seed}")
        config = TrainConfig(method="cross_entropy", seed=seed, evaluation_sets=("svhn",))
        labels = torch.arange(300) % 8
        logits = torch.randn(300, 8, generator=generator) + 6 * torch.nn.functional.one_hot(labels, 8)
        folder.write_outputs("test", Outputs(logits, labels))
        folder.write_outputs("svhn", Outputs(logits / 2, torch.zeros(300, dtype=torch.int64)))
        folder.finish({"config": json.loads(config.to_json()), "outcome": "finished"})
        found.append(Run("cross_entropy", seed, folder, config))
    return found


def test_without_a_reader_the_first_of_each_choice_is_drawn_once(monkeypatch):
    drawn = []
    monkeypatch.setattr(plt, "show", lambda: drawn.append("shown"))
    explore(lambda **chosen: drawn.append(chosen), row=["hdge", "jem"], temperature=[1.0, 0.5])
    assert drawn == [{"row": "hdge", "temperature": 1.0}, "shown"]


def test_a_choice_of_nothing_is_said(capsys):
    explore(lambda **chosen: pytest.fail("there is nothing to draw"), row=[], radius=[1.0])
    assert capsys.readouterr().out == "Nothing to explore: no row at hand.\n"


def test_a_reader_gets_a_menu_of_labels_and_a_slider_in_order_that_begins_where_it_is_told(monkeypatch):
    given, drawn = {}, []

    def interact(draw, **widgets):
        given.update(widgets)
        draw(**{name: widget.value for name, widget in widgets.items()})

    monkeypatch.setattr(exploring, "attended", lambda: True)
    monkeypatch.setattr("ipywidgets.interact", interact)
    monkeypatch.setattr(plt, "show", lambda: None)
    explore(lambda **chosen: drawn.append(chosen), row=["hdge", "cross_entropy"], temperature=[1.0, 0.5, 2.0])
    assert [name for name, _ in given["row"].options] == ["HDGE", "cross-entropy"]
    assert [value for _, value in given["temperature"].options] == [0.5, 1.0, 2.0]
    assert drawn == [{"row": "hdge", "temperature": 1.0}]


def test_a_score_is_told_with_its_auroc_and_a_missing_one_by_word(runs):
    title = score_figure(runs, "cross_entropy", SCORES[0], "svhn").axes[0].get_title()
    assert "mean AUROC 0.99" in title
    assert "2 seeds" in title
    assert "no such score" in score_figure(runs, "cross_entropy", SCORES[2], "svhn").axes[0].get_title()


def test_a_temperature_above_one_lowers_every_confidence(runs):
    tall, flat = (temperature_figure(runs, "cross_entropy", t).axes[0] for t in (1.0, 20.0))
    assert "T = 20" in flat.get_title()
    right = [max(bar.get_x() for bar in ax.patches if bar.get_height() > 0) for ax in (tall, flat)]
    assert right[0] > 0.9 > 0.5 > right[1]


def test_an_attacks_pictures_are_coloured_by_whether_the_network_is_right(runs):
    seen = []

    def attack(run: Run, radius: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        seen.append((run.seed, radius))
        return torch.rand(2, 1, 4, 4), torch.tensor([[9.0, 0.0], [9.0, 0.0]]), torch.tensor([0, 1])

    figure = partial(attacked_figure, attack, runs)(row="cross_entropy", radius=8)
    assert seen == [(0, 8)]
    right, wrong = (ax.title for ax in figure.axes)
    assert (right.get_color(), wrong.get_color()) == (exploring.IN_COLOUR, exploring.OUT_COLOUR)
    assert right.get_text() == "0, 1.00"


def test_a_table_is_shown_whole_with_few_digits_and_no_numbers_of_rows():
    table = pd.DataFrame({"claim": ["a long sentence " * 9] * 70, "value": 0.123456, "n": 12345, "low": float("nan")})
    shown = readable(table).to_html()
    assert shown.count("a long sentence " * 9) == 70
    assert "0.1235" in shown
    assert "12,345" in shown
    assert "–" in shown
    assert "nowrap" in shown
    assert shown.count("white-space: normal") == 1  # of the long sentences, so that the table fits a window
    assert "white-space: normal" not in readable(table.drop(columns="claim")).to_html()
    assert ">69<" not in shown
    assert "kept" in readable(table.head(1).rename_axis("kept")).to_html()
    assert readable(table.head(0)).to_html()
    twice = pd.concat([table.head(1), table.head(1)]).assign(held=[True, False])
    assert "True" in readable(twice).to_html()


def test_examples_stay_within_the_radius_and_have_the_networks_logits(runs, monkeypatch):
    model, images, labels = small_case()
    pixels = (images * 255).to(torch.uint8)
    test = ImageSet("drawn", pixels, labels, ("a", "b"))
    monkeypatch.setattr(attacks, "splits_of", lambda folder, dataset, root: SimpleNamespace(test=test))
    monkeypatch.setattr(attacks, "load_network", lambda run, shape: model)
    for radius in (0, 16):
        own, logits, true = attacks.attacked_examples(SMALL, Path(), 5, runs[0], radius)
        moved = (own - pixels[:5] / 255).abs().max().item()
        assert moved <= radius / 255 + 1e-6  # float32 pixels of at most 1
        assert (moved > 0) == (radius > 0)
        torch.testing.assert_close(logits, model(own).float())
        assert true.equal(labels[:5])


def test_nothing_is_downloaded_for_a_look_at_an_archived_network(tmp_path):
    """The critic's weights are archived, and the images of CIFAR are not."""
    where = {"profile": "cifar100-small", "root": str(tmp_path), "data_root": str(tmp_path / "data")}
    done = tmp_path / "06_robustness.ipynb"
    execute(HOME / "notebooks" / done.name, done, {**where, "rows": ["cross_entropy"], "seeds": [100]})
    assert "Nothing to explore: no row at hand." in done.read_text()
    assert not (tmp_path / "data").exists()


def test_images_are_at_hand_if_nothing_needs_a_download(tmp_path):
    assert is_at_hand("digits", tmp_path)
    for name, place in (("cifar10", "cifar10.npz"), ("cifar100", "cifar-100-python"), ("own", "own")):
        assert not is_at_hand(name, tmp_path)
        (tmp_path / place).mkdir()
        assert is_at_hand(name, tmp_path)
