import json
import re
from dataclasses import fields, replace

import pytest
import yaml

from hdge.cli import main
from hdge.study.config import BLOCKS, HOME, TrainConfig, config_from, parse_config, train_parser
from hdge.study.errors import HdgeError
from hdge.study.profiles import load_profile
from hdge.study.roster import METHODS
from hdge.study.settings import AttackProtocol, QueueSettings, SamplingProtocol


@pytest.mark.parametrize(
    ("name", "value", "bound"),
    [
        ("seed", -1, "0 or more"), ("width", 0, "at least 1"), ("epochs", 0, "at least 1"),
        ("batch_size", 0, "at least 1"), ("learning_rate", 0.0, "positive"), ("depth", 11, "6 n"),
        ("dropout", 1.0, r"in \[0, 1\)"),
        ("decay", 0.0, r"in \(0, 1\]"), ("milestones", (180, 160), "rising"), ("noise", -0.1, "0 or more"),
        ("noise", float("nan"), "0 or more"), ("warmup_steps", -1, "0 or more"), ("crop_padding", -1, "0 or more"),
        ("weight_decay", -1.0, "0 or more"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused_by_name(name, value, bound):
    with pytest.raises(HdgeError, match=f"{name} is .*{bound}"):
        TrainConfig(**{name: value})


@pytest.mark.parametrize(
    ("method", "block", "name", "value", "bound"),
    [
        ("hdge", "queue", "size", 0, "at least 1"), ("hdge", "queue", "forward_passes", 3, "1 or 2"),
        ("hdge", "hybrid", "temperature", 0.0, "positive"), ("hdge", "hybrid", "alpha", 1.1, r"in \[0, 1\]"),
        ("hdge", "hybrid", "alpha", -0.1, r"in \[0, 1\]"), ("jem", "sgld", "steps", 0, "at least 1"),
        ("jem", "sgld", "noise", float("nan"), "0 or more"), ("jem", "sgld", "restart", 1.5, r"in \[0, 1\]"),
        ("supcon", "views", "head_epochs", 0, "at least 1"),
        ("supcon", "views", "label_smoothing", 1.0, r"in \[0, 1\)"),
        ("glow", "flow", "levels", 0, "at least 1"), ("adversarial_l2", "attack", "radius", 2.0, r"in \[0, 1\]"),
    ],
)  # fmt: skip
def test_values_of_a_group_are_refused_by_their_dotted_name(method, block, name, value, bound):
    with pytest.raises(HdgeError, match=f"{block}.{name} is .*{bound}"):
        parse_config({"method": method, block: {name: value}})


@pytest.mark.parametrize("method", list(METHODS))
def test_a_setting_of_another_method_is_refused_by_name(method):
    for block in set(BLOCKS) - set(METHODS[method].blocks):
        with pytest.raises(HdgeError, match=f"{block} belongs to other methods than {method}; leave it out"):
            parse_config({"method": method, block: {}})
    given = {"method": method, **({"norm": "batch"} if METHODS[method].norm else {})}
    given |= {"hybrid": {"alpha": 0.0}} if METHODS[method].conditional_only else {}
    assert set(json.loads(parse_config(given).to_json())) & set(BLOCKS) == set(METHODS[method].blocks)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 0.3}, "no setting 'alpha'; did you mean 'hybrid.alpha'"),
        ({"queue": {"siz": 3}}, "no setting of queue 'siz'; did you mean 'size'"),
        ({"queue": 5}, "queue is 5; it must be a group of size, start"),
        ({"queue": {"size": "many"}}, "queue.size is 'many'; it must be int"),
        ({"hybrid": {"normalize": "l1"}}, "hybrid.normalize is 'l1'; it must be l2, softmax, none"),
        ({"lerning_rate": 0.1}, "no setting 'lerning_rate'; did you mean 'learning_rate'"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'; it must be float"),
        ({"epochs": 1.5}, "epochs is 1.5; it must be int"),
        ({"method": "hdg"}, "no method 'hdg'; did you mean 'hdge'"),
    ],
)
def test_unknown_names_and_wrong_types_are_refused_in_a_sentence(settings, message):
    with pytest.raises(HdgeError, match=message):
        parse_config(settings)


