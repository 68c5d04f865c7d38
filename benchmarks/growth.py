"""How does the study grow? ``python -m benchmarks.growth`` runs studies of smoke size, up to 200 runs, on quiet cores.

One axis at a time is moved from a study of two methods: the seeds a method, the methods, the out-of-distribution sets,
and how many seeds share a job. The same runs in fewer jobs show what a job costs beside its training: a process, its
imports and the engine. The same command again, with nothing to do, shows what the engine needs to find that out.

A study that the table already holds, from the same code, is not run again.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml
from tqdm import tqdm

from benchmarks.kill import fingerprint
from hdge.study.config import HOME
from hdge.study.study import read_table, write_table
from hdge.study.values import read_json

PARTS = ("hdge", "notebooks", "profiles", "workflow", "Snakefile", "pyproject.toml")
GENERATIVE: dict[str, object] = {"hybrid": {"alpha": 0.0}}
METHODS: dict[str, dict[str, object]] = {
    "cross_entropy": {}, "hdge": {}, "generative": GENERATIVE, "hdge_batch": {},
    "cross_entropy_bn": {"norm": "batch"}, "hdge_bn": {"norm": "batch"},
    "generative_bn": {"norm": "batch", **GENERATIVE}, "adversarial_linf": {"attack": {"radius": 0.3, "steps": 2}},
}  # fmt: skip
SETS = ("digits-heldout", "interp", "uniform", "photos")
CORES = 2


class Size(NamedTuple):
    """A study: methods times seeds, its out-of-distribution sets, and the seeds that share a job."""

    methods: int = 2
    seeds: int = 25
    sets: int = 2
    seeds_per_job: int = 25


STUDIES = (
    Size(seeds=5), Size(), Size(seeds=50), Size(seeds=100),
    Size(methods=4), Size(methods=8),
    Size(sets=1), Size(sets=4),
    Size(seeds_per_job=5), Size(seeds_per_job=1),
)  # fmt: skip


def profile_of(size: Size) -> dict[str, Any]:
    """The smoke profile's training and protocols, at another size."""
    return {
        "like": "smoke",
        "scale": "growth",
        "seeds": list(range(size.seeds)),
        "seeds_per_job": size.seeds_per_job,
        "settings": {"evaluation_sets": list(SETS[: size.sets])},
        "methods": dict([*METHODS.items()][: size.methods]),
        "variants": {},
    }


def measure_study(size: Size) -> dict[str, Any]:
    """Run one study in a copy of the project, then the same command again.

    Returns:
        jobs; seconds and again_seconds of the two commands, from start to end; run_seconds, the sum over runs of their
        own training; megabytes of all runs.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in PARTS:
            source, target = HOME / part, copy / part
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        (copy / "profiles" / "growth.yaml").write_text(yaml.safe_dump(profile_of(size)))
        seconds, jobs = _reproduce(copy)
        again, none = _reproduce(copy)
        assert none == 0, f"{none} jobs ran again"
        runs = [path for path in copy.glob("papermill_runs/growth/runs/*") if path.is_dir()]
        assert len(runs) == size.methods * size.seeds, f"{len(runs)} runs of {size}"
        own = sum(read_json(run / "record.json", "run it again")["cost"]["seconds"] for run in runs)
        stored = sum(path.stat().st_size for run in runs for path in run.rglob("*") if path.is_file())
    return {
        **size._asdict(), "runs": len(runs), "jobs": jobs, "seconds": seconds, "again_seconds": again,
        "run_seconds": own, "megabytes": stored / 1e6,
    }  # fmt: skip


def _reproduce(copy: Path) -> tuple[float, int]:
    """Seconds that the command took, and the jobs that it ran."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "hdge.cli", "reproduce", "growth", "--cores", str(CORES)]
    begun = time.monotonic()
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    taken = time.monotonic() - begun
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    ended = re.search(r"^(\d+) of \1: done", done.stderr, re.MULTILINE)
    return taken, int(ended[1]) - 1 if ended else 0  # but for the one that asks for all others


def measure_growth(studies: tuple[Size, ...], path: Path) -> pd.DataFrame:
    """Measure study by study, and keep what each took."""
    code = fingerprint(Path(__file__))
    known = read_table(path).to_dict("records") if path.exists() else []
    done: dict[Any, Any] = {tuple(row[name] for name in Size._fields): row for row in known if row["code"] == code}
    rows = []
    for size in tqdm(studies, desc="studies", unit="study"):
        rows.append(done.get(tuple(size)) or {**measure_study(size), "cores": CORES, "code": code})
        write_table(pd.DataFrame(rows), path)
    return pd.DataFrame(rows)


def main() -> int:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    table = measure_growth(STUDIES, HOME / "figures" / "benchmarks" / "growth.csv")
    print(table.to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
