"""The methods of the study in one table: names, look, settings, and what is measured of each."""

import zlib
from typing import Literal, NamedTuple

Seeds = Literal["none", "first", "all"]  # of a row, those that are measured


class Entry(NamedTuple):
    """One method, with its label, colour and dashes in figures.

    Args:
        module: the file of ``hdge/methods/`` that trains it.
        blocks: the groups of settings that it has; see :mod:`hdge.study.settings`.
        logits: a logit for each of the "classes", or "one" that models images alone.
        sampled: the seeds that notebook 05 samples where no claim compares the samples.
        attacked: the seeds that notebook 06 attacks where no claim compares robustness; "none" for one logit, or where
            gradients are too expensive.
        norm: the normalisation layers that its name promises, if any.
        conditional_only: whether it is HDGE without log q(y|x).
        reported: its name in the paper's tables, if that differs.
    """

    label: str
    colour: str
    module: str
    blocks: tuple[str, ...] = ()
    logits: Literal["classes", "one"] = "classes"
    dashes: tuple[float, ...] = ()
    sampled: Seeds = "none"
    attacked: Seeds = "first"
    norm: str = ""
    conditional_only: bool = False
    reported: str = ""


# A family of methods has a hue of Okabe and Ito's palette, which every kind of colour vision tells apart. A method has
# a shade of the hue.
METHODS = {
    "cross_entropy": Entry("cross-entropy", "#56B4E9", "base", sampled="first", reported="supervised"),
    "cross_entropy_bn": Entry(
        "cross-entropy + batch norm", "#0072B2", "base", dashes=(4, 1.5), norm="batch", reported="supervised"
    ),
    "supcon": Entry("SupCon", "#CC79A7", "contrastive", ("views",)),
    "contrastive_pretraining": Entry("SimCLR + linear head", "#A35C86", "contrastive", ("views",), dashes=(4, 1.5)),
    "jointloss": Entry("JointLoss", "#7A4065", "contrastive", ("views",), dashes=(1, 1.2)),
    "generative": Entry(
        "HDGE: log q(x|y) only", "#F0A35E", "hdge", ("hybrid", "queue"), dashes=(1, 1.2),
        reported="hdge_generative_only", conditional_only=True,
    ),
    "generative_bn": Entry(
        "HDGE: log q(x|y) only + batch norm", "#C98A4A", "hdge", ("hybrid", "queue"), dashes=(4, 1.5), norm="batch",
        reported="hdge_generative_only", conditional_only=True,
    ),
    "hdge": Entry("HDGE", "#D55E00", "hdge", ("hybrid", "queue"), sampled="first"),
    "hdge_bn": Entry(
        "HDGE + batch norm", "#B04A00", "hdge", ("hybrid", "queue"), dashes=(4, 1.5), norm="batch", reported="hdge"
    ),
    "hdge_joint": Entry(
        "HDGE, JointLoss's recipe", "#E88A4F", "hdge", ("hybrid", "queue"), dashes=(6, 1, 1, 1), reported="hdge"
    ),
    "hdge_batch": Entry("HDGE: batch form", "#8F3F00", "hdge", ("hybrid",), dashes=(4, 1.5)),
    "hdge_jem": Entry("HDGE + JEM", "#B8A200", "energy", ("hybrid", "queue", "sgld"), sampled="first"),
    "jem": Entry("JEM", "#009E73", "energy", ("sgld",), sampled="first"),
    "igebm": Entry("IGEBM", "#00674B", "energy", ("sgld",), "one", sampled="first", attacked="none"),
    "igebm_conditional": Entry(
        "conditional IGEBM", "#5CC8A6", "energy", ("sgld",), dashes=(4, 1.5), sampled="first", reported="igebm"
    ),
    "glow": Entry(
        "Glow", "#7F7F7F", "flows", ("flow",), "one", sampled="first", attacked="none", reported="glow_unconditional"
    ),
    "glow_conditional": Entry(
        "conditional Glow", "#B3B3B3", "flows", ("flow",), dashes=(4, 1.5), sampled="first", attacked="none",
        reported="glow_class_conditional",
    ),
    "adversarial_l2": Entry("adversarial: L2", "#3B3B3B", "adversarial", ("attack",), dashes=(4, 1.5)),
    "adversarial_linf": Entry("adversarial: L∞", "#000000", "adversarial", ("attack",)),
}  # fmt: skip

OTHERS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # Okabe and Ito's palette


def label(method: str) -> str:
    """Return a method's label; another row of a table, such as a reference, keeps its name."""
    return METHODS[method].label if method in METHODS else method


def colour_of(method: str) -> str:
    """Return a method's colour; another name always has the same of the palette's, whatever stands beside it."""
    if method in METHODS:
        return METHODS[method].colour
    return OTHERS[zlib.crc32(method.encode()) % len(OTHERS)]


def has_chains(method: str) -> bool:
    """Check whether training the method samples, and so may diverge."""
    return "sgld" in METHODS[method].blocks
