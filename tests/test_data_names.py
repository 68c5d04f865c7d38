"""Names of data sets and the way to their folder, as people write them."""

import pytest

from hdge.data.splits import load_evaluation_set, load_splits
from hdge.study.config import HOME, TrainConfig, data_root, parse_config
from hdge.study.errors import HdgeError
from hdge.study.names import check_set_name
from tests.test_data_archives import archive

ODD_NAMES = [
    "",
    ".",
    "..",
    ".hidden",
    "ood/dtd",
    "../mine",
    "/mine",
    "C:\\mine",
    "mine ",
    "mine\n",
    "münze",
    "a\0b",
    "~",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_that_is_a_path_or_nothing_is_refused(name, tmp_path, splits):
    for refused in (
        lambda: parse_config({"dataset": name}),
        lambda: TrainConfig(evaluation_sets=("interp", name)),
        lambda: load_splits(name, tmp_path),
        lambda: load_evaluation_set(name, tmp_path, splits.test),
    ):
        with pytest.raises(HdgeError, match="is no name of a data set; put the set into the data root"):
            refused()


@pytest.mark.parametrize("name", ["mine", "my-set_2", "v1.0", "_", "MNIST"])
def test_plain_names_are_accepted(name):
    assert TrainConfig(dataset=name, evaluation_sets=(f"{name}-c",)).dataset == name


def test_a_name_without_a_value_is_refused():
    with pytest.raises(HdgeError, match="None is no name of a data set"):
        check_set_name(None)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("test",), "evaluation set 'test' has the name of a part of the data set"),
        (("svhn", "Validation"), "evaluation set 'Validation' has the name of a part"),
        (("train",), "evaluation set 'train' has the name of a part"),
        (("uniform", "uniform"), "evaluation set 'uniform' is given twice"),
        (("svhn", "SVHN"), "evaluation set 'SVHN' is given twice"),
        (("cifar10",), "evaluation set 'cifar10' is the data set itself"),
    ],
)
def test_an_evaluation_set_never_takes_the_place_of_other_outputs(names, message):
    with pytest.raises(HdgeError, match=message):
        parse_config({"evaluation_sets": list(names)})


@pytest.mark.parametrize("name", ["digits", "photos", "digits-heldout", "interp", "uniform"])
def test_a_file_with_the_name_of_a_set_that_is_made_here_is_not_left_alone_in_silence(name, tmp_path, splits):
    archive(tmp_path / f"{name}.npz")
    with pytest.raises(HdgeError, match=f"{name}.npz has the name of a set that is made here; rename it"):
        load_evaluation_set(name, tmp_path, splits.test)


def test_an_archive_and_a_folder_of_one_name_are_refused(tmp_path):
    archive(tmp_path / "mine.npz")
    (tmp_path / "mine").mkdir()
    with pytest.raises(HdgeError, match="mine.npz and .*mine are both there; rename or remove one"):
        load_splits("mine", tmp_path)


@pytest.mark.parametrize("name", ["interp", "uniform"])
def test_sets_made_from_test_images_are_no_data_set_to_train_on(name, tmp_path):
    with pytest.raises(HdgeError, match=f"data set '{name}' has no training images; choose another"):
        load_splits(name, tmp_path)


def test_the_home_and_variables_are_expanded_as_a_shell_would(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    assert data_root("~/data") == tmp_path / "data"
    assert data_root("$SCRATCH/data") == data_root("${SCRATCH}/data") == tmp_path / "scratch" / "data"
    monkeypatch.setenv("HDGE_DATA", "~/sets")
    assert data_root() == tmp_path / "sets"
    monkeypatch.setenv("HDGE_DATA", "")
    assert data_root() == HOME / "data"


@pytest.mark.parametrize("path", ["$HDGE_NO_SUCH/data", "${HDGE_NO_SUCH}/data", "~hdge-no-such-user/data"])
def test_a_variable_or_user_that_does_not_exist_makes_no_folder_of_that_name(path):
    with pytest.raises(HdgeError, match="names a home or a variable that is not there; write the path out"):
        data_root(path)
