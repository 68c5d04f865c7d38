"""A short form of ``python -m benchmarks.kill``: one kill for a method of every kind."""

import random

import pytest

from benchmarks.kill import METHODS, kill_run


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_is_killed_ends_as_an_unbroken_one(method):
    tried = kill_run(method, 1, random.Random(METHODS[method]["epochs"]))
    assert (tried.kills, tried.completions) == (1, tried.starts - 1)
    assert tried.differences == []
