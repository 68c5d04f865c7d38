"""The hybrid loss: cross-entropy for log q(y|x), a contrastive estimate for log q(x|y)."""

import math
from typing import Literal, NamedTuple, get_args

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from hdge.core.distributed import log_sum_over_ranks
from hdge.core.queue import (
    LogitQueue,
    Normalization,
    at_least_float32,
    check_logits,
    check_temperature,
    floored_norm,
    normalize_logits,
    values_at_hand,
)
from hdge.core.readings import of_label

# One class a sample, or a distribution over the classes a sample (label smoothing, mixup).
Labels = Integer[Tensor, " batch"] | Float[Tensor, "batch classes"]
Reduction = Literal["mean", "sum", "none"]
# A scalar, or with the reduction "none" one number an image.
Loss = Float[Tensor, ""] | Float[Tensor, " batch"]
# Which images count; None for all images, at no cost.
Counted = Bool[Tensor, " batch"] | None

# Scores at a time in the form for soft labels, which needs B x K of them: 4 MiB of float32.
CHUNK = 2**20


class HybridTerms(NamedTuple):
    """The two terms of the hybrid loss, each in nats, before they are weighed by alpha and 1 - alpha."""

    discriminative: Loss
    generative: Loss

    def weighed(self, alpha: float) -> Loss:
        """alpha times the first and 1 - alpha times the second; either end takes one term as it is, to the bit."""
        if alpha in (0, 1):
            return self.discriminative if alpha else self.generative
        return alpha * self.discriminative + (1 - alpha) * self.generative


def queue_nll(logits: Float[Tensor, "batch classes"], labels: Labels, queue: LogitQueue) -> Float[Tensor, ""]:
    r"""Contrastive estimate of -log q(x|y) against a queue of past logits (Algorithm 1).

    .. math:: \frac1B \sum_i \log\left(e^{s_i} + \sum_{k=1}^{K} e^{p_k[y_i]/t}\right) - s_i
              = \frac1B \sum_i -\log \sigma(s_i - \log Z_{y_i}), \qquad s_i = p_i[y_i] / t

    so that the term is a logistic regression of an image's own energy against its class's partition function. For
    soft labels, p[y] is the inner product of p with the label, and log Z is the sample's own.

    Args:
        logits: f(x), shape (B, C); p is its normalised form.
        labels: y, shape (B,), integers in [0, C), at O(B C); or distributions over the classes, shape (B, C), at
            O(B C K) and in chunks of bounded memory.
        queue: holds p_k, t and log Z.

    Returns:
        Scalar in nats, at least 0, and 0 for an empty queue. Queued images of the same class stay among the
        negatives, so a good model ends near log(K / C), not at 0.

    Source: paper, equation 13 and Algorithm 1.
    """
    return -F.logsigmoid(queue_margins(logits, labels, queue)).mean()


def queue_margins(logits: Float[Tensor, "batch classes"], labels: Labels, queue: LogitQueue) -> Float[Tensor, " batch"]:
    r"""The margins s_i - log Z_{y_i} of :func:`queue_nll`, shape (B,), in nats.

    The gradient of the term with respect to s_i is -(1 - w_i) / B with

    .. math:: 1 - w_i = \sigma(\log Z_{y_i} - s_i)

    so that one sigmoid of the margin says how hard the term still pulls at an image's own logit.
    """
    if labels.is_floating_point():
        scores = _label_scores(normalize_logits(logits, queue.normalize), labels) / queue.temperature
        return scores - _soft_log_partition(labels.to(scores), queue)
    scores = _normalized_label_logits(logits, labels, queue.normalize) / queue.temperature
    return scores - queue.log_partition().to(scores)[labels]


def _normalized_label_logits(
    logits: Float[Tensor, "batch classes"], labels: Integer[Tensor, " batch"], normalize: Normalization
) -> Float[Tensor, " batch"]:
    """Compute p[y] of every image in half the work of normalising all logits first."""
    logits = at_least_float32(logits)
    own = of_label(logits, labels)
    if normalize == "l2":
        return own / floored_norm(logits).squeeze(1)
    if normalize == "softmax":
        return torch.exp(own - torch.logsumexp(logits, dim=1))
    return own


