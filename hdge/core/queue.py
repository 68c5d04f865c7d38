"""The ring of past logits that stands in for a sampler, and its per-class log-partition.

The negatives' sum in log q(x|y) depends on an image only through its label, so a training step needs C numbers,
log Z_y, however long the queue is. The ring keeps them ready without ever subtracting: entries of the current lap
are summed as they arrive (``head``), and once a lap the remaining sums of the lap before are laid down block by
block (``tail``). What is left of a sliding window is then one of each plus at most a block of entries in between.
Nothing cancels, so nothing drifts, at any temperature and any size of logit.

The two things a step does to the ring are operators of PyTorch's own library, so that ``torch.compile`` takes a
training step in one graph: it sees an operator that changes four tensors, not the branches inside.
"""

import math
import warnings
from typing import Literal, get_args

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hdge.core.distributed import log_sum_over_ranks

Normalization = Literal["l2", "softmax", "none"]
Start = Literal["empty", "noise"]

# Rows between two stored tail sums. A step sums at most this many rows afresh, and the tail costs two floats of
# storage a class and block: at 128 that is under 2 % of the ring itself.
BLOCK = 128


def normalize_logits(
    logits: Float[Tensor, "batch classes"], normalize: Normalization
) -> Float[Tensor, "batch classes"]:
    r"""The normalisation of Algorithm 1, line ``normalize(f(x))``.

    .. math:: f / \|f\|_2 \quad\text{(l2)}, \qquad \exp f / \textstyle\sum_y \exp f[y] \quad\text{(softmax)},
              \qquad f \quad\text{(none)}

    Args:
        logits: f(x), shape (B, C).
        normalize: which of the three; the figure allows the first two, the released code uses "l2".

    Returns:
        Shape (B, C); components in [-1, 1] for "l2" and in [0, 1] for "softmax".

    Source: paper, Algorithm 1.
    """
    if normalize == "l2":
        return F.normalize(logits, dim=1)
    if normalize == "softmax":
        return torch.softmax(logits, dim=1)
    return logits


