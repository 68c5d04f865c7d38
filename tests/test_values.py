"""What people slip into profiles, settings and paths: each is read as it was meant, or refused in one sentence."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hdge.cli import main
from hdge.study.config import data_root, parse_config, place
from hdge.study.errors import HdgeError
from hdge.study.names import PARTS
from hdge.study.profiles import Profile, load_profile
from hdge.study.runs import project_root
from hdge.study.values import read_json, read_yaml

PROFILE = """scale: test scale
seeds: [0]
settings: {dataset: digits, depth: 10, width: 1}
methods:
  hdge:
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: 1, c: 2}", "line 2: 'c' is given twice"),
        ("a: &x {b: 1}\n<<: *x\n<<: *x", "line 3: '<<' is given twice"),
        ("a: !!python/object/apply:os.mkdir [there]", "line 1: .* tag .*python/object"),
        ("a: !!python/name:os.system", "line 1: .* tag .*python/name"),
        ("a: !!binary aGk=", "line 1: .* tag"),
        ("a: !mine 1", "line 1: .* tag '!mine'"),
        ("a: &x [*x]", "[Cc]ircular"),
        ("[a, b]: 1", "line 1: a name must be one word"),
        ("a: 1\n\tb: 2", "line 2: .*cannot start"),
        ("a: 1\n---\na: 2", "line 2: .*another document"),
        ("a: \x07", "special characters"),
        ("", "is empty; it must hold lines of `name: value`"),
        ("just words", "holds 'just words'; it must hold"),
        ("[1, 2]", r"holds '\[1, 2\]'; it must hold"),
        ("<!doctype html>\n<html><body>Not found</body></html>", "holds '<!doctype html>"),
        (b"a: gr\xf6\xdfe", "is no text in UTF-8"),
        (b"\x89PNG\r\n\x1a\n\x00", "is no text in UTF-8"),
    ],
)  # fmt: skip
def test_yaml_that_is_no_group_of_plain_values_is_refused_by_file_and_line(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "given.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(HdgeError, match=f"^{re.escape(str(path))}.*{message}") as refused:
        read_yaml(path)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "there").exists()


def test_anchors_numbers_and_marks_of_other_editors_are_read_as_they_are_meant(tmp_path):
    path = tmp_path / "given.yaml"
    text = "a: &a {x: 1e-4, y: 5.}\nb: {<<: *a, y: -3}\nc: *a\nd: [010, 1:00, 2020-01-01, 0, +7, .inf, no, 'no']\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert read_yaml(path) == {
        "a": {"x": 1e-4, "y": 5.0}, "b": {"x": 1e-4, "y": -3}, "c": {"x": 1e-4, "y": 5.0},
        "d": ["010", "1:00", "2020-01-01", 0, 7, float("inf"), False, "no"],
    }  # fmt: skip


def test_a_file_that_is_a_folder_or_missing_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "missing.yaml"):
        with pytest.raises(HdgeError, match=f"^{re.escape(str(path))} cannot be read"):
            read_yaml(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"<html></html>", b"\xff\xfe{}", b"{" * 100_000])
