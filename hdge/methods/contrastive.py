"""Methods that contrast two views of each image: supervised contrastive learning, SimCLR and JointLoss.

Each method has two stages. The first trains features through a projection head. The second trains a linear head on
frozen features or, in JointLoss, everything. The losses are pytorch-metric-learning's.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pytorch_metric_learning.losses import NTXentLoss, SupConLoss
from torch import Tensor, nn

from hdge.methods.base import Method, Stage, Step, View, evaluating
from hdge.study.config import TrainConfig


def supervised_contrastive_loss(
    projections: Float[Tensor, "two_views features"], labels: Int[Tensor, " batch"], temperature: float
) -> Float[Tensor, ""]:
    r"""Supervised contrastive loss of two views of each image.

    .. math:: \frac{1}{2B} \sum_i \frac{-1}{|P(i)|} \sum_{p \in P(i)}
              \log \frac{e^{z_i \cdot z_p / t}}{\sum_{a \ne i} e^{z_i \cdot z_a / t}}

    with P(i) all other views of images of i's class, so that every view has a positive.

    Args:
        projections: z before it is scaled to unit length, shape (2 B, D): first views, then second ones.
        labels: y, shape (B,).
        temperature: t, positive.

    Source: Khosla et al. 2020, equation 2 (L_out).
    """
    return SupConLoss(temperature=temperature)(projections, labels.repeat(2))


def simclr_loss(projections: Float[Tensor, "two_views features"], temperature: float) -> Float[Tensor, ""]:
    r"""Normalised-temperature cross-entropy of two views of each image.

    .. math:: \frac{1}{2B} \sum_i -\log \frac{e^{z_i \cdot z_{j(i)} / t}}{\sum_{a \ne i} e^{z_i \cdot z_a / t}}

    with j(i) the other view of the same image.

    Args:
        projections: z before it is scaled to unit length, shape (2 B, D): first views, then second ones.
        temperature: t, positive.

    Source: Chen et al. 2020, equation 1.
    """
    images = torch.arange(len(projections) // 2, device=projections.device).repeat(2)
    return NTXentLoss(temperature=temperature)(projections, images)


class TwoViews(Method):
    """The shared part of these methods: a projection head on the features, and a first stage that trains both."""

    def __init__(self, config: TrainConfig, model: nn.Module, second: str, augmentation: str = "") -> None:
        super().__init__(config)
        self.stage = 0
        self.stages = (
            Stage("features", config.epochs, config.learning_rate, classifies=False),
            Stage(second, config.views.head_epochs, config.views.head_learning_rate, augmentation=augmentation),
        )
        features = model.get_parameter("head.weight").shape[1]
        self.projection = nn.Sequential(
            nn.Linear(features, features), nn.ReLU(), nn.Linear(features, config.views.projection_size)
        )

    def projected(self, model: Any, view: View) -> tuple[Tensor, Tensor]:
        """Compute features of two views in one pass, and their projections."""
        features = model.features(torch.cat([view(), view()])).float()
        return features, self.projection(features)

    def passes(self, images: int) -> tuple[int, int]:
        return 2 * images, 2 * images

    def contrastive(self, projections: Tensor, labels: Tensor) -> Tensor:
        if self.config.method == "supcon":
            return supervised_contrastive_loss(projections, labels, self.config.views.temperature)
        return simclr_loss(projections, self.config.views.temperature)


class ContrastivePretraining(TwoViews):
    """Features by a contrastive loss, with labels (supcon) or from images alone (SimCLR), then a linear head on them.

    The head sees plain augmentation and frozen features, as in the released code of SupContrast and SimCLR.

    Source: paper, sections 5.1.2 and 5.3; Khosla et al. 2020, Chen et al. 2020.
    """

    def __init__(self, config: TrainConfig, model: nn.Module) -> None:
        super().__init__(config, model, second="linear head", augmentation="jem")

    def begin(self, stage: int, model: nn.Module) -> None:
        self.stage = stage
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith("head") == bool(stage))
        self.projection.requires_grad_(stage == 0)

    def forward(self, model: Any, view: View, labels: Tensor) -> Step:
        if self.stage == 0:
            features, projections = self.projected(model, view)
            loss = self.contrastive(projections, labels)
            return Step(loss, features.new_zeros(len(labels), 1), {"contrastive": loss})
        # The features are those of evaluation: batch norm by its running statistics, no dropout.
        with evaluating(model), torch.no_grad():
            features = model.features(view()).float()
        logits = model.head(features).float()
        return Step(F.cross_entropy(logits, labels), logits, {})

    def passes(self, images: int) -> tuple[int, int]:
        return (images, 0) if self.stage else super().passes(images)


class JointLoss(TwoViews):
    """SimCLR on images alone, then SimCLR and cross-entropy with smoothed labels together; all parameters are trained.

    Source: Winkens et al. 2020.
    """

    def __init__(self, config: TrainConfig, model: nn.Module) -> None:
        super().__init__(config, model, second="joint")

    def begin(self, stage: int, model: nn.Module) -> None:
        self.stage = stage
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(stage == 1 or not name.startswith("head"))

    def forward(self, model: Any, view: View, labels: Tensor) -> Step:
        features, projections = self.projected(model, view)
        contrastive = self.contrastive(projections, labels)
        if self.stage == 0:
            return Step(contrastive, features.new_zeros(len(labels), 1), {"contrastive": contrastive})
        logits = model.head(features)
        loss = F.cross_entropy(logits, labels.repeat(2), label_smoothing=self.config.views.label_smoothing)
        terms = {"discriminative": loss, "contrastive": contrastive}
        return Step(loss + contrastive, logits[: len(labels)], terms)

    def constant_prediction(self, classes: int, images: int) -> tuple[str, float]:
        """Add log C of the labels, smoothed or not, and log(2 B - 1) of the contrastive loss."""
        return "loss", math.log(classes) + math.log(2 * images - 1)
