"""HDGE: the hybrid loss against a queue of past logits, or within the batch."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hdge.core.losses import HybridTerms, hybrid_terms, terms_and_margins
from hdge.core.queue import LogitQueue
from hdge.methods.as_published import Variant, published_nll
from hdge.methods.base import Method, Step, View
from hdge.study.config import TrainConfig


class Hdge(Method):
    """-alpha log q(y|x) - (1 - alpha) log q(x|y), the second against a queue of past logits (Algorithm 1).

    With alpha = 0 it is the paper's generative-only ablation; argmax f(x) still predicts.
    """

    def __init__(
        self, config: TrainConfig, num_classes: int, training_images: int, group: dist.ProcessGroup | None
    ) -> None:
        super().__init__(config)
        hybrid, queue = config.hybrid, config.queue
        self.queue = LogitQueue(
            num_classes, queue.size, hybrid.temperature, hybrid.normalize, queue.start,
            training_images=training_images, group=group,
        )  # fmt: skip

    def forward(self, model: nn.Module, view: View, labels: Tensor) -> Step:
        images = view()
        logits = model(images).float()
        terms, recorded = self.terms(logits, labels)
        again = model(images).float() if self.config.queue.forward_passes == 2 else logits
        if self.config.queue.energy == "masked" or again is not logits:
            variant: Variant = "released_code" if self.config.queue.energy == "masked" else "figure"  # as it departs
            past, hybrid = self.queue.filled(), self.config.hybrid
            released = published_nll(again, labels, past, hybrid.temperature, hybrid.normalize, variant)
            terms = terms._replace(generative=released)
        return Step(terms.weighed(self.config.hybrid.alpha), logits, {**terms._asdict(), **recorded})

    def terms(self, logits: Tensor, labels: Tensor) -> tuple[HybridTerms, dict[str, Tensor]]:
        """Compute both terms, and how hard the generative term still pulls at an image's logit of its class."""
        terms, margins = terms_and_margins(logits, labels, self.queue)
        return terms, {"true_logit_weight": torch.sigmoid(-margins.detach()).mean()}

    def passes(self, images: int) -> tuple[int, int]:
        return (self.config.queue.forward_passes * images,) * 2

    def constant_prediction(self, classes: int, images: int) -> tuple[str, float]:
        """Compare an image with the K of the queue, or with those that an unfilled queue held in the last epoch."""
        held = len(self.queue) * self.queue.ranks
        before = torch.tensor([self.queue.size])
        if 0 < held < self.queue.size:
            before = torch.arange(held - max(1, held // self.config.epochs), held, images)
        return "loss", _equal_scores(self.config.hybrid.alpha, classes, before + 1)

    def after_step(self, logits: Tensor) -> None:
        """Add the batch to the negatives only after the step, as in Algorithm 1."""
        self.queue.enqueue(logits.detach())


class HdgeBatch(Method):
    """HDGE with the batch as its own set of negatives, gradients and all (Algorithm 2)."""

    def __init__(self, config: TrainConfig, group: dist.ProcessGroup | None) -> None:
        super().__init__(config)
        self.group = group

    def forward(self, model: nn.Module, view: View, labels: Tensor) -> Step:
        logits = model(view()).float()
        hybrid = self.config.hybrid
        terms = hybrid_terms(logits, labels, None, hybrid.temperature, hybrid.normalize, self.group)
        return Step(terms.weighed(hybrid.alpha), logits, terms._asdict())

    def constant_prediction(self, classes: int, images: int) -> tuple[str, float]:
        """Compare an image with the others of the batch."""
        return "loss", _equal_scores(self.config.hybrid.alpha, classes, torch.tensor([images]))


def _equal_scores(alpha: float, classes: int, compared: Tensor) -> float:
    """Weigh log C of -log q(y|x) and log N of -log q(x|y), for equal logits and N equal scores in each step."""
    return float(HybridTerms(torch.tensor(classes).log(), compared.log().mean()).weighed(alpha))
