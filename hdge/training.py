"""One training loop for all methods: seeded, resumable at any step, and written to a run folder as it goes."""

import json
import math
import platform
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from tqdm import tqdm

from hdge.config import HdgeError, TrainConfig
from hdge.data import (
    MIRROR_CHANGES_IMAGE,
    SPLIT_SEED,
    Splits,
    add_noise,
    augment,
    load_evaluation_set,
    load_splits,
    to_unit,
)  # fmt: skip
from hdge.methods import build_method
from hdge.models import WideResNet
from hdge.readings import log_q_y_given_x, prediction
from hdge.runs import Outputs, RunFolder

EVALUATION_BATCH = 500


def pick_device() -> torch.device:
    """A CUDA device where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 natively; elsewhere autocast would only slow things down."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    r"""Learning rate of an optimiser step, counted from 0.

    .. math:: \eta_s = \eta \cdot \min(1, \tfrac{s+1}{w}) \cdot
              \begin{cases} d^{\,|\{m : m \le s / n\}|} & \text{steps} \\
              \tfrac12 (1 + \cos(\pi \tfrac{s}{S})) & \text{one cycle} \end{cases}

    with w warm-up steps, decay d at epochs m, n steps an epoch and S in all.

    Source: JEM's protocol for "steps" (paper, section 5.1; Table 2's recipe differs in its constants alone).
    """
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "one_cycle":
        total = steps_per_epoch * config.epochs
        return config.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * step / total))
    passed = sum(step >= milestone * steps_per_epoch for milestone in config.milestones)
    return config.learning_rate * warmup * config.decay**passed


@torch.inference_mode()
def evaluate(
    model: nn.Module, images: UInt8[Tensor, "n channels height width"], noise: float
) -> Float[Tensor, "n classes"]:
    """Logits of test images in float32, under the protocol's test-time noise, the same draw for every model."""
    model.eval()
    generator = torch.Generator(images.device).manual_seed(SPLIT_SEED)
    batches = [model(add_noise(to_unit(batch), noise, generator)) for batch in images.split(EVALUATION_BATCH)]
    return torch.cat(batches).float().cpu()


