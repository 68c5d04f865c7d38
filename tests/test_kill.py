"""A short form of ``python -m benchmarks.kill``: one kill for a method of every kind."""

import random

import pandas as pd
import pytest

from benchmarks import kill
from benchmarks.kill import METHODS, kill_run


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_is_killed_ends_as_an_unbroken_one(method):
    tried = kill_run(method, 1, random.Random(METHODS[method]["epochs"]))
    assert (tried.kills, tried.completions) == (1, tried.starts - 1)
    assert tried.differences == []


def test_kills_go_on_after_the_parts_of_the_same_code_and_seed(tmp_path, monkeypatch):
    ran = []

    def fake(name, kills):
        ran.append((name, kills))
        return kill.Tried(name, kills, kills + 1, 1)

    monkeypatch.setattr(kill, "kill_run", lambda method, kills, rng: fake(method, kills))
    monkeypatch.setattr(kill, "kill_study", lambda kills, rng: fake(kill.STUDY, kills))
    path = tmp_path / "kill.csv"
    table = kill.measure_kills(100, 0, path)
    assert (table["kills"].sum(), len(ran)) == (100, 10)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))  # as if killed before the last part
    pd.testing.assert_frame_equal(kill.measure_kills(100, 0, path), table)
    assert ran[10:] == [("smoke", 10)]
    kill.measure_kills(100, 1, path)
    assert len(ran) == 21, "another seed has other moments, and must be run"
