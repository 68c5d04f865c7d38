"""Optimisers and their learning rates."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hdge.methods.base import Stage
from hdge.study.config import TrainConfig


def learning_rate(config: TrainConfig, stage: Stage, step: int, steps_per_epoch: int) -> float:
    r"""Learning rate of an optimiser step of a stage, counted from 0.

    .. math:: \eta_s = \eta \cdot \min(1, \tfrac{s+1}{w}) \cdot
              \begin{cases} d^{\,|\{m : m \le s / n\}|} & \text{steps} \\
              \tfrac12 (1 + \cos(\pi \tfrac{s}{S})) & \text{one cycle} \end{cases}

    with w warm-up steps, decay d at epochs m, n steps an epoch and S in all.

    Source: JEM's protocol for "steps" (paper, section 5.1; Table 2's recipe differs in its constants alone).
    """
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "one_cycle":
        total = steps_per_epoch * stage.epochs
        return stage.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * step / total))
    passed = sum(step >= milestone * steps_per_epoch for milestone in config.milestones)
    return stage.learning_rate * warmup * config.decay**passed


def build_optimizer(config: TrainConfig, parameters: list[torch.nn.Parameter], rate: float) -> torch.optim.Optimizer:
    momentum, decay = config.momentum, config.weight_decay
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, rate, betas=(momentum, 0.999), weight_decay=decay, fused=True)
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=momentum, weight_decay=decay, fused=True)
    return Lars(parameters, rate, momentum=momentum, weight_decay=decay)


class Lars(torch.optim.Optimizer):
    r"""Layer-wise adaptive rate scaling: every layer moves in proportion to its weights. PyTorch lacks it.

    .. math:: m \leftarrow \mu m + \eta \, \lambda (g + \beta w), \qquad w \leftarrow w - m, \qquad
              \lambda = \kappa \frac{\|w\|}{\|g\| + \beta \|w\|}

    Biases and other vectors have lambda = 1 and no weight decay, as is usual.

    Args:
        parameters: w, a list of tensors.
        lr: eta, positive.
        momentum: mu, in [0, 1).
        weight_decay: beta, 0 or more.
        trust: kappa, positive.

    Source: You et al. 2017, algorithm 1.
    """

    def __init__(
        self, parameters: Any, lr: float, momentum: float = 0.9, weight_decay: float = 0.0, trust: float = 1e-3
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group)

    def _update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        if weight.ndim > 1:
            size, slope = weight.norm(), gradient.norm() + group["weight_decay"] * weight.norm()
            # A layer with zero weights or zero gradient has no such ratio; its lambda is 1.
            scale = torch.where((size > 0) & (slope > 0), group["trust"] * size / slope, torch.ones_like(size))
            gradient = scale * (gradient + group["weight_decay"] * weight)
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].mul_(group["momentum"]).add_(group["lr"] * gradient)
        weight.sub_(state["momentum"])
