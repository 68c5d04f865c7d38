"""Several seeds of a profile's row, one after the other in one process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hdge.study.config import data_root
from hdge.study.errors import HdgeError
from hdge.study.profiles import Profile
from hdge.study.runs import TRAINED, Run, RunFolder
from hdge.training.loop import train


def train_row(
    plan: Profile, row: str, seeds: Sequence[int], settings: dict[str, Any], root: str | Path = "", data: str = ""
) -> list[Run]:
    """Train those seeds of a row that are not trained yet, each in a folder of its own.

    A seed is trained if its record holds the config asked for and the code that would train it now. A killed process
    therefore loses nothing of the seeds before, and a seed that fails keeps no other from being trained.

    Args:
        plan: the profile.
        row: one of its methods or variants.
        seeds: of the runs.
        settings: values that override the profile's; the runs are then stored apart from the profile's.
        root: holds papermill_runs/; empty for the checkout.
        data: where data sets are found or downloaded; empty for $HDGE_DATA, or data/ in the checkout.

    Returns:
        The runs, under the name of the method that they train, by which figures know them.

    Raises:
        HdgeError: no seeds, a value that is refused, or a seed that could not be trained.
    """
    if not isinstance(seeds, list | tuple) or not seeds:
        raise HdgeError(f"seeds is {seeds!r}; it must be a list of at least one seed.")
    name = f"{plan.name}-with-own-settings" if settings else plan.name
    configs = {seed: plan.config(row, seed, **settings) for seed in seeds}
    runs, failed = [], []
    for seed, config in configs.items():
        folder = RunFolder.of(name, row, seed, root)
        try:
            train(config, folder, data_root(data), same_code=True)
        except HdgeError as error:
            failed.append(f"{row}, seed {seed}: {error}")
            continue
        folder.stamp(TRAINED, [folder.path / "record.json"])
        runs.append(Run(config.method, seed, folder, config))
    if failed:
        raise HdgeError(" ".join(failed))
    return runs
