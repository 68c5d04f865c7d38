"""Folders of pictures: what they mean is never guessed, and no file is left out in silence."""

import os

import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms.functional import pil_to_tensor

from hdge.data.images import fit
from hdge.data.sources import read
from hdge.data.splits import load_evaluation_set, load_splits
from hdge.study.errors import HdgeError

COLOURS = {"ant": "red", "bee": "lime", "cow": "blue"}


def picture(path, shade):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (48, 40), (shade, shade, shade)).save(path)


def classes(folder, names="ant bee cow", count=12):
    for name in names.split():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            Image.new("RGB", (32, 32), COLOURS.get(name, "white")).save(folder / name / f"{i}.png")


def refused(root, message):
    for load in (load_splits, read):
        with pytest.raises(HdgeError, match=message):
            load("mine", root)


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


def test_own_image_folder_with_its_own_split_has_labels_by_name(tmp_path):
    classes(tmp_path / "mine" / "train")
    classes(tmp_path / "mine" / "test", "cow ant bee", count=3)
    splits = load_splits("mine", tmp_path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [33, 3, 9]
    for part in (splits.train, splits.test):
        assert part.classes == ("ant", "bee", "cow")
        assert part.images[:, :, 0, 0].argmax(1).equal(part.labels)  # red, green, blue


def test_pictures_are_read_as_torchvision_reads_them_bit_for_bit(tmp_path):
    """Its ImageFolder is the reference: in its order, at any depth, for files that have nothing odd about them."""
    generator = torch.Generator().manual_seed(0)
    for i in range(24):
        pixels = torch.randint(256, (37 + i, 50 - i, 3), generator=generator, dtype=torch.uint8)
        image = Image.fromarray(pixels.numpy()).convert(("RGB", "L", "P", "1")[i % 4])
        endings = (".png", ".PNG", ".bmp", ".tif") if i % 4 else (".jpg", ".webp", ".ppm", ".JPEG")
        place = ("B" if i % 3 else "a", "z/0" if i % 2 else "z-1" if i % 5 else "")
        path = tmp_path.joinpath("mine", *place, f"{i}{endings[(i // 4) % 4]}")
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    source = ImageFolder(str(tmp_path / "mine"))
    expected = torch.stack([fit(pil_to_tensor(image)[None], 3, 32, 32)[0] for image, _ in source])
    _, own = read("mine", tmp_path)
    assert own.images.equal(expected)
    assert own.labels.tolist() == source.targets
    assert own.classes == tuple(source.classes) == ("B", "a")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("ant cow", r"missing: bee; added: none"),
        ("ant bee cow wasp", r"missing: none; added: wasp"),
        ("ant Bee cow", r"missing: bee; added: Bee"),
    ],
)
def test_classes_that_differ_between_train_and_test_are_refused_by_name(names, message, tmp_path):
    classes(tmp_path / "mine" / "train")
    classes(tmp_path / "mine" / "test", names)
    refused(tmp_path, rf"mine/test has other class folders than train/ \({message}\); give both parts the same")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ("train val", r"mine has train/ and val/ but no test/; rename the folder of test images to test/"),
        ("train", r"mine has train/ but no test/"),
        ("Train Test", r"mine has Test/ and Train/ but no test/"),
        ("training testing", r"mine has testing/ and training/ but no test/"),
        ("test val", r"mine has test/ and val/ but no train/; rename the folder of training images"),
        ("Train test", r"mine has Train/ and test/ but no train/"),
        ("train test Training", r"mine has Training/ beside "),
        ("train test bee", r"mine has bee/ beside test/ and train/; move its pictures into train/ and test/"),
    ],
)
def test_parts_whose_meaning_could_only_be_guessed_are_refused(parts, message, tmp_path):
    for part in parts.split():
        classes(tmp_path / "mine" / part)
    refused(tmp_path, message)


def test_parts_without_classes_are_not_taken_for_classes(tmp_path):
    for part in ("train", "test"):
        picture(tmp_path / "mine" / part / "0.png", 0)
    refused(tmp_path, "mine/t.*/0.png lies in no class folder; move it into the folder of its class")


