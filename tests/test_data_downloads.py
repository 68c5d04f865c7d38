"""torchvision's published sets: read from small files in their layout, and refused in a sentence without a network."""

import http.client
import pickle
import tarfile
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torchvision

from hdge.data.sources import read
from hdge.data.splits import load_evaluation_set, load_splits
from hdge.study.errors import HdgeError
from tests.test_data_folders import picture


def cifar_folder(folder):
    """Twenty images for each part, in the published layout."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    pixels = {}
    for name in ("data_batch_1", "test_batch"):
        pixels[name] = draw.integers(256, size=(20, 3072), dtype=np.uint8)
        content = {"data": pixels[name], "labels": [i % 10 for i in range(20)]}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class{i}" for i in range(10)]}))
    return pixels


@pytest.fixture
def cifar(monkeypatch):
    """torchvision's class without the published checksums: a folder is whole once it is there."""
    kind = torchvision.datasets.CIFAR10
    monkeypatch.setattr(kind, "train_list", [["data_batch_1", ""]])
    monkeypatch.setattr(
        kind, "_check_integrity", lambda self: (Path(self.root) / kind.base_folder / "batches.meta").exists()
    )
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5: True)
    return kind


def test_torchvisions_cifar10_files_are_read(tmp_path, cifar):
    pixels = cifar_folder(tmp_path / cifar.base_folder)
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
    _, test = read("svhn", tmp_path)
    assert test.labels.tolist() == [0, 1, 2, 3, 9, 0]
    assert test.images.permute(2, 3, 1, 0).numpy().tolist() == images.tolist()


def test_torchvisions_celeba_files_are_read(tmp_path, monkeypatch, splits):
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
    faces = load_evaluation_set("celeba", tmp_path, splits.test)
    assert faces.images.shape == (2, 1, 8, 8)
    assert faces.images[:, 0, 0, 0].tolist() == pytest.approx([40, 120], abs=2)
    with pytest.raises(HdgeError, match="'celeba' has the one class 'face'"):
        load_splits("celeba", tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        OSError("no route to host"), urllib.error.URLError("no name"), http.client.IncompleteRead(b"", 7),
        tarfile.ReadError("cut"), EOFError(), RuntimeError("quota\nexceeded"), pickle.UnpicklingError("torn"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_a_download_that_fails_half_way_names_the_remedy_and_leaves_nothing(error, tmp_path, cifar, monkeypatch):
    def fail(self):
        assert self.root != str(tmp_path)  # never where a later run would look for it
        (Path(self.root) / cifar.base_folder).mkdir()
        (Path(self.root) / cifar.filename).write_bytes(b"half of it")
        raise error

    monkeypatch.setattr(cifar, "download", fail)
    with pytest.raises(
        HdgeError, match=r"\Acifar10 could not be downloaded into \S+, or read there \(.+\); put cifar10.npz there.\Z"
    ):
        load_splits("cifar10", tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_a_download_that_succeeds_is_kept_and_completes_what_was_there(tmp_path, cifar, monkeypatch):
    calls = []

    def complete(self):
        assert (Path(self.root) / cifar.filename).read_bytes() == b"put here by hand"
        calls.append(cifar_folder(Path(self.root) / cifar.base_folder) if not self._check_integrity() else None)

    monkeypatch.setattr(cifar, "download", complete)
    (tmp_path / cifar.filename).write_bytes(b"put here by hand")
    first = load_splits("cifar10", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [cifar.base_folder, cifar.filename]
    count = len(calls)
    assert load_splits("cifar10", tmp_path).sha256() == first.sha256()
    assert len(calls) == count == 2  # training and test images; the second reading asked for no download


def test_damaged_published_files_are_refused(tmp_path, cifar):
    cifar_folder(tmp_path / cifar.base_folder)
    (tmp_path / cifar.base_folder / "test_batch").write_bytes(b"\x80\x04 torn")
    with pytest.raises(HdgeError, match="cifar10 could not be downloaded .*put cifar10.npz there"):
        load_splits("cifar10", tmp_path)


def test_svhn_without_a_network_is_refused_by_the_real_reader(tmp_path, monkeypatch):
    def no_network(*arguments, **options):
        raise urllib.error.URLError("no name")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(HdgeError, match="svhn could not be downloaded .*put svhn.npz there"):
        read("svhn", tmp_path)
    assert list(tmp_path.iterdir()) == []
