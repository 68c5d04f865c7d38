import json
import math
from types import SimpleNamespace
from typing import get_args

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from torch import nn

from hdge.evaluators import robustness
from hdge.evaluators.robustness import STRONG, WORST
from hdge.figures import style
from hdge.figures.robustness import curves_figure, gap_figure
from hdge.measure import attacks
from hdge.measure.attacks import UNITS, ThroughNoise, attack_network, pgd, withstands_pgd
from hdge.methods.base import frozen
from hdge.study.config import TrainConfig
from hdge.study.runs import Run, RunFolder
from hdge.study.settings import AttackNorm, AttackProtocol, ViewSettings

SMALL = AttackProtocol(
    images=24, steps=10, l2=(0.1, 0.5), linf=(2, 20), checked=(("l2", 0.1), ("linf", 2.0)), checked_images=12,
    strong_steps=10, strong_targets=2, strong_queries=20, noise_radius=20, noise_draws=2,
)  # fmt: skip


class TwoClasses(nn.Module):
    """Logits (0, w.x + b)."""

    def __init__(self, weights: torch.Tensor, bias: float) -> None:
        super().__init__()
        self.weights, self.bias = nn.Parameter(weights), bias

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        score = images.flatten(1) @ self.weights + self.bias
        return torch.stack([torch.zeros_like(score), score], dim=1)


@pytest.fixture
def linear():
    """A linear model and 400 images so far from 0 and 1 that no ball of a radius up to 0.2 meets them."""
    draw = torch.Generator().manual_seed(0)
    weights = torch.randn(48, generator=draw)
    images = torch.rand((400, 3, 4, 4), generator=draw) * 0.5 + 0.25
    model = TwoClasses(weights, -0.5 * float(weights.sum())).eval()
    return model, images, (model(images)[:, 1] > 0).long(), model(images)[:, 1].abs().detach()


def small_network() -> nn.Module:
    torch.manual_seed(3)
    layers = [nn.Conv2d(1, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 36, 5)]
    return nn.Sequential(*layers).eval()


def small_case():
    """A network and labels that it gives by itself, so that it is right without attack."""
    model, images = small_network(), torch.rand((24, 1, 8, 8), generator=torch.Generator().manual_seed(1))
    return model, images, model(images).argmax(dim=1)


def test_pgd_on_a_linear_model_is_the_closed_form_in_the_maximum_norm(linear):
    """The worst corner of the cube lowers |w.x + b| by r |w|_1; every step with the gradient's sign leads there."""
    model, images, labels, margins = linear
    radii = [0.005, 0.01, 0.02, 0.04]
    length = model.weights.detach().abs().sum()
    with frozen(model):
        rows = withstands_pgd(model, images, labels, "linf", radii, 10, 0)
    # Rounding moves a score of size |w|_1 by at most some 48 ulps: images that close to the edge may go either way.
    slack = 48 * torch.finfo(torch.float32).eps * length
    for radius, row in zip(radii, rows[1:], strict=True):
        decided = (margins - radius * length).abs() > slack
        assert decided.sum() > 395
        assert torch.equal(row[decided], (margins > radius * length)[decided])
    assert 0 < rows[-1].float().mean() < rows[1].float().mean() < 1


def least_way(steps: int) -> float:
    """How far along w, in radii, descent on a linear model gets at least, from the worst start in the ball.

    There it is a recursion of two numbers: along w each step adds 2.5 / T, across it nothing, and beyond the ball both
    are scaled back. The further across the start, the more is scaled, so the worst is on the sphere.
    """
    worst = 1.0
    for i in range(1001):
        along, across = math.cos(math.pi * i / 1000), math.sin(math.pi * i / 1000)
        for _ in range(steps):
            along += 2.5 / steps
            size = max(1.0, math.hypot(along, across))
            along, across = along / size, across / size
        worst = min(worst, along)
    return worst


def test_pgd_on_a_linear_model_is_near_the_closed_form_in_the_euclidean_norm(linear):
    """The worst point lowers |w.x + b| by r |w|_2; descent by at least the part of it that its recursion gives."""
    model, images, labels, margins = linear
    length, part = float(model.weights.detach().norm()), least_way(20)
    assert part > 0.8
    for radius in (0.05, 0.1, 0.2):
        with frozen(model):
            withstood = withstands_pgd(model, images, labels, "l2", [radius], 20, 0)[1]
        assert 0 < withstood.sum() < 400
        # 1e-3 is above rounding and above what lies between two of the thousand starts.
        assert withstood[margins > radius * length * (1 + 1e-3)].all()
        assert not withstood[margins < (part - 1e-3) * radius * length].any()


