"""The method on a plane: a small network, three classes of points, and its density seen whole."""

import math
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hdge.losses import hybrid_loss
from hdge.queue import LogitQueue
from hdge.readings import confidence, log_q_x

Objective = Literal["cross-entropy", "HDGE, L2-normalised logits", "HDGE, raw logits"]


def spiral_arms(
    count: int, generator: torch.Generator
) -> tuple[Float[Tensor, "count 2"], Int[Tensor, " count"]]:
    """Points on three spiral arms within the unit disc, one class an arm, with a little noise."""
    labels = torch.randint(3, (count,), generator=generator)
    radius = torch.rand(count, generator=generator).sqrt() * 0.8 + 0.15
    angle = 2 * math.pi * labels / 3 + 3.0 * radius
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return points + 0.04 * torch.randn(count, 2, generator=generator), labels


def train_toy(
    points: Float[Tensor, "count 2"], labels: Int[Tensor, " count"], objective: Objective, steps: int, seed: int = 0
) -> nn.Module:
    """A network of two hidden layers, trained in the plainest loop there is.

    Every objective gets the same initial weights and the same batches. The queue-related lines are all that
    HDGE adds to a classifier's training.
    """
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    normalize = "none" if objective == "HDGE, raw logits" else "l2"
    queue = LogitQueue(num_classes=3, size=512, temperature=1.0 if normalize == "none" else 0.1, normalize=normalize)
    alpha = 1.0 if objective == "cross-entropy" else 0.5
    for _ in range(steps):
        chosen = torch.randint(len(points), (128,))
        logits = model(points[chosen])
        loss = hybrid_loss(logits, labels[chosen], queue, alpha)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        queue.enqueue(logits.detach())
    return model


@torch.inference_mode()
def density_grid(model: nn.Module, objective: Objective, half_width: float = 2.0, side: int = 60) -> pd.DataFrame:
    """log q(x) and confidence on a square grid of points around the data.

    Returns:
        Columns: objective, x1, x2, log_q_x (nats, up to log Z), confidence.
    """
    axis = torch.linspace(-half_width, half_width, side)
    grid = torch.cartesian_prod(axis, axis)
    logits = model(grid)
    return pd.DataFrame(
        {"objective": objective, "x1": grid[:, 0].numpy(), "x2": grid[:, 1].numpy(),
         "log_q_x": log_q_x(logits).numpy(), "confidence": confidence(logits).numpy()}
    )  # fmt: skip


@torch.inference_mode()
def toy_summary(
    model: nn.Module, objective: Objective, points: Float[Tensor, "count 2"], labels: Int[Tensor, " count"]
) -> dict[str, float | str]:
    """Accuracy on fresh points, and how often such a point outranks one spread evenly over the square."""
    from hdge.evaluators.ood import auroc  # scikit-learn is of no use to those who only want the toy

    logits = model(points)
    square = torch.from_numpy(np.random.default_rng(0).uniform(-2, 2, (len(points), 2))).float()
    return {
        "objective": objective,
        "n": len(points),
        "accuracy": (logits.argmax(1) == labels).double().mean().item(),
        "auroc_log_q_x": auroc(log_q_x(logits), log_q_x(model(square))),
        "auroc_confidence": auroc(confidence(logits), confidence(model(square))),
    }
