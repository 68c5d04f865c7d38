"""The ring of past logits that stands in for a sampler, and its per-class log-partition.

The negatives' sum in log q(x|y) depends on an image only through its label, so a training step needs C numbers,
log Z_y, however long the queue is. The ring keeps them ready without ever subtracting: entries of the current lap
are summed as they arrive (``head``), and once a lap the remaining sums of the lap before are laid down block by
block (``tail``). What is left of a sliding window is then one of each plus at most a block of entries in between.
Nothing cancels, so nothing drifts, at any temperature and any size of logit.
"""

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Normalization = Literal["l2", "softmax", "none"]

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

    Raises:
        ValueError: a value outside these bounds, or logits of another shape than (B, C).

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
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; it must be at least 1.")
        if size < 1:
            raise ValueError(f"size is {size}; a queue holds at least 1 entry.")
        check_temperature(temperature)
        if normalize not in get_args(Normalization):
            raise ValueError(f"normalize is {normalize!r}; choose from {', '.join(get_args(Normalization))}.")
        self.num_classes, self.size = num_classes, size
        self.temperature, self.normalize = temperature, normalize
        self.register_buffer("entries", torch.zeros(size, num_classes))
        # float64 for the sums alone: C numbers and one row a block, so that a million additions lose nothing.
        self.register_buffer("head", torch.full((num_classes,), -math.inf, dtype=torch.float64))
        blocks = math.ceil(size / BLOCK) + 1
        self.register_buffer("tail", torch.full((blocks, num_classes), -math.inf, dtype=torch.float64))
        # Python integers rather than buffers, so that no step waits for a device to tell where the ring stands.
        self.position = 0
        self.full = False

    def __len__(self) -> int:
        """Entries that have been filled, from 0 to K."""
        return self.size if self.full else self.position

    def extra_repr(self) -> str:
        return (
            f"num_classes={self.num_classes}, size={self.size}, "
            f"temperature={self.temperature}, normalize={self.normalize!r}"
        )

    def get_extra_state(self) -> dict[str, int | bool]:
        return {"position": self.position, "full": self.full}

    def set_extra_state(self, state: dict[str, int | bool]) -> None:
        self.position, self.full = int(state["position"]), bool(state["full"])

    def filled(self) -> Float[Tensor, "filled classes"]:
        """The filled entries, oldest first, as a copy of shape (len(self), C)."""
        if not self.full:
            return self.entries[: self.position].clone()
        return torch.cat([self.entries[self.position :], self.entries[: self.position]])

    @torch.no_grad()
    def log_partition(self) -> Float[Tensor, " classes"]:
        """log Z_y of every class over the filled entries, shape (C,); minus infinity while the queue is empty."""
        log_partition = self.head
        if self.full:
            block_end = math.ceil(self.position / BLOCK) * BLOCK
            between = self._log_sum(self.entries[self.position : min(block_end, self.size)])
            rest = torch.logaddexp(between, self.tail[block_end // BLOCK])
            log_partition = torch.logaddexp(log_partition, rest)
        return log_partition.to(self.entries.dtype)

    @torch.no_grad()
    def enqueue(self, logits: Float[Tensor, "batch classes"]) -> None:
        """Put a batch's normalised logits in the ring; the oldest entries leave.

        Args:
            logits: f(x) of the step just taken, shape (B, C), any B; no gradient is kept.

        Raises:
            ValueError: logits that are not of shape (B, C).
        """
        check_logits(logits, self.num_classes)
        rows = normalize_logits(logits.to(self.entries), self.normalize)[-self.size :]
        while len(rows):
            now, rows = rows.split_with_sizes(self._cut(len(rows)))
            self.entries[self.position : self.position + len(now)] = now
            self.head = torch.logaddexp(self.head, self._log_sum(now))
            self.position += len(now)
            if self.position == self.size:
                self._start_lap()

    def _cut(self, rows: int) -> list[int]:
        """How many of so many rows still fit into this lap, and how many go on to the next."""
        now = min(rows, self.size - self.position)
        return [now, rows - now]

    def _start_lap(self) -> None:
        """Lay down, block by block from the end, the sum over all entries from there on; the head starts empty."""
        self.tail[-1] = -math.inf
        for block in range(len(self.tail) - 2, -1, -1):
            rows = self.entries[block * BLOCK : (block + 1) * BLOCK]
            self.tail[block] = torch.logaddexp(self._log_sum(rows), self.tail[block + 1])
        self.head = torch.full_like(self.head, -math.inf)
        self.position, self.full = 0, True

    def _log_sum(self, rows: Float[Tensor, "rows classes"]) -> Float[Tensor, " classes"]:
        return torch.logsumexp(rows / self.temperature, dim=0).double()


def check_temperature(temperature: float) -> None:
    """Refuse a temperature that is not a positive number."""
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature}; it must be positive (the paper uses 0.1).")


def check_logits(logits: Tensor, num_classes: int | None = None) -> None:
    """Refuse logits that are not of shape (B, C) with C as given."""
    if logits.ndim != 2:
        raise ValueError(f"logits have shape {tuple(logits.shape)}; they must be 2-D, (batch, classes).")
    if num_classes is not None and logits.shape[1] != num_classes:
        raise ValueError(f"logits have {logits.shape[1]} classes; the queue was made for {num_classes}.")
