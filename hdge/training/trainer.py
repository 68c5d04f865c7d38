"""One run under way: the loop's state, one step of it, and the measurements at the end of an epoch."""

import math
import time
from itertools import accumulate
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hdge.core.distributed import rank_of, sum_over_ranks
from hdge.core.queue import sum_dtype
from hdge.core.readings import log_q_y_given_x, of_label, prediction
from hdge.data.augment import augment, augment_strongly
from hdge.data.splits import MIRROR_CHANGES_IMAGE, Splits
from hdge.measure.network import evaluate
from hdge.methods.base import Method, Step, View
from hdge.methods.build import build_method, build_network
from hdge.study.config import TrainConfig
from hdge.study.errors import HdgeError, require
from hdge.study.roster import METHODS, has_chains
from hdge.study.streams import stream_seed
from hdge.training.optimiser import build_optimizer, learning_rate


def has_bfloat16(device: torch.device) -> bool:
    """Check for the device's own bfloat16 instructions, which take about half of float32's time."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def precision_of(config: TrainConfig, device: torch.device) -> str:
    """Resolve "auto"; a flow stays in float32, because bfloat16 puts its log-determinant's gradient 22 % off."""
    if config.precision != "auto":
        return config.precision
    return "bfloat16" if has_bfloat16(device) and METHODS[config.method].module != "flows" else "float32"


class DivergedError(HdgeError):
    """A step with a loss, energies or logits beyond all bounds; it has changed nothing yet."""


class Objective(nn.Module):
    """A method and the network it trains as one module, so that ranks average the gradients of both."""

    def __init__(self, method: Method, model: nn.Module) -> None:
        super().__init__()
        self.method, self.model = method, model

    def forward(self, view: View, labels: Tensor) -> Step:
        return self.method(self.model, view, labels)


