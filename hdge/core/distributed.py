"""Several ranks training together: all that the contrastive term sends between them is a log-sum of C numbers.

Everywhere in this package a group of None is a single process.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor


def log_sum_over_ranks(local: Float[Tensor, " classes"], group: dist.ProcessGroup) -> Float[Tensor, " classes"]:
    r"""The log-partition over all ranks from that of each, minus infinity where there are no negatives; differentiable.

    .. math:: \log Z_y = m_y + \log \sum_{r=1}^{R} e^{\log Z_y^{(r)} - m_y}, \qquad m_y = \max_r \log Z_y^{(r)}

    It takes two all-reduces of C numbers, a maximum and a sum, whatever R, B and K are. The gradient with respect to a
    rank's log-partition is the sum of all ranks' gradients times the rank's share of Z. So DistributedDataParallel's
    means over ranks, of losses and of gradients, are those of one process with the whole batch.

    Source: equation 13 of the paper, split over ranks.
    """
    return _LogSumOverRanks.apply(local, group)


class _LogSumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor, group: dist.ProcessGroup) -> Tensor:
        largest = local.clone()
        dist.all_reduce(largest, dist.ReduceOp.MAX, group)
        # With no negative on any rank, -inf - -inf would be NaN; any finite reference gives log 0 = -inf.
        largest = largest.clamp(min=torch.finfo(local.dtype).min)
        total = torch.exp(local - largest)
        dist.all_reduce(total, dist.ReduceOp.SUM, group)
        total = largest + total.log()
        ctx.group = group
        ctx.save_for_backward(local, total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        local, total = ctx.saved_tensors
        gradient = gradient.clone()
        dist.all_reduce(gradient, dist.ReduceOp.SUM, ctx.group)
        return gradient * torch.exp(local - total), None


def rank_of(group: dist.ProcessGroup | None) -> tuple[int, int]:
    """Return this process's rank, and the number of ranks."""
    return (0, 1) if group is None else (group.rank(), group.size())


def sum_over_ranks(values: list[Tensor], group: dist.ProcessGroup | None) -> None:
    """Replace every value by its sum over all ranks."""
    if group is not None:
        for value in values:
            dist.all_reduce(value, dist.ReduceOp.SUM, group)
