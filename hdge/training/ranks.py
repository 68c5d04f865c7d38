"""Several ranks that train one run together: how they start, and what they tell each other besides gradients."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from hdge.core.distributed import rank_of


@contextmanager
def process_group() -> Iterator[dist.ProcessGroup | None]:
    """The ranks that torchrun has started, for as long as the block lasts; None if it has started no others."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield None
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield dist.group.WORLD
        dist.barrier()  # the first rank may still be writing when the others have nothing left to do
    finally:
        # Whatever still refers to the group must go first, or gloo's threads may abort the process at its exit.
        gc.collect()
        dist.destroy_process_group()


def gather_states(own: dict[str, Any], group: dist.ProcessGroup | None) -> list[dict[str, Any]]:
    """Every rank's own state, in order."""
    states: list[Any] = [own] * rank_of(group)[1]
    if group is not None:
        dist.all_gather_object(states, own, group)
    return states


def word_of_first_rank(word: bool, group: dist.ProcessGroup) -> bool:
    """What rank 0 says, so that all do the same."""
    words = [word]
    dist.broadcast_object_list(words, src=0, group=group)
    return words[0]
