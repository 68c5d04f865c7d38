"""Snakemake's report in few words: one line a finished job with the time left, and all that is no report."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import IO, Any

FINISHED = re.compile(r"Finished jobid: \d+ \(Rule: (.+)\)")
COUNTED = re.compile(r"(\d+) of (\d+) steps \(\d+%\) done")
BAR = re.compile(r"\d+%\|")  # of tqdm, in a job
REPORTED = re.compile(
    r"|\[.+ \d\d:\d\d:\d\d \d{4}\]|Select jobs to execute\.\.\.|Execute \d+ jobs\.\.\.|Using (workflow|shell).*"
    r"|Assuming unrestricted.*|Building DAG of jobs\.\.\.|Provided cores.*|Rules claiming.*|Job stats:"
    r"|job +count|-+ +-+|\w[\w-]* +\d+|Complete log.*|Elapsed time.*"
)


def follow(command: Sequence[str], **options: Any) -> int:
    """Run Snakemake, tell its progress, and return its exit status."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, **options) as process:
        assert process.stderr
        try:
            for line in told(_lines(process.stderr), time.monotonic, sys.stderr.isatty()):
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


def _lines(stream: IO[bytes]) -> Iterator[str]:
    """Split a stream at line breaks and at the carriage returns of bars, as soon as they come."""
    kept = b""
    while block := stream.read1(65536):  # type: ignore[attr-defined]
        *whole, kept = re.split(rb"[\r\n]", kept + block)
        yield from (part.decode(errors="replace") for part in whole)
    if kept:
        yield kept.decode(errors="replace")
