"""Archives of one's own: read in MedMNIST's layout, or refused in a sentence; nothing is ever unpickled."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from hdge.data import archives
from hdge.data import files as reader
from hdge.data.splits import load_evaluation_set, load_splits
from hdge.study.errors import HdgeError
from tests.conftest import EXAMPLES

SENTENCE = r"\A[^\n]+; [^\n]+\.\Z"


def arrays(**changes):
    draw = np.random.default_rng(0)
    made = {
        "train_images": draw.integers(256, size=(40, 8, 8, 3), dtype=np.uint8), "train_labels": np.arange(40) % 4,
        "test_images": draw.integers(256, size=(12, 8, 8, 3), dtype=np.uint8), "test_labels": np.arange(12) % 4,
    }  # fmt: skip
    return {key: value for key, value in (made | changes).items() if value is not None}


def archive(path, **changes):
    np.savez(path, **arrays(**changes))


def read_or_refused(root):
    """The splits, or the one sentence; any other exception is the caller's failure."""
    try:
        return load_splits("fuzz", root)
    except HdgeError as error:
        return str(error)


def refused(tmp_path, message, **changes):
    archive(tmp_path / "bad.npz", **changes)
    with pytest.raises(HdgeError, match=message):
        load_splits("bad", tmp_path)


def test_own_archive_by_name(tmp_path, splits):
    archive(tmp_path / "mine.npz")
    own = load_splits("mine", tmp_path)
    assert [len(part) for part in (own.train, own.validation, own.test)] == [36, 4, 12]
    assert own.test.images.permute(0, 2, 3, 1).numpy().tolist() == arrays()["test_images"].tolist()
    other = load_evaluation_set("mine", tmp_path, splits.test)
    assert other.images.shape == (12, 1, 8, 8)


def test_medmnist_shapes_are_read_and_its_validation_images_left_alone(tmp_path):
    archive(tmp_path / "grey.npz", train_images=None, train_labels=None,
            test_images=np.zeros((18, 8, 8), np.uint8), test_labels=(np.arange(18) % 3)[:, None],
            val_images=np.array([None]), val_labels=np.zeros(7))  # fmt: skip
    splits = load_splits("grey", tmp_path)
    assert len(splits.test) == 6
    assert splits.train.images.shape == (11, 1, 8, 8)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint64, ">i4"])
