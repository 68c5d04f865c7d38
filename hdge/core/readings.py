"""One classifier, four readings: what C logits say about the label and about the image.

The logits f(x) of a classifier define an energy-based model of images and labels, q(x, y) = exp(f(x)[y]) / Z
(paper, section 3.2, equations 6 and 7). Every reading below is a function of the logits alone; those used as
scores are higher for images that look more in-distribution.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def of_label(values: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Every row's entry for its own label, values[i, labels[i]], shape (B,)."""
    return values.gather(1, labels[:, None]).squeeze(1)


def log_q_y_given_x(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
    r"""Log-probability of every label given the image.

    .. math:: \log q(y|x) = f(x)[y] - \log \sum_{y'} \exp f(x)[y']

    Returns:
        log q(y|x) in nats, shape (B, C), at most 0.

    Source: paper, section 3.1.

    >>> log_q_y_given_x(torch.tensor([[0.0, 0.0]])).exp()
    tensor([[0.5000, 0.5000]])
    """
    return torch.log_softmax(logits, dim=1)


def log_q_x_given_y(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    log_partition: Float[Tensor, " classes"],
) -> Float[Tensor, " batch"]:
    r"""Log-density of an image given its label, for a given estimate of the class's normaliser.

    .. math:: \log q(x|y) = f(x)[y] - \log Z_y, \qquad Z_y = \sum_x \exp f(x)[y]

    Args:
        logits: f(x), shape (B, C).
        labels: y, shape (B,), integers in [0, C).
        log_partition: log Z_y of every class, shape (C,); see :meth:`hdge.LogitQueue.log_partition`.

    Returns:
        log q(x|y) in nats, shape (B,).

    Source: paper, section 4, below equation 10.
    """
    return of_label(logits, labels) - log_partition[labels]


def log_q_x(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, " batch"]:
    r"""Log-density of an image, up to the one constant log Z that all images share.

    .. math:: \log q(x) = \log \sum_y \exp f(x)[y] - \log Z

    Returns:
        log q(x) + log Z in nats, shape (B,): enough to rank images by. With C = 1 this is the logit itself.

    Source: paper, equation 7 and appendix B.2 (whose last line has the sign of the energy, not of the score).

    >>> log_q_x(torch.zeros(1, 8)).exp()
    tensor([8.])
    """
    return torch.logsumexp(logits, dim=1)


def confidence(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, " batch"]:
    r"""Probability of the predicted label.

    .. math:: \max_y q(y|x)

    Returns:
        Shape (B,), in [1/C, 1].

    Source: paper, section 5.1.2.
    """
    return log_q_y_given_x(logits).amax(dim=1).exp()


def prediction(logits: Float[Tensor, "batch classes"]) -> Int[Tensor, " batch"]:
    """Predicted label, argmax_y f(x)[y], shape (B,); the same for log q(y|x) and for f itself."""
    return logits.argmax(dim=1)
