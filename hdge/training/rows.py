"""Several seeds of a profile's row, one after the other in one process, or each by several ranks."""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from hdge.measure.network import free_gpu
from hdge.study.config import TrainConfig, data_root, parse_config
from hdge.study.errors import HdgeError, require
from hdge.study.profiles import Profile
from hdge.study.runs import TRAINED, Run, RunFolder
from hdge.training.loop import train


def configs_of(plan: Profile, row: str, seeds: Sequence[int], settings: dict[str, Any]) -> dict[int, TrainConfig]:
    """Build the config of each seed of a row; values of the wrong kind, as papermill passes them on, are refused."""
    require("seeds", repr(seeds), isinstance(seeds, list | tuple) and bool(seeds), "a list of at least one seed")
    if not isinstance(settings, dict):
        raise HdgeError(f"settings is {settings!r}; it must be a group, which papermill takes by -y and not by -p.")
    return {seed: plan.config(row, seed, **settings) for seed in seeds}


def train_row(
    plan: Profile, row: str, seeds: Sequence[int], settings: dict[str, Any], root: str | Path = "", data: str = ""
) -> list[Run]:
    """Train the seeds of a row that lack a record with their config and the present code; return all runs.

    A killed process loses no finished seed, and a seed that fails does not stop the others. If ``settings`` override
    the profile's, the runs are stored apart. Each run has the name of its method, by which figures know it.
    """
    configs = configs_of(plan, row, seeds, settings)
    name = f"{plan.name}-with-own-settings" if settings else plan.name
    runs, failed = [], []
    for seed, config in configs.items():
        folder = RunFolder.of(name, row, seed, root)
        try:
            if plan.ranks == 1:
                train(config, folder, data_root(data), same_code=True)
            else:
                _train_by_ranks(config, folder, data_root(data), plan.ranks)
        except HdgeError as error:
            failed.append(f"{row}, seed {seed}: {error}")
            continue
        folder.stamp(TRAINED, [folder.path / "record.json"])
        runs.append(Run(config.method, seed, folder, config))
    if failed:
        raise HdgeError(" ".join(failed))
    return runs


@contextmanager
def process_group() -> Iterator[dist.ProcessGroup | None]:
    """Yield the ranks that torchrun has started, or None for a single process."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield None
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(free_gpu(int(os.environ["LOCAL_RANK"])))
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield dist.group.WORLD
        dist.barrier()  # the first rank may still be writing when the others have nothing left to do
    finally:
        # While anything refers to the group, gloo's threads may abort the process at its exit.
        gc.collect()
        dist.destroy_process_group()


def _train_by_ranks(config: TrainConfig, folder: RunFolder, images: Path, ranks: int) -> None:
    """Train a run by ranks of this machine, which torchrun starts."""
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    rank = ["-m", "hdge.training.rows", config.to_json(), str(folder.path), str(images)]
    if subprocess.run([sys.executable, *launch, *rank]).returncode:
        raise HdgeError(f"the {ranks} ranks that train {folder.path} failed; what they said stands above.")


def _as_rank(config: str, folder: str, images: str) -> int:
    """Train as one of the ranks that :func:`_train_by_ranks` starts."""
    try:
        with process_group() as group:
            train(parse_config(json.loads(config)), RunFolder(Path(folder)), Path(images), same_code=True, group=group)
    except HdgeError as error:
        print(f"hdge: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(_as_rank(*sys.argv[1:]))
