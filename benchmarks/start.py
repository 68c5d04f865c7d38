"""How large are the first gradients of every method? ``python -m benchmarks start`` trains twelve steps of each.

Adam divides by the root of a running mean of squares that it keeps for some thousand steps, so one huge gradient at the
start freezes a layer. A head at zero, beside the library's, shows what the floor of the normalisation and the clip do.
"""

import math
import warnings
from dataclasses import replace

import pandas as pd
import torch
from torch import nn

from hdge.data.splits import load_splits
from hdge.study.config import data_root
from hdge.study.profiles import load_profile
from hdge.study.roster import METHODS
from hdge.training.trainer import Trainer

STEPS = 12
LEFT_OUT = ("glow", "glow_conditional")  # a flow has no head


def measure_start(methods: tuple[str, ...] = ()) -> pd.DataFrame:
    """The digits profile's methods, with the library's head and with a head at zero, with and without the clip.

    Returns:
        Columns: method, head (library or zero), clip, head_gradient (largest Euclidean norm of the head's gradient over
        the first twelve steps, before it is clipped), adam_root (root mean square of Adam's second moment after them,
        bias corrected; not a number for SGD).
    """
    profile, found = load_profile("digits"), []
    splits = load_splits("digits", data_root())
    for method in methods or [name for name in profile.methods if name not in LEFT_OUT]:
        for zero in (False, True) if "hybrid" in METHODS[method].blocks else (False,):
            for clip in (0.0, 1.0):
                config = replace(profile.config(method, 0), clip=clip)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of the queue's length
                    trainer = Trainer(config, splits, torch.device("cpu"))
                largest, root = first_steps(trainer, zero)
                head = "zero" if zero else "library"
                found.append(
                    {"method": method, "head": head, "clip": clip, "head_gradient": largest, "adam_root": root}
                )
    return pd.DataFrame(found)


def first_steps(trainer: Trainer, zero: bool = False) -> tuple[float, float]:
    """The largest gradient of the layer that gives the logits, or the projections, and Adam's root of squares."""
    head = last_layer(trainer)
    if zero:
        with torch.no_grad():
            for parameter in head:
                parameter.zero_()
    seen: list[float] = []
    for parameter in head:
        parameter.register_post_accumulate_grad_hook(lambda p: seen.append(float(p.grad.norm())))
    for _ in range(STEPS):
        trainer.update()
    state = trainer.optimizer.state[head[0]]
    beta = trainer.optimizer.param_groups[0].get("betas", (0, 0))[1]
    corrected = state["exp_avg_sq"] / (1 - beta**STEPS) if "exp_avg_sq" in state else torch.tensor(math.nan)
    return max(seen), float(corrected.mean().sqrt())


def last_layer(trainer: Trainer) -> list[nn.Parameter]:
    """Weight and bias of the linear layer that the loss looks at first."""
    projection = getattr(trainer.method, "projection", None)
    layer = trainer.model.head if projection is None else projection[-1]
    return list(layer.parameters())  # type: ignore[union-attr]