class LogitQueue(nn.Module):
    r"""A ring of the last K normalised logits, with log Z of every class at hand.

    .. math:: \log Z_y = \log \sum_{k=1}^{K} \exp(p_k[y] / t), \qquad p_k = \mathrm{normalize}(f(x_k))

    Only entries that have been filled count. A step costs O(B C) on average, whatever K is.

    Args:
        num_classes: C, at least 1.
        size: K, the number of past images held, at least 1 (65,536 in the paper).
        temperature: t, positive (0.1 in the paper).
        normalize: "l2", "softmax" or "none"; see :func:`normalize_logits`.
        start: "empty", or "noise" for K rows of normalised N(0, 1) numbers that count as images until they have
            left, as in the released code.
        training_images: size of the training set, if it is to be compared with K; a queue at least as long warns.
        group: the process group that trains together. Each of its R ranks keeps K / R entries of its own, and log Z
            is summed over all of them: 2 C numbers a step on the wire. None is a single process.

    Raises:
        ValueError: a value outside these bounds, K no multiple of R, or logits of another shape than (B, C).

    Source: paper, equation 13 and Algorithm 1.

    >>> queue = LogitQueue(num_classes=2, size=3, temperature=1.0, normalize="none")
    >>> queue.enqueue(torch.zeros(5, 2))
    >>> len(queue), queue.log_partition().exp()
    (3, tensor([3., 3.]))
    """

    entries: Tensor
    head: Tensor
    tail: Tensor

    def __init__(
        self,
        num_classes: int,
        size: int = 65536,
        temperature: float = 0.1,
        normalize: Normalization = "l2",
        start: Start = "empty",
        training_images: int | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; it must be at least 1.")
        if size < 1:
            raise ValueError(f"size is {size}; a queue holds at least 1 entry.")
        check_temperature(temperature)
        for name, value, choices in (("normalize", normalize, Normalization), ("start", start, Start)):
            if value not in get_args(choices):
                raise ValueError(f"{name} is {value!r}; choose from {', '.join(get_args(choices))}.")
        ranks = 1 if group is None else group.size()
        if size % ranks:
            raise ValueError(f"size is {size}; it must be a multiple of the {ranks} ranks that share the queue.")
        if training_images is not None and size >= training_images:
            warnings.warn(
                f"queue size {size} is not below the {training_images} training images: "
                "each image meets its own earlier logits among the negatives.",
                stacklevel=2,
            )
        self.num_classes, self.size = num_classes, size
        self.temperature, self.normalize = temperature, normalize
        self.group = group
        rows = size // ranks
        # Scores p / t rather than p: they are divided once, and summed many times.
        self.register_buffer("entries", torch.zeros(rows, num_classes))
        # float64 for the sums alone: C numbers and one row a block, so that a million additions lose nothing.
        self.register_buffer("head", torch.full((num_classes,), -math.inf, dtype=torch.float64))
        self.register_buffer("tail", torch.full((_blocks(rows) + 1, num_classes), -math.inf, dtype=torch.float64))
        # Where the ring stands, in entries ever put in. Neither a number, which a compiled step would be compiled
        # anew for, nor a buffer, which would move to the device and make every step wait for it.
        self.count = torch.zeros((), dtype=torch.int64)
        if start == "noise":
            self.enqueue(torch.randn(rows, num_classes))

    def __len__(self) -> int:
        """Entries of this rank that have been filled, from 0 to K / R."""
        return min(int(self.count), len(self.entries))

    def extra_repr(self) -> str:
        return (
            f"num_classes={self.num_classes}, size={self.size}, "
            f"temperature={self.temperature}, normalize={self.normalize!r}"
        )

    def get_extra_state(self) -> dict[str, int]:
        return {"count": int(self.count)}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.count = torch.tensor(state["count"])

    def filled(self) -> Float[Tensor, "filled classes"]:
        """The filled entries of this rank, normalised logits p, oldest first, as a copy of shape (len(self), C)."""
        return self.entries[: len(self)].roll(-(int(self.count) % len(self.entries)), 0) * self.temperature

    @torch.no_grad()
    def log_partition(self) -> Float[Tensor, " classes"]:
        """log Z_y of every class over the filled entries, shape (C,); minus infinity while the queue is empty."""
        summed = log_partition_operator if torch.compiler.is_compiling() else _log_partition
        local = summed(self.entries, self.head, self.tail, self.count)
        return local if self.group is None else log_sum_over_ranks(local, self.group)

    @torch.no_grad()
    def enqueue(self, logits: Float[Tensor, "batch classes"]) -> None:
        """Put a batch's normalised logits in the ring; the oldest entries leave.

        Args:
            logits: f(x) of the step just taken, shape (B, C), any B; no gradient is kept.

        Raises:
            ValueError: logits that are not of shape (B, C), or, on a CPU, that are not finite.
        """
        check_logits(logits, self.num_classes)
        write = enqueue_operator if torch.compiler.is_compiling() else _enqueue
        latest = logits[-len(self.entries) :].to(self.entries)
        scores = normalize_logits(latest, self.normalize) / self.temperature
        write(self.entries, self.head, self.tail, self.count, scores)


def _enqueue(entries: Tensor, head: Tensor, tail: Tensor, count: Tensor, rows: Tensor) -> None:
    """Write at most K rows into the ring, lap by lap."""
    while len(rows):
        position = int(count) % len(entries)
        now, rows = rows[: len(entries) - position], rows[len(entries) - position :]
        entries[position : position + len(now)] = now
        head.copy_(torch.logaddexp(head, _log_sum(now)))
        count += len(now)
        if position + len(now) == len(entries):
            _start_lap(entries, head, tail)


def _start_lap(entries: Tensor, head: Tensor, tail: Tensor) -> None:
    """Lay down, block by block from the end, the sum over all entries from there on; the head starts empty."""
    tail[-1] = -math.inf
    for block in range(_blocks(len(entries)) - 1, -1, -1):
        rows = entries[block * BLOCK : (block + 1) * BLOCK]
        tail[block] = torch.logaddexp(_log_sum(rows), tail[block + 1])
    head.fill_(-math.inf)


def _log_partition(entries: Tensor, head: Tensor, tail: Tensor, count: Tensor) -> Tensor:
    """The window's sum: the lap under way, the rest of the block it has reached, and the blocks beyond."""
    if int(count) < len(entries):
        return head.to(entries.dtype, copy=True)
    position = int(count) % len(entries)
    block = _blocks(position)
    between = _log_sum(entries[position : block * BLOCK])
    return torch.logaddexp(head, torch.logaddexp(between, tail[block])).to(entries.dtype)


# The same two for a compiled graph, which must not look inside; a plain step does without their dispatch.
enqueue_operator = torch.library.custom_op("hdge::enqueue", _enqueue, mutates_args=("entries", "head", "tail", "count"))
log_partition_operator = torch.library.custom_op("hdge::log_partition", _log_partition, mutates_args=())


@log_partition_operator.register_fake
def _(entries: Tensor, head: Tensor, tail: Tensor, count: Tensor) -> Tensor:
    return torch.empty_like(head, dtype=entries.dtype)


def _blocks(rows: int) -> int:
    return math.ceil(rows / BLOCK)


def _log_sum(scores: Tensor) -> Tensor:
    return torch.logsumexp(scores, dim=0).double()


def check_temperature(temperature: float) -> None:
    """Refuse a temperature that is not a positive number."""
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature}; it must be positive (the paper uses 0.1).")


def check_logits(logits: Tensor, num_classes: int | None = None) -> None:
    """Refuse logits that are not of shape (B, C) with C as given, or not finite where that can be told at once.

    Values are looked at on a CPU alone: elsewhere, or inside a compiled graph, every look would make the step wait.
    There a NaN shows in the loss.
    """
    if logits.ndim != 2:
        raise ValueError(f"logits have shape {tuple(logits.shape)}; they must be 2-D, (batch, classes).")
    if num_classes is not None and logits.shape[1] != num_classes:
        raise ValueError(f"logits have {logits.shape[1]} classes; the queue was made for {num_classes}.")
    if values_at_hand(logits) and not math.isfinite(logits.detach().sum()):
        bad = ~logits.isfinite()
        # A sum of finite numbers may overflow; only a number that is itself infinite or NaN is refused.
        if bad.any():
            row = int(bad.any(dim=1).nonzero()[0])
            raise ValueError(
                f"logits hold {logits[bad][0].item()} (image {row} of the batch); they must be finite: "
                "lower the learning rate."
            )


def values_at_hand(tensor: Tensor) -> bool:
    """Whether looking at a value costs nothing: on a CPU, outside a compiled graph."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()
