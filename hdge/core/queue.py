"""The ring of past logits that replaces a sampler, and its per-class log-partition.

The negatives' sum in log q(x|y) depends on an image only through its label. So a training step needs C numbers, log
Z_y, however long the queue is. The ring keeps these numbers ready and never subtracts. Entries of the current lap are
summed as they arrive (``head``). Once a lap, the remaining sums of the lap before are stored block by block (``tail``).
The window's sum is then one of each, plus at most a block of entries in between. Nothing cancels, so nothing drifts, at
any temperature and any size of logit.

Two operators of PyTorch's library access the ring, so that ``torch.compile`` takes a training step in one graph. The
graph sees the operators, not the branches inside.
"""

import copy
import math
import warnings
from typing import Any, Literal, get_args

import torch
import torch.distributed as dist
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from hdge.core.distributed import log_sum_over_ranks

Normalization = Literal["l2", "softmax", "none"]
Start = Literal["empty", "noise"]

# Rows between two stored tail sums: a step sums at most this many afresh, and the tail stays under 2 % of the ring.
BLOCK = 128

NORM_FLOOR: float = 0.1  # smaller norms divide as if they were this: see normalize_logits
STATE = ("entries", "head", "tail", "count", "settings")  # names in a state dict


def normalize_logits(
    logits: Float[Tensor, "batch classes"], normalize: Normalization
) -> Float[Tensor, "batch classes"]:
    r"""The normalisation of Algorithm 1, line ``normalize(f(x))``.

    .. math:: f / \max(\|f\|_2, \epsilon) \quad\text{(l2)}, \qquad
              \exp f / \textstyle\sum_y \exp f[y] \quad\text{(softmax)}, \qquad f \quad\text{(none)}

    The floor epsilon is NORM_FLOOR. Where |f| >= epsilon, "l2" is Algorithm 1's and the released code's. There
    dp/df = (I - p p^T) / |f| stretches nothing by more than 1 / |f|. Below, p is linear with dp/df = I / epsilon. So
    dp/df stretches by at most 1 / epsilon everywhere; without a floor that would grow like 1 / |f|.

    In the queue's form, the gradient of image i's term with respect to p_i is -(1 - w_i) / t at its label alone. With
    respect to its logits it is then no longer than (1 - w_i) / (t epsilon), and 1 / B of that in the mean.
    In the batch's form, let a_j[c] be image j's share of Z_c, and n_c the number of images of class c. The gradient of
    the terms' sum with respect to p_j[c] is (n_c a_j[c] - [y_j = c]) / t. Its sizes add up to at most B / t over c, and
    to 2 B / t over c and j. So the mean's gradient is no longer than 1 / (t epsilon) for one image's logits, and these
    lengths add up to at most 2 / (t epsilon).

    Args:
        logits: f(x), shape (B, C); taken up to float32, since squares underflow in half precision.
        normalize: which of the three; the figure allows the first two, the released code uses "l2".

    Returns:
        Shape (B, C); components in [-1, 1] for "l2" and in [0, 1] for "softmax".

    Source: paper, Algorithm 1; the floor is ours.
    """
    logits = at_least_float32(logits)
    if normalize == "l2":
        return logits / floored_norm(logits)
    if normalize == "softmax":
        return torch.softmax(logits, dim=1)
    return logits