@pytest.mark.parametrize("norm", get_args(AttackNorm))
def test_attacked_images_stay_in_the_ball_and_in_range(norm):
    model, images, labels = small_case()
    images = images.round()  # at the edges of the range, where clipping bites
    with frozen(model):
        attacked = pgd(model, images, labels, norm, 0.3, steps=7)
    moved = (attacked - images).flatten(1)
    size = moved.norm(dim=1) if norm == "l2" else moved.abs().amax(dim=1)
    assert size.max() <= 0.3 * (1 + 64 * torch.finfo(torch.float32).eps)
    assert size.min() > 0.1
    assert attacked.min() >= 0
    assert attacked.max() <= 1


def test_an_attack_is_reproducible_and_leaves_the_global_generator_alone():
    model, images, labels = small_case()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first = attack_network(model, images, labels, 0.03, SMALL)
    assert torch.equal(torch.rand(3), expected)
    second = attack_network(model, images, labels, 0.03, SMALL)
    assert first.keys() == second.keys() == {"l2", "linf", "strong", "noise"}
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_accuracy_falls_with_the_radius_and_strong_leaves_no_more_than_pgd():
    model, images, labels = small_case()
    withstood = attack_network(model, images, labels, 0.0, SMALL)
    for norm in UNITS:
        assert withstood[norm][0].all()
        assert (withstood[norm].diff(dim=0).to(torch.int8) <= 0).all()
        assert withstood[norm][-1].sum() < 24
    assert "noise" not in withstood
    for (norm, radius), row in zip(SMALL.checked, withstood["strong"], strict=True):
        at = (0, *SMALL.radii(norm)).index(radius)
        assert 0 < row.sum() <= withstood[norm][at, : SMALL.checked_images].sum() < SMALL.checked_images


def test_a_model_of_three_classes_can_be_checked():
    """The targeted part needs a fourth logit, and is left out."""
    model, images, _ = small_case()
    three = nn.Sequential(model, nn.Linear(5, 3)).eval()
    with frozen(three):
        row = attacks.withstands_strong(three, images, three(images).argmax(dim=1), "linf", 0.1, SMALL)
    assert row.shape == (24,)


def test_the_mean_through_noise_is_the_loop():
    model, images, _ = small_case()
    noisy = ThroughNoise(model, (1, 8, 8), noise=0.5, draws=3, seed=7)
    assert noisy.draws.std() == pytest.approx(0.25, rel=0.3)  # half of 0.5, on a range half as wide
    for i in range(4):
        mean = sum(torch.softmax(model(images[i : i + 1] + draw), dim=1) for draw in noisy.draws) / 3
        torch.testing.assert_close(noisy(images)[i : i + 1], mean.log())


# A hand-made run: 10 images, 8 right at first; at the checked radius 6 under PGD and 4 under AutoAttack.
HAND = AttackProtocol(
    images=10, l2=(0.5,), linf=(16,), checked=(("l2", 0.5), ("linf", 16.0)), checked_images=5, noise_radius=16
)


def hand_made(run: Run) -> attacks.Attacked:
    right, pgd_row = torch.tensor([1] * 8 + [0] * 2), torch.tensor([1] * 6 + [0] * 4)
    sweep = torch.stack([right, pgd_row]).to(torch.uint8)
    few = torch.tensor([[1, 1, 1, 0, 1], [0, 0, 1, 1, 1]], dtype=torch.uint8)
    noise = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 1]], dtype=torch.uint8)
    return attacks.Attacked(run, HAND, {"l2": sweep, "linf": sweep, "strong": few, "noise": noise})


def folder(path, archived: bool = False) -> RunFolder:
    run = RunFolder(path)
    path.mkdir(parents=True)
    record = {"data": {"classes": list("abcde")}, "files": {"weights.safetensors": "0"}}
    (path / "record.json").write_text(
        json.dumps({**record, **({"weights": "0", "archived": "small"} if archived else {})})
    )
    return run


@pytest.fixture
def runs(tmp_path):
    return [
        Run(method, seed, folder(tmp_path / f"{method}-{seed}"), TrainConfig(method=method, seed=seed))
        for method, seed in (
            ("cross_entropy", 0), ("cross_entropy", 1), ("hdge", 0), ("jem", 1), ("jem", 2), ("igebm", 0),
            ("glow_conditional", 0),
        )
    ]  # fmt: skip


