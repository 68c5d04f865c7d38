"""Snakemake's report in few words: one line a finished job with the time left, and all that is no report."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import IO, Any

PAUSE = 0.1  # seconds between two looks at the report
FINISHED = re.compile(r"Finished jobid: \d+ \(Rule: (.+)\)")
COUNTED = re.compile(r"(\d+) of (\d+) steps \(\d+%\) done")
BAR = re.compile(r"\d+%\|")  # of tqdm, in a job
REPORTED = re.compile(
    r"|\[.+ \d\d:\d\d:\d\d \d{4}\]|Select jobs to execute\.\.\.|Execute \d+ jobs\.\.\.|Using (workflow|shell).*"
    r"|Assuming unrestricted.*|Building DAG of jobs\.\.\.|Provided cores.*|Rules claiming.*|Job stats:"
    r"|job +count|-+ +-+|\w[\w-]* +\d+|Complete log.*|Elapsed time.*"
)


def follow(command: Sequence[str], **options: Any) -> int:
    """Run Snakemake, tell its progress, and return its exit status.

    Its report goes through a file: if a pipe's reader were killed, Snakemake would wait for ever and hold its lock.
    """
    descriptor, name = tempfile.mkstemp()
    with open(descriptor, "wb") as written, open(name, "rb", buffering=0) as report:
        os.unlink(name)
        with subprocess.Popen(command, stderr=written, **options) as process:
            try:
                for line in told(_lines(report, process), time.monotonic, sys.stderr.isatty()):
                    print(line, file=sys.stderr, end="" if line.endswith("\r") else "\n", flush=True)
            except KeyboardInterrupt:  # which Snakemake has been sent as well
                process.wait()
                raise
            return process.wait()


def told(lines: Iterator[str], clock: Any, bars: bool) -> Iterator[str]:
    """Turn Snakemake's lines into ours; a bar is shown in place on a terminal, and left out elsewhere."""
    begun, job = clock(), ""
    for line in lines:
        finished, counted = FINISHED.fullmatch(line), COUNTED.fullmatch(line)
        if finished:
            job = finished[1]
        elif counted:
            done, total = int(counted[1]), int(counted[2])
            passed = clock() - begun
            left = f", about {_minutes(passed / done * (total - done))} left" if done < total else ""
            yield f"{done} of {total}: {job if job != 'all' else 'done'} ({_minutes(passed)}{left})"
        elif BAR.search(line):
            if bars:
                yield f"{line}\r"
        elif not REPORTED.fullmatch(line.strip()):
            yield line


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _lines(report: IO[bytes], process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Split a growing report at line breaks and at the carriage returns of bars, as soon as they come."""
    kept, ended = b"", False
    while not ended:
        ended = process.poll() is not None
        while block := report.read(65536):
            *whole, kept = re.split(rb"[\r\n]", kept + block)
            yield from (part.decode(errors="replace") for part in whole)
        if not ended:
            time.sleep(PAUSE)
    if kept:
        yield kept.decode(errors="replace")
