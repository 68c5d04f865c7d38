import dataclasses
import json
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from tqdm import tqdm

from hdge.data.splits import load_splits
from hdge.evaluators import generation
from hdge.figures import generation as figures
from hdge.figures.style import use_style
from hdge.measure import critic as critics
from hdge.measure import samples as sampling
from hdge.methods.build import build_network
from hdge.methods.flows import Glow
from hdge.study.config import TrainConfig
from hdge.study.errors import HdgeError
from hdge.study.measurements import chosen
from hdge.study.runs import Outputs, Run, RunFolder, first_seeds
from hdge.study.settings import SamplingProtocol
from hdge.study.study import write_picture, write_table

TINY = SamplingProtocol(chains=12, per_class=2, steps=4, record_every=2)
SMALL = {"dataset": "digits", "evaluation_sets": (), "depth": 10, "width": 1}


class Gaussians(torch.nn.Module):
    """f(x)[y] = -|x - m_y|^2 / (2 s^2) for images in [0, 1]."""

    def __init__(self, means: list[float], scale: float) -> None:
        super().__init__()
        self.means, self.scale = torch.tensor(means), scale

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        squares = (images.flatten(1)[:, None] - self.means[:, None]).square().sum(dim=2)
        return -squares / (2 * self.scale**2)


def chains_on(model: torch.nn.Module, labels: torch.Tensor | None, count: int, protocol: SamplingProtocol):
    generator = torch.Generator().manual_seed(3)
    start = torch.empty(count, 1, 3, 3).uniform_(-1, 1, generator=generator)
    with tqdm(disable=True) as bar:
        return start, *sampling.run_chains(model, start, labels, protocol, generator, bar)


def test_chains_sample_a_gaussian_as_the_recursion_says():
    r"""z' = z - a (z - m) + sigma xi with a = eta / (4 s^2), since z has twice the images' scale.
    The mean decays by (1 - a)^n and the variance tends to sigma^2 / (1 - (1 - a)^2).
    """
    scale, mean, count = 2.0, 0.7, 600  # two equal logits add log 2 to the density and nothing to its gradient
    protocol = SamplingProtocol(chains=count, steps=100, record_every=50, step_size=1.0, noise=0.1)
    _, ends, log_q, distance, changed = chains_on(Gaussians([mean, mean], scale), None, count, protocol)
    a = 1 / (4 * scale**2)
    variance = 0.1**2 / (1 - (1 - a) ** 2)
    left = (2 * 0.5 - 1 - (2 * mean - 1)) * (1 - a) ** 100  # of the starts' mean, 0: -0.4 * 0.0016
    pixels = 9 * count
    assert ends.mean().item() == pytest.approx(2 * mean - 1 + left, abs=4 * math.sqrt(variance / pixels) + 1e-4)
    assert ends.var().item() == pytest.approx(variance, rel=4 * math.sqrt(2 / pixels) + 1e-3)
    assert log_q.shape == distance.shape == (3, count)
    assert not changed.any()
    seen = -((ends + 1) / 2 - mean).square().flatten(1).sum(dim=1) / (2 * scale**2) + math.log(2)
    torch.testing.assert_close(log_q[-1], seen, rtol=1e-5, atol=1e-5)  # float32, sums of 9


def test_distance_is_the_root_mean_square_in_pixels_and_predictions_are_compared_with_the_start():
    protocol = SamplingProtocol(chains=8, steps=300, record_every=300, noise=0.0)
    start, ends, _, distance, changed = chains_on(Gaussians([-1.0, 0.9], 2.0), torch.ones(8).long(), 8, protocol)
    torch.testing.assert_close(ends, torch.full_like(ends, 0.8), rtol=0, atol=1e-5)
    assert distance[0].tolist() == [0] * 8
    for one, first, last in zip(distance[1], start, ends, strict=True):
        squares = [((u - v) / 2) ** 2 for u, v in zip(last.flatten().tolist(), first.flatten().tolist(), strict=True)]
        assert one.item() == pytest.approx(math.sqrt(sum(squares) / 9), rel=1e-5)
    before = Gaussians([-1.0, 0.9], 2.0)((start + 1) / 2).argmax(dim=1)
    assert changed[1].tolist() == (before != 1).tolist()


