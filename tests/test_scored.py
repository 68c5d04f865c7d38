"""Logits of other programs: what is read, what is refused, and that the battery gives the numbers of its evaluators."""

import numpy as np
import pandas as pd
import pytest
import torch

from hdge.cli import main
from hdge.data.scored import read_scored
from hdge.evaluators.calibration import negative_log_likelihood
from hdge.evaluators.crossed import crossed_interval, interval
from hdge.evaluators.influences import auroc_influence
from hdge.evaluators.ood import auroc
from hdge.study.errors import HdgeError
from hdge.verdict.compare import compare_table
from hdge.verdict.score import score

IMAGES, CLASSES = 60, 4


def arrays(seed: int, skill: float = 2.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(IMAGES) % CLASSES
    logits = rng.normal(size=(IMAGES, CLASSES)) + skill * np.eye(CLASSES)[labels]
    return {
        "logits": logits,
        "labels": labels,
        "validation/logits": logits[:20] + 0.1,
        "validation/labels": labels[:20],
        "ood/noise": rng.normal(size=(30, CLASSES)),
    }


def store(folder, name, **changes):
    path = folder / name
    np.savez(path, **{**arrays(0), **changes})
    return path


def test_an_archive_a_table_and_a_folder_say_the_same(tmp_path):
    one, own = store(tmp_path, "a.npz"), arrays(0)
    sets = {"test": ("logits", "labels"), "validation": ("validation/logits", "validation/labels")}
    parts = [pd.DataFrame(own[logits]).assign(set=name, label=own[labels]) for name, (logits, labels) in sets.items()]
    pd.concat([*parts, pd.DataFrame(own["ood/noise"]).assign(set="noise")]).to_csv(tmp_path / "b.csv", index=False)
    folder = tmp_path / "c"
    folder.mkdir()
    np.savez(folder / "test.npz", logits=own["logits"], labels=own["labels"])
    np.savez(folder / "validation.npz", logits=own["validation/logits"], labels=own["validation/labels"])
    pd.DataFrame(own["ood/noise"]).to_csv(folder / "noise.csv", index=False)
    (folder / ".noise.csv.swp").write_text("left behind")
    runs = read_scored([one, tmp_path / "b.csv", folder])
    for name in ("test", "validation", "noise"):
        first, *others = (run.folder.outputs(name) for run in runs)
        for other in others:
            torch.testing.assert_close(other.logits, first.logits)
            assert torch.equal(other.labels, first.labels)
    assert [run.stored_sets() for run in runs] == [["noise"]] * 3


@pytest.mark.parametrize(
    ("name", "method", "seed"), [("a.npz", "a", 0), ("my-net-seed3.npz", "my-net", 3), ("x_seed_12.npz", "x", 12)]
)
def test_a_files_name_says_method_and_seed(tmp_path, name, method, seed):
    (run,) = read_scored([store(tmp_path, name)])
    assert (run.row, run.seed) == (method, seed)


BAD = {
    "probabilities": ({"logits": np.full((IMAGES, 4), 0.25)}, "are probabilities, for every row sums to 1"),
    "nan": ({"logits": np.full((IMAGES, 4), np.nan)}, r"logits of test\[0, 0\] is nan"),
    "label": ({"labels": np.full(IMAGES, 4)}, r"labels\[0\] is 4; it must be from 0 to 3"),
    "count": ({"labels": np.arange(5) % 4}, "give one label an image"),
    "fraction": ({"labels": np.full(IMAGES, 0.5)}, "not whole numbers"),
    "classes": ({"ood/noise": np.zeros((5, 3))}, "have 3 classes, and those of test 4"),
    "text": ({"logits": np.full((IMAGES, 4), "a")}, "missing or no numbers"),
    "flat": ({"logits": np.zeros(IMAGES)}, "must have 2 dimension"),
    "number": ({"logits": np.array(3.0)}, "must have 2 dimension"),
    "ood probabilities": ({"ood/noise": np.full((5, 4), 0.25)}, "logits of noise are probabilities"),
    "one image": ({"ood/noise": np.zeros((1, 4))}, "logits of noise are those of 1 image; give at least 2"),
    "float64": ({"ood/noise": np.full((5, 4), 1e39)}, r"logits of noise reach 1e\+39, beyond float32"),
    "twice": ({"test/logits": np.zeros((IMAGES, 4))}, "has logits of test under two keys"),
    "key": ({"ood_noise": np.zeros((5, 4))}, "has the key 'ood_noise'; the keys are logits"),
    "way out": ({"ood/..": np.zeros((5, 4))}, "no name of a data set"),
    "deep": ({"ood/a/b": np.zeros((5, 4))}, "has the key 'ood/a/b'"),
    "object": ({"ood/noise": np.array([[None]], dtype=object)}, "pickled objects"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_a_sentence_that_names_them(tmp_path, capsys, case):
    changes, sentence = BAD[case]
    path = store(tmp_path, "a.npz", **changes)
    with pytest.raises(HdgeError, match=sentence):
        read_scored([path])
    assert main(["score", str(path), "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert str(path) in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_networks_that_saw_other_images_are_not_compared(tmp_path):
    one = store(tmp_path, "a.npz")
    other = store(tmp_path, "b.npz", labels=arrays(0)["labels"][::-1].copy())
    with pytest.raises(HdgeError, match="other test labels than"):
        read_scored([one, other])
    fewer = store(tmp_path, "c.npz", **{"ood/noise": np.zeros((5, 4))})
    with pytest.raises(HdgeError, match="the same images in the same order"):
        read_scored([one, fewer])
    with pytest.raises(HdgeError, match="seed 0 of a again"):
        read_scored([one, one])


def test_networks_of_other_classes_are_not_compared(tmp_path):
    other = tmp_path / "b.npz"
    np.savez(other, logits=np.pad(arrays(0)["logits"], [(0, 0), (0, 1)]), labels=arrays(0)["labels"])
    with pytest.raises(HdgeError, match=r"b\.npz has 5 classes, and .*a\.npz has 4"):
        read_scored([store(tmp_path, "a.npz"), other])


def csv(folder, rename=None, index=False):
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 12)))
    table.columns = [str(column) for column in table]
    written = table.rename(columns=rename or {}).assign(label=np.arange(40) % 12)
    written = written[sorted(written)]  # "10" stands before "2"
    written.to_csv(folder / "a.csv", index=index)
    return folder / "a.csv", torch.tensor(table.to_numpy()).float()


@pytest.mark.parametrize("prefix", ["", "logit_", "class"])
def test_numbered_classes_are_taken_by_number(tmp_path, prefix):
    path, logits = csv(tmp_path, {str(k): f"{prefix}{k}" for k in range(12)})
    torch.testing.assert_close(read_scored([path])[0].folder.outputs("test").logits, logits)


def test_named_classes_are_taken_as_they_stand(tmp_path):
    path, logits = csv(tmp_path, {str(k): name for k, name in enumerate("abcdefghijkm")})
    torch.testing.assert_close(read_scored([path])[0].folder.outputs("test").logits, logits)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"index": True}, "column 'Unnamed: 0' is an index, and no class"),
        ({"rename": {"7": "id"}}, "column 'id' is no class beside '0'; number all classes, or name all"),
    ],
)
def test_a_column_that_is_no_class_is_refused(tmp_path, changes, sentence):
    with pytest.raises(HdgeError, match=sentence):
        read_scored([csv(tmp_path, **changes)[0]])


