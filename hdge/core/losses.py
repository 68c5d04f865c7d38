"""The hybrid loss: cross-entropy for log q(y|x), a contrastive estimate for log q(x|y)."""

import math
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from hdge.core.distributed import log_sum_over_ranks
from hdge.core.queue import (
    LogitQueue,
    Normalization,
    check_logits,
    check_temperature,
    normalize_logits,
    values_at_hand,
)
from hdge.core.readings import of_label

# One class a sample, or a distribution over the classes a sample (label smoothing, mixup).
Labels = Int[Tensor, " batch"] | Float[Tensor, "batch classes"]

# Scores at a time in the form for soft labels, which needs B x K of them: 4 MiB of float32.
CHUNK = 2**20


class HybridTerms(NamedTuple):
    """The two terms of the hybrid loss, each a scalar in nats, before they are weighed by alpha and 1 - alpha."""

    discriminative: Float[Tensor, ""]
    generative: Float[Tensor, ""]

    def weighed(self, alpha: float) -> Float[Tensor, ""]:
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
    logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], normalize: Normalization
) -> Float[Tensor, " batch"]:
    """p[y] of every image without the rest of p: half the work of normalising first and selecting then."""
    own = of_label(logits, labels)
    if normalize == "l2":
        return own / torch.linalg.vector_norm(logits, dim=1).clamp_min(1e-12)
    if normalize == "softmax":
        return torch.exp(own - torch.logsumexp(logits, dim=1))
    return own