def test_labels_of_every_integer_type_and_memory_order_are_read_alike(kind, tmp_path):
    archive(tmp_path / "mine.npz")
    expected = load_splits("mine", tmp_path).sha256()
    archive(tmp_path / "mine.npz", train_labels=(np.arange(40) % 4).astype(kind).reshape(40, 1, 1),
            train_images=np.asfortranarray(arrays()["train_images"]),
            classes=np.array([b"a", b"b", b"c", b"d"]))  # fmt: skip
    assert load_splits("mine", tmp_path).sha256() == expected
    assert load_splits("mine", tmp_path).train.classes == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_images": None}, "lacks test_images"),
        ({"train_labels": None}, "has train_images but not train_labels"),
        ({"train_images": None}, "has train_labels but not train_images"),
        ({"Train_images": np.zeros(3)}, "has the key 'Train_images'; rename it to one of"),
        ({"train_images": np.zeros((40, 8, 8, 3))}, "train_images are float64; they must be uint8"),
        ({"test_labels": np.zeros(12)}, "test_labels are float64; they must be integers"),
        ({"test_labels": np.zeros(12, bool)}, "test_labels are bool; they must be integers"),
        ({"test_labels": np.zeros(12, "m8[s]")}, "test_labels are timedelta64.s.; they must be integers"),
        ({"test_labels": np.array(list("abc" * 4))}, "test_labels are <U1; they must be integers"),
        ({"test_labels": np.arange(12) - 1}, "labels hold -1; labels run from 0 to 65535"),
        ({"train_labels": np.r_[np.arange(39) % 4, 1_000_000]}, "labels hold 1000000; labels run from 0 to 65535"),
        ({"train_labels": np.full(40, 2**64 - 1, np.uint64)}, "labels hold 18446744073709551615; labels run from"),
        ({"train_labels": np.eye(4, dtype=int)[np.arange(40) % 4]}, r"shape \(40, 4\); it must be \(N,\) or \(N, 1\)"),
        ({"classes": np.array(["a", "b"])}, "has a label 3, but only 2 classes"),
        ({"classes": np.array("abcd")}, r"classes are <U4 of shape \(\); they must be one list"),
        ({"classes": np.array([0.5, 1, 2, 3])}, "classes are float64 of shape"),
        ({"classes": np.array(list("abca"))}, "has the class 'a' twice"),
        ({"classes": np.array([b"\xff", b"b", b"c", b"d"])}, "classes cannot be read .*; write them as text"),
        ({"test_images": np.zeros((12, 8, 8, 5), np.uint8)}, "it must be"),
        ({"test_images": np.zeros((12, 3, 8, 8), np.uint8)}, "with 1 or 3 channels last"),
        ({"test_images": np.zeros((12, 0, 8, 3), np.uint8)}, "each at least 1"),
        ({"test_labels": np.zeros(11, int)}, "12 test_images but 11 test_labels"),
        ({"test_images": np.zeros((0, 8, 8, 3), np.uint8), "test_labels": np.zeros(0, int)}, "N at least 1"),
        ({"train_images": np.zeros((0, 8, 8, 3), np.uint8), "train_labels": np.zeros(0, int)}, "N at least 1"),
        ({"train_images": np.zeros((40, 9, 9, 3), np.uint8)}, "they must agree"),
        ({"classes": np.array([{}], dtype=object)}, "cannot be read as an .npz archive of plain arrays .*never loaded"),
        ({"train_images": np.zeros(40, [("x", "u1")])}, "they must be uint8"),
    ],
)  # fmt: skip
def test_bad_archives_are_refused_in_a_sentence(changes, message, tmp_path):
    refused(tmp_path, message, **changes)
    refused(tmp_path, SENTENCE, **changes)