def test_the_tables_of_a_hand_made_run(runs):
    table = robustness.robustness_table([hand_made(runs[0])])
    assert len(table) == 2 * 2 + 2 * 2 + 2
    assert set(table["chance"]) == {0.2}
    rows = table.set_index(["attack", "norm", "radius"])
    assert rows.loc[("PGD", "linf", 0.0), ["n", "correct", "accuracy"]].tolist() == [10, 8, 0.8]
    assert rows.loc[("PGD", "l2", 0.5), ["n", "correct", "accuracy"]].tolist() == [10, 6, 0.6]
    assert rows.loc[(STRONG, "l2", 0.5), ["n", "correct", "accuracy"]].tolist() == [5, 4, 0.8]
    assert table[table["claimed"]][["attack", "norm", "radius"]].values.tolist() == [
        [WORST, "l2", 0.5],
        [WORST, "linf", 16.0],
    ]
    assert (rows.loc[(WORST, "l2", 0.5), "accuracy"] <= rows.loc[[(STRONG, "l2", 0.5)], "accuracy"]).all()

    gap = robustness.gap_table([hand_made(runs[0])]).set_index(["check", "norm"])
    counts = ["n", "pgd", "checked", "only_pgd", "only_check", "difference", "masked"]
    assert gap.loc[(STRONG, "l2"), counts].tolist() == [5, 1.0, 0.8, 1, 0, 0.2, True]
    assert gap.loc[(STRONG, "linf"), counts].tolist() == [5, 1.0, 0.6, 2, 0, 0.4, True]
    assert gap.loc[("PGD through noise", "linf"), counts].tolist() == [5, 1.0, 1.0, 0, 0, 0.0, False]
    # n = 5 and one discordant image: (2 - 1) / 7 -+ 1.959964 sqrt((3 / 7 - 1 / 49) / 7) by hand.
    expected = 1 / 7 - 1.959964 * math.sqrt((3 / 7 - 1 / 49) / 7), 1 / 7 + 1.959964 * math.sqrt((3 / 7 - 1 / 49) / 7)
    assert gap.loc[(STRONG, "l2"), ["low", "high"]].tolist() == pytest.approx(expected, abs=1e-6)


def test_one_seed_a_method_and_all_of_those_that_claims_compare(runs):
    chosen, left_out = attacks.to_attack(runs)
    assert [(run.row, run.seed) for run in chosen] == [
        ("cross_entropy", 0), ("cross_entropy", 1), ("hdge", 0), ("jem", 1)
    ]  # fmt: skip
    assert [sentence.split(":")[0] for sentence in left_out] == ["igebm", "glow_conditional"]


def test_a_run_that_cannot_be_attacked_is_said_and_not_fatal(runs, tmp_path, monkeypatch):
    kept = Run(
        "supcon",
        0,
        folder(tmp_path / "kept", archived=True),
        TrainConfig(method="supcon", views=ViewSettings(head_epochs=1)),
    )
    whole = attacks.attack_run
    monkeypatch.setattr(
        attacks, "attack_run",
        lambda run, protocol, root: {} if run.row == "hdge" else whole(run, protocol, root),
    )  # fmt: skip
    attacked, missing = attacks.attack_runs([runs[2], kept], SMALL, tmp_path)
    assert [one.run.row for one in attacked] == ["hdge"]
    assert len(missing) == 1
    assert missing[0].startswith("supcon, seed 0: ")
    assert "has no weights, and no attacks by this protocol" in missing[0]
    nothing, missing = attacks.attack_runs([kept], SMALL, tmp_path)
    assert nothing == []
    assert missing[-1] == "No attacks: they need a finished run, with its weights, that classifies."


def test_a_measurement_is_read_and_its_data_are_not_wanted(runs, tmp_path, monkeypatch):
    model, images, labels = small_case()
    images = (images * 255).to(torch.uint8)
    test = SimpleNamespace(images=images, labels=labels)
    monkeypatch.setattr(attacks, "splits_of", lambda folder, dataset, root: SimpleNamespace(test=test))
    monkeypatch.setattr(attacks, "load_network", lambda run, shape: model)
    first = attacks.attack_run(runs[0], SMALL, tmp_path)
    monkeypatch.setattr(attacks, "splits_of", None)
    again = attacks.attack_run(runs[0], SMALL, tmp_path)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert first["l2"].shape == (3, 24)


def test_figures_have_captions_and_a_panel_a_norm_and_check(runs):
    style.use_style()
    attacked = [hand_made(run) for run in runs[:3]]
    table, gap = robustness.robustness_table(attacked), robustness.gap_table(attacked)
    for figure, panels in ((curves_figure(table), 2), (gap_figure(gap), 3)):
        assert len(figure.axes) == panels
        assert figure.get_suptitle()
        assert "n: " in figure.get_supxlabel()
        assert all(ax.get_xlabel() for ax in figure.axes)
    assert "2 seeds a method; 1 for HDGE" in curves_figure(table).get_supxlabel()
    plt.close("all")
    assert isinstance(table, pd.DataFrame)
