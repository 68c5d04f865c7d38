"""The contrastive term as it was published, B x C x K numbers at a time: what the study measures itself against.

For tests, benchmarks and notebook 08's departures. :mod:`hdge.core.losses` equals the first form to rounding.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hdge.core.losses import Labels
from hdge.core.queue import Normalization, normalize_logits

Variant = Literal["figure", "released_code"]


def published_nll(
    logits: Float[Tensor, "batch classes"], labels: Labels, past: Float[Tensor, "past classes"],
    temperature: float = 0.1, normalize: Normalization = "l2", variant: Variant = "figure",
) -> Float[Tensor, ""]:  # fmt: skip
    r"""Cross-entropy of (l_pos, l_neg) / t against position 0, in nats, with every image-negative pair written out.

    .. math:: \frac1B \sum_i \log\left(e^{E(p_i, y_i) / t} + \sum_{k=1}^{K} e^{E(p_k, y_i)/t}\right) - E(p_i, y_i)/t

    with the energy of a pair, for a label y as a row of C weights (one-hot, smoothed or mixed),

    .. math:: E(p, y) = \sum_c y_c \, p[c] \quad\text{(figure)}, \qquad
              E(p, y) = \log \sum_c e^{y_c \, p[c]} \quad\text{(released code)}

    The released code masks where the figure selects: each of the C - 1 other classes adds exp(0). For hard labels its
    energy lies in [log(C - 1 + 1/e), log(C - 1 + e)], 0.2239 wide at C = 10. The figure's energy is 2 wide. The
    released code's queue holds raw logits, which are normalised at every use, and starts as N(0, 1) noise.

    Args:
        logits: f(x), shape (B, C).
        labels: y, shape (B,), integers in [0, C), or distributions, shape (B, C).
        past: normalised rows p_k for either variant, shape (K, C), as :meth:`hdge.LogitQueue.filled` gives them.
        temperature: t, positive.
        normalize: normalisation of the logits; the rows of ``past`` have had it.
        variant: which energy.

    Source: paper, Algorithm 1; the released code for its variant.
    """
    weights = labels.to(logits) if labels.is_floating_point() else F.one_hot(labels, logits.shape[1]).to(logits)
    own = weights * normalize_logits(logits, normalize)
    pairs = weights[:, :, None] * past.T[None]
    if variant == "released_code":
        positive, negative = torch.logsumexp(own, dim=1), torch.logsumexp(pairs, dim=1)
    else:
        positive, negative = own.sum(dim=1), pairs.sum(dim=1)
    scores = torch.cat([positive[:, None], negative], dim=1) / temperature
    return F.cross_entropy(scores, labels.new_zeros(len(labels), dtype=torch.int64))
