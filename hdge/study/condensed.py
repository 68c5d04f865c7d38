"""What the archive keeps of logits, and what notebooks read of any run, archived or trained here."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hdge.study.names import PARTS

KEPT = 4  # logits of a labelled image; up to twice as many classes keep all
FOLLOWED = 2000  # validation images that are read and archived, of outputs and of trajectories
OF_UNLABELLED = 1  # logits of an out-of-distribution image, whose class is never asked for
LARGE = 128  # a logit below is off by at most 2^-5 in float16; log-densities of classes, of hundreds of nats, are not


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
    What depends on the unlikely classes is approximate: the Brier score, and all that is divided by a temperature.
    If a logit of the set is beyond ``LARGE``, an image's largest stays in float32, as the offset m, and the others are
    differences from it. A difference beyond float16 becomes its lowest number, which is a probability of 0.

    Args:
        logits: f(x), shape (N, C). If C is at most 2 k, all are kept.
        labels: y, shape (N,); None for images without labels in these classes.
        kept: k, at least 1.

    Returns:
        Tensors by name: logits (N, C); or logits (N, k), classes (N, k), rest (N,) and count, which is C. With an
        offset (N,), it is to be added to logits and rest.
    """
    classes, offset = logits.shape[1], {}
    if classes > 1 and (logits.abs() > LARGE).any():
        offset = {"offset": logits.max(dim=1).values.float()}
        logits = (logits - offset["offset"][:, None]).clamp_min(torch.finfo(torch.float16).min)
    if classes <= 2 * kept:
        return {"logits": as_archived(logits).contiguous(), **offset}
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
        **offset,
    }


def expand(tensors: Mapping[str, Tensor]) -> Float[Tensor, "n classes"]:
    """Give every class that :func:`condense` left out the mean probability of the rest; float32, shape (N, C).

    Without ``classes``, as of unlabelled images, the one logit that was kept becomes that of class 0.
    """
    logits = tensors["logits"].float()
    offset = tensors.get("offset", torch.zeros(1))
    logits = logits + offset[:, None]
    if "rest" not in tensors:
        return logits
    rest, classes = tensors["rest"].float() + offset, int(tensors["count"])
    kept = tensors["classes"].long() if "classes" in tensors else torch.zeros_like(logits, dtype=torch.int64)
    return rest[:, None].expand(-1, classes).scatter(1, kept, logits)


def as_ranks(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace a detector's scores "<detector>/<set>" by ranks among all its sets: what tells sets apart is their order.

    Equal scores share a rank. Ranks take two bytes where the sets have at most 65,536 different scores.
    """
    ranks: dict[str, Tensor] = {}
    for detector in {name.split("/")[0] for name in scores}:
        own = {name: one for name, one in scores.items() if name.split("/")[0] == detector}
        order = torch.cat(list(own.values())).unique(return_inverse=True)[1]
        small = order.to(torch.uint16 if order.max() < 2**16 else torch.int32)
        parts = small.split([len(one) for one in own.values()])
        ranks |= {name: part.clone() for name, part in zip(own, parts, strict=True)}
    return ranks


def condensed(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Condense a set's outputs; those on training images, which notebook 07 queues, are only rounded."""
    logits = tensors["logits"]
    if name in PARTS:
        images = FOLLOWED if name == "validation" else len(logits)
        logits, labels = logits[:images], tensors["labels"].long()[:images]
        small = {**condense(logits, labels, logits.shape[1] if name == "train" else KEPT), "labels": labels}
    else:
        small = condense(logits, None, OF_UNLABELLED)
        small.pop("classes", None)
    norms = {"gradient_norms": as_archived(tensors["gradient_norms"])} if "gradient_norms" in tensors else {}
    return {**small, **norms}