def test_notebook_yaml_and_command_line_give_the_same_config(tmp_path):
    settings = {
        "method": "hdge", "learning_rate": 1e-3, "queue": {"size": 7}, "evaluation_sets": ["svhn"], "flip": False,
    }  # fmt: skip
    file = tmp_path / "run.yaml"
    # YAML 1.1 reads 1e-3 as a string; the parser makes it a number all the same.
    file.write_text(yaml.safe_dump(settings).replace("0.001", "1e-3"))
    from_yaml = parse_config(yaml.safe_load(file.read_text()))
    words = ["--method=hdge", "--learning_rate=1e-3", "--queue.size=7", '--evaluation_sets=["svhn"]', "--flip=false"]
    from_words = config_from(train_parser().parse_args(words))
    assert parse_config(settings) == from_yaml == from_words
    assert from_words == replace(
        TrainConfig(), **settings | {"evaluation_sets": ("svhn",), "queue": QueueSettings(size=7)}
    )


def test_every_setting_is_documented():
    for kind in (TrainConfig, *BLOCKS.values(), SamplingProtocol, AttackProtocol):
        for field in fields(kind):
            assert f"        {field.name}: " in kind.__doc__


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
    assert (config.depth, config.width, config.queue.size, config.hybrid.temperature) == (28, 10, 65536, 0.1)
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
        (["reproduce", "digits", "--root", "/tmp/{a}"], "holds braces, which Snakemake takes"),
        (["train", "--queue.size", "0"], "queue.size is 0; it must be at least 1"),
        (["train", "--hybrid.temperature", "-1"], "hybrid.temperature is -1.0; it must be positive"),
        (["train", "--hybrid.alpha", "2"], r"hybrid.alpha is 2.0; it must be in \[0, 1\]"),
        (["train", "--method", "sgd"], "no method 'sgd'"),
        (["train", "--method", "cross_entropy", "--queue.size", "5"], "queue belongs to other methods"),
        (["train", "--dataset", "cifar11", "--data_root", "."], "no data set 'cifar11'; choose from digits"),
    ],
)
def test_the_command_line_refuses_in_one_sentence(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not list(tmp_path.iterdir())


def test_help_describes_every_setting_and_a_shell_completes_them(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    for kind, group in [(TrainConfig, ""), *((kind, f"{name}.") for name, kind in BLOCKS.items())]:
        for field in fields(kind):
            if field.name not in BLOCKS:
                # Beside the usage, an option stands with its value and its own description, which ends with its type.
                option = re.escape(f"{group}{field.name}")
                value = r"(?:\{[^}]*\}|\[[^\]]*\]|[^\s\[{-]\S*)"
                described = rf" --{option} {value} (?!\(type: |--)(?:(?! --).)+? \(type: "
                assert re.search(described, told), field.name
    with pytest.raises(SystemExit):
        main(["--print-completion=shtab-bash"])
    assert "--learning_rate" in capsys.readouterr().out


def test_an_option_has_dashes_or_underscores(capsys, tmp_path):
    for option in ("--data-root", "--data_root"):
        assert main(["train", "--dataset", "cifar11", option, str(tmp_path)]) == 2
        assert "no data set 'cifar11'" in capsys.readouterr().err


def test_a_profile_of_ones_own_has_the_documented_protocols_and_may_change_them(tmp_path):
    """Not the paper's, which would attack and sample for days."""
    text = "scale: mine\nseeds: [0]\nsettings: {dataset: digits}\nmethods: {cross_entropy: }\n"
    (tmp_path / "mine.yaml").write_text(text)
    profile = load_profile("mine", tmp_path)
    assert (profile.samples, profile.attacks) == (SamplingProtocol(), AttackProtocol())
    (tmp_path / "mine.yaml").write_text(text + "samples: {chains: 8}\nattacks: {images: 5}\n")
    profile = load_profile("mine", tmp_path)
    assert (profile.samples, profile.attacks) == (SamplingProtocol(chains=8), AttackProtocol(images=5))
    (tmp_path / "other.yaml").write_text("like: mine\nsamples: {per_class: 3}\n")
    assert load_profile("other", tmp_path).samples == SamplingProtocol(chains=8, per_class=3)
    for line, message in (
        ("samples: {chain: 8}", "no setting of samples 'chain'; did you mean 'chains'"),
        ("attacks: {linf: [8, 4]}", "attacks.linf is .* in rising order"),
        ("attacks: {checked: [[l2, 7.0]]}", "attacks.checked holds l2 7.0"),
        ("attacks: {steps: x}", "steps is 'x'; it must be int"),
        ("attacks: {noise_radius: 5}", "attacks.noise_radius is 5; it must be one of attacks.linf"),
        ("attacks: {noise_draws: 0}", "attacks.noise_draws is 0; it must be at least 1"),
        ("samples: {step_size: -1}", "samples.step_size is -1"),
        ("samples: {noise: -1}", "samples.noise is -1"),
    ):
        (tmp_path / "mine.yaml").write_text(text + line)
        with pytest.raises(HdgeError, match=message):
            load_profile("mine", tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{seeds: 100}", "cross_entropy: seeds is 100; it must be a list"),
        ("{seeds: }", "cross_entropy: seeds is None"),
        ("{seeds: []}", "cross_entropy: seeds is "),
        ("{epochs: }", "cross_entropy: epochs"),
        ("{epochs: 0}", "cross_entropy: epochs is 0"),
    ],
)
def test_mistakes_in_a_row_that_has_a_reference_are_told_as_in_any_other(tmp_path, row, message):
    text = "scale: mine\nseeds: [0]\nsettings: {dataset: digits}\nreferences: [cross_entropy]\nmethods:\n"
    (tmp_path / "mine.yaml").write_text(f"{text}  cross_entropy: {row}\n")
    with pytest.raises(HdgeError, match=f"profile 'mine': {message}"):
        load_profile("mine", tmp_path)


def test_a_reference_has_twice_the_epochs_that_its_row_has_by_any_way(tmp_path):
    text = "scale: mine\nseeds: [3, 1]\nreferences: [cross_entropy]\n"
    for settings, row, epochs in (("", "", 400), ("epochs: 3", "", 6), ("epochs: 3", "epochs: 5", 10)):
        rows = f"settings: {{{settings}}}\nmethods: {{cross_entropy: {{{row}}}}}\n"
        (tmp_path / "mine.yaml").write_text(text + rows)
        profile = load_profile("mine", tmp_path)
        assert profile.config("cross_entropy_twice", 1).epochs == epochs
        assert profile.variants["cross_entropy_twice"]["seeds"] == [1]
    (tmp_path / "mine.yaml").write_text(text + rows + "variants: {cross_entropy_twice: {method: cross_entropy}}\n")
    with pytest.raises(HdgeError, match="variants is cross_entropy_twice; it must be free for twice"):
        load_profile("mine", tmp_path)


def test_a_profile_like_another_trains_every_row_of_its_own(tmp_path):
    """The other's proof is the rows that are trained although they are archived, and its archive is its own."""
    text = "scale: mine\nseeds: [0]\nsettings: {}\nmethods: {cross_entropy: , hdge: }\nproof: [hdge]\n"
    (tmp_path / "one.yaml").write_text(text)
    (tmp_path / "two.yaml").write_text("like: one\n")
    assert load_profile("one", tmp_path).trained() == [("hdge", 0)]
    assert load_profile("two", tmp_path).trained() == [("cross_entropy", 0), ("hdge", 0)]


def test_a_study_of_which_nothing_is_archived_is_reproduced_all_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("hdge.cli.follow", lambda *_, **__: 0)
    assert main(["reproduce", "smoke", "--root", str(tmp_path)]) == 0
    assert not capsys.readouterr().err


def test_settings_that_rows_share_reach_the_methods_that_have_them():
    profile = load_profile("digits")
    assert profile.config("hdge", 0).queue.size == 1262
    assert "queue" not in json.loads(profile.config("cross_entropy", 0).to_json())
    assert profile.config("hdge_masked", 0).queue == QueueSettings(size=1262, energy="masked")