def test_chains_of_a_class_go_to_its_mean():
    labels = torch.tensor([0, 1, 1, 0])
    protocol = SamplingProtocol(chains=4, steps=300, record_every=300, noise=0.0)
    _, ends, *_ = chains_on(Gaussians([0.25, 0.75], 2.0), labels, 4, protocol)
    torch.testing.assert_close(ends.mean(dim=(1, 2, 3)), torch.tensor([-0.5, 0.5, 0.5, -0.5]), rtol=0, atol=1e-5)


def test_a_flow_samples_what_it_has_learnt_of_each_class():
    torch.manual_seed(0)
    model = Glow((1, 4, 4), 2, levels=1, depth=2, width=8)
    model.train()(torch.rand(32, 1, 4, 4))
    with torch.no_grad():
        model.flow.q0[0].loc_cc[1] += 1.0
    state = torch.get_rng_state()
    results = sampling.sample_flow(model.eval(), torch.tensor([0, 0, 1, 1]), TINY)
    assert torch.equal(torch.get_rng_state(), state)
    assert results["samples"].shape == (12, 1, 4, 4)
    assert results["class_samples"].shape == (4, 1, 4, 4)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(TINY.seed)
        centred, log_p = model.flow.sample(12, torch.arange(12) % 2)
        pixels = ((centred + 0.5) * 256 - 0.5) / 255
        # The network's own log p(x|y) + log p(y) of the same pixels, whose bins are 1/256 wide; float32.
        own = model(pixels).gather(1, (torch.arange(12) % 2)[:, None])[:, 0]
    torch.testing.assert_close(own, log_p - 16 * math.log(256) - math.log(2), rtol=1e-4, atol=1e-3)
    assert torch.equal(results["samples"], (255 * pixels.clamp(0, 1)).round().to(torch.uint8))


def test_a_protocol_whose_end_is_not_seen_is_refused():
    with pytest.raises(HdgeError, match="samples.steps is 10; it must be a multiple of record_every, 4."):
        SamplingProtocol(steps=10, record_every=4)
    with pytest.raises(HdgeError, match="samples.chains is 1"):
        SamplingProtocol(chains=1)


def finished(root: Path, method: str, seed: int = 0) -> Run:
    """A run of untrained weights on the digits, as training would leave it."""
    torch.manual_seed(seed)
    config = TrainConfig(method=method, seed=seed, **SMALL)
    folder = RunFolder.of("test", method, seed, root)
    folder.write_weights(build_network(config, 8, (1, 8, 8)).state_dict(), config)
    folder.write_outputs("test", Outputs(torch.randn(20, 8), torch.arange(20) % 8))
    folder.finish({"config": json.loads(config.to_json()), "data": {"classes": list("01234567")}})
    return Run(method, seed, folder, config)


