"""Seeds of independent random streams: one for every purpose, rank and restart of a run."""

from typing import Literal, get_args

import numpy as np

Purpose = Literal["weights", "order", "augmentation", "network", "chains"]


def stream_seed(seed: int, purpose: Purpose, rank: int = 0, restart: int = 0) -> int:
    """A 64-bit seed, by NumPy's hash of a run's seed, a purpose, a rank and a restart.

    PyTorch's generator on a processor takes the low 32 bits of a seed alone, so seeds that differ by a multiple of
    2**32 give the same numbers there. After the hash, all bits differ.

    Args:
        seed: of the run, 0 or more.
        purpose: "network" covers dropout, the flows' uniform noise and random starts of attacks in training.
        rank: of the process, where ranks must draw different numbers.
        restart: how often the run has been rolled back.
    """
    words = np.random.SeedSequence([seed, get_args(Purpose).index(purpose), rank, restart])
    return int(words.generate_state(1, np.uint64)[0])
