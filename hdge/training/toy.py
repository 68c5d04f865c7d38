"""The method on a plane: a small network, and three classes of points on spiral arms."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hdge.core.losses import hybrid_loss
from hdge.core.queue import LogitQueue

ALPHAS = {"cross_entropy": 1.0, "hdge": 0.5}


def spiral_arms(count: int, generator: torch.Generator) -> tuple[Float[Tensor, "count 2"], Int[Tensor, " count"]]:
    """Draw points on three noisy spiral arms about the origin, one class an arm, at most about 1 away from it."""
    labels = torch.randint(3, (count,), generator=generator)
    radius = torch.rand(count, generator=generator).sqrt() * 0.8 + 0.15
    angle = 2 * math.pi * labels / 3 + 3.0 * radius
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return points + 0.04 * torch.randn(count, 2, generator=generator), labels


def train_toy(
    points: Float[Tensor, "count 2"], labels: Int[Tensor, " count"], method: str, steps: int, seed: int
) -> nn.Module:
    """Train a network with two hidden layers in the plainest loop there is.

    Both methods start from the same weights and see the same batches. HDGE adds three lines to the training of a
    classifier: they make the queue, call the hybrid loss, and fill the queue.
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
