"""Ranks that train one run together: their start, and what they exchange besides gradients."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from hdge.core.distributed import rank_of
from hdge.measure.network import free_gpu


@contextmanager
def process_group() -> Iterator[dist.ProcessGroup | None]:
    """Yield the ranks that torchrun has started, or None for a single process."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield None
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(free_gpu(int(os.environ["LOCAL_RANK"])))
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield dist.group.WORLD
        dist.barrier()  # the first rank may still be writing when the others have nothing left to do
    finally:
        # While anything refers to the group, gloo's threads may abort the process at its exit.
        gc.collect()
        dist.destroy_process_group()


def gather_states(own: dict[str, Any], group: dist.ProcessGroup | None) -> list[dict[str, Any]]:
    """Gather every rank's own state, in order."""
    states: list[Any] = [own] * rank_of(group)[1]
    if group is not None:
        dist.all_gather_object(states, own, group)
    return states


def word_of_first_rank(word: bool, group: dist.ProcessGroup) -> bool:
    """Return what rank 0 says, so that all ranks do the same."""
    words = [word]
    dist.broadcast_object_list(words, src=0, group=group)
    return words[0]
