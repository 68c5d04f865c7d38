import json
from dataclasses import fields, replace

import pytest
import yaml

from hdge.cli import main
from hdge.study.config import HOME, HdgeError, TrainConfig, config_from, parse_config, train_parser
from hdge.study.profiles import load_profile


@pytest.mark.parametrize(
    ("name", "value", "bound"),
    [
        ("seed", -1, "0 or more"), ("width", 0, "at least 1"), ("queue_size", 0, "at least 1"),
        ("epochs", 0, "at least 1"), ("batch_size", 0, "at least 1"), ("temperature", 0.0, "positive"),
        ("temperature", -0.1, "positive"), ("learning_rate", 0.0, "positive"), ("alpha", 1.1, r"in \[0, 1\]"),
        ("alpha", -0.1, r"in \[0, 1\]"), ("depth", 11, "6 n"), ("dropout", 1.0, r"in \[0, 1\)"),
        ("decay", 0.0, r"in \(0, 1\]"), ("milestones", (180, 160), "rising"), ("noise", -0.1, "0 or more"),
        ("noise", float("nan"), "0 or more"), ("warmup_steps", -1, "0 or more"), ("crop_padding", -1, "0 or more"),
        ("weight_decay", -1.0, "0 or more"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused_by_name(name, value, bound):
    with pytest.raises(HdgeError, match=f"{name} is .*{bound}"):
        TrainConfig(**{name: value})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lerning_rate": 0.1}, "no setting 'lerning_rate'; did you mean 'learning_rate'"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'; it must be float"),
        ({"epochs": 1.5}, "epochs is 1.5; it must be int"),
        ({"normalize": "l1"}, "normalize is 'l1'; it must be l2, softmax, none"),
        ({"method": "hdg"}, "no method 'hdg'; did you mean 'hdge'"),
    ],
)
def test_unknown_names_and_wrong_types_are_refused_in_a_sentence(settings, message):
    with pytest.raises(HdgeError, match=message):
        parse_config(settings)


def test_notebook_yaml_and_command_line_give_the_same_config(tmp_path):
    settings = {"method": "hdge", "learning_rate": 1e-3, "queue_size": 7, "evaluation_sets": ["svhn"], "flip": False}
    file = tmp_path / "run.yaml"
    # YAML 1.1 reads 1e-3 as a string; the parser makes it a number all the same.
    file.write_text(yaml.safe_dump(settings).replace("0.001", "1e-3"))
    from_yaml = parse_config(yaml.safe_load(file.read_text()))
    words = ["--method=hdge", "--learning_rate=1e-3", "--queue_size=7", '--evaluation_sets=["svhn"]', "--flip=false"]
    from_words = config_from(train_parser().parse_args(words))
    assert parse_config(settings) == from_yaml == from_words
    assert from_words == replace(TrainConfig(), **settings | {"evaluation_sets": ("svhn",)})


def test_every_setting_is_documented():
    for field in fields(TrainConfig):
        assert f"        {field.name}: " in TrainConfig.__doc__


def test_config_survives_json():
    config = parse_config({"milestones": [60, 120, 160]})
    assert parse_config(json.loads(config.to_json())) == config


@pytest.mark.parametrize("name", sorted(path.stem for path in (HOME / "profiles").glob("*.yaml")))
def test_every_profile_holds_valid_runs(name):
    profile = load_profile(name)
    seeds = [own.get("seeds", profile.seeds) for own in profile.methods.values()]
    assert len(set(profile.runs())) == sum(map(len, seeds)) > 0
    method, seed = profile.runs()[0]
    assert profile.config(method, seed).method == method


def test_the_papers_profile_is_the_papers_protocol():
    config = load_profile("paper").config("hdge", 0)
    assert (config.depth, config.width, config.queue_size, config.temperature) == (28, 10, 65536, 0.1)
    assert (config.learning_rate, config.epochs, config.batch_size, config.noise) == (1e-4, 200, 64, 0.03)


def test_a_profile_like_another_says_what_it_changes():
    paper, other = load_profile("paper"), load_profile("paper-cifar100")
    for row, seed in paper.runs(variants=True):
        expected = replace(
            paper.config(row, seed), dataset="cifar100", evaluation_sets=("svhn", "interp", "cifar10", "celeba")
        )
        assert other.config(row, seed) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reproduce", "digit"], "no profile 'digit'; did you mean 'digits'"),
        (["reproduce", "digits", "--cores", "0"], "cores is 0"),
        (["reproduce", "digits", "--root", f"{HOME}/README.md/x"], "README.md is no folder that can be written to"),
        (["train", "--queue_size", "0"], "queue_size is 0; it must be at least 1"),
        (["train", "--temperature", "-1"], "temperature is -1.0; it must be positive"),
        (["train", "--alpha", "2"], r"alpha is 2.0; it must be in \[0, 1\]"),
        (["train", "--method", "sgd"], "method"),
        (["train", "--dataset", "cifar11", "--data_root", "."], "no data set 'cifar11'; choose from digits"),
    ],
)
def test_the_command_line_refuses_in_one_sentence(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert __import__("re").search(message, error)
    assert not list(tmp_path.iterdir())
