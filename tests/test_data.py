import pickle

import numpy as np
import pytest
import scipy.io
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

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
    for crop, window in zip(crops, windows, strict=False):
        candidates = window.flatten(1, 2).transpose(0, 1)
        if flip:
            candidates = torch.cat([candidates, candidates.flip(-1)])
        assert (candidates == crop).flatten(1).all(1).any()


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


def archive(path, **changes):
    draw = np.random.default_rng(0)
    arrays = {
        "train_images": draw.integers(256, size=(40, 8, 8, 3), dtype=np.uint8), "train_labels": np.arange(40) % 4,
        "test_images": draw.integers(256, size=(12, 8, 8, 3), dtype=np.uint8), "test_labels": np.arange(12) % 4,
    }  # fmt: skip
    arrays |= changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})


def test_own_archive_by_name(tmp_path):
    archive(tmp_path / "mine.npz")
    splits = load_splits("mine", tmp_path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [36, 4, 12]
    other = load_evaluation_set("mine", tmp_path, load_splits("digits", tmp_path).test)
    assert other.images.shape == (12, 1, 8, 8)


def test_medmnist_shapes_are_read(tmp_path):
    archive(tmp_path / "grey.npz", train_images=None, train_labels=None,
            test_images=np.zeros((12, 8, 8), np.uint8), test_labels=(np.arange(12) % 4)[:, None])  # fmt: skip
    splits = load_splits("grey", tmp_path)
    assert len(splits.test) == 4
    assert splits.train.images.shape == (8, 1, 8, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_images": None}, "lacks test_images"),
        ({"train_labels": None}, "has train_images but not train_labels"),
        ({"train_images": np.zeros((40, 8, 8, 3))}, "train_images are float64; they must be uint8"),
        ({"test_labels": np.zeros(12)}, "test_labels are float64; they must be integers"),
        ({"test_labels": np.arange(12) - 1}, "labels hold -1"),
        ({"classes": np.array(["a", "b"])}, "has a label 3, but only 2 classes"),
        ({"test_images": np.zeros((12, 8, 8, 5), np.uint8)}, "it must be"),
        ({"test_labels": np.zeros(11, int)}, "12 test_images but 11 test_labels"),
        ({"train_images": np.zeros((40, 9, 9, 3), np.uint8)}, "they must agree"),
        ({"classes": np.array([{}], dtype=object)}, "cannot be read as an .npz archive of plain arrays"),
    ],
)
def test_bad_archives_are_refused_in_a_sentence(changes, message, tmp_path):
    archive(tmp_path / "bad.npz", **changes)
    with pytest.raises(HdgeError, match=message):
        load_splits("bad", tmp_path)


def test_damaged_archive_and_unknown_set_are_refused(tmp_path):
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(HdgeError, match="cannot be read as an .npz archive"):
        load_splits("torn", tmp_path)
    with pytest.raises(HdgeError, match="no data set 'cifar11'; choose from digits, .*cifar10"):
        load_splits("cifar11", tmp_path)
    with pytest.raises(HdgeError, match="'photos' has no training images"):
        load_splits("photos", tmp_path)


def picture(path, shade):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (48, 40), (shade, shade, shade)).save(path)


def test_own_image_folder(tmp_path):
    for label, name in enumerate(("cat", "dog")):
        for i in range(12):
            picture(tmp_path / "pets" / name / f"{i}.png", 100 * label + i)
    splits = load_splits("pets", tmp_path)
    assert splits.train.classes == ("cat", "dog")
    assert splits.train.images.shape[1:] == (3, 32, 32)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [15, 1, 8]
    shades = splits.test.images[:, 0, 0, 0]
    assert ((shades >= 100).long() == splits.test.labels).all()


def test_own_image_folder_with_its_own_split(tmp_path):
    for part, count in (("train", 20), ("test", 3)):
        for i in range(count):
            picture(tmp_path / "pets" / part / "cat" / f"{i}.png", i)
    splits = load_splits("pets", tmp_path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [18, 2, 3]
    (tmp_path / "empty").mkdir()
    with pytest.raises(HdgeError, match="cannot be read as one folder of images a class"):
        load_splits("empty", tmp_path)


def test_torchvisions_cifar10_files_are_read(tmp_path, monkeypatch):
    """The real reader on small files in the published layout; only the published checksums are set aside."""
    cifar = torchvision.datasets.CIFAR10
    folder = tmp_path / cifar.base_folder
    folder.mkdir()
    draw = np.random.default_rng(0)
    pixels = {}
    for name in ("data_batch_1", "test_batch"):
        pixels[name] = draw.integers(256, size=(20, 3072), dtype=np.uint8)
        content = {"data": pixels[name], "labels": [i % 10 for i in range(20)]}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class{i}" for i in range(10)]}))
    monkeypatch.setattr(cifar, "train_list", [["data_batch_1", ""]])
    monkeypatch.setattr(cifar, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5: True)
    splits = load_splits("cifar10", tmp_path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [18, 2, 20]
    assert splits.test.classes[3] == "class3"
    # Stored as rows of red, green and blue planes: exactly our layout.
    assert splits.test.images.reshape(20, -1).numpy().tolist() == pixels["test_batch"].tolist()


def test_torchvisions_svhn_files_are_read(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(256, size=(32, 32, 3, 6), dtype=np.uint8)
    for split in ("train", "test"):
        labels = np.array([[10], [1], [2], [3], [9], [10]], dtype=np.uint8)  # the published 10 stands for 0
        scipy.io.savemat(tmp_path / f"{split}_32x32.mat", {"X": images, "y": labels})
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda path, md5: True)
    monkeypatch.setattr("torchvision.datasets.svhn.download_url", lambda *arguments: None)
    test = load_splits("svhn", tmp_path).test
    assert test.labels.tolist() == [0, 1, 2, 3, 9, 0]
    assert test.images.permute(2, 3, 1, 0).numpy().tolist() == images.tolist()


def test_torchvisions_celeba_files_are_read(tmp_path, monkeypatch):
    base = tmp_path / "celeba"
    names = [f"{i:06d}.jpg" for i in range(1, 5)]
    for i, name in enumerate(names):
        picture(base / "img_align_celeba" / name, 40 * i)
    (base / "list_eval_partition.txt").write_text("".join(f"{n} {2 * (i % 2)}\n" for i, n in enumerate(names)))
    (base / "identity_CelebA.txt").write_text("".join(f"{n} 1\n" for n in names))
    for kind, columns in (("bbox", 4), ("landmarks_align", 10), ("attr", 40)):
        header = " ".join(f"c{j}" for j in range(columns))
        body = "".join(f"{n} {' '.join(['1'] * columns)}\n" for n in names)
        (base / f"list_{kind}_celeba.txt").write_text(f"{len(names)}\n{header}\n{body}")
    monkeypatch.setattr(torchvision.datasets.CelebA, "_check_integrity", lambda self: True)
    reference = load_splits("digits", tmp_path).test
    faces = load_evaluation_set("celeba", tmp_path, reference)
    assert faces.images.shape == (2, 1, 8, 8)
    assert faces.images[:, 0, 0, 0].tolist() == pytest.approx([40, 120], abs=2)


def test_a_download_that_fails_names_the_remedy(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", refuse)
    with pytest.raises(HdgeError, match="cifar10 could not be downloaded .*put cifar10.npz there"):
        load_splits("cifar10", tmp_path)
