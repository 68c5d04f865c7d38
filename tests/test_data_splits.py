"""Sets too small or too lopsided to train on are refused; those of the study have the splits that they always had."""

import numpy as np
import pytest
import torch

from hdge.data.images import ImageSet
from hdge.data.splits import interpolate_pairs, load_evaluation_set, load_splits
from hdge.study.errors import HdgeError
from tests.test_data_archives import archive


def own(tmp_path, train_labels, test_labels=(0, 1), **changes):
    if train_labels is None:
        train = {"train_images": None, "train_labels": None}
    else:
        images = np.zeros((len(train_labels), 4, 4), np.uint8)
        train = {"train_images": images, "train_labels": np.array(train_labels)}
    test = {"test_images": np.zeros((len(test_labels), 4, 4), np.uint8), "test_labels": np.array(test_labels)}
    archive(tmp_path / "mine.npz", **train, **test, **changes)
    return load_splits("mine", tmp_path)


@pytest.mark.parametrize(
    ("train_labels", "test_labels", "message"),
    [
        ([0, 2] * 20, [0, 2], r"no image of class 1 \('1'\) among its 36 training images; number the classes from 0"),
        ([1, 2] * 20, [1, 2], r"no image of class 0 \('0'\)"),
        ([0, 1] * 20, [0, 3], r"no image of class 2 \('2'\)"),
        ([0] * 40, [0] * 9, "has the one class '0'; a classifier needs at least two"),
        ([0] * 40, [0, 1], r"no image of class 1 \('1'\)"),
        ([0, 1] * 4 + [0], [0, 1], "has 9 training images; add some, for it must have at least 10"),
        ([0], [0, 1], "has 1 training images"),
        (None, [0, 1] * 7, "has 10 training images|no image of class"),
        (None, [0, 1] * 6, "has 8 training images"),
        (None, [0, 1], "has 2 training images"),
        (None, [0] * 40, "has the one class '0'"),
    ],
)
def test_sets_without_what_training_needs_are_refused(train_labels, test_labels, message, tmp_path):
    if message.startswith("has 10"):  # the smallest set without a split: 14 images leave 10 for training
        assert [len(p) for p in vars(own(tmp_path, None, test_labels)).values()] == [9, 1, 4]
        return
    with pytest.raises(HdgeError, match=f"data set 'mine' .*{message}"):
        own(tmp_path, train_labels, test_labels)


def test_ten_training_images_leave_one_for_validation(tmp_path):
    splits = own(tmp_path, [0, 1] * 5, [0])
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [9, 1, 1]


def test_a_class_that_validation_took_whole_is_refused(tmp_path):
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1234))
    labels = torch.zeros(20, dtype=torch.int64)
    labels[order[0]] = 1  # the first of the two validation images
    with pytest.raises(HdgeError, match=r"no image of class 1 \('1'\) among its 18 training images"):
        own(tmp_path, labels.tolist())


def test_a_named_class_without_images_is_refused_by_its_name(tmp_path):
    with pytest.raises(HdgeError, match=r"no image of class 2 \('cow'\)"):
        own(tmp_path, [0, 1] * 20, classes=np.array(["ant", "bee", "cow"]))


def test_an_image_is_never_paired_with_itself():
    one = ImageSet("mine", torch.zeros(1, 1, 4, 4, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64), ("a", "b"))
    with pytest.raises(HdgeError, match="'interp' needs at least two test images; data set 'mine' has 1"):
        interpolate_pairs(one)


def test_the_digits_are_the_images_that_they_always_were(tmp_path, splits):
    """The fingerprint that the records of earlier runs hold."""
    assert splits.sha256() == "cab3feb0ad73a216fcfe0f6e42ebef206c75961d581db2989b4bcdba9674d72e"
    photos = load_evaluation_set("photos", tmp_path, splits.test)
    assert len(photos) == 520
