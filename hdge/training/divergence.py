"""Divergence by rule: a run whose energies run away goes back to its last good state, with other chains.

Energy-based training by sampling diverges now and then; in the released code of JEM it stops there and is restarted by
hand. Here the same rule holds for every run, and how often it was needed is part of the run's record.
"""

import copy
from typing import Any

from hdge.methods.base import Sampler
from hdge.study.config import SAMPLING
from hdge.training.trainer import DivergedError, Trainer

KEEP_EVERY = 50  # steps between two states to fall back to; they are kept in memory


class Guard:
    """Takes a trainer's steps, and takes them back where they diverge.

    The state fallen back to is the last but one, between 50 and 100 steps old: the last may have been on its way down
    already. Weights, optimiser, order and augmentation are as they were; the chains draw other random numbers.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.watches = trainer.config.method in SAMPLING
        self.kept: list[dict[str, Any]] = []
        self.gave_up = False

    def step(self) -> str:
        """One step; a sentence if it diverged, else nothing. After too many restarts, ``gave_up`` is set."""
        trainer = self.trainer
        if not self.watches:
            trainer.train_step()
            return ""
        if not self.kept or trainer.step % KEEP_EVERY == 0:
            self.kept = [*self.kept[-1:], copy.deepcopy(trainer.state_dict())]
        try:
            trainer.train_step()
        except DivergedError as error:
            return self._fall_back(error)
        return ""

    def _fall_back(self, error: DivergedError) -> str:
        trainer, rollbacks = self.trainer, self.trainer.rollbacks
        failed = trainer.step
        trainer.load_state_dict(copy.deepcopy(self.kept[0]))
        self.kept = self.kept[:1]
        if len(rollbacks) >= trainer.config.restarts:
            trainer.rollbacks, self.gave_up = rollbacks, True
            return (
                f"{error} That was once too often: the run ends as diverged, with the weights of step {trainer.step}."
            )
        trainer.rollbacks = [*rollbacks, {"step": failed, "back_to": trainer.step}]
        sampler = trainer.method.get_submodule("sampler")
        assert isinstance(sampler, Sampler)
        sampler.reseed(len(trainer.rollbacks))
        return f"{error} Back to step {trainer.step}, with other chains."
