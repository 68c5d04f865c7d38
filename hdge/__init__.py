"""HDGE: hybrid discriminative-generative training of a classifier by contrastive learning.

A classifier's C logits f(x) are read as log q(y|x), log q(x|y) and log q(x); the hybrid loss trains the sum of
the first two, with a queue of past logits in place of a sampler (arXiv:2007.09070)::

    queue = hdge.LogitQueue(num_classes=10, size=65536, temperature=0.1, normalize="l2")
    loss = hdge.hybrid_loss(logits, labels, queue, alpha=0.5)
    queue.enqueue(logits.detach())

Names are imported when first used, so that the command line does not pay for PyTorch before it needs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hdge import evaluators
    from hdge.core import losses, queue, readings
    from hdge.core.losses import conditional_nll, hybrid_loss, hybrid_terms
    from hdge.core.queue import LogitQueue
    from hdge.methods.networks import WideResNet

__version__ = "0.1.0"

_PLACES = {  # of a name, or of a module of that name
    "LogitQueue": "hdge.core.queue",
    "WideResNet": "hdge.methods.networks",
    "conditional_nll": "hdge.core.losses",
    "evaluators": "hdge.evaluators",
    "hybrid_loss": "hdge.core.losses",
    "hybrid_terms": "hdge.core.losses",
    "losses": "hdge.core.losses",
    "queue": "hdge.core.queue",
    "readings": "hdge.core.readings",
}

__all__ = [
    "LogitQueue",
    "WideResNet",
    "conditional_nll",
    "evaluators",
    "hybrid_loss",
    "hybrid_terms",
    "losses",
    "queue",
    "readings",
]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'hdge' has no attribute {name!r}")
    try:
        module = import_module(_PLACES[name])
        return getattr(module, name, module)
    except ModuleNotFoundError as error:
        how = "install the study by `pip install 'hdge[study]'`"
        raise ImportError(f"hdge.{name} needs {error.name}, which is not installed; {how}.") from None
