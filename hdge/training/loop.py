"""One training loop for all methods: seeded, resumable at any step, and written to a run folder as it goes.

Under ``torchrun``, several ranks train one run. They share each batch, and DistributedDataParallel averages their
gradients. Every rank has its own generators and its own part of the queue. Rank 0 alone writes.
"""

import contextlib
import copy
import ctypes
import json
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.distributed as dist
from tqdm import tqdm

from hdge.data.downloads import MADE
from hdge.data.splits import Splits, load_splits
from hdge.measure.network import evaluate, evaluated_sets, gradient_norms, pick_device
from hdge.study.config import TrainConfig
from hdge.study.dependencies import training_code
from hdge.study.errors import HdgeError
from hdge.study.protocol import protocol_digest
from hdge.study.roster import has_chains
from hdge.study.runs import Outputs, RunFolder
from hdge.training.cost import operations_per_image
from hdge.training.trainer import DivergedError, Trainer

# Steps after which ranks agree whether to save: often enough for any interval of seconds, rare enough to cost nothing.
ASK_EVERY = 16
KEEP_EVERY = 50  # steps between two states, held in memory, that a diverging run can fall back to


def train(
    config: TrainConfig,
    folder: RunFolder,
    data_root: Path,
    device: torch.device | None = None,
    checkpoint_seconds: float = 60.0,
    progress: bool = True,
    same_code: bool = False,
    group: dist.ProcessGroup | None = None,
) -> RunFolder:
    """Train, or go on training, one run; at its end store weights, history and the logits of every set.

    A finished run of this config is left as it is. A killed run of this config goes on from its state. On a CPU with as
    many threads, the end is the same to the bit. If ``same_code`` is set, a run that other code trained or began is
    trained anew. All ranks of ``group`` call with the same arguments and see the same files.

    Raises:
        HdgeError: the run is finished or under way, and its data set holds other images now; or a file of it is
            damaged. Nothing has been written then.
    """
    code = training_code(config.method)
    if folder.holds(config, code if same_code else ""):
        _compare_images(folder, config, data_root)
        return folder
    device = device or pick_device()
    _forget_peak_memory(device)
    splits = load_splits(config.dataset, data_root)
    sets = {"train": splits.train, "validation": splits.validation, **evaluated_sets(config, splits, data_root)}
    operations = operations_per_image(config, splits, device)
    trainer = Trainer(config, splits, device, group)
    origin = {"code": code, "data": splits.sha256(), "protocol": protocol_digest()}
    state = folder.state()
    if state and state["config"] == config.to_json() and not (same_code and state.get("code") != code):
        _go_on_from(state, trainer, folder, origin["data"])
        origin["protocol"] = state.get("protocol", "")  # under which the run began
    if trainer.rank == 0:
        folder.write_config(config)
    diverged = _run_to_the_end(trainer, folder, checkpoint_seconds, progress and trainer.rank == 0, origin)
    if trainer.rank:
        return folder

    end = trainer.end()
    trained = end["last_epoch"] < end["constant_prediction"]
    outcome = "diverged" if diverged else "finished" if trained else "not trained"
    # The record comes before evaluation, whose cost does not belong to training's.
    record = _record(trainer, splits, {name: len(part) for name, part in sets.items()}, outcome)
    record["data"]["sha256"] = origin["data"]
    record["cost"]["operations_per_image"] = operations
    record |= {"code": code, "protocol": origin["protocol"]}
    folder.write_history(pd.DataFrame(trainer.history))
    folder.write_trajectory(trainer.trajectory)
    folder.write_weights(trainer.model.state_dict(), config)
    for name, part in sets.items() if outcome != "diverged" else ():  # diverged weights may not be finite
        images = part.images.to(device)
        logits = evaluate(trainer.model, images, config.noise)
        norms = None if name in ("train", "validation") else gradient_norms(trainer.model, images, config.noise)
        folder.write_outputs(name, Outputs(logits, part.labels, norms))
    folder.finish(record)
    return folder


def _compare_images(folder: RunFolder, config: TrainConfig, data_root: Path) -> None:
    """Refuse a finished run whose data set holds other images now, as far as they are at hand.

    Torchvision checks its files by checksum, so published sets stay the same, and none is downloaded for this.
    """
    if config.dataset in MADE and not (data_root / f"{config.dataset}.npz").exists():
        return
    try:
        splits = load_splits(config.dataset, data_root)
    except HdgeError:  # a finished run needs its images no more
        return
    folder.refuse_other_images(splits.sha256())


def _go_on_from(state: dict[str, Any], trainer: Trainer, folder: RunFolder, images: str) -> None:
    """Load a killed run's state, if it was written on these images by a version that can read it."""
    path, remedy = folder.path / "state.pt", "delete it to train the run from its beginning"
    if state.get("data") != images:
        dataset = repr(trainer.config.dataset)
        raise HdgeError(f"{path} was written on other images than {dataset} holds now; restore them, or {remedy}.")
    try:
        trainer.load_state_dict(state)
    except HdgeError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, RuntimeError):
        raise HdgeError(f"{path} was written by another version and cannot be gone on from; {remedy}.") from None