def test_json_that_is_no_object_is_refused_with_its_remedy(content, tmp_path):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(HdgeError, match=f"{re.escape(str(path))} is damaged.*; delete it."):
        read_json(path, "delete it")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("depth: 10", "depth: ", "depth is empty; give it a value, or leave it out"),
        ("depth: 10", "depth: 10, depth: 16", "line 3: 'depth' is given twice"),
        ("depth: 10", "queue: {size: }", "queue.size is empty"),
        ("depth: 10", "queue: {size: 1:00}", "queue.size is '1:00'; write a number without a colon"),
        ("depth: 10", "sgld: {stepz: 1}", "no setting of sgld 'stepz'; did you mean 'steps'"),
        ("depth: 10", "seed: 3", "seed is no setting that rows share"),
        ("depth: 10", "seeds: [3]", "seeds is no setting that rows share"),
        ("depth: 10", "method: jem", "method is no setting that rows share"),
        ("depth: 10", "evaluation_sets: svhn", "evaluation_sets is 'svhn'; it must be a list of str"),
        ("dataset: digits", "dataset: 123", "dataset is 123; it must be str"),
        ("{dataset: digits, depth: 10, width: 1}", "", "settings is None; it must be a group"),
        ("{dataset: digits, depth: 10, width: 1}", "[dataset]", "settings is .*; it must be a group"),
        ("seeds: [0]", "seeds: 3", "seeds is 3; it must be a list"),
        ("seeds: [0]", "seeds: 0, 1", "seeds is '0, 1'; it must be a list"),
        ("seeds: [0]", "seeds: []", r"seeds is \[\]; it must be a list"),
        ("seeds: [0]", "seeds: [0, 0]", "a list of different whole numbers"),
        ("seeds: [0]", "seeds: [true]", "a list of different whole numbers"),
        ("seeds: [0]", "seeds: [-1]", "0 or more"),
        ("  hdge:", "  - hdge", "methods is .*'hdge'.*; it must be a group"),
        ("\n  hdge:", " hdge", "methods is 'hdge'; it must be a group"),
        ("\n  hdge:", " {}", "methods is empty; it must be a group of at least one method"),
        ("  hdge:", "  hdge: 5", "hdge is 5; it must be a group"),
        ("  hdge:", "  hdge: {seeds: 1}", "hdge: seeds is 1; it must be a list"),
        ("  hdge:", "  hdge: {optional: maybe}", "hdge: optional is maybe; it must be true or false"),
        ("  hdge:", "  hdge: {method: jem}", "method is no setting of the method hdge"),
        ("  hdge:", "  hdge:\n  hdge: {epochs: 3}", "line 6: 'hdge' is given twice"),
        ("  hdge:", "  hdge:\nvariants:", "variants is None; it must be a group"),
        ("  hdge:", "  hdge:\nvariants: {a: }", "a: no method 'a'"),
        ("  hdge:", "  hdge:\nvariants: {hdge: {method: hdge}}", "variants is hdge; it must be named unlike"),
        ("  hdge:", "  hdge:\nvariants: {../a: {method: hdge}}", "row '../a' cannot be a name"),
        ("  hdge:", "  hdge:\nvariants: {'a{b}': {method: hdge}}", r"row 'a\{b\}' cannot be a name"),
        ("  hdge:", "  hdge:\nvariants: {'a,b': {method: hdge}}", "row 'a,b' cannot be a name"),
        ("  hdge:", "  hdge:\nvariants: {7: {method: hdge}}", "row 7 cannot be a name"),
        ("scale: test scale", "scale: ", "scale is None; it must be a text"),
        ("scale: test scale", "like: mine", "is like itself, through mine"),
        ("scale: test scale", "like: [mine]", r"profile \['mine'\] cannot be a name"),
        ("scale: test scale", "scale: x\nsamples: [1]", "samples is .*; it must be a group"),
        ("scale: test scale", "scale: x\nsamples: {steps: }", "steps is empty"),
    ],
)  # fmt: skip
def test_a_slip_in_a_profile_is_refused_with_the_profile_and_the_row(old, new, message, tmp_path):
    assert old in PROFILE
    (tmp_path / "mine.yaml").write_text(PROFILE.replace(old, new, 1))
    with pytest.raises(HdgeError, match=message) as refused:
        load_profile("mine", tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["my profile", "a,b", "a{b}", "no", "-x", "2024"])
def test_a_profile_whose_name_would_be_read_otherwise_on_its_way_is_refused(name, tmp_path):
    (tmp_path / f"{name}.yaml").write_text(PROFILE)
    with pytest.raises(HdgeError, match=f"profile '{name}' cannot be a name"):
        load_profile(name, tmp_path)


def test_overrides_cannot_change_what_a_run_is_called():
    profile = Profile("small", "test scale", (0,), {}, {"hdge": {}})
    for name, value in (("seed", 5), ("method", "jem"), ("seeds", [1])):
        with pytest.raises(HdgeError, match=f"{name} is no setting that rows share"):
            profile.config("hdge", 0, **{name: value})


@pytest.mark.parametrize("name", ["", " ", ".", "../mine", "ood/dtd", "/far", "a\\b", "test", "train", "validation"])
def test_a_set_whose_name_is_a_path_or_a_part_of_the_run_is_refused(name):
    path = "is no name of a data set; put the set into the data root"
    part = f"evaluation set '{name}' has the name of a part of the data set"
    with pytest.raises(HdgeError, match=part if name in PARTS else path):
        parse_config({"evaluation_sets": [name]})
    if name not in PARTS:
        with pytest.raises(HdgeError, match=path):
            parse_config({"dataset": name})