def test_damaged_archives_are_refused_by_name(tmp_path):
    np.savez_compressed(tmp_path / "packed.npz", **arrays())
    packed = (tmp_path / "packed.npz").read_bytes()
    archive(tmp_path / "plain.npz")
    plain = bytearray((tmp_path / "plain.npz").read_bytes())
    plain[5000] ^= 255
    single = io.BytesIO()
    np.save(single, arrays()["test_images"])
    damaged = {
        "torn": b"PK\x03\x04 torn", "deflate": packed[:200] + b"\xff" * 60 + packed[260:], "crc": bytes(plain),
        "array": single.getvalue(), "cut": packed[: len(packed) // 2], "page": b"<html>quota exceeded</html>",
        "empty": b"", "pickle": b"\x80\x04N.",
    }  # fmt: skip
    for name, content in damaged.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
        with pytest.raises(HdgeError, match=f"{name}.npz cannot be read as an .npz archive .*; make or download it"):
            load_splits(name, tmp_path)
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(HdgeError, match="folder.npz cannot be read as an .npz archive"):
        load_splits("folder", tmp_path)


class Bomb:
    """Unpickling it writes a file, as an attacker's pickle could do anything."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


@pytest.mark.parametrize("key", ["train_images", "train_labels", "test_images", "test_labels", "classes", "val_images"])
def test_a_pickle_inside_an_archive_is_never_run(key, tmp_path):
    marker = tmp_path / "executed"
    archive(tmp_path / "bad.npz", **{key: np.array([Bomb(marker)], dtype=object)})
    if key == "val_images":
        load_splits("bad", tmp_path)
    else:
        with pytest.raises(HdgeError, match="bad.npz cannot be read .*pickled objects, which are never loaded"):
            load_splits("bad", tmp_path)
    assert not marker.exists()
    np.load(tmp_path / "bad.npz", allow_pickle=True)[key][0].close()
    assert marker.exists()  # the trap was set


def write_member(path, header, content=b""):
    """An archive whose training images have a header of our own making."""
    archive(path, train_images=None)
    text = f"{header}\n".encode()
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("train_images.npy", b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text + content)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (10000000000000, 8, 8)}", "640,000,000,000,000 bytes"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, -40, 8, 8)}", "cannot be read"),
        ("{'descr': '|S0', 'fortran_order': False, 'shape': (10000000000000,)}", "cannot be read"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (__import__('os').abort(),)}", "cannot be read"),
        ("{'descr': '|u1'}", "cannot be read"),
        ("[" * 5000, "cannot be read"),
    ],
)
def test_headers_that_lie_are_refused_before_memory_is_taken(header, message, tmp_path):
    write_member(tmp_path / "bad.npz", header)
    with pytest.raises(HdgeError, match=message):
        load_splits("bad", tmp_path)


def test_archives_that_announce_too_much_are_refused(tmp_path, monkeypatch):
    archive(tmp_path / "mine.npz")
    size = sum(array.nbytes for array in arrays().values())
    monkeypatch.setattr(reader, "LARGEST_ARCHIVE", size)
    load_splits("mine", tmp_path)
    monkeypatch.setattr(reader, "LARGEST_ARCHIVE", size - 1)
    with pytest.raises(HdgeError, match=f"mine.npz announces {size:,} bytes of arrays; keep them to {size - 1:,}"):
        load_splits("mine", tmp_path)


ANY_ARRAY = arrays_of.arrays(
    st.one_of(
        st.sampled_from(list(map(np.dtype, ("u1", "i8", ">i2", "u8", "?", "f4")))),
        arrays_of.unicode_string_dtypes(max_len=3), arrays_of.byte_string_dtypes(max_len=3),
        arrays_of.timedelta64_dtypes(),
    ),
    arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=12),
)  # fmt: skip
LABELS = arrays_of.arrays(np.int64, st.sampled_from([40, 12, (40, 1), (12, 1)]), elements=st.integers(-1, 9))
KEYS = [*archives.KEYS, "classes", "val_images", "train_label"]


@given(st.dictionaries(st.sampled_from(KEYS), st.one_of(st.none(), ANY_ARRAY, LABELS), min_size=1, max_size=4))
@example({"train_labels": np.r_[np.zeros(39, int), 9]})
@settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_arrays_an_archive_holds_it_is_read_or_refused(tmp_path_factory, changes):
    root = tmp_path_factory.getbasetemp()
    archive(root / "fuzz.npz", **changes)
    splits = read_or_refused(root)
    if isinstance(splits, str):
        assert "fuzz" in splits
    else:
        assert splits.train.labels.unique().tolist() == list(range(len(splits.train.classes)))
        assert int(splits.test.labels.max()) < len(splits.train.classes)
        assert len(splits.validation) >= 1


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=5), st.integers(0, 2000))
@settings(deadline=None, max_examples=EXAMPLES)
def test_whatever_happens_to_its_bytes_an_archive_is_read_or_refused(tmp_path_factory, changed, kept):
    root = tmp_path_factory.getbasetemp()
    small, labels = np.zeros((20, 2, 2), np.uint8), np.arange(20, dtype=np.uint8) % 2
    parts = {"train_images": small, "train_labels": labels, "test_images": small, "test_labels": labels}
    np.savez_compressed(root / "fuzz.npz", **parts)
    content = bytearray((root / "fuzz.npz").read_bytes())
    for place, byte in changed:
        content[place % len(content)] = byte
    (root / "fuzz.npz").write_bytes(content[: max(kept, 1)] if kept < 200 else content)
    splits = read_or_refused(root)
    assert not isinstance(splits, str) or "fuzz" in splits
