import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hdge.evaluators.crossed import crossed_interval
from hdge.verdict import rule

DELTA = 0.01


@pytest.mark.parametrize(
    ("kind", "low", "high", "verdict", "reason"),
    [
        ("higher", 0.001, 0.03, "reproduced", "the interval lies on the claimed side of 0"),
        ("higher", 0.001, 0.009, "reproduced", "the interval lies on the claimed side of 0, within ±δ"),
        ("higher", -0.03, -0.001, "contradicted", "the interval lies on the other side of 0"),
        ("higher", -0.01, 0.01, "no difference", "the interval lies within ±δ"),
        ("higher", -0.01, 0.011, "undecided", "the interval reaches from 0 to beyond δ"),
        ("lower", -0.03, -0.001, "reproduced", "the interval lies on the claimed side of 0"),
        ("lower", 0.001, 0.03, "contradicted", "the interval lies on the other side of 0"),
        ("lower", 0.0, 0.005, "no difference", "the interval lies within ±δ"),
        ("alike", -0.01, 0.01, "reproduced", "the interval lies within ±δ"),
        ("alike", 0.011, 0.02, "contradicted", "the interval lies beyond ±δ"),
        ("alike", -0.02, -0.011, "contradicted", "the interval lies beyond ±δ"),
        ("alike", 0.0, 0.02, "undecided", "the interval reaches across δ"),
        ("not worse", -0.009, -0.001, "reproduced", "the interval lies above −δ"),
        ("not worse", -0.02, -0.011, "contradicted", "the interval lies below −δ"),
        ("not worse", -0.02, 0.5, "undecided", "the interval reaches across −δ"),
        ("rare", 0.0, 0.009, "reproduced", "the interval of the probability lies below δ"),
        ("rare", 0.011, 0.2, "contradicted", "the interval lies above δ"),
        ("rare", 0.0, 0.2, "undecided", "the interval reaches across δ"),
    ],
)
def test_the_outcomes_of_the_protocol(kind, low, high, verdict, reason):
    assert rule.outcome(kind, low, high, DELTA) == (verdict, reason)


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(1e-3, 1))
def test_lower_is_higher_of_the_reverse_and_only_one_outcome_holds(middle, half, delta):
    low, high = middle - half, middle + half
    assert rule.outcome("higher", low, high, delta) == rule.outcome("lower", -high, -low, delta)
    verdict = rule.outcome("higher", low, high, delta).verdict
    assert (verdict in ("reproduced", "contradicted")) == (low > 0 or high < 0)


def test_rare_divergence_needs_as_many_runs_as_the_exact_interval_says():
    """No divergence among n runs has the upper limit 1 - 0.025^(1/n), which falls below 0.1 at n = 36."""
    assert 1 - 0.025 ** (1 / 35) > 0.1 > 1 - 0.025 ** (1 / 36)
    assert rule.judge_rare(0, 35, 0.1)[0].verdict == "undecided"
    verdict, limits, p = rule.judge_rare(0, 36, 0.1)
    assert verdict.verdict == "reproduced"
    assert limits == pytest.approx((0, 1 - 0.025 ** (1 / 36)))
    assert p == pytest.approx(0.9**36)
    assert rule.judge_rare(20, 36, 0.1)[0].verdict == "contradicted"


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        (["reproduced", "reproduced"], "reproduced"),
        (["reproduced", "contradicted", "not testable here"], "contradicted"),
        (["reproduced", "no difference"], "contradicted"),
        (["reproduced", "not testable here", "undecided"], "not testable here"),
        (["reproduced", "undecided"], "undecided"),
    ],
)
def test_a_claim_of_all_is_as_good_as_its_parts(parts, verdict):
    found = rule.judge_all({f"claim {place}": part for place, part in enumerate(parts)})
    assert found.verdict == verdict
    assert all(f"{part}: “claim" in found.reason for part in parts)


def test_p_values_reject_what_outcomes_reject():
    rng = np.random.default_rng(0)
    found = crossed_interval(0.05 + 0.1 * rng.standard_normal((5, 400)))
    assert rule.p_value("higher", found, DELTA) == found.p
    assert rule.p_value("not worse", found, DELTA) == pytest.approx(
        stats.t.sf((found.difference + DELTA) / found.se, found.df)
    )
    below, above = found.p_above(-0.2), 1 - found.p_above(0.2)
    assert rule.p_value("alike", found, 0.2) == max(below, above)
    assert rule.p_value("alike", found, 0.01) > 0.5  # a difference of 0.05 is not within 0.01


def test_the_seeds_needed_halve_a_variance_that_is_all_of_seeds():
    """Where no image differs, the width at S seeds is t sqrt(sd^2 / S + 1 / N^2): the first S that suffices."""
    rng = np.random.default_rng(1)
    differences = np.repeat(rng.standard_normal((4, 1)), 50, axis=1) + 1.2
    found = crossed_interval(differences)
    spread = differences[:, 0].std(ddof=1)
    needed = rule.seeds_needed("higher", found, 0.01)
    half = abs(found.difference)

    def width(seeds: float) -> float:
        return float(stats.t.ppf(0.975, seeds - 1) * math.sqrt(spread**2 / seeds + 1 / 50**2))

    assert width(needed) < half
    assert needed == 5 or width(needed - 1) >= half


def test_no_number_of_seeds_makes_up_for_too_few_images():
    rng = np.random.default_rng(2)
    images = np.repeat(rng.standard_normal((1, 10)), 4, axis=0) + 0.1
    assert math.isinf(rule.seeds_needed("higher", crossed_interval(images), 1e-3))
