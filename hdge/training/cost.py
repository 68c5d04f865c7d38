"""What training costs, counted rather than measured."""

import warnings

import torch
from torch.utils.flop_counter import FlopCounterMode

from hdge.data.splits import Splits
from hdge.study.config import TrainConfig
from hdge.training.trainer import Trainer


def operations_per_image(config: TrainConfig, splits: Splits, device: torch.device) -> float:
    """Floating-point operations of training an image once, counted over a whole step of every stage.

    They are those of matrix products and convolutions, forward and backward, on the same images as the run's; the same
    on every machine. Stages count by their epochs. The run's own trainer is not touched.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the queue's length, which the run itself warns of
        trainer = Trainer(config, splits, device)
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
