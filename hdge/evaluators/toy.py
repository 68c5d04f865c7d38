"""Networks on a plane: their density seen whole, and how well they tell the arms from the rest."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import nn

from hdge.core.readings import confidence, log_q_x, prediction
from hdge.evaluators.ood import auroc
from hdge.training.toy import spiral_arms

HALF_WIDTH = 1.5  # the plane is shown, and background points are drawn, within this square


@torch.inference_mode()
def density_grid(model: nn.Module, method: str, side: int = 60) -> pd.DataFrame:
    """log q(x), in nats and up to log Z, and confidence on a square grid of points around the data."""
    axis = torch.linspace(-HALF_WIDTH, HALF_WIDTH, side)
    grid = torch.cartesian_prod(axis, axis)
    logits = model(grid)
    columns = {"x1": grid[:, 0], "x2": grid[:, 1], "log_q_x": log_q_x(logits), "confidence": confidence(logits)}
    return pd.DataFrame({"method": method, **{name: values.numpy() for name, values in columns.items()}})


@torch.inference_mode()
def toy_results(models: Sequence[tuple[str, int, nn.Module]], count: int = 2000) -> pd.DataFrame:
    """How networks, each with method and seed, do on fresh points, and tell them from points spread over the square."""
    generator = torch.Generator().manual_seed(1)
    points, labels = spiral_arms(count, generator)
    background = HALF_WIDTH * (2 * torch.rand(count, 2, generator=generator) - 1)
    found = []
    for method, seed, model in models:
        inside, outside = model(points), model(background)
        found.append(
            {
                "method": method,
                "seed": seed,
                "n": count,
                "accuracy": (prediction(inside) == labels).double().mean().item(),
                "auroc_log_q_x": auroc(log_q_x(inside), log_q_x(outside)),
                "auroc_confidence": auroc(confidence(inside), confidence(outside)),
            }
        )
    return pd.DataFrame(found)