class Trainer:
    """A run under way: network, method, optimiser, generators and position, which form one state."""

    def __init__(
        self, config: TrainConfig, splits: Splits, device: torch.device, group: dist.ProcessGroup | None = None
    ) -> None:
        self.config, self.device, self.group = config, device, group
        self.rank, self.ranks = rank_of(group)
        self.train_set, self.validation_set = splits.train.to(device), splits.validation.to(device)
        side = min(splits.train.images.shape[2:])
        require("crop_padding", config.crop_padding, config.crop_padding < side, f"below the images' side of {side}")
        torch.manual_seed(stream_seed(config.seed, "weights"))
        self.num_classes = len(splits.train.classes)
        shape = tuple(splits.train.images.shape[1:])
        model = build_network(config, self.num_classes, shape)
        self.model: nn.Module = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.compile:
            self.model.compile(fullgraph=True, dynamic=False)
        self.method = build_method(config, model, self.train_set, group).to(device)
        self.precision = precision_of(config, device)
        self.flip = config.flip and config.dataset not in MIRROR_CHANGES_IMAGE
        # The order is the same on all ranks; noise, crops and dropout are not.
        self.order_generator = torch.Generator(device).manual_seed(stream_seed(config.seed, "order"))
        augmentation = stream_seed(config.seed, "augmentation", self.rank)
        self.generator = torch.Generator(device).manual_seed(augmentation)
        torch.manual_seed(stream_seed(config.seed, "network", self.rank))
        full, rest = divmod(len(self.train_set), config.batch_size)
        # A last batch with fewer images than ranks is left out, because a rank would have nothing to do.
        self.steps_per_epoch = full + (rest >= self.ranks)
        self.classifies = METHODS[config.method].logits == "classes"
        self.ends = list(accumulate(self.steps_per_epoch * stage.epochs for stage in self.method.stages))
        self.total_steps = self.ends[-1]
        self.step, self.seconds = 0, 0.0
        self.enter(0)
        self.order = torch.empty(0, dtype=torch.int64, device=device)
        self.totals: dict[str, Tensor] = {}
        self.images = 0  # this rank's images in the totals
        self.sums = sum_dtype(device)
        self.history: list[dict[str, Any]] = []
        self.trajectory: list[Tensor] = []
        self.passes = {"forward": 0, "backward": 0}
        self.rollbacks: list[dict[str, int]] = []

    def enter(self, stage: int) -> None:
        """Begin a stage with the parameters that it trains and a new optimiser."""
        self.stage = stage
        self.method.begin(stage, self.model)
        self.objective: nn.Module = Objective(self.method, self.model)
        if self.group is not None:
            # Every rank keeps its own buffers: its part of the queue, its chains.
            self.objective = DistributedDataParallel(self.objective, process_group=self.group, broadcast_buffers=False)
        self.parameters = [p for p in (*self.model.parameters(), *self.method.parameters()) if p.requires_grad]
        self.optimizer = build_optimizer(self.config, self.parameters, self.method.stages[stage].learning_rate)

    def train_step(self) -> None:
        """Take and time one optimiser step; at the end of an epoch, add its row of history."""
        begun = time.monotonic()
        rate = self.update()
        ends = self.step % self.steps_per_epoch == 0
        if ends and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds += time.monotonic() - begun
        if ends:
            self._end_epoch(rate)

    def update(self) -> float:
        """Take one optimiser step and return its learning rate."""
        stage = sum(self.step >= end for end in self.ends[:-1])
        first = self.ends[stage - 1] if stage else 0
        if stage != self.stage:
            self.enter(stage)
        self.model.train()
        place = self.step % self.steps_per_epoch
        if place == 0:
            self.order = torch.randperm(len(self.train_set), generator=self.order_generator, device=self.device)
            self.totals, self.images = {}, 0
        batch = self.order[place * self.config.batch_size : (place + 1) * self.config.batch_size]
        chosen = batch[self.rank :: self.ranks]
        rate = learning_rate(self.config, self.method.stages[stage], self.step - first, self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, logits, terms = self.loss_of(chosen)
        self._refuse_divergence(loss, terms)
        self.optimizer.zero_grad(set_to_none=True)
        # DistributedDataParallel averages over ranks; the factor makes it an average over a short batch's images.
        (loss * (len(chosen) * self.ranks / len(batch))).backward()
        if self.config.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        self.optimizer.step()
        self.method.after_step(logits)
        for name, count in zip(self.passes, self.method.passes(len(chosen)), strict=True):
            self.passes[name] += count
        recorded = {"loss": loss, **terms}
        if self.method.stages[stage].classifies and self.classifies:
            recorded["train_accuracy"] = (prediction(logits) == self.train_set.labels[chosen]).to(self.sums).mean()
        for name, value in recorded.items():
            # Sums stay on the device, so that no step waits for a number that only the progress bar needs.
            self.totals[name] = self.totals.get(name, 0) + value.detach().to(self.sums) * len(chosen)
        self.images += len(chosen)
        self.step += 1
        return rate

    def loss_of(self, chosen: Tensor) -> Step:
        """Compute the loss of some training images, given by their places."""
        labels, pixels = self.train_set.labels[chosen], self.train_set.images[chosen]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            try:
                return self.objective(lambda: self._view(pixels), labels)
            except ValueError as error:  # for example of logits that are no longer finite
                raise DivergedError(f"step {self.step}: {error}") from None

    def _view(self, pixels: Tensor) -> Tensor:
        """Augment the batch's images anew."""
        if (self.method.stages[self.stage].augmentation or self.config.augmentation) == "simclr":
            return augment_strongly(pixels, self.generator, self.flip, self.config.noise)
        return augment(pixels, self.generator, self.config.crop_padding, self.flip, self.config.noise)

    def _refuse_divergence(self, loss: Tensor, terms: dict[str, Tensor]) -> None:
        """Refuse a step whose energies have run away; only methods that sample are checked at every step."""
        if not has_chains(self.config.method):
            return
        gap = terms["energy_gap"].detach()
        bad = ~(loss.detach().isfinite() & (gap.abs() <= self.config.sgld.energy_gap))
        flag = bad.to(self.sums)
        sum_over_ranks([flag], self.group)
        if flag:
            raise DivergedError(
                f"step {self.step}: the loss is {loss.item():.4g} and the energy gap {gap.item():.4g}; they must be "
                f"finite and the gap within {self.config.sgld.energy_gap:g}."
            )

    def means(self) -> dict[str, float]:
        """Average the recorded terms over this rank's images of the epoch so far."""
        return {name: float(total) / self.images for name, total in self.totals.items()}

    def _end_epoch(self, rate: float) -> None:
        images = torch.tensor(float(self.images), device=self.device)
        sum_over_ranks([images, *self.totals.values()], self.group)
        self.images = int(images)
        stage = self.method.stages[self.stage]
        row: dict[str, Any] = {
            "epoch": self.step // self.steps_per_epoch,
            "stage": stage.name,
            "learning_rate": rate,
            **self.means(),
        }
        if not math.isfinite(row["loss"]):
            raise DivergedError(f"the loss is {row['loss']} after epoch {row['epoch']}.")
        if len(self.validation_set) and self.rank == 0 and stage.classifies and self.classifies:
            logits = evaluate(self.model, self.validation_set.images, self.config.noise)
            labels = self.validation_set.labels.cpu()
            row["validation_nll"] = -of_label(log_q_y_given_x(logits), labels).mean().item()
            row["validation_accuracy"] = (prediction(logits) == labels).double().mean().item()
            self.trajectory.append(logits.half())
        self.history.append(row)

    def end(self) -> dict[str, Any]:
        """Compare a term of the loss in the last epoch with its value for a constant prediction; lower is trained."""
        batch = min(self.config.batch_size, len(self.train_set))
        term, constant = self.method.constant_prediction(self.num_classes, batch)
        last = self.history[-1][term] if self.history else math.nan
        return {"term": term, "last_epoch": last, "constant_prediction": constant}

    def gathered(self, own: Any) -> list[Any]:
        """Gather what every rank says, in their order."""
        said = [own] * self.ranks
        if self.group is not None:
            dist.all_gather_object(said, own, self.group)
        return said

    def state_dict(self) -> dict[str, Any]:
        own = {
            "method": self.method.state_dict(),
            "generator": self.generator.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "totals": self.totals,
            "images": self.images,
        }
        return {
            "config": self.config.to_json(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "order_generator": self.order_generator.get_state(),
            "step": self.step,
            "stage": self.stage,
            "seconds": self.seconds,
            "order": self.order,
            "history": self.history,
            "passes": self.passes,
            "rollbacks": self.rollbacks,
            "trajectory": self.trajectory,
            "ranks": self.gathered(own),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if len(state["ranks"]) != self.ranks:
            raise HdgeError(
                f"{self.ranks} ranks cannot go on with a state of {len(state['ranks'])}; "
                f"start {len(state['ranks'])}, or choose another output."
            )
        own = state["ranks"][self.rank]
        self.step, self.seconds = state["step"], state["seconds"]
        self.enter(state["stage"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.order_generator.set_state(state["order_generator"])
        self.order = state["order"].to(self.device)
        self.history, self.trajectory = list(state["history"]), list(state["trajectory"])
        self.passes, self.rollbacks = dict(state["passes"]), list(state["rollbacks"])
        self.method.load_state_dict(own["method"])
        self.generator.set_state(own["generator"])
        torch.set_rng_state(own["random"])
        if own["random_cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(own["random_cuda"], self.device)
        self.totals = {name: total.to(self.device) for name, total in own["totals"].items()}
        self.images = own["images"]