def test_a_set_given_twice_is_refused():
    with pytest.raises(HdgeError, match="evaluation set 'svhn' is given twice; leave one out"):
        parse_config({"evaluation_sets": ["svhn", "interp", "svhn"]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat: 1e-4", "no setting 'learning_rat'; did you mean 'learning_rate'"),
        ("queue: {size: many}", "queue.size is 'many'; it must be int"),
        ("queue: 5", "queue is 5; it must be a group"),
        ("epochs: ", "epochs is empty"),
        ("epochs: 5\nepochs: 50", "line 2: 'epochs' is given twice"),
        ("epochs: 0", "epochs is 0; it must be at least 1"),
        ("config: other.yaml", "no setting 'config'"),
        ("epochs", "holds 'epochs'; it must hold lines"),
    ],
)
def test_the_train_command_reads_its_file_as_strictly(text, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(text)
    assert main(["train", "--config", "run.yaml"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert os.listdir(tmp_path) == ["run.yaml"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "ten"], "epochs is 'ten'; it must be int"),
        (["--epochs", "null"], "epochs is 'None'; it must be int"),
        (["--evaluation_sets", "svhn"], "evaluation_sets is 'svhn'; it must be a list such as"),
        (["--checkpoint_seconds", "-1"], "checkpoint_seconds is -1.0; it must be 0 or more"),
        (["--checkpoint_seconds", "nan"], "checkpoint_seconds is 'nan'; it must be float"),
        (["--config", "missing.yaml"], "missing.yaml cannot be read"),
        (["--output", "$HDGE_NOT_SET/run"], "'\\$HDGE_NOT_SET/run' names a home or a variable that is not there"),
    ],
)
def test_words_of_the_wrong_kind_are_refused_like_settings(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not list(tmp_path.iterdir())


def test_words_after_a_file_win_over_it(tmp_path, monkeypatch):
    from hdge import cli

    (tmp_path / "run.yaml").write_text("learning_rate: 1e-3\nqueue: {size: 7}\nevaluation_sets: [interp]\n")
    monkeypatch.setenv("HERE", str(tmp_path))
    monkeypatch.setitem(cli.COMMANDS, "train", lambda given: seen.append(cli.config_from(given)) or 0)
    seen = []
    assert main(["train", "--config=$HERE/run.yaml", "--queue.size", "9"]) == 0
    assert seen == [parse_config({"learning_rate": 1e-3, "queue": {"size": 9}, "evaluation_sets": ["interp"]})]


def test_homes_and_variables_that_no_shell_replaced_are_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HDGE_DATA", "~/data")
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    assert data_root() == tmp_path / "data"
    assert data_root("${SCRATCH}/sets") == project_root("$SCRATCH/sets") == tmp_path / "scratch" / "sets"
    assert project_root("~") == tmp_path
    for given in ("~no_such_user_here/x", "$HDGE_NOT_SET/x", "x/${HDGE_NOT_SET}"):
        with pytest.raises(HdgeError, match="names a home or a variable that is not there; write the path out"):
            place(given)


def test_a_folder_that_is_named_like_a_variable_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("b", "elsewhere")
    (tmp_path / "a$b").mkdir()
    assert place(tmp_path / "a$b" / "new") == tmp_path / "a$b" / "new"
    assert place(Path("50% & more {x} é'")).name == "50% & more {x} é'"


def test_settings_survive_the_way_through_a_file(tmp_path):
    config = parse_config({"method": "jem", "sgld": {"step_size": 1e-3}, "milestones": [3, 5], "flip": False})
    (tmp_path / "run.yaml").write_text(config.to_json())  # JSON is YAML
    assert parse_config(read_yaml(tmp_path / "run.yaml")) == config
    assert json.loads(config.to_json()) == read_yaml(tmp_path / "run.yaml")


def test_parameters_of_the_wrong_kind_as_papermill_passes_them_on_are_refused():
    """In a process of its own, because here a hook checks the annotations first."""
    calls = (
        "configs_of(plan, 'hdge', [0], '{\"epochs\": 1}')",
        "configs_of(plan, 'hdge', 0, {})",
        "Study('smoke', None)",
    )
    text = "from hdge.study.study import Study\nfrom hdge.training.rows import *\nfrom hdge.study.profiles import *\n"
    text += "plan = load_profile('smoke')\n"
    text += "".join(f"try: {call}\nexcept HdgeError as error: print(error)\n" for call in calls)
    told = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout.splitlines()
    assert told == [
        """settings is '{"epochs": 1}'; it must be a group, which papermill takes by -y and not by -p.""",
        "seeds is 0; it must be a list of at least one seed.",
        "None is no path; give it as text, or leave it out.",
    ]
