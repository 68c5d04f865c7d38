"""What `hdge reproduce` says of Snakemake's report."""

import itertools
import json
import subprocess
import sys
import time

import pytest

from hdge.study.profiles import job_name, load_profile
from hdge.study.progress import follow, told

REPORT = """Using workflow specific profile profiles/default for setting default command line arguments.
Building DAG of jobs...
Provided cores: 2
Provided resources: gpu=Resource("gpu", 1)
Job stats:
job                  count
-----------------  -------
05_generation            1
train_hdge-seed0-1       1
all                      1
total                    3

Select jobs to execute...
Execute 1 jobs...
hdge attacks:  50%|     | 1/2 [00:00<?, ?run/s]
[Thu Nov 26 13:44:18 2026]
Finished jobid: 5 (Rule: 05_generation)
1 of 3 steps (33%) done
hdge: 06_robustness failed in cell In [4]: ZeroDivisionError
[Thu Nov 26 13:44:19 2026]
Finished jobid: 1 (Rule: train_hdge-seed0-1)
2 of 3 steps (67%) done
Finished jobid: 0 (Rule: all)
3 of 3 steps (100%) done
Complete log(s): x.log
Elapsed time: 0:02:12.615637"""


def test_a_job_is_a_line_and_an_error_is_kept():
    clock = itertools.count(0.0, 60.0).__next__
    # The notebook weighs 10 s and the training 10 + 20 s, so that a quarter is done after the first.
    assert list(told(iter(REPORT.split("\n")), {"train_hdge-seed0-1": 20.0}, clock, bars=False)) == [
        "1 of 3: 05_generation (60 s, about 3 min left)",
        "hdge: 06_robustness failed in cell In [4]: ZeroDivisionError",
        "2 of 3: train_hdge-seed0-1 (2 min)",
        "3 of 3: done (3 min)",
    ]


def test_no_time_is_told_from_a_sliver_of_the_work():
    clock = itertools.count(0.0, 60.0).__next__
    first, *_ = told(iter(REPORT.split("\n")), {"train_hdge-seed0-1": 200.0}, clock, bars=False)
    assert first == "1 of 3: 05_generation (60 s)"  # 10 s of 220 s


def test_a_bar_is_shown_in_place_on_a_terminal():
    shown = list(told(iter(REPORT.split("\n")), {}, lambda: 0.0, bars=True))
    assert shown[0] == "hdge attacks:  50%|     | 1/2 [00:00<?, ?run/s]\r"


def test_the_exit_status_and_words_at_the_end_survive(capfd):
    text = r"import sys; sys.stderr.write('a bar\r1 of 2 steps (50%) done\nno line break'); sys.exit(3)"
    assert follow([sys.executable, "-c", text], {}) == 3
    lines = capfd.readouterr().err.split("\n")
    assert lines[0] == "a bar"
    assert lines[1].startswith("1 of 2: ")
    assert lines[2] == "no line break"


def test_what_is_followed_goes_on_if_the_follower_is_killed(tmp_path):
    """A pipe without a reader made Snakemake wait for ever, and the next command was told to wait for it."""
    ended = tmp_path / "ended"
    loop = "for _ in range(20): print('x', file=sys.stderr, flush=True), time.sleep(0.1)"
    text = f"import pathlib, sys, time\n{loop}\npathlib.Path({str(ended)!r}).touch()"
    follower = f"from hdge.study.progress import follow; follow([{sys.executable!r}, '-c', {text!r}], {{}})"
    with subprocess.Popen([sys.executable, "-c", follower], stderr=subprocess.PIPE) as process:
        process.stderr.readline()  # it is under way
        process.kill()
    deadline = time.monotonic() + 60
    while not ended.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_seconds_of_a_job_are_those_of_its_archived_runs():
    digits = load_profile("digits")
    seconds = digits.job_seconds()
    assert seconds.keys() == {f"train_{job_name(*job)}" for job in digits.jobs()}
    seeds = dict(digits.jobs())["jem"]
    own = [json.loads(digits.archived_record("jem", seed).read_text())["cost"]["seconds"] for seed in seeds]
    assert seconds[f"train_{job_name('jem', seeds)}"] == pytest.approx(sum(own))
    assert load_profile("smoke").job_seconds() == {}
