"""The hybrid loss: cross-entropy for log q(y|x), a contrastive estimate for log q(x|y)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from hdge.queue import LogitQueue, Normalization, check_logits, check_temperature, normalize_logits


class HybridTerms(NamedTuple):
    """The two terms of the hybrid loss, each a scalar in nats, before they are weighed by alpha and 1 - alpha."""

    discriminative: Float[Tensor, ""]
    generative: Float[Tensor, ""]

    def weighed(self, alpha: float) -> Float[Tensor, ""]:
        """alpha times the first and 1 - alpha times the second; either end takes one term as it is, to the bit."""
        if alpha in (0, 1):
            return self.discriminative if alpha else self.generative
        return alpha * self.discriminative + (1 - alpha) * self.generative


def queue_nll(
    logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], queue: LogitQueue
) -> Float[Tensor, ""]:
    r"""Contrastive estimate of -log q(x|y) against a queue of past logits (Algorithm 1).

    .. math:: \frac1B \sum_i \log\left(e^{s_i} + \sum_{k=1}^{K} e^{p_k[y_i]/t}\right) - s_i
              = \frac1B \sum_i -\log \sigma(s_i - \log Z_{y_i}), \qquad s_i = p_i[y_i] / t

    so that the term is a logistic regression of an image's own energy against its class's partition function.

    Args:
        logits: f(x), shape (B, C); p is its normalised form.
        labels: y, shape (B,), integers in [0, C).
        queue: holds p_k, t and log Z.

    Returns:
        Scalar in nats, at least 0, and 0 for an empty queue. Queued images of the same class stay among the
        negatives, so a good model ends near log(K / C), not at 0.

    Source: paper, equation 13 and Algorithm 1.
    """
    scores = _label_scores(logits, labels, queue.normalize, queue.temperature)
    return -F.logsigmoid(scores - queue.log_partition().to(scores)[labels]).mean()


def batch_nll(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    temperature: float = 0.1,
    normalize: Normalization = "l2",
) -> Float[Tensor, ""]:
    r"""Contrastive estimate of -log q(x|y) within a batch; gradients flow through the negatives (Algorithm 2).

    .. math:: \frac1B \sum_i \log \sum_{j=1}^{B} e^{p_j[y_i]/t} - p_i[y_i]/t

    Args:
        logits: f(x), shape (B, C); p is its normalised form.
        labels: y, shape (B,), integers in [0, C).
        temperature: t, positive.
        normalize: see :func:`hdge.queue.normalize_logits`.

    Returns:
        Scalar in nats, at least 0, and 0 for a batch of one.

    Raises:
        ValueError: a temperature that is not positive.

    Source: paper, appendix C and Algorithm 2.
    """
    check_temperature(temperature)
    scores = normalize_logits(logits, normalize) / temperature
    log_partition = torch.logsumexp(scores, dim=0)
    return (log_partition[labels] - scores.gather(1, labels[:, None]).squeeze(1)).mean()


def conditional_nll(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    queue: LogitQueue | None,
    temperature: float | None = None,
    normalize: Normalization | None = None,
) -> Float[Tensor, ""]:
    """-log q(x|y) by whichever of :func:`queue_nll` and :func:`batch_nll` applies.

    Args:
        logits: f(x), shape (B, C).
        labels: y, shape (B,), integers in [0, C).
        queue: past logits, or None to let the batch be its own set of negatives.
        temperature: t of the batch form, 0.1 if not given; a queue brings its own.
        normalize: normalisation of the batch form, "l2" if not given; a queue brings its own.

    Raises:
        ValueError: logits that are not 2-D or do not fit the queue, or a queue together with a temperature or a
            normalisation of its own.
    """
    if queue is None:
        return batch_nll(logits, labels, 0.1 if temperature is None else temperature, normalize or "l2")
    if temperature is not None or normalize is not None:
        raise ValueError(f"a queue brings its own temperature ({queue.temperature}) and normalize; pass neither.")
    check_logits(logits, queue.num_classes)
    return queue_nll(logits, labels, queue)


def hybrid_terms(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    queue: LogitQueue | None,
    temperature: float | None = None,
    normalize: Normalization | None = None,
) -> HybridTerms:
    """-log q(y|x) and -log q(x|y), unweighted; arguments as in :func:`hybrid_loss`."""
    _check_inputs(logits, labels)
    return HybridTerms(F.cross_entropy(logits, labels), conditional_nll(logits, labels, queue, temperature, normalize))


def hybrid_loss(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    queue: LogitQueue | None,
    alpha: float = 0.5,
    temperature: float | None = None,
    normalize: Normalization | None = None,
) -> Float[Tensor, ""]:
    r"""The hybrid discriminative-generative loss.

    .. math:: -\frac1B \sum_i \alpha \log q(y_i|x_i) + (1 - \alpha) \log q(x_i|y_i)

    The published Algorithm 1 adds the two terms with weight 1 each: the same minimiser as alpha = 0.5, with
    twice the gradient.

    Args:
        logits: f(x), shape (B, C), any real numbers, with gradient.
        labels: y, shape (B,), integers in [0, C).
        queue: past logits (Algorithm 1), or None to let the batch be its own set of negatives (Algorithm 2).
        alpha: weight of log q(y|x), in [0, 1]; 1 is cross-entropy, 0 the generative term alone.
        temperature: t of the batch form, 0.1 if not given; a queue brings its own.
        normalize: normalisation of the batch form, "l2" if not given; a queue brings its own.

    Returns:
        Scalar in nats.

    Raises:
        ValueError: alpha outside [0, 1], logits that are not (B, C), labels of another shape or type.

    Source: paper, equation 14.

    >>> queue = LogitQueue(num_classes=10, size=256)
    >>> logits, labels = torch.zeros(4, 10, requires_grad=True), torch.arange(4)
    >>> loss = hybrid_loss(logits, labels, queue, alpha=0.5)
    >>> loss.backward()
    >>> queue.enqueue(logits.detach())
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it must be in [0, 1] (the paper uses 0.5).")
    return hybrid_terms(logits, labels, queue, temperature, normalize).weighed(alpha)


def _label_scores(
    logits: Tensor, labels: Tensor, normalize: Normalization, temperature: float
) -> Float[Tensor, " batch"]:
    return normalize_logits(logits, normalize).gather(1, labels[:, None]).squeeze(1) / temperature


def _check_inputs(logits: Tensor, labels: Tensor) -> None:
    check_logits(logits)
    if labels.dtype != torch.int64 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}; "
            f"they must be torch.int64 of shape ({logits.shape[0]},)."
        )
