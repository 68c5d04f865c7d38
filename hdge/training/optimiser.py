"""Layer-wise adaptive rate scaling, for JointLoss: PyTorch has no such optimiser."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Lars(torch.optim.Optimizer):
    r"""Stochastic gradient descent whose every layer moves in proportion to its weights.

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
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group)

    def _update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        if weight.ndim > 1:
            size, slope = weight.norm(), gradient.norm() + group["weight_decay"] * weight.norm()
            # A layer at zero, or without slope, has no proportion to keep.
            scale = torch.where((size > 0) & (slope > 0), group["trust"] * size / slope, torch.ones_like(size))
            gradient = scale * (gradient + group["weight_decay"] * weight)
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].mul_(group["momentum"]).add_(group["lr"] * gradient)
        weight.sub_(state["momentum"])
