"""Total variation of images, and detection among images of alike variation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hdge.evaluators import ood
from hdge.measure.variation import total_variation
from hdge.study.config import TrainConfig
from hdge.study.errors import HdgeError
from hdge.study.runs import Outputs, Run, RunFolder
from tests.reference import formulas

IMAGES = 200
images = st.lists(st.tuples(st.integers(-4, 4).map(float), st.integers(0, 6).map(float)), min_size=1, max_size=14)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
def test_total_variation_equals_its_loop(seed, channels, height, width):
    pixels = np.random.default_rng(seed).integers(0, 256, (2, channels, height, width), np.uint8)
    expected = [formulas.total_variation(image.tolist()) for image in pixels]
    assert total_variation(torch.from_numpy(pixels)).tolist() == expected


def test_total_variation_is_nothing_of_a_flat_image_and_most_of_a_chessboard():
    flat = torch.full((1, 3, 6, 5), 200, dtype=torch.uint8)
    chessboard = 255 * ((torch.arange(6)[:, None] + torch.arange(5)) % 2).to(torch.uint8).expand(1, 3, 6, 5)
    pairs_of_neighbours = 3 * (5 * 5 + 6 * 4)
    assert total_variation(flat).tolist() == [0]
    assert total_variation(chessboard).tolist() == [255 * pairs_of_neighbours]


@given(images, images, st.sampled_from([1, 2, 4, 8]))  # shares of these strata are exact in binary
@settings(deadline=None)
def test_stratified_auroc_equals_its_loop(inside, outside, strata):
    (s, x), (r, z) = (map(list, zip(*pairs, strict=True)) for pairs in (inside, outside))
    expected = formulas.stratified_mann_whitney(inside, outside, strata)
    # Both divide sums of at most 196 halves; the weights are ratios of small integers.
    assert ood.stratified_auroc(s, r, x, z, strata) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(images, images)
@settings(deadline=None)
def test_of_one_covariate_it_is_auroc_and_it_sees_no_function_of_the_stratum(inside, outside):
    (s, x), (r, z) = (map(list, zip(*pairs, strict=True)) for pairs in (inside, outside))
    assert ood.stratified_auroc(s, r, [1] * len(s), [1] * len(r), 4) == pytest.approx(ood.auroc(s, r), abs=1e-12)
    pooled = np.concatenate([x, z])
    stratum = np.digitize(pooled, np.quantile(pooled, [0.25, 0.5, 0.75]))
    moved = np.concatenate([s, r]) + 100 * stratum
    before = ood.stratified_auroc(s, r, x, z, 4)
    assert ood.stratified_auroc(moved[: len(s)], moved[len(s) :], x, z, 4) == pytest.approx(before, nan_ok=True)


def test_sets_without_a_stratum_in_common_have_no_stratified_auroc():
    assert math.isnan(ood.stratified_auroc([1, 2], [3, 4], [0, 0], [9, 9], 2))


@pytest.mark.parametrize(
    ("covariates", "strata", "sentence"),
    [
        (([1.0], [1.0]), 2, "number of covariates is 1; it must be that of scores, 2."),
        (([1.0, math.nan], [1.0]), 2, r"covariate\[1\] is nan; it must be a finite number"),
        (([1.0, 2.0], [1.0]), 0, "strata is 0; it must be at least 1."),
    ],
)
def test_covariates_that_are_none_are_refused(covariates, strata, sentence):
    with pytest.raises(HdgeError, match=sentence):
        ood.stratified_auroc([1.0, 2.0], [3.0], *covariates, strata)


def test_a_density_of_smoothness_alone_detects_nothing_among_alike_images(tmp_path):
    """Its AUROC is all smoothness; matched, half is left. A set without any smooth image is not matched."""
    draw = np.random.default_rng(0)
    rough = {name: draw.normal(mean, 10, IMAGES) for name, mean in (("test", 50), ("near", 40), ("far", 500))}
    config = TrainConfig(evaluation_sets=("near", "far"))
    run = Run("jem", 0, RunFolder(tmp_path), config)
    run.folder.write_config(config)
    for name, own in rough.items():
        noise = draw.normal(0, 5, (IMAGES, 1))
        logits = torch.from_numpy(noise - own[:, None]).float().expand(-1, 2).contiguous()
        run.folder.write_outputs(name, Outputs(logits, torch.zeros(IMAGES, dtype=torch.int64)))
    run.folder.finish({"config": {}})
    table = ood.variation_table([run], {name: torch.from_numpy(own) for name, own in rough.items()}).set_index(
        "ood_set"
    )
    assert (table["correlation"] < -0.8).all()
    near, far = table.loc["near"], table.loc["far"]
    assert near["auroc"] < 0.3
    # The standard error of AUROC at chance is sqrt((n + m + 1) / (12 n m)) = 0.029; four of them, and the rest within.
    assert near["auroc_matched"] == pytest.approx(near["variation_matched"], abs=0.12)
    assert abs(near["variation_matched"] - 0.5) < ood.MATCHED
    assert far["auroc"] == 1
    assert math.isnan(far["auroc_matched"])


def test_without_any_variation_the_table_has_its_columns_alone():
    assert list(ood.variation_table([], {}))[:5] == ["method", "seed", "ood_set", "n_in", "n_out"]