def floored_norm(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch 1"]:
    return torch.linalg.vector_norm(logits, dim=1, keepdim=True).clamp_min(NORM_FLOOR)


def at_least_float32(logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def sum_dtype(device: torch.device) -> torch.dtype:
    """float64; float32 on Apple's devices, where each of a lap's K/B additions rounds log Z by up to 6e-8 |log Z|."""
    return torch.float32 if device.type == "mps" else torch.float64


class LogitQueue(nn.Module):
    r"""A ring of the last K normalised logits, with log Z of every class at hand.

    .. math:: \log Z_y = \log \sum_{k=1}^{K} \exp(p_k[y] / t), \qquad p_k = \mathrm{normalize}(f(x_k))

    Only entries that have been filled count. A step costs O(B C) on average, whatever K is.
    The queue moves with a model. A cast to half leaves it in float32, one to float64 takes the entries along; sums stay
    in float64. Its tensors are no buffers, which DistributedDataParallel would overwrite by rank 0's. state_dict()
    holds copies, so that an average of a model's weights leaves the queue as it was when the model was copied. A deep
    copy shares the process group, and pickling refuses one: save the state_dict() of every rank.

    Args:
        num_classes: C, at least 1.
        size: K, the number of past images held, at least 1 (65,536 in the paper).
        temperature: t, positive (0.1 in the paper).
        normalize: "l2", "softmax" or "none"; see :func:`normalize_logits`.
        start: "empty", or "noise": K rows of normalised N(0, 1) numbers count as images, as in the released code.
        training_images: size of the training set, if it is to be compared with K; a queue at least as long warns.
        group: the process group that trains together. Each of its R ranks keeps K / R entries. log Z is summed over
            all of them, at 2 C numbers a step on the wire. None is a single process.

    Raises:
        ValueError: a value outside these bounds, K no multiple of R.
        RuntimeError: a state of another C, K, R, normalisation or temperature.

    Source: paper, equation 13 and Algorithm 1.

    >>> queue = LogitQueue(num_classes=2, size=3, temperature=1.0, normalize="none")
    >>> queue.enqueue(torch.zeros(5, 2))
    >>> len(queue), queue.log_partition().exp()
    (3, tensor([3., 3.]))
    """

    def __init__(
        self, num_classes: int, size: int = 65536, temperature: float = 0.1, normalize: Normalization = "l2",
        start: Start = "empty", training_images: int | None = None, group: dist.ProcessGroup | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        for name, number in (("num_classes", num_classes), ("size", size)):
            if not hasattr(number, "__index__") or number < 1:
                raise ValueError(f"{name} is {number!r}; it must be a whole number, at least 1.")
        check_temperature(temperature)
        for name, value, choices in (("normalize", normalize, Normalization), ("start", start, Start)):
            if value not in get_args(choices):
                raise ValueError(f"{name} is {value!r}; choose from {', '.join(get_args(choices))}.")
        ranks = 1 if group is None else group.size()
        if size % ranks:
            raise ValueError(f"size is {size}; it must be a multiple of the {ranks} ranks that share the queue.")
        if training_images is not None and size >= training_images:
            long = f"queue size {size} is not below the {training_images} training images"
            warnings.warn(f"{long}: each image meets its own earlier logits among the negatives.", stacklevel=2)
        self.num_classes, self.size, self.ranks = int(num_classes), int(size), ranks
        self.temperature, self.normalize, self.start, self.group = float(temperature), normalize, start, group
        # Scores p / t rather than p: they are divided once, and summed many times.
        self.entries = torch.empty(self.size // ranks, self.num_classes, dtype=torch.float32)
        # Entries ever put in. A number would be compiled anew every step; on another device every step would wait.
        self.count = torch.zeros((), dtype=torch.int64, device="cpu")
        self._begin()

    def _begin(self) -> None:
        """Empty the ring, or fill it with noise: at first, and when it leaves the meta device, which has no values."""
        self.count.zero_()
        self.entries.zero_()
        sums = torch.full_like(self.entries[0], -math.inf, dtype=sum_dtype(self.entries.device))
        self.head, self.tail = sums, sums.repeat(math.ceil(len(self.entries) / BLOCK) + 1, 1)
        if self.start == "noise":
            self.enqueue(torch.randn_like(self.entries))

    def __len__(self) -> int:
        """Entries of this rank that have been filled, from 0 to K / R."""
        return min(int(self.count), len(self.entries))

    def extra_repr(self) -> str:
        names = ("num_classes", "size", "ranks", "temperature", "normalize")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)

    @property
    def settings(self) -> UInt8[Tensor, " letters"]:
        """What a state must agree on, as text in a type that casts and averages of states pass by."""
        return torch.tensor(list(self.extra_repr().encode()), dtype=torch.uint8, device="cpu")

    def _apply(self, fn: Any, recurse: bool = True) -> "LogitQueue":
        super()._apply(fn, recurse)
        before, moved = self.entries, fn(self.entries)
        self.entries = moved if moved.dtype in (torch.float32, torch.float64) else before.to(moved.device)
        if before.is_meta and not moved.is_meta:
            self._begin()
        else:
            self.head, self.tail = (sums.to(moved.device, sum_dtype(moved.device)) for sums in (self.head, self.tail))
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination.update({prefix + name: getattr(self, name).clone() for name in STATE})

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        own = {name: state_dict[prefix + name] for name in STATE if prefix + name in state_dict}
        rest = {key: value for key, value in state_dict.items() if key.removeprefix(prefix) not in own}
        super()._load_from_state_dict(rest, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        missing_keys += [prefix + name for name in STATE if name not in own]
        if len(own) < len(STATE):
            return
        there, here = bytes(own.pop("settings").tolist()).decode().split(", "), self.extra_repr().split(", ")
        wrong = [f"{prefix}{a} in the state, but {b} here." for a, b in zip(there, here, strict=False) if a != b]
        error_msgs += wrong
        for name, value in own.items() if not wrong else ():
            held = getattr(self, name)
            on = value.device if held.is_meta and local_metadata.get("assign_to_params_buffers") else held.device
            setattr(self, name, value.detach().to(on, held.dtype, copy=True))

    def __deepcopy__(self, memo: dict[int, Any]) -> "LogitQueue":
        memo[id(self.group)] = self.group
        twin = memo[id(self)] = self.__class__.__new__(self.__class__)
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def __getstate__(self) -> dict[str, Any]:
        if self.group is not None:
            raise TypeError("a queue with a process group cannot be pickled; save its state_dict() instead.")
        return self.__dict__

    def filled(self) -> Float[Tensor, "filled classes"]:
        """The filled entries of this rank, normalised logits p, oldest first, as a copy; blank ones are left out."""
        scores = self.entries[: len(self)].roll(-(int(self.count) % len(self.entries)), 0)
        return scores[scores[:, 0] > -math.inf] * self.temperature

    @torch.no_grad()
    def log_partition(self) -> Float[Tensor, " classes"]:
        """log Z_y of every class over the filled entries, shape (C,); minus infinity while the queue is empty."""
        summed = log_partition_operator if torch.compiler.is_compiling() else _log_partition
        local = summed(self.entries, self.head, self.tail, self.count)
        return local if self.group is None else log_sum_over_ranks(local, self.group)

    @torch.no_grad()
    def enqueue(self, logits: Float[Tensor, "batch classes"]) -> None:
        """Put f(x) of the step just taken in the ring, shape (B, C), any B; no gradient is kept, the oldest leave.

        Logits that are not finite are refused on a CPU. Where values are not looked at, such an image takes a place but
        counts for nothing: a NaN shows in its own batch's loss alone.
        """
        check_logits(logits, self.num_classes)
        latest = logits[-len(self.entries) :].to(self.entries)
        scores = normalize_logits(latest, self.normalize) / self.temperature
        # Finite logits give finite scores, but for "none", where division by t may overflow.
        if self.normalize == "none" or not values_at_hand(scores):
            finite = (latest.isfinite() & scores.isfinite()).all(dim=1, keepdim=True)
            scores = torch.where(finite, scores, -math.inf)
        write = enqueue_operator if torch.compiler.is_compiling() else _enqueue
        write(self.entries, self.head, self.tail, self.count, scores)


def _enqueue(entries: Tensor, head: Tensor, tail: Tensor, count: Tensor, rows: Tensor) -> None:
    """Write at most K rows into the ring, lap by lap."""
    while len(rows):
        position = int(count) % len(entries)
        now, rows = rows[: len(entries) - position], rows[len(entries) - position :]
        entries[position : position + len(now)] = now
        head.copy_(torch.logaddexp(head, now.logsumexp(dim=0)))
        count += len(now)
        if position + len(now) == len(entries):
            _start_lap(entries, head, tail)


def _start_lap(entries: Tensor, head: Tensor, tail: Tensor) -> None:
    """Store, block by block from the end, the sum over all entries from there on; the head starts empty."""
    tail[-1] = -math.inf
    for block in reversed(range(math.ceil(len(entries) / BLOCK))):
        rows = entries[block * BLOCK : (block + 1) * BLOCK]
        tail[block] = torch.logaddexp(rows.logsumexp(dim=0), tail[block + 1])
    head.fill_(-math.inf)


def _log_partition(entries: Tensor, head: Tensor, tail: Tensor, count: Tensor) -> Tensor:
    """Sum the window: the lap under way, the rest of the block that it has reached, and the blocks beyond."""
    if int(count) < len(entries):
        return head.to(entries.dtype, copy=True)
    position = int(count) % len(entries)
    block = math.ceil(position / BLOCK)
    between = entries[position : block * BLOCK].logsumexp(dim=0)
    return torch.logaddexp(head, torch.logaddexp(between, tail[block])).to(entries.dtype)


# The same two for a compiled graph, which must not look inside; a plain step does without their dispatch.
enqueue_operator = torch.library.custom_op("hdge::enqueue", _enqueue, mutates_args=("entries", "head", "tail", "count"))
log_partition_operator = torch.library.custom_op("hdge::log_partition", _log_partition, mutates_args=())


@log_partition_operator.register_fake
def _(entries: Tensor, head: Tensor, tail: Tensor, count: Tensor) -> Tensor:
    return torch.empty_like(head, dtype=entries.dtype)


def check_temperature(temperature: float) -> None:
    """Refuse a temperature that is not a positive number."""
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature}; it must be positive (the paper uses 0.1).")


def check_logits(logits: Tensor, num_classes: int | None = None) -> None:
    """Refuse logits that are not (B, C) with C as given, or, where :func:`values_at_hand`, not finite."""
    if logits.ndim != 2:
        raise ValueError(f"logits have shape {tuple(logits.shape)}; they must be 2-D, (batch, classes).")
    if num_classes is not None and logits.shape[1] != num_classes:
        raise ValueError(f"logits have {logits.shape[1]} classes; the queue was made for {num_classes}.")
    if values_at_hand(logits) and not math.isfinite(logits.detach().sum()):
        bad = ~logits.isfinite()
        if bad.any():  # otherwise the sum of finite numbers overflowed
            row = int(bad.any(dim=1).nonzero()[0])
            worst = f"logits hold {logits[bad][0].item()} (image {row} of the batch)"
            raise ValueError(f"{worst}; they must be finite: lower the learning rate.")


def values_at_hand(tensor: Tensor) -> bool:
    """Check whether a look at a value makes no step wait: on a CPU, outside a compiled graph."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()
