"""Seeds of independent random streams: one for every purpose, rank and restart of a run."""

from typing import Literal, get_args

import numpy as np

Purpose = Literal["weights", "order", "augmentation", "network", "chains"]


def stream_seed(seed: int, purpose: Purpose, rank: int = 0, restart: int = 0) -> int:
    """Hash a run's seed, a purpose, a rank and a restart to a 64-bit seed, by NumPy's hash.

    PyTorch's generator on a CPU takes only the low 32 bits of a seed. Seeds that differ by a multiple of 2**32 would
    give the same numbers, but their hashes do not. The purpose "network" covers dropout, the flows' uniform noise, and
    random starts of attacks in training.
    """
    words = np.random.SeedSequence([seed, get_args(Purpose).index(purpose), rank, restart])
    return int(words.generate_state(1, np.uint64)[0])
