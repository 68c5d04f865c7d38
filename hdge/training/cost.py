"""The cost of training, counted rather than measured."""

import warnings
from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from hdge.data.splits import Splits
from hdge.study.config import TrainConfig
from hdge.training.trainer import Trainer


def operations_per_image(config: TrainConfig, splits: Splits, device: torch.device) -> float:
    """Count the operations of matrix products and convolutions in training an image once, averaged over epochs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the queue's length; the run itself warns of it
        # A compiled graph would be compiled for this one step, and its operations are hidden from the counter.
        trainer = Trainer(replace(config, compile=False), splits, device)
    batch = torch.arange(min(config.batch_size, len(splits.train)), device=device)
    total, epochs = 0.0, 0
    for number, stage in enumerate(trainer.method.stages):
        trainer.enter(number)
        trainer.model.train()
        with FlopCounterMode(display=False) as counter:
            trainer.loss_of(batch).loss.backward()
        total += stage.epochs * counter.get_total_flops() / len(batch)
        epochs += stage.epochs
    return total / epochs
