"""Whatever a config, a profile's text or an array of labels holds, it is read or refused by the project's own error."""

import contextlib
import string

import torch
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hdge.study.checks import labelled
from hdge.study.config import HOME, TrainConfig, parse_config
from hdge.study.errors import HdgeError
from hdge.study.profiles import Profile, load_profile
from tests.conftest import EXAMPLES

SLOW = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]}
KNOWN = yaml.safe_load(TrainConfig().to_json())
GROUPS = [name for name, value in KNOWN.items() if isinstance(value, dict)]
WORDS = st.one_of(
    st.sampled_from([*KNOWN, "hdge", "jem", "steps", "none", "1e-3", "~", "digits", "../x", "a/b", "", "é", "\x00"]),
    st.text(string.printable, max_size=8),
)
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**12), 10**12), st.floats(), WORDS, st.just(10**400), st.just(-0.0)
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=6,
)


@settings(max_examples=EXAMPLES, **SLOW)
@given(st.dictionaries(st.one_of(st.sampled_from(sorted(KNOWN)), WORDS), VALUES, max_size=4))
@example({"sgld": {"steps": float("nan")}})
@example({"hybrid": {"alpha": 10**400}})
def test_whatever_settings_hold_they_are_a_config_or_refused(without_shape_checks, values):
    with contextlib.suppress(HdgeError):
        assert isinstance(parse_config(values), TrainConfig)


@settings(max_examples=EXAMPLES, **SLOW)
@given(st.data())
def test_whatever_a_profile_holds_it_is_read_or_refused(without_shape_checks, tmp_path_factory, data):
    """The smoke profile with other parts, or with a piece of its text replaced, or any text in its place."""
    folder = tmp_path_factory.getbasetemp() / "profiles"
    folder.mkdir(exist_ok=True)
    text = (HOME / "profiles" / "smoke.yaml").read_text()
    kind = data.draw(st.sampled_from(["parts", "piece", "any"]))
    if kind == "parts":
        whole = yaml.safe_load(text)
        names = st.one_of(st.sampled_from([*whole, "variants", "proof", "references", "resources", "like"]), WORDS)
        text = yaml.safe_dump({**whole, **data.draw(st.dictionaries(names, VALUES, min_size=1, max_size=2))})
    elif kind == "piece":
        start = data.draw(st.integers(0, len(text)))
        text = text[:start] + data.draw(st.text(max_size=6)) + text[start + data.draw(st.integers(0, 6)) :]
    else:
        text = data.draw(st.text(max_size=60))
    (folder / "fuzz.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    said = "fuzz"
    try:
        assert isinstance(load_profile("fuzz", folder), Profile)
    except HdgeError as error:
        said = str(error)
    assert "fuzz" in said


@settings(max_examples=EXAMPLES, **SLOW)
@given(
    st.lists(st.integers(-(2**62), 2**62), max_size=6),
    st.sampled_from([torch.int64, torch.int32, torch.uint8, torch.float32, torch.bool, torch.complex64]),
    st.integers(1, 4),
    st.booleans(),
)
def test_whatever_labels_hold_they_are_taken_or_refused(without_shape_checks, values, dtype, classes, two):
    labels = torch.tensor(values, dtype=torch.int64).to(dtype)
    logits = torch.zeros(len(values), classes)
    with contextlib.suppress(HdgeError):
        own = labelled(logits, labels[:, None] if two else labels)
        assert own.dtype == torch.int64
        assert own.shape == (len(values),)
        assert ((own >= 0) & (own < classes)).all()