def make_archived(run: Run) -> None:
    """What the repository keeps of a run: everything but its weights, whose fingerprint it keeps."""
    digest = run.folder.weights_digest()
    (run.folder.path / "weights.safetensors").unlink()
    run.folder.finish({**run.folder.record(), "weights": digest, "archived": "small"})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three runs, sampled and judged, whose weights are gone since."""
    root = tmp_path_factory.mktemp("study")
    runs = [finished(root, method) for method in ("cross_entropy", "jem", "igebm")]
    first = critics.sample_runs(runs, TINY, root, critics.critic_of(runs))
    for run in runs:
        make_archived(run)
    return root, runs, first


def test_what_was_measured_is_used_without_weights_and_without_data(study, monkeypatch):
    root, runs, (sampled, reference, missing) = study
    monkeypatch.setattr(sampling, "splits_of", None)
    monkeypatch.setattr(critics, "splits_of", None)
    again, same, nothing = critics.sample_runs(runs, TINY, root, critics.critic_of(runs))
    assert missing == nothing == []
    for one, other in zip(sampled, again, strict=True):
        for mine, theirs in ((one.samples, other.samples), (one.critique, other.critique), (reference, same)):
            assert mine.keys() == theirs.keys()
            assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_samples_are_of_every_class_and_chains_start_at_the_first_test_images(study):
    _, _, (sampled, reference, _) = study
    test = load_splits("digits", Path()).test
    for one in sampled:
        samples = one.samples
        assert samples["samples"].shape == (12, 1, 8, 8)
        assert samples["image_labels"].tolist() == [y for y in range(8) for _ in range(2)]
        assert torch.equal(samples["images"][6], test.images[test.labels == 3][0])
        assert samples["steps"].tolist() == [0, 2, 4]
        assert samples["data_distance"].shape == (3, 16)
        assert ("class_samples" in samples) == (one.run.row != "igebm")
    assert sampled[1].samples["class_labels"].tolist() == [y for y in range(8) for _ in range(2)]
    assert len(reference["test_features"]) == len(reference["noise_features"]) == 12
    assert reference["train_mean"].dtype == torch.float64


def test_a_run_without_weights_or_samples_is_named_and_the_rest_goes_on(study):
    root, runs, _ = study
    other = dataclasses.replace(TINY, seed=1)
    fresh = finished(root, "hdge")
    sampled, reference, missing = critics.sample_runs([*runs, fresh], other, root, critics.critic_of(runs))
    assert [one.run.row for one in sampled] == ["hdge"]
    assert reference == sampled[0].critique == {}
    assert len(missing) == 4  # three runs, and the judge, without which nothing has a score
    assert "no weights" in missing[0]
    assert missing[-1].startswith("Scores are missing: ")
    assert critics.sample_runs([], other, root, None) == (
        [], {}, ["No samples: they need a finished run, with its weights, of a method that is sampled."]
    )  # fmt: skip
    assert generation.scores_table(sampled, reference, "study")["score"].tolist() == [generation.ACCURACY]


def test_the_table_holds_the_formulas_of_the_stored_features(study):
    _, _, (sampled, reference, _) = study
    table = generation.scores_table(sampled, reference, "study").set_index(["method", "score"])
    splits = load_splits("digits", Path())
    torch.manual_seed(0)
    model = build_network(TrainConfig(method="cross_entropy", **SMALL), 8, (1, 8, 8)).eval()
    with torch.no_grad():
        train = torch.cat([model.features(batch / 255) for batch in splits.train.images.split(500)])
    score, distance = generation.SCORES["study"]
    for one in sampled:
        row = table.loc[(one.run.row, distance)]
        expected = generation.frechet_distance(one.critique["features"].numpy(), train.numpy())
        # Features in float32: 1e-7 of their size, against a distance that may be far smaller than their squares.
        assert row["value"] == pytest.approx(expected, rel=1e-4)
        assert row["low"] <= row["value"] <= row["high"]
        expected = generation.inception_score(one.critique["probabilities"].double().numpy())
        assert table.loc[(one.run.row, score), "value"] == pytest.approx(expected, rel=1e-6)
    assert ("igebm", generation.ACCURACY) not in table.index
    assert {"test images", "random starts"} < set(table.index.get_level_values("method"))


@pytest.mark.parametrize("methods", [("cross_entropy", "jem", "igebm"), ("jem",), ("igebm",)])
def test_figures_are_drawn_captioned_and_alike_twice(study, methods, tmp_path, monkeypatch):
    use_style()
    monkeypatch.setattr(generation, "REPLICATES", 10)
    _, _, (sampled, reference, _) = study
    own = [one for one in sampled if one.run.row in methods]
    scores, chains = generation.scores_table(own, reference, "study"), generation.chains_table(own)
    samples, pictures = generation.samples_table(own, "study")
    assert len(samples) == len(pictures) == 16 * (1 + len(set(methods) - {"igebm"})) * (methods != ("igebm",))
    drawn = {
        "scores": (scores, lambda: figures.scores_figure(scores)),
        "chains": (chains, lambda: figures.chains_figure(chains)),
        "samples": (samples, lambda: figures.samples_figure(samples, pictures)),
    }
    for name, (table, draw) in drawn.items():
        figure = draw()
        pictures_of = []
        for folder, own in (("first", figure), ("second", draw())):
            write_picture(own, tmp_path / folder / f"{name}.svg", "test scale")
            write_table(table, tmp_path / folder / f"{name}.csv")
            pictures_of.append((tmp_path / folder / f"{name}.svg").read_bytes())
        assert pictures_of[0] == pictures_of[1]
        assert "Scale: test scale" in figure.get_supxlabel()
        assert "n: " in figure.get_supxlabel() or samples.empty
        assert not any(word in figure.get_supxlabel() for word in ("FID", "Inception Score"))
    plt.close("all")


def test_figures_say_so_where_there_is_nothing_to_draw():
    assert figures.chains_figure(generation.chains_table([])).get_suptitle() == "Nothing to draw"
    assert figures.samples_figure(*generation.samples_table([], "study")).get_suptitle() == "Nothing to draw"
    plt.close("all")


def test_a_strip_puts_each_picture_in_its_place():
    table = pd.DataFrame({"class": ["a"] * 3 + ["b"] * 3, "index": [0, 1, 2] * 2})
    pictures = [np.full((1, 2, 2), 10 * i, dtype=np.uint8) for i in range(6)]
    _, ax = plt.subplots()
    canvas = np.asarray(figures.sample_strip(table, pictures, ax).images[0].get_array())
    second = 2 * 3 - 1 + figures.GAP  # two columns of 2 pixels, one white pixel between them, then the gap
    assert [canvas[0, 0], canvas[0, 3], canvas[3, 0]] == [0, 10, 20]
    assert [canvas[1, second], canvas[1, second + 3], canvas[4, second + 1]] == [30, 40, 50]
    assert canvas[0, 2] == canvas[2, 0] == canvas[0, 5] == canvas[3, 3] == 255
    plt.close("all")


def test_all_seeds_are_taken_of_the_two_compared_and_the_lowest_of_the_others(tmp_path):
    methods = ("jem", "hdge", "supcon")
    runs = [Run(method, seed, RunFolder(tmp_path), TrainConfig()) for method in methods for seed in (2, 0, 1)]
    assert [(run.row, run.seed) for run in chosen(runs, "samples")] == [("jem", 2), ("jem", 0), ("jem", 1), ("hdge", 0)]
    firsts = [(run.row, run.seed) for run in first_seeds(runs)]
    assert firsts == [("jem", 0), ("hdge", 0), ("supcon", 0)]


def test_a_given_inception_judges_through_torch_fidelity(study, tmp_path, monkeypatch):
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    class Tiny(FeatureExtractorBase):
        def __init__(self, name, features_list, feature_extractor_weights_path=None, **_):
            super().__init__(name, features_list)
            self.scale = float(Path(feature_extractor_weights_path).read_text())

        @staticmethod
        def get_provided_features_list():
            return "2048", "logits_unbiased"

        @staticmethod
        def can_be_compiled():
            return False

        def forward(self, images):
            assert images.dtype == torch.uint8
            assert images.shape[1] == 3
            means = images.float().mean(dim=(2, 3)) * self.scale
            return means, means / 100

    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "tiny", Tiny)
    monkeypatch.setattr(critics, "INCEPTION", "tiny")
    (tmp_path / "weights").write_text("0.5")
    run = finished(tmp_path, "jem")
    critic = critics.critic_of([run], str(tmp_path / "weights"))
    [one], reference, missing = critics.sample_runs([run], TINY, tmp_path, critic)
    assert missing == []
    expected = one.samples["samples"].float().mean(dim=(2, 3)).expand(-1, 3) / 2
    torch.testing.assert_close(one.critique["features"], expected)
    scores = generation.scores_table([one], reference, critic.name)["score"]
    assert {"Inception Score", "Fréchet Inception Distance"} < set(scores)
    with pytest.raises(HdgeError, match="no such file"):
        critics.critic_of([run], str(tmp_path / "absent"))