def test_a_folder_train_of_pictures_among_other_classes_is_a_class(tmp_path):
    classes(tmp_path / "mine", "bus train plane")
    assert load_splits("mine", tmp_path).train.classes == ("bus", "plane", "train")


def test_validation_images_beside_both_parts_are_left_alone_as_medmnists_are(tmp_path):
    for part, count in (("train", 12), ("val", 5), ("test", 2)):
        classes(tmp_path / "mine" / part, count=count)
    splits = load_splits("mine", tmp_path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [33, 3, 6]


def test_a_test_part_alone_serves_as_evaluation_set(tmp_path, splits):
    classes(tmp_path / "mine" / "test", count=2)
    assert len(load_evaluation_set("mine", tmp_path, splits.test)) == 6


def test_hidden_files_and_what_systems_leave_are_skipped_at_every_depth(tmp_path):
    for part in ("train", "test"):
        classes(tmp_path / "mine" / part)
    clean = load_splits("mine", tmp_path)
    mine = tmp_path / "mine"
    for folder in (mine, mine / "train", mine / "test", mine / "train" / "ant"):
        picture(folder / ".ipynb_checkpoints" / "0-checkpoint.png", 0)
        (folder / "__MACOSX").mkdir()
        for name in (".DS_Store", "._0.png", "Thumbs.db", "desktop.ini", "__MACOSX/._0.png"):
            (folder / name).write_bytes(b"\0\5\x16\7")
    (mine / "README.md").write_text("mine")
    assert load_splits("mine", tmp_path).sha256() == clean.sha256()


def test_an_empty_folder_or_class_and_loose_or_foreign_files_are_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    refused(tmp_path, "mine cannot be read as one folder of images a class: it has no folders; make some")
    classes(tmp_path / "mine")
    (tmp_path / "mine" / "dog").mkdir()
    refused(tmp_path, r"mine/dog holds no pictures \(.jpg, .*; add some, or remove the folder")
    (tmp_path / "mine" / "dog").rmdir()
    (tmp_path / "mine" / "ant" / "0.heic").write_bytes(b"")
    refused(tmp_path, r"ant/0.heic is no picture that is read here \(.jpg, .*; convert or move it")
    (tmp_path / "mine" / "ant" / "0.heic").unlink()
    picture(tmp_path / "mine" / "loose.JPG", 0)
    refused(tmp_path, "loose.JPG lies in no class folder")


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "mine").write_text("")
    refused(tmp_path, "mine cannot be listed")


@pytest.mark.parametrize("place", ["mine", "mine.npz", "mine/ant", "mine/ant/99.png"])
def test_links_out_of_the_data_root_and_broken_links_are_refused(place, tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    classes(outside)
    picture(outside / "99.png", 0)
    if "/" in place:
        classes(root / "mine", "bee cow" if place == "mine/ant" else "ant bee cow")
    root.mkdir(exist_ok=True)
    target = outside / "99.png" if place.endswith("png") else outside
    (root / place).symlink_to(target)
    refused(root, f"{place} leads out of the data root, to .*; put the data themselves into")
    (root / place).unlink()
    (root / place).symlink_to(root / "nowhere")
    refused(root, f"{place} cannot be looked up .*nowhere")
    (root / place).unlink()
    (root / place).symlink_to(root / place)
    refused(root, f"{place} cannot be looked up .*")


def test_links_inside_the_data_root_are_followed_but_not_in_circles(tmp_path):
    classes(tmp_path / "mine")
    (tmp_path / "linked").symlink_to(tmp_path / "mine", target_is_directory=True)
    assert load_splits("linked", tmp_path).sha256() == load_splits("mine", tmp_path).sha256()
    (tmp_path / "mine" / "ant" / "up").symlink_to(tmp_path / "mine" / "ant", target_is_directory=True)
    refused(tmp_path, "ant/up leads back to a folder that holds it; remove that link")


def test_what_may_not_be_read_is_refused_in_a_sentence(tmp_path, monkeypatch):
    def forbid(path):
        raise PermissionError(13, "Permission denied", str(path))

    classes(tmp_path / "mine")
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", forbid)
        refused(tmp_path, "mine cannot be listed .*Permission denied.*; give yourself the right to read it")
    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "lstat", forbid)
        refused(tmp_path, "mine.npz cannot be looked up .*Permission denied")
