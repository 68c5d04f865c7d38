import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from hdge.data.augment import add_noise, augment, to_unit
from hdge.data.splits import interpolate_pairs, load_evaluation_set, load_splits
from hdge.study.errors import HdgeError


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_digits_have_fixed_disjoint_splits(tmp_path):
    splits = load_splits("digits", tmp_path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [866, 96, 481]
    assert splits.train.images.shape[1:] == (1, 8, 8)
    # No two of scikit-learn's digits are equal, so a pixel-identical image in two parts would be the same image.
    parts = [rows(part.images) for part in (splits.train, splits.validation, splits.test)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 1443
    assert splits.sha256() == load_splits("digits", tmp_path).sha256()
    assert set(splits.train.labels.tolist()) == set(range(8))


def test_held_out_digits_are_the_two_classes_that_training_never_sees(tmp_path):
    splits = load_splits("digits", tmp_path)
    held_out = load_evaluation_set("digits-heldout", tmp_path, splits.test)
    assert held_out.classes == ("8", "9")
    assert len(held_out) == 354
    every = set.union(*(rows(part.images) for part in (splits.train, splits.validation, splits.test)))
    assert not every & rows(held_out.images)


@pytest.mark.parametrize(("name", "count"), [("photos", 520), ("interp", 481), ("uniform", 481)])
def test_made_sets_fit_the_in_distribution_images_and_are_always_the_same(name, count, tmp_path):
    test = load_splits("digits", tmp_path).test
    made = load_evaluation_set(name, tmp_path, test)
    assert made.images.shape == (count, *test.images.shape[1:])
    assert made.images.dtype == torch.uint8
    assert made.images.equal(load_evaluation_set(name, tmp_path, test).images)


def test_interpolated_images_are_means_of_two_different_images(tmp_path):
    test = load_splits("digits", tmp_path).test
    pairs = interpolate_pairs(test)
    means = {
        ((a.int() + b.int() + 1) // 2).to(torch.uint8).numpy().tobytes(): int(la == lb)
        for i, (a, la) in enumerate(zip(test.images, test.labels, strict=False))
        for b, lb in zip(test.images[i + 1 :], test.labels[i + 1 :], strict=False)
    }
    found = [means[image.numpy().tobytes()] for image in pairs.images]
    assert found == pairs.labels.tolist()
    assert set(pairs.labels.tolist()) == {0, 1}


def test_augmentation_by_nothing_is_the_image():
    images = torch.randint(256, (5, 3, 8, 8), generator=generator(), dtype=torch.uint8)
    assert augment(images, generator(), crop_padding=0, flip=False, noise=0.0).equal(to_unit(images))


@given(st.integers(0, 1000), st.integers(1, 7), st.booleans())
@settings(deadline=None, max_examples=40)
def test_every_augmented_image_is_a_crop_of_the_reflected_border(seed, padding, flip):
    images = torch.randint(256, (4, 3, 8, 8), generator=generator(seed), dtype=torch.uint8)
    crops = augment(images, generator(seed + 1), padding, flip, noise=0.0)
    padded = F.pad(to_unit(images), (padding,) * 4, mode="reflect")
    windows = padded.unfold(2, 8, 1).unfold(3, 8, 1)  # image, channel, row, column of the window, 8, 8
    for crop, window in zip(crops, windows, strict=True):
        candidates = window.flatten(1, 2).transpose(0, 1)
        if flip:
            candidates = torch.cat([candidates, candidates.flip(-1)])
        assert (candidates == crop).flatten(1).all(1).any()


def test_augmentation_mirrors_half_of_the_images_and_takes_every_crop_and_noise():
    ramp = torch.arange(8, dtype=torch.uint8).expand(400, 1, 8, 8)
    mirrored = augment(ramp, generator(), 0, True, 0.0).eq(to_unit(ramp).flip(3)).flatten(1).all(1)
    # The standard error of a share of 400 images is sqrt(0.5 * 0.5 / 400) = 0.025; four of them.
    assert mirrored.float().mean().item() == pytest.approx(0.5, abs=0.1)
    # A border of 2 pixels has 5 crops a direction; 400 images miss one with probability 5 * 0.8^400 = 1e-38.
    across = augment(ramp, generator(), 2, False, 0.0)[:, 0, 0]
    down = augment(ramp.transpose(2, 3), generator(), 2, False, 0.0)[:, 0, :, 0]
    for crops in (across, down):
        assert len({tuple(crop.tolist()) for crop in crops}) == 5
    grey = torch.full((200, 1, 16, 16), 128, dtype=torch.uint8)
    noisy = augment(grey, generator(), 0, False, 0.03)
    # Five standard errors, as below: pixels are in [0, 1], and the noise is told on a range twice as wide.
    assert 2 * (noisy - 128 / 255).std().item() == pytest.approx(0.03, abs=4.7e-4)


def test_augmentation_is_the_generators_alone():
    images = torch.randint(256, (64, 1, 8, 8), generator=generator(), dtype=torch.uint8)
    first = augment(images, generator(7))
    torch.manual_seed(99)
    assert augment(images, generator(7)).equal(first)
    assert not augment(images, generator(8)).equal(first)


def test_noise_has_its_size_on_the_scale_from_minus_one_to_one():
    images = torch.full((200, 1, 16, 16), 0.5)
    spread = 2 * (add_noise(images, 0.03, generator()) - images).std().item()
    # 51,200 draws: the standard error of a standard deviation is 0.03 / sqrt(2 n) = 9.4e-5; five of them.
    assert spread == pytest.approx(0.03, abs=4.7e-4)


def test_an_unknown_set_is_refused_with_those_that_are_known(tmp_path):
    with pytest.raises(HdgeError, match="no data set 'cifar11'; choose from digits, .*cifar10"):
        load_splits("cifar11", tmp_path)
    with pytest.raises(HdgeError, match="'photos' has no training images"):
        load_splits("photos", tmp_path)