class Guard:
    """Takes a trainer's steps, and takes them back where they diverge.

    Energy-based training by sampling diverges now and then. JEM's released code stops there and is restarted by hand.
    Here one rule restarts every run that samples, and the run's record counts the restarts. Any other run would diverge
    again at the same step, so its first divergence ends it.

    The run falls back to the last state but one, between 50 and 100 steps old, because the last may have been diverging
    already. Weights, optimiser, order and augmentation are restored, and the chains draw other random numbers.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.watches = has_chains(trainer.config.method)
        self.kept: list[dict[str, Any]] = []
        self.gave_up = False

    def step(self) -> str:
        """Take one step and return a sentence if it diverged; after too many restarts, set ``gave_up``."""
        trainer = self.trainer
        if self.watches and (not self.kept or trainer.step % KEEP_EVERY == 0):
            self.kept = [*self.kept[-1:], copy.deepcopy(trainer.state_dict())]
        try:
            trainer.train_step()
        except DivergedError as error:
            if self.watches:
                return self._fall_back(error)
            if trainer.step == 0 or trainer.ranks > 1:  # the input is at fault, or one rank alone diverged
                raise
            self.gave_up = True
            return f"{error} The run ends as diverged; lower learning_rate, or set clip."
        return ""

    def _fall_back(self, error: DivergedError) -> str:
        trainer, rollbacks = self.trainer, self.trainer.rollbacks
        failed = trainer.step
        trainer.load_state_dict(copy.deepcopy(self.kept[0]))
        self.kept = self.kept[:1]
        if len(rollbacks) >= trainer.config.sgld.restarts:
            trainer.rollbacks, self.gave_up = rollbacks, True
            return (
                f"{error} That was once too often: the run ends as diverged, with the weights of step {trainer.step}."
            )
        trainer.rollbacks = [*rollbacks, {"step": failed, "back_to": trainer.step}]
        trainer.method.reseed(len(trainer.rollbacks))
        return f"{error} Back to step {trainer.step}, with other chains."


def _run_to_the_end(
    trainer: Trainer, folder: RunFolder, checkpoint_seconds: float, progress: bool, origin: dict[str, str]
) -> bool:
    """Train to the last step, and return whether the run diverged once too often; states say what they come from."""
    last_shown = last_saved = time.monotonic()
    label = f"{trainer.config.method} seed {trainer.config.seed}"
    epochs = trainer.total_steps // trainer.steps_per_epoch
    guard = Guard(trainer)
    bar = tqdm(total=trainer.total_steps, initial=trainer.step, desc=label, unit="step", disable=not progress)
    with bar:
        while trainer.step < trainer.total_steps and not guard.gave_up:
            said = guard.step()
            if said:
                bar.write(f"{label}: {said}")
            now = time.monotonic()
            bar.update(trainer.step - bar.n)
            means = trainer.means() if progress and trainer.totals and now - last_shown > 0.5 else {}
            if means:
                shown = {"epoch": f"{trainer.step // trainer.steps_per_epoch}/{epochs}", "loss": f"{means['loss']:.3f}"}
                if "train_accuracy" in means:
                    shown["accuracy"] = f"{means['train_accuracy']:.1%}"
                bar.set_postfix(shown, refresh=False)
                last_shown = now
            due = now - last_saved > checkpoint_seconds
            if trainer.group is not None:
                due = trainer.step % ASK_EVERY == 0 and trainer.gathered(due)[0]
            if due or trainer.step == trainer.total_steps:
                state = trainer.state_dict()
                if trainer.rank == 0:
                    folder.write_state({**state, **origin})
                    folder.write_history(pd.DataFrame(trainer.history))
                last_saved = now
    return guard.gave_up


def _record(trainer: Trainer, splits: Splits, evaluated: dict[str, int], outcome: str) -> dict[str, Any]:
    """Collect what a reader of the run must know beyond its config."""
    images = trainer.step * len(splits.train) / trainer.steps_per_epoch
    return {
        "config": json.loads(trainer.config.to_json()),
        "data": {"classes": list(splits.train.classes), "images": evaluated},
        "outcome": outcome,
        "end": trainer.end(),
        "rollbacks": trainer.rollbacks,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "cost": {
            "seconds": trainer.seconds,
            "seconds_per_step": trainer.seconds / max(1, trainer.step),
            "images_per_second": images / max(trainer.seconds, 1e-9),
            "peak_memory_bytes": _peak_memory(trainer.device),
            # A pass is a whole batch through the network, so that a step of cross-entropy is one of each.
            **{f"{name}_passes_per_step": count / max(1, images) for name, count in trainer.passes.items()},
        },
        "machine": {
            "device": torch.cuda.get_device_name() if trainer.device.type == "cuda" else platform.machine(),
            "ranks": trainer.ranks,
            "threads": torch.get_num_threads(),
            "precision": trainer.precision,
        },
        "versions": {"python": sys.version.split()[0], "torch": torch.__version__},
    }


def _forget_peak_memory(device: torch.device) -> None:
    """Reset the peak of memory, so that a run does not report the peak of an earlier one in the same process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        # Outside Linux, the peak remains that of the whole process.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)  # returns what the C library keeps of an earlier run's memory
            Path("/proc/self/clear_refs").write_text("5")


def _peak_memory(device: torch.device) -> int:
    """Return this run's peak of memory in bytes: of tensors on a GPU, of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
