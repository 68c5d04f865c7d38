"""Snakemake's report in few words: one line a finished job with the time left, and all that is no report."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

PAUSE = 0.1  # seconds between two looks at the report
LEAST = 0.05  # of the weight of all jobs, before which a time left would be a guess
START = 10.0  # seconds that a job takes besides training; notebooks and measurements of small profiles take as many
PLANNED = re.compile(r"(\w[\w-]*) +(\d+)")  # a rule and its jobs, in the table of the report
FINISHED = re.compile(r"Finished jobid: \d+ \(Rule: (.+)\)")
COUNTED = re.compile(r"(\d+) of (\d+) steps \(\d+%\) done")
BAR = re.compile(r"\d+%\|")  # of tqdm, in a job
REPORTED = re.compile(
    r"|\[.+ \d\d:\d\d:\d\d \d{4}\]|Select jobs to execute\.\.\.|Execute \d+ jobs\.\.\.|Using (workflow|shell).*"
    r"|Assuming unrestricted.*|Building DAG of jobs\.\.\.|Provided (cores|resources): .*|Rules claiming.*|Job stats:"
    r"|job +count|-+ +-+|\w[\w-]* +\d+|Complete log.*|Elapsed time.*"
)


def follow(command: Sequence[str], seconds: Mapping[str, float], **options: Any) -> int:
    """Run Snakemake, tell its progress, and return its exit status; a rule's seconds of training weigh its job.

    Its report goes through a file: if a pipe's reader were killed, Snakemake would wait for ever and hold its lock.
    """
    with _report() as report, subprocess.Popen(command, stderr=report, **options) as process:
        try:
            for line in told(_lines(report, process), seconds, time.monotonic, sys.stderr.isatty()):
                print(line, file=sys.stderr, end="" if line.endswith("\r") else "\n", flush=True)
        except KeyboardInterrupt:  # which Snakemake has been sent as well
            process.wait()
            raise
        return process.wait()


def _report() -> IO[bytes]:
    """Open a file, in memory where that can be, for a full disk would stop the writers as a broken pipe does."""
    return os.fdopen(os.memfd_create("report"), "rb") if sys.platform == "linux" else tempfile.TemporaryFile()


def told(lines: Iterator[str], seconds: Mapping[str, float], clock: Any, bars: bool) -> Iterator[str]:
    """Turn Snakemake's lines into ours; a bar is shown in place on a terminal, and left out elsewhere.

    The time left is the time passed, by the weight of the jobs that are left beside that of the finished ones. It is
    told as soon as these have a part of the weight: jobs under way count for nothing, however far they are.
    """
    begun, job, planned, behind = clock(), "", 0.0, 0.0
    for line in lines:
        finished, counted, rule = FINISHED.fullmatch(line), COUNTED.fullmatch(line), PLANNED.fullmatch(line)
        if rule and rule[1] not in ("all", "total"):
            planned += int(rule[2]) * (START + seconds.get(rule[1], 0.0))
        elif finished:
            job = finished[1]
            behind += START + seconds.get(job, 0.0)
        elif counted:
            passed = clock() - begun
            left = (
                f", about {_minutes(passed * (planned / behind - 1))} left"
                if LEAST * planned <= behind < planned
                else ""
            )
            yield f"{counted[1]} of {counted[2]}: {job if job != 'all' else 'done'} ({_minutes(passed)}{left})"
        elif BAR.search(line):
            if bars:
                yield f"{line}\r"
        elif not REPORTED.fullmatch(line.strip()):
            yield line


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _lines(report: IO[bytes], process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Split a growing report at line breaks and at the carriage returns of bars, as soon as they come."""
    kept, place, ended = b"", 0, False
    while not ended:
        ended = process.poll() is not None
        while block := os.pread(report.fileno(), 65536, place):  # whose place is not that of the writers
            place += len(block)
            *whole, kept = re.split(rb"[\r\n]", kept + block)
            yield from (part.decode(errors="replace") for part in whole)
        if not ended:
            time.sleep(PAUSE)
    if kept:
        yield kept.decode(errors="replace")