class Trainer:
    """A run under way: network, method, optimiser, generator and position, all of it one state."""

    def __init__(self, config: TrainConfig, splits: Splits, device: torch.device) -> None:
        self.config, self.device = config, device
        self.train_set, self.validation_set = splits.train.to(device), splits.validation.to(device)
        if config.crop_padding >= min(splits.train.images.shape[2:]):
            side = min(splits.train.images.shape[2:])
            raise HdgeError(f"crop_padding is {config.crop_padding}; it must be below the images' side of {side}.")
        torch.manual_seed(config.seed)
        num_classes = len(splits.train.classes)
        model = WideResNet(
            config.depth, config.width, num_classes, splits.train.images.shape[1],
            config.norm, config.dropout, config.initialization,
        )  # fmt: skip
        self.model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.method = build_method(config, num_classes).to(device)
        self.optimizer = self._optimizer()
        self.generator = torch.Generator(device).manual_seed(config.seed)
        wants_bfloat16 = config.precision == "bfloat16" or (config.precision == "auto" and has_bfloat16(device))
        self.precision = "bfloat16" if wants_bfloat16 else "float32"
        self.flip = config.flip and config.dataset not in MIRROR_CHANGES_IMAGE
        self.steps_per_epoch = math.ceil(len(self.train_set) / config.batch_size)
        self.total_steps = self.steps_per_epoch * config.epochs
        self.step, self.seconds = 0, 0.0
        self.order = torch.empty(0, dtype=torch.int64, device=device)
        self.totals: dict[str, Tensor] = {}
        self.history: list[dict[str, float]] = []

    def _optimizer(self) -> torch.optim.Optimizer:
        parameters, decay = self.model.parameters(), self.config.weight_decay
        rate = self.config.learning_rate
        if self.config.optimizer == "adam":
            return torch.optim.Adam(parameters, rate, betas=(0.9, 0.999), weight_decay=decay, fused=True)
        return torch.optim.SGD(parameters, rate, momentum=0.9, nesterov=True, weight_decay=decay, fused=True)

    def train_step(self) -> None:
        """One optimiser step, and at the end of an epoch its row of history."""
        place = self.step % self.steps_per_epoch
        if place == 0:
            self.model.train()
            self.order = torch.randperm(len(self.train_set), generator=self.generator, device=self.device)
            self.totals = {}
        chosen = self.order[place * self.config.batch_size : (place + 1) * self.config.batch_size]
        labels = self.train_set.labels[chosen]
        images = augment(
            self.train_set.images[chosen], self.generator, self.config.crop_padding, self.flip, self.config.noise
        )
        rate = learning_rate(self.config, self.step, self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            loss, logits, terms = self.method(self.model, images, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.method.after_step(logits)
        correct = (prediction(logits) == labels).double().mean()
        for name, value in {"loss": loss, **terms, "train_accuracy": correct}.items():
            # Sums stay on the device, so that no step waits for a number that only the progress bar wants.
            self.totals[name] = self.totals.get(name, 0) + value.detach().double() * len(chosen)
        self.step += 1
        if place + 1 == self.steps_per_epoch:
            self._end_epoch(rate)

    def means(self) -> dict[str, float]:
        """Means over the images of the epoch so far."""
        seen = ((self.step - 1) % self.steps_per_epoch + 1) * self.config.batch_size
        return {name: float(total) / min(seen, len(self.train_set)) for name, total in self.totals.items()}

    def _end_epoch(self, rate: float) -> None:
        row = {"epoch": self.step // self.steps_per_epoch, "learning_rate": rate, **self.means()}
        if not math.isfinite(row["loss"]):
            raise HdgeError(
                f"the loss is {row['loss']} after epoch {row['epoch']}; "
                f"lower learning_rate (now {self.config.learning_rate})."
            )
        if len(self.validation_set):
            logits = evaluate(self.model, self.validation_set.images, self.config.noise)
            labels = self.validation_set.labels.cpu()
            row["validation_nll"] = -log_q_y_given_x(logits).gather(1, labels[:, None]).mean().item()
            row["validation_accuracy"] = (prediction(logits) == labels).double().mean().item()
            self.model.train()
        self.history.append(row)

    def state_dict(self) -> dict[str, Any]:
        return {
            "config": self.config.to_json(),
            "model": self.model.state_dict(),
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
            "step": self.step,
            "seconds": self.seconds,
            "order": self.order,
            "totals": self.totals,
            "history": self.history,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["random"])
        if state["random_cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.order = state["order"].to(self.device)
        self.totals = {name: total.to(self.device) for name, total in state["totals"].items()}
        self.history = state["history"]


def train(
    config: TrainConfig,
    folder: RunFolder,
    data_root: Path,
    device: torch.device | None = None,
    checkpoint_seconds: float = 60.0,
    progress: bool = True,
) -> RunFolder:
    """Train, or go on training, one run; at its end store weights, history and the logits of every set.

    A folder that already holds this run is left as it is. A state left by a killed run of the same config is
    taken up where it was: on a CPU with as many threads the end is the same to the bit.

    Args:
        config: what to train.
        folder: where the run lives.
        data_root: where data sets are found or downloaded.
        device: by default a CUDA device where there is one, else the processor.
        checkpoint_seconds: how often the full state is saved.
        progress: show a bar with loss, accuracy and time left.

    Raises:
        HdgeError: a bad data set, an unwritable folder, a loss that is no longer finite.
    """
    if folder.holds(config):
        return folder
    device = device or pick_device()
    splits = load_splits(config.dataset, data_root)
    sets = {"validation": splits.validation, "test": splits.test}
    sets |= {name: load_evaluation_set(name, data_root, splits.test) for name in config.evaluation_sets}
    if config.method == "hdge" and config.queue_size >= len(splits.train):
        warnings.warn(
            f"queue_size {config.queue_size} is not below the {len(splits.train)} training images: "
            "each image meets its own earlier logits among the negatives.",
            stacklevel=2,
        )
    trainer = Trainer(config, splits, device)
    folder.write_config(config)
    state = folder.state()
    if state and state["config"] == config.to_json():
        trainer.load_state_dict(state)
    _run_to_the_end(trainer, folder, checkpoint_seconds, progress)

    folder.write_history(pd.DataFrame(trainer.history))
    folder.write_weights(trainer.model.state_dict(), config)
    for name, part in sets.items():
        logits = evaluate(trainer.model, part.images.to(device), config.noise)
        folder.write_outputs(name, Outputs(logits, part.labels))
    folder.finish(_record(trainer, splits, {name: len(part) for name, part in sets.items()}))
    return folder


def _run_to_the_end(trainer: Trainer, folder: RunFolder, checkpoint_seconds: float, progress: bool) -> None:
    last_shown = last_saved = last = time.monotonic()
    label = f"{trainer.config.method} seed {trainer.config.seed}"
    bar = tqdm(total=trainer.total_steps, initial=trainer.step, desc=label, unit="step", disable=not progress)
    with bar:
        while trainer.step < trainer.total_steps:
            trainer.train_step()
            now = time.monotonic()
            trainer.seconds += now - last
            last = now
            bar.update()
            if now - last_shown > 0.5 and progress:
                means = trainer.means()
                bar.set_postfix_str(
                    f"epoch {trainer.step // trainer.steps_per_epoch}/{trainer.config.epochs}, "
                    f"loss {means['loss']:.3f}, accuracy {means['train_accuracy']:.1%}",
                    refresh=False,
                )
                last_shown = now
            if now - last_saved > checkpoint_seconds or trainer.step == trainer.total_steps:
                folder.write_state(trainer.state_dict())
                folder.write_history(pd.DataFrame(trainer.history))
                last_saved = now


def _record(trainer: Trainer, splits: Splits, evaluated: dict[str, int]) -> dict[str, Any]:
    """What a reader of the run must know beyond its config."""
    images = trainer.config.epochs * len(splits.train)
    return {
        "config": json.loads(trainer.config.to_json()),
        "data": {
            "sha256": splits.sha256(),
            "classes": list(splits.train.classes),
            "images": {"train": len(splits.train), **evaluated},
        },
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "cost": {
            "seconds": trainer.seconds,
            "seconds_per_step": trainer.seconds / trainer.total_steps,
            "images_per_second": images / trainer.seconds,
        },
        "machine": {
            "device": torch.cuda.get_device_name() if trainer.device.type == "cuda" else platform.machine(),
            "threads": torch.get_num_threads(),
            "precision": trainer.precision,
        },
        "versions": {"python": sys.version.split()[0], "torch": torch.__version__},
    }
