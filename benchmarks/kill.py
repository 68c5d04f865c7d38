"""``python -m benchmarks.kill --times 100``: training runs and a study, killed at random moments and started again.

Every kill is a SIGKILL of all processes at once, or of the first one alone, which leaves its children behind until it
is started again. The same command goes on, until it has ended by itself. What is then stored must equal, to the bit,
what an unbroken run has stored. Half of the kills hit single runs, whose state is saved every second, and half the
smoke study: training, measuring, drawing, and Snakemake itself.

The kills come in parts of at most ten. The table is written after each part, and the same command goes on after the
parts that the table holds from the same code and seed.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import yaml
from tqdm import tqdm

from hdge.study.config import HOME
from hdge.study.dependencies import PACKAGE, code_digest
from hdge.study.study import read_table, write_table

# A method of every kind: plain, with a queue, with chains, with two stages, and a flow.
SMALL = {"dataset": "digits", "depth": 10, "width": 1, "precision": "float32", "crop_padding": 1, "warmup_steps": 5}
METHODS: dict[str, dict[str, object]] = {
    "cross_entropy": {"epochs": 12},
    "hdge": {"epochs": 12, "queue": {"size": 256}},
    "jem": {"epochs": 3, "sgld": {"steps": 2, "buffer": 100}},
    "supcon": {"epochs": 2, "augmentation": "simclr", "views": {"head_epochs": 2}},
    "glow": {"epochs": 15, "learning_rate": 1.0e-3, "noise": 0.0, "flow": {"levels": 2, "depth": 2, "width": 16}},
}
STUDY = "smoke"
KILLS_A_PART = 10
MACHINE_DEPENDENT = "_seconds.csv"  # tables of measured time
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}


@dataclass
class Tried:
    """What became of one command under kills."""

    name: str
    kills: int = 0
    starts: int = 0
    completions: int = 0
    differences: list[str] = field(default_factory=list)


def kill_all(
    name: str,
    command: Callable[[Path], list[str]],
    stored: Callable[[Path], dict[str, str]],
    times: int,
    rng: random.Random,
) -> Tried:
    """Run a command once unbroken, then again and again under kills, until ``times`` of them have hit."""
    tried = Tried(name)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        _call(command(Path(folder)))
        seconds, unbroken = time.monotonic() - begun, stored(Path(folder))
    assert unbroken, f"{name} stored nothing to compare"
    while tried.kills < times:
        with tempfile.TemporaryDirectory() as folder:
            while tried.kills < times and _killed(command(Path(folder)), rng.uniform(0, seconds), rng.random() < 0.5):
                tried.kills += 1
                tried.starts += 1
                print(f"{name}: {tried.kills} of {times} kills", flush=True)
            _call(command(Path(folder)))
            tried.starts += 1
            tried.completions += 1
            own = stored(Path(folder))
            names = sorted(unbroken.keys() | own.keys())
            tried.differences += [path for path in names if own.get(path) != unbroken.get(path)]
    return tried


def _call(command: list[str]) -> None:
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")


def _killed(command: list[str], after: float, everything: bool) -> bool:
    """Start a command and kill it after some seconds; return False if it had ended by then."""
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(after)
        return False
    except subprocess.TimeoutExpired:
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if everything:
            for one in family:
                _end(one)
        psutil.wait_procs(family, timeout=600)  # a child left behind may end its job, as it would on any machine
        return True


def _end(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _digests(paths: Sequence[Path], root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def kill_run(method: str, times: int, rng: random.Random) -> Tried:
    """Kill one training run by ``hdge train``."""

    def command(folder: Path) -> list[str]:
        settings = folder / "settings.yaml"
        settings.write_text(
            yaml.safe_dump({"method": method, "evaluation_sets": ["interp"], **SMALL, **METHODS[method]})
        )
        train = [sys.executable, "-m", "hdge.cli", "train", "--config", str(settings)]
        return [*train, "--output", str(folder / "run"), "--checkpoint_seconds", "1"]

    def stored(folder: Path) -> dict[str, str]:
        run = folder / "run"
        left = [path for path in run.rglob(".*") if path.is_file()] + [*run.glob("state.pt")]
        return _digests([*run.rglob("*.safetensors"), run / "history.csv", *left], run)

    return kill_all(method, command, stored, times, rng)


def kill_study(times: int, rng: random.Random) -> Tried:
    """Kill a whole study by ``hdge reproduce``."""

    def command(folder: Path) -> list[str]:
        return [sys.executable, "-m", "hdge.cli", "reproduce", STUDY, "--root", str(folder)]

    def stored(folder: Path) -> dict[str, str]:
        figures = folder / "figures" / STUDY
        tables = [path for path in figures.rglob("*") if path.is_file() and not path.name.endswith(MACHINE_DEPENDENT)]
        return _digests([*tables, *(folder / "papermill_runs").rglob("outputs/*.safetensors")], folder)

    return kill_all(STUDY, command, stored, times, rng)


def parts_of(times: int) -> list[tuple[str, int, int]]:
    """Spread kills over the methods and the study: a name, the number of the part, and its kills."""
    share = {name: (times // 2) // len(METHODS) for name in METHODS}
    share[STUDY] = times - sum(share.values())
    return [
        (name, part, min(KILLS_A_PART, kills - start))
        for name, kills in share.items()
        for part, start in enumerate(range(0, kills, KILLS_A_PART))
    ]


def fingerprint(benchmark: Path) -> str:
    """Fingerprint what a benchmark of whole runs executes: package, notebooks, Snakefile, profile, and its own file."""
    modules = [*sorted(PACKAGE.rglob("*.py")), *sorted((HOME / "notebooks").glob("*.ipynb")), benchmark]
    texts = [(HOME / name).read_bytes() for name in ("Snakefile", f"profiles/{STUDY}.yaml")]
    return hashlib.sha256(b"".join([code_digest(modules).encode(), *texts])).hexdigest()[:16]


def measure_kills(times: int, seed: int, path: Path) -> pd.DataFrame:
    """Kill part by part, and keep in a table what came of each; a part's moments depend on the seed and its name."""
    code = fingerprint(Path(__file__))
    known = read_table(path).to_dict("records") if path.exists() else []
    kept = [row for row in known if (row["code"], row["seed"]) == (code, seed)]
    done: dict[Any, Any] = {(row["name"], row["part"], row["kills"]): row for row in kept}
    rows = []
    for name, part, kills in tqdm(parts_of(times), desc="kills", unit="part"):
        if (name, part, kills) not in done:
            rng = random.Random(f"{seed} {name} {part}")
            tried = kill_study(kills, rng) if name == STUDY else kill_run(name, kills, rng)
            counted = {**vars(tried), "differences": len(tried.differences)}
            done[name, part, kills] = {**counted, "part": part, "seed": seed, "code": code}
        rows.append(done[name, part, kills])
        write_table(pd.DataFrame(rows), path)
    return pd.DataFrame(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=100, help="kills in all")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    if arguments.times < 1:
        parser.error(f"--times is {arguments.times}; it must be at least 1.")
    table = measure_kills(arguments.times, arguments.seed, HOME / "figures" / "benchmarks" / "kill.csv")
    print(table.groupby("name", sort=False)[["kills", "starts", "completions", "differences"]].sum().to_string())
    print(json.dumps({"survived": int(table["kills"].sum()), "differences": int(table["differences"].sum())}))
    return int(table["differences"].sum() > 0)


if __name__ == "__main__":
    sys.exit(main())