def test_a_column_that_counts_the_rows_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    pd.DataFrame({"cat": [0.5, 2, 1], "dog": 1.5, "image": [0, 1, 2], "label": [0, 1, 0]}).to_csv(path, index=False)
    with pytest.raises(HdgeError, match="column 'image' is an index"):
        read_scored([path])


@pytest.mark.parametrize("name", ["none.npz", "a.txt", "damaged.npz", "empty", "text.csv"])
def test_what_is_no_file_of_logits_is_refused(tmp_path, name):
    path = tmp_path / name
    if name == "empty":
        path.mkdir()
    elif name == "text.csv":
        path.write_text("label,a\n0,one\n")
    elif name != "none.npz":
        path.write_bytes(b"no archive")
    with pytest.raises(HdgeError, match=name):
        read_scored([path])


def test_the_battery_writes_the_evaluators_numbers(tmp_path, capsys):
    files = [store(tmp_path, f"weak-seed{s}.npz", **arrays(s, 0.5)) for s in range(3)]
    files += [store(tmp_path, f"strong-seed{s}.npz", **arrays(s + 9, 3.0)) for s in range(3)]
    out = tmp_path / "out"
    assert main(["score", *map(str, files), "--output", str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("Methods: weak (3 seeds), strong (3 seeds). Images: test 60, validation 20, noise 30.")
    assert said[-1] == str(out / "report.html")
    assert "accuracy: weak is worse than strong, with a difference of -" in "\n".join(said)
    page = (out / "report.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == len(list(out.glob("*.svg"))) == 6
    assert "http" not in page.replace("http-equiv", "")
    first = read_scored(files)[0].folder.outputs("test")
    row = pd.read_csv(out / "calibration.csv").iloc[0]
    assert row["nll"] == pytest.approx(negative_log_likelihood(first.logits, first.labels), rel=1e-5)
    table = pd.read_csv(out / "ood.csv").query("method == 'weak' and seed == 0 and score == 'log q(x)'").iloc[0]
    noise = read_scored(files)[0].folder.outputs("noise")
    area = auroc(torch.logsumexp(first.logits, 1), torch.logsumexp(noise.logits, 1))
    assert table["auroc"] == pytest.approx(area, rel=1e-5)


def test_a_comparison_has_the_crossed_interval(tmp_path):
    files = [
        store(tmp_path, f"{name}-seed{s}.npz", **arrays(s + k, 1.0))
        for k, name in ((0, "a"), (5, "b"))
        for s in range(3)
    ]
    runs = read_scored(files)
    table = compare_table({"accuracy": runs, "log q(x)": runs}).set_index("measure")

    def right(run):
        found = run.folder.outputs("test")
        return (found.logits.argmax(1) == found.labels).double().numpy()

    one, other = (np.stack([right(run) for run in runs if run.row == name]) for name in ("a", "b"))
    own = crossed_interval(one - other)
    expected = pytest.approx([own.difference, own.low, own.high], rel=1e-9)
    assert table.loc["accuracy", ["difference", "low", "high"]].tolist() == expected

    def scores(name):
        mine = [run for run in runs if run.row == name]
        inside, outside = (
            np.stack([torch.logsumexp(run.folder.outputs(part).logits, 1).double().numpy() for run in mine])
            for part in ("test", "noise")
        )
        return inside, {"noise": outside}

    area = interval(auroc_influence(*scores("a")) - auroc_influence(*scores("b")))
    assert table.loc["log q(x)", "low"] == pytest.approx(area.low, rel=1e-9)
    assert table.loc["log q(x)", "over"] == "seeds and images"


def test_one_seed_is_compared_over_images_and_says_so(tmp_path):
    runs = read_scored([store(tmp_path, "a.npz", **arrays(1, 0.5)), store(tmp_path, "b.npz", **arrays(2, 4.0))])
    row = compare_table({"accuracy": runs}).iloc[0]
    assert row["over"] == "images"
    assert row["low"] < row["difference"] < row["high"] < 0
    assert 0 < row["p"] < 0.05
    assert row["outcome"] == "worse"


@pytest.mark.parametrize("names", [["a.npz"], ["a.npz", "b.npz"]])
def test_a_bound_that_is_no_bound_is_refused_before_anything_is_written(tmp_path, names):
    with pytest.raises(HdgeError, match="delta is -1"):
        score([store(tmp_path, name) for name in names], tmp_path / "out", delta=-1.0)
    assert not (tmp_path / "out").exists()


def test_methods_without_a_seed_in_common_are_named(tmp_path):
    files = [store(tmp_path, name, **arrays(k)) for k, name in enumerate(["a.npz", "b-seed1.npz", "c-seed0.npz"])]
    _, said = score([*files, store(tmp_path, "c-seed1.npz", **arrays(7))], tmp_path / "out")
    assert said[1:4] == [
        "a and b have no seed in common and are not compared; give their files alike seeds.",
        "a and c are compared at seed 0; no partner has seed 1.",
        "b and c are compared at seed 1; no partner has seed 0.",
    ]
    score(files[:1], tmp_path / "out")
    assert not list((tmp_path / "out").glob("comparison.*"))  # else it would stand beside another report


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_log_probabilities_have_no_density_in_any_precision(tmp_path, kind):
    logs = {name: torch.from_numpy(one).log_softmax(1).to(kind).float().numpy()
            for name, one in arrays(0).items() if one.ndim == 2}  # fmt: skip
    _, said = score([store(tmp_path, "a.npz", **logs)], tmp_path / "out")
    assert said[1].startswith("a: log q(x) is 0 for every image, for these are log-probabilities")


def test_a_network_of_one_logit_is_scored_by_its_density(tmp_path):
    path = tmp_path / "flow.npz"
    rng = np.random.default_rng(0)
    np.savez(
        path, logits=rng.normal(size=(40, 1)) + 5, labels=np.zeros(40, int), **{"ood/noise": rng.normal(size=(30, 1))}
    )
    _, said = score([path], tmp_path / "out")
    assert said == ["Methods: flow (1 seed). Images: test 40, noise 30. Classes: 1."]
    assert set(pd.read_csv(tmp_path / "out" / "ood.csv")["score"]) == {"log q(x)"}
    assert not (tmp_path / "out" / "accuracy.csv").exists()