@torch.no_grad()
def _soft_log_partition(labels: Float[Tensor, "batch classes"], queue: LogitQueue) -> Float[Tensor, " batch"]:
    """Compute log sum_k exp(<p_k, y_i> / t) of every sample, at most CHUNK scores at a time."""
    if queue.group is not None:
        raise ValueError(f"labels are soft, but the queue is shared by {queue.ranks} ranks; train in one process.")
    log_partition = labels.new_full(labels.shape[:1], -math.inf)
    for rows in queue.entries[: len(queue)].to(labels).split(max(1, CHUNK // max(1, len(labels)))):
        # A row that counts for nothing holds minus infinities, which a label's zeros would turn into NaN.
        chunk = _pairs(labels, rows.clamp_min(torch.finfo(rows.dtype).min / 2))
        log_partition = torch.logaddexp(log_partition, torch.logsumexp(chunk, dim=1))
    return log_partition


def _pairs(labels: Float[Tensor, "batch classes"], rows: Float[Tensor, "rows classes"]) -> Float[Tensor, "batch rows"]:
    """Compute <y_i, s_k> of every pair, in the rows' precision even under autocast."""
    with torch.autocast(rows.device.type, enabled=False):
        return labels.to(rows) @ rows.T


def batch_nll(
    logits: Float[Tensor, "batch classes"], labels: Labels, temperature: float = 0.1, normalize: Normalization = "l2",
    group: dist.ProcessGroup | None = None,
) -> Float[Tensor, ""]:  # fmt: skip
    r"""Contrastive estimate of -log q(x|y) within a batch; gradients flow through the negatives (Algorithm 2).

    .. math:: \frac1B \sum_i \log \sum_{j=1}^{B} e^{p_j[y_i]/t} - p_i[y_i]/t

    Args:
        logits: f(x), shape (B, C); p is its normalised form.
        labels: y, shape (B,), integers in [0, C), at O(B C); or distributions, shape (B, C), at O(B^2 C).
        temperature: t, positive, or a ValueError says so.
        normalize: see :func:`hdge.core.queue.normalize_logits`.
        group: ranks whose batches together are the set of negatives; None is a single process.

    Returns:
        Scalar in nats, at least 0, and 0 for a batch of one.

    Source: paper, appendix C and Algorithm 2.
    """
    return _batch_losses(logits, labels, temperature, normalize, group, None).mean()


def _batch_losses(
    logits: Float[Tensor, "batch classes"], labels: Labels, temperature: float, normalize: Normalization,
    group: dist.ProcessGroup | None, counted: Counted,
) -> Float[Tensor, " batch"]:  # fmt: skip
    check_temperature(temperature)
    scores = normalize_logits(logits, normalize) / temperature
    own = _label_scores(scores, labels)
    if counted is not None:
        scores = scores.masked_fill(~counted[:, None], -math.inf)
    if labels.is_floating_point():
        if group is not None:
            raise ValueError(f"labels are soft, but the batch is shared by {group.size()} ranks; train in one process.")
        log_partition = torch.logsumexp(_pairs(labels, scores), dim=1)
    else:
        per_class = torch.logsumexp(scores, dim=0)
        log_partition = (per_class if group is None else log_sum_over_ranks(per_class, group))[labels]
    return log_partition - own


def conditional_nll(
    logits: Float[Tensor, "batch classes"], labels: Labels, queue: LogitQueue | None, temperature: float | None = None,
    normalize: Normalization | None = None, group: dist.ProcessGroup | None = None, reduction: Reduction = "mean",
    ignore_index: int = -100,
) -> Loss:  # fmt: skip
    """-log q(x|y) by whichever of :func:`queue_nll` and :func:`batch_nll` applies; as :func:`hybrid_loss` otherwise."""
    if reduction not in get_args(Reduction):
        raise ValueError(f"reduction is {reduction!r}; choose from {', '.join(get_args(Reduction))}.")
    check_logits(logits, None if queue is None else queue.num_classes)
    labels, counted = _checked(labels, logits, ignore_index)
    if queue is None:
        t = 0.1 if temperature is None else temperature
        losses = _batch_losses(logits, labels, t, normalize or "l2", group, counted)
    elif temperature is not None or normalize is not None or group is not None:
        raise ValueError(f"a queue brings its own temperature ({queue.temperature}), normalize and group; pass none.")
    else:
        losses = -F.logsigmoid(queue_margins(logits, labels, queue))
    if counted is not None:
        losses = torch.where(counted, losses, 0)
    if reduction == "mean":
        return losses.mean() if counted is None else losses.sum() / counted.sum()
    return losses.sum() if reduction == "sum" else losses


def hybrid_terms(
    logits: Float[Tensor, "batch classes"], labels: Labels, queue: LogitQueue | None, temperature: float | None = None,
    normalize: Normalization | None = None, group: dist.ProcessGroup | None = None, reduction: Reduction = "mean",
    ignore_index: int = -100,
) -> HybridTerms:  # fmt: skip
    """-log q(y|x) and -log q(x|y), unweighted; arguments as in :func:`hybrid_loss`."""
    generative = conditional_nll(logits, labels, queue, temperature, normalize, group, reduction, ignore_index)
    labels = labels if labels.is_floating_point() else labels.long()
    entropy = F.cross_entropy(at_least_float32(logits), labels, ignore_index=ignore_index, reduction=reduction)
    return HybridTerms(entropy, generative)


def terms_and_margins(
    logits: Float[Tensor, "batch classes"], labels: Labels, queue: LogitQueue
) -> tuple[HybridTerms, Float[Tensor, " batch"]]:
    """:func:`hybrid_terms` and the :func:`queue_margins` behind the second, at one look at the queue's log Z."""
    check_logits(logits, queue.num_classes)
    labels, _ = _checked(labels, logits, None)
    margins = queue_margins(logits, labels, queue)
    return HybridTerms(F.cross_entropy(at_least_float32(logits), labels), -F.logsigmoid(margins).mean()), margins


def hybrid_loss(
    logits: Float[Tensor, "batch classes"], labels: Labels, queue: LogitQueue | None, alpha: float = 0.5,
    temperature: float | None = None, normalize: Normalization | None = None, group: dist.ProcessGroup | None = None,
    reduction: Reduction = "mean", ignore_index: int = -100,
) -> Loss:  # fmt: skip
    r"""The hybrid discriminative-generative loss.

    .. math:: -\frac1B \sum_i \alpha \log q(y_i|x_i) + (1 - \alpha) \log q(x_i|y_i)

    The published Algorithm 1 adds the two terms with weight 1 each: the same minimiser as alpha = 0.5, with
    twice the gradient.

    Args:
        logits: f(x), shape (B, C), any real numbers, with gradient. The loss is taken in float32 or better.
        labels: y, shape (B,), integers in [0, C); or distributions over the classes, shape (B, C), for label smoothing
            and mixup, which cost O(B C K).
        queue: past logits (Algorithm 1), or None to let the batch be its own set of negatives (Algorithm 2).
        alpha: weight of log q(y|x), in [0, 1]; 1 is cross-entropy, 0 the generative term alone.
        temperature, normalize, group: of :func:`batch_nll`, as there if not given; a queue brings its own.
        reduction: "mean" over the images that count, their "sum", or "none" for one number an image.
        ignore_index: the label of images that do not count: they give 0, no gradient, and are no negatives of the
            batch. Enqueue the others alone.

    Returns:
        In nats. The mean over no images is NaN, as F.cross_entropy's.

    Raises:
        ValueError: alpha outside [0, 1], logits that are not (B, C), labels of another shape or type, settings beside
            a queue's own. On a CPU also logits that are not finite, labels outside [0, C), and distributions that do
            not sum to 1; elsewhere a look would make every step wait, and PyTorch's own device-side checks speak.

    Source: paper, equation 14.

    >>> queue = LogitQueue(num_classes=10, size=256)
    >>> logits, labels = torch.zeros(4, 10, requires_grad=True), torch.arange(4)
    >>> loss = hybrid_loss(logits, labels, queue, alpha=0.5)
    >>> loss.backward()
    >>> queue.enqueue(logits.detach())
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it must be in [0, 1] (the paper uses 0.5).")
    terms = hybrid_terms(logits, labels, queue, temperature, normalize, group, reduction, ignore_index)
    return terms.weighed(alpha)


def _label_scores(scores: Float[Tensor, "batch classes"], labels: Labels) -> Float[Tensor, " batch"]:
    """Select every row's score for its own label."""
    if labels.is_floating_point():
        return (scores * labels.to(scores)).sum(dim=1)
    return of_label(scores, labels)


def _checked(labels: Labels, logits: Tensor, ignore_index: int | None) -> tuple[Labels, Counted]:
    """Return labels in [0, C) as int64, 0 where ignored, and which images count; or distributions over the classes."""
    if not isinstance(labels, Tensor):
        raise ValueError(f"labels are of type {type(labels).__name__}; make a tensor of them: torch.as_tensor(labels).")
    batch, classes = logits.shape
    soft = labels.is_floating_point()
    if labels.shape != (logits.shape if soft else (batch,)) or labels.is_complex() or labels.dtype == torch.bool:
        found = f"labels are {labels.dtype} of shape {tuple(labels.shape)}"
        wanted = f"integers of shape ({batch},), or floating-point distributions of shape ({batch}, {classes})"
        raise ValueError(f"{found}; they must be {wanted}.")
    looked_at = values_at_hand(labels) and batch > 0
    if soft:
        # Rows of B probabilities in half precision may be off by half a percent.
        if looked_at and ((labels < 0).any() or ((labels.sum(dim=1) - 1).abs() > 1e-2).any()):
            row = int(torch.where((labels < 0).any(dim=1), 2.0, (labels.sum(dim=1) - 1).abs()).argmax())
            raise ValueError(f"labels of image {row} are {labels[row].tolist()}; they must be 0 or more and sum to 1.")
        return labels, None
    labels, counted = labels.long(), None
    lowest, highest = map(int, labels.aminmax()) if looked_at else (0, 0)
    if ignore_index is not None and (not looked_at or lowest <= ignore_index <= highest):
        counted = labels != ignore_index
        labels = torch.where(counted, labels, 0)
        lowest, highest = map(int, labels.aminmax()) if looked_at else (0, 0)
    if lowest < 0 or highest >= classes:
        raise ValueError(f"labels run from {lowest} to {highest}; they must lie in [0, {classes}).")
    return labels, counted