@torch.no_grad()
def _soft_log_partition(labels: Float[Tensor, "batch classes"], queue: LogitQueue) -> Float[Tensor, " batch"]:
    """log sum_k exp(<p_k, y_i> / t) of every sample, never more than CHUNK scores at a time."""
    if queue.group is not None:
        raise ValueError(
            f"labels are soft, but the queue is shared by {queue.group.size()} ranks; train in one process."
        )
    log_partition = labels.new_full(labels.shape[:1], -math.inf)
    for rows in queue.entries[: len(queue)].to(labels).split(max(1, CHUNK // len(labels))):
        chunk = torch.logsumexp(labels @ rows.T, dim=1)
        log_partition = torch.logaddexp(log_partition, chunk)
    return log_partition


def batch_nll(
    logits: Float[Tensor, "batch classes"],
    labels: Labels,
    temperature: float = 0.1,
    normalize: Normalization = "l2",
    group: dist.ProcessGroup | None = None,
) -> Float[Tensor, ""]:
    r"""Contrastive estimate of -log q(x|y) within a batch; gradients flow through the negatives (Algorithm 2).

    .. math:: \frac1B \sum_i \log \sum_{j=1}^{B} e^{p_j[y_i]/t} - p_i[y_i]/t

    Args:
        logits: f(x), shape (B, C); p is its normalised form.
        labels: y, shape (B,), integers in [0, C), at O(B C); or distributions, shape (B, C), at O(B^2 C).
        temperature: t, positive.
        normalize: see :func:`hdge.core.queue.normalize_logits`.
        group: ranks whose batches together are the set of negatives; None is a single process.

    Returns:
        Scalar in nats, at least 0, and 0 for a batch of one.

    Raises:
        ValueError: a temperature that is not positive.

    Source: paper, appendix C and Algorithm 2.
    """
    check_temperature(temperature)
    scores = normalize_logits(logits, normalize) / temperature
    if labels.is_floating_point():
        if group is not None:
            raise ValueError(f"labels are soft, but the batch is shared by {group.size()} ranks; train in one process.")
        log_partition = torch.logsumexp(labels.to(scores) @ scores.T, dim=1)
    else:
        per_class = torch.logsumexp(scores, dim=0)
        log_partition = (per_class if group is None else log_sum_over_ranks(per_class, group))[labels]
    return (log_partition - _label_scores(scores, labels)).mean()


def conditional_nll(
    logits: Float[Tensor, "batch classes"],
    labels: Labels,
    queue: LogitQueue | None,
    temperature: float | None = None,
    normalize: Normalization | None = None,
    group: dist.ProcessGroup | None = None,
) -> Float[Tensor, ""]:
    """-log q(x|y) by whichever of :func:`queue_nll` and :func:`batch_nll` applies; arguments as in :func:`hybrid_loss`.

    Raises:
        ValueError: logits or labels that are refused by :func:`hybrid_loss`, or a queue together with a
            temperature, a normalisation or a group of its own.
    """
    check_logits(logits, None if queue is None else queue.num_classes)
    check_labels(labels, logits)
    if queue is None:
        return batch_nll(logits, labels, 0.1 if temperature is None else temperature, normalize or "l2", group)
    if temperature is not None or normalize is not None or group is not None:
        raise ValueError(f"a queue brings its own temperature ({queue.temperature}), normalize and group; pass none.")
    return queue_nll(logits, labels, queue)


def hybrid_terms(
    logits: Float[Tensor, "batch classes"],
    labels: Labels,
    queue: LogitQueue | None,
    temperature: float | None = None,
    normalize: Normalization | None = None,
    group: dist.ProcessGroup | None = None,
) -> HybridTerms:
    """-log q(y|x) and -log q(x|y), unweighted; arguments as in :func:`hybrid_loss`."""
    generative = conditional_nll(logits, labels, queue, temperature, normalize, group)
    return HybridTerms(F.cross_entropy(logits, labels), generative)


def terms_and_margins(
    logits: Float[Tensor, "batch classes"], labels: Labels, queue: LogitQueue
) -> tuple[HybridTerms, Float[Tensor, " batch"]]:
    """:func:`hybrid_terms` and the :func:`queue_margins` behind the second, at one look at the queue's log Z."""
    check_logits(logits, queue.num_classes)
    check_labels(labels, logits)
    margins = queue_margins(logits, labels, queue)
    return HybridTerms(F.cross_entropy(logits, labels), -F.logsigmoid(margins).mean()), margins


def hybrid_loss(
    logits: Float[Tensor, "batch classes"],
    labels: Labels,
    queue: LogitQueue | None,
    alpha: float = 0.5,
    temperature: float | None = None,
    normalize: Normalization | None = None,
    group: dist.ProcessGroup | None = None,
) -> Float[Tensor, ""]:
    r"""The hybrid discriminative-generative loss.

    .. math:: -\frac1B \sum_i \alpha \log q(y_i|x_i) + (1 - \alpha) \log q(x_i|y_i)

    The published Algorithm 1 adds the two terms with weight 1 each: the same minimiser as alpha = 0.5, with
    twice the gradient.

    Args:
        logits: f(x), shape (B, C), any real numbers, with gradient.
        labels: y, shape (B,), integers in [0, C); or distributions over the classes, shape (B, C), for label smoothing
            and mixup, which cost O(B C K).
        queue: past logits (Algorithm 1), or None to let the batch be its own set of negatives (Algorithm 2).
        alpha: weight of log q(y|x), in [0, 1]; 1 is cross-entropy, 0 the generative term alone.
        temperature: t of the batch form, 0.1 if not given; a queue brings its own.
        normalize: normalisation of the batch form, "l2" if not given; a queue brings its own.
        group: ranks that share the batch form's negatives; a queue brings its own.

    Returns:
        Scalar in nats.

    Raises:
        ValueError: alpha outside [0, 1], logits that are not (B, C), labels of another shape or type. On a CPU also
            logits that are not finite, labels outside [0, C), and distributions that do not sum to 1; elsewhere a
            look at values would make every step wait, and PyTorch's own device-side checks speak.

    Source: paper, equation 14.

    >>> queue = LogitQueue(num_classes=10, size=256)
    >>> logits, labels = torch.zeros(4, 10, requires_grad=True), torch.arange(4)
    >>> loss = hybrid_loss(logits, labels, queue, alpha=0.5)
    >>> loss.backward()
    >>> queue.enqueue(logits.detach())
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it must be in [0, 1] (the paper uses 0.5).")
    return hybrid_terms(logits, labels, queue, temperature, normalize, group).weighed(alpha)


def _label_scores(scores: Float[Tensor, "batch classes"], labels: Labels) -> Float[Tensor, " batch"]:
    """Every row's score for its own label."""
    if labels.is_floating_point():
        return (scores * labels.to(scores)).sum(dim=1)
    return of_label(scores, labels)


def check_labels(labels: Tensor, logits: Tensor) -> None:
    """Refuse labels that are neither classes nor distributions over the classes of these logits."""
    batch, classes = logits.shape
    soft = labels.is_floating_point() and labels.shape == logits.shape
    if not soft and (labels.dtype != torch.int64 or labels.shape != (batch,)):
        raise ValueError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}; they must be torch.int64 of shape ({batch},), "
            f"or floating-point distributions of shape ({batch}, {classes})."
        )
    if not values_at_hand(labels) or not batch:
        return
    if soft:
        # Rows of B probabilities in half precision may be off by half a percent.
        if (labels < 0).any() or ((labels.sum(dim=1) - 1).abs() > 1e-2).any():
            row = int(torch.where((labels < 0).any(dim=1), 2.0, (labels.sum(dim=1) - 1).abs()).argmax())
            raise ValueError(f"labels of image {row} are {labels[row].tolist()}; they must be 0 or more and sum to 1.")
        return
    lowest, highest = (int(value) for value in labels.aminmax())
    if lowest < 0 or highest >= classes:
        raise ValueError(f"labels run from {lowest} to {highest}; they must lie in [0, {classes}).")
