"""The method on a plane: a small network, three classes of points, and its density seen whole."""

import math
from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hdge.core.losses import hybrid_loss
from hdge.core.queue import LogitQueue
from hdge.core.readings import confidence, log_q_x, prediction
from hdge.evaluators.ood import auroc

HALF_WIDTH = 1.5  # the plane is shown, and background points are drawn, within this square
ALPHAS = {"cross_entropy": 1.0, "hdge": 0.5}


def spiral_arms(count: int, generator: torch.Generator) -> tuple[Float[Tensor, "count 2"], Int[Tensor, " count"]]:
    """Points on three noisy spiral arms about the origin, one class an arm, at most about 1 away from it."""
    labels = torch.randint(3, (count,), generator=generator)
    radius = torch.rand(count, generator=generator).sqrt() * 0.8 + 0.15
    angle = 2 * math.pi * labels / 3 + 3.0 * radius
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return points + 0.04 * torch.randn(count, 2, generator=generator), labels


def train_toy(
    points: Float[Tensor, "count 2"], labels: Int[Tensor, " count"], method: str, steps: int, seed: int
) -> nn.Module:
    """A network with two hidden layers, trained in the plainest loop there is.

    Both methods start from the same weights and see the same batches. Three lines are all that HDGE adds to the
    training of a classifier: making the queue, calling the hybrid loss, and filling the queue.
    """
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    queue = LogitQueue(num_classes=3, size=512, temperature=0.1, normalize="l2")
    for _ in range(steps):
        chosen = torch.randint(len(points), (128,))
        logits = model(points[chosen])
        loss = hybrid_loss(logits, labels[chosen], queue, alpha=ALPHAS[method])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        queue.enqueue(logits.detach())
    return model


@torch.inference_mode()
def density_grid(model: nn.Module, method: str, side: int = 60) -> pd.DataFrame:
    """log q(x) and confidence on a square grid of points around the data.

    Returns:
        Columns: method, x1, x2, log_q_x (nats, up to log Z), confidence.
    """
    axis = torch.linspace(-HALF_WIDTH, HALF_WIDTH, side)
    grid = torch.cartesian_prod(axis, axis)
    logits = model(grid)
    return pd.DataFrame(
        {"method": method, "x1": grid[:, 0].numpy(), "x2": grid[:, 1].numpy(),
         "log_q_x": log_q_x(logits).numpy(), "confidence": confidence(logits).numpy()}
    )  # fmt: skip


@torch.inference_mode()
def toy_results(models: Sequence[tuple[str, int, nn.Module]], count: int = 2000) -> pd.DataFrame:
    """How trained networks do on fresh points, and how well they tell them from points spread over the square.

    Args:
        models: method, seed and network.
        count: fresh points, and as many background points.

    Returns:
        Columns: method, seed, n, accuracy, auroc_log_q_x, auroc_confidence.
    """
    generator = torch.Generator().manual_seed(1)
    points, labels = spiral_arms(count, generator)
    background = HALF_WIDTH * (2 * torch.rand(count, 2, generator=generator) - 1)
    rows = []
    for method, seed, model in models:
        inside, outside = model(points), model(background)
        rows.append(
            {"method": method, "seed": seed, "n": count,
             "accuracy": (prediction(inside) == labels).double().mean().item(),
             "auroc_log_q_x": auroc(log_q_x(inside), log_q_x(outside)),
             "auroc_confidence": auroc(confidence(inside), confidence(outside))}
        )  # fmt: skip
    return pd.DataFrame(rows)
