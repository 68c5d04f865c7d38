"""What the archive keeps of logits, and what notebooks read of any run, archived or trained here."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

KEPT = 10  # logits an image that is kept of labelled images; CIFAR-10 keeps all
LABELLED = ("train", "validation", "test")
OF_UNLABELLED = 1  # logits an image that is kept of out-of-distribution images: their label is never asked for


def as_archived(tensor: Tensor) -> Tensor:
    """Round as the archive does: several logits an image, and norms, to float16.

    A single logit is a log-density, which may be in the thousands, where float16 has gaps of 2.
    """
    single = tensor.ndim == 2 and tensor.shape[1] == 1
    return tensor if single or not tensor.is_floating_point() else tensor.half()


def condense(
    logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"] | None, kept: int = KEPT
) -> dict[str, Tensor]:
    r"""Keep an image's label's logit and its largest others, k in all, and the mean probability of the rest.

    .. math:: r = \log \frac{1}{C - k} \sum_{y \notin K} \exp f(x)[y], \qquad |K| = k

    So log q(x), max q(y|x), the predicted label and log q(y|x) of the true label stay what they were, up to float16.

    Args:
        logits: f(x), shape (N, C). If C is at most k + 1, all are kept.
        labels: y, shape (N,); None for images without labels in these classes.
        kept: k, at least 1.

    Returns:
        Tensors by name: logits (N, C); or logits (N, k), classes (N, k), rest (N,) and count, which is C.
    """
    classes = logits.shape[1]
    if classes <= kept + 1:
        return {"logits": as_archived(logits).contiguous()}
    rank = logits if labels is None else logits.scatter(1, labels.long()[:, None], torch.inf)
    chosen = rank.topk(kept, dim=1).indices.sort(dim=1).values
    others = torch.ones_like(logits, dtype=torch.bool).scatter_(1, chosen, False)
    rest = (
        logits[others].reshape(len(logits), classes - kept).double().logsumexp(1) - torch.tensor(classes - kept).log()
    )
    return {
        "logits": logits.gather(1, chosen).half().contiguous(),
        "classes": chosen.to(torch.uint8 if classes <= 256 else torch.int32).contiguous(),
        "rest": rest.half().contiguous(),
        "count": torch.tensor([classes], dtype=torch.int32),
    }


def expand(tensors: Mapping[str, Tensor]) -> Float[Tensor, "n classes"]:
    """Give every class that :func:`condense` left out the mean probability of the rest; float32, shape (N, C)."""
    if "rest" not in tensors:
        return tensors["logits"].float()
    rest, classes = tensors["rest"].float(), int(tensors["count"])
    return rest[:, None].expand(-1, classes).scatter(1, tensors["classes"].long(), tensors["logits"].float())


def condensed(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Condense a set's outputs; those on training images, which notebook 07 queues, are only rounded."""
    logits, labels = tensors["logits"], tensors["labels"].long()
    if name in LABELLED:
        small = condense(logits, labels, logits.shape[1] if name == "train" else KEPT)
    else:
        small = condense(logits, None, OF_UNLABELLED)
    norms = {"gradient_norms": as_archived(tensors["gradient_norms"])} if "gradient_norms" in tensors else {}
    return {**small, "labels": labels, **norms}
