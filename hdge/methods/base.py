"""What each method of the study trains: a few lines on top of the losses, the sampler and the libraries.

A method turns a batch into a loss and keeps whatever it needs between steps in parameters and buffers of its own, so
that its ``state_dict`` belongs to the state of a run. It asks for a view of the batch, freshly augmented, as often as
it needs one.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from hdge.core.distributed import rank_of
from hdge.core.losses import HybridTerms, hybrid_terms, queue_margins
from hdge.core.queue import LogitQueue
from hdge.core.readings import log_q_x, of_label
from hdge.methods.adversarial import AttackNorm, pgd
from hdge.methods.sgld import Chains, frozen, log_density_of
from hdge.study.config import TrainConfig

View = Callable[[], Tensor]
# Distance between the seeds of two streams of random numbers, above any seed a user would choose.
STREAMS = 2**32


class Step(NamedTuple):
    """One batch: the loss to minimise, the logits it came from, and the terms worth recording."""

    loss: Tensor
    logits: Tensor
    terms: dict[str, Tensor]


class Stage(NamedTuple):
    """A part of training with an optimiser and a schedule of its own."""

    name: str
    epochs: int
    learning_rate: float
    classifies: bool = True  # whether the logits mean anything yet


class Method(nn.Module):
    """What the training loop needs of a method; most have one stage and keep nothing."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.stages: tuple[Stage, ...] = (Stage("train", config.epochs, config.learning_rate),)

    def begin(self, stage: int, model: nn.Module) -> None:
        """Make ready for a stage: say which parameters it trains."""

    def forward(self, model: nn.Module, view: View, labels: Tensor) -> Step:
        """The loss of one batch."""
        raise NotImplementedError

    def after_step(self, logits: Tensor) -> None:
        """What is kept of a batch once its step is done."""


class CrossEntropy(Method):
    """-log q(y|x): the paper's baseline, without normalisation layers or, by the recipe of its Table 2, with them."""

    def forward(self, model: nn.Module, view: View, labels: Tensor) -> Step:
        logits = model(view()).float()
        return Step(F.cross_entropy(logits, labels), logits, {})


class Hdge(Method):
    """-alpha log q(y|x) - (1 - alpha) log q(x|y), the second against a queue of past logits (Algorithm 1).

    With alpha = 0 it is the paper's generative-only ablation; argmax f(x) still predicts.
    """

    def __init__(
        self, config: TrainConfig, num_classes: int, training_images: int, group: dist.ProcessGroup | None
    ) -> None:
        super().__init__(config)
        self.queue = LogitQueue(
            num_classes, config.queue_size, config.temperature, config.normalize, config.queue_start,
            training_images=training_images, group=group,
        )  # fmt: skip

    def forward(self, model: nn.Module, view: View, labels: Tensor) -> Step:
        images = view()
        logits = model(images).float()
        terms = hybrid_terms(logits, labels, self.queue)
        again = model(images).float() if self.config.forward_passes == 2 else logits
        if self.config.energy == "masked" or again is not logits:
            terms = terms._replace(generative=self._as_released(again, labels))
        return Step(terms.weighed(self.config.alpha), logits, self.recorded(terms, logits, labels))

    def _as_released(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The generative term where the study asks what the released code's departures from Algorithm 1 do."""
        from hdge.core.as_published import Variant, published_nll

        variant: Variant = "released_code" if self.config.energy == "masked" else "figure"
        past, t = self.queue.filled(), self.config.temperature
        return published_nll(logits, labels, past, t, self.config.normalize, variant)

    def recorded(self, terms: HybridTerms, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():  # how hard the generative term still pulls at an image's own logit
            weight = torch.sigmoid(-queue_margins(logits, labels, self.queue)).mean()
        return {**terms._asdict(), "true_logit_weight": weight}

    def after_step(self, logits: Tensor) -> None:
        """The batch joins the negatives only after the step, as in Algorithm 1."""
        self.queue.enqueue(logits.detach())


class HdgeBatch(Method):
    """HDGE with the batch as its own set of negatives, gradients and all (Algorithm 2)."""

    def __init__(self, config: TrainConfig, group: dist.ProcessGroup | None) -> None:
        super().__init__(config)
        self.group = group

    def forward(self, model: nn.Module, view: View, labels: Tensor) -> Step:
        logits = model(view()).float()
        terms = hybrid_terms(logits, labels, None, self.config.temperature, self.config.normalize, self.group)
        return Step(terms.weighed(self.config.alpha), logits, terms._asdict())


class Sampler(nn.Module):
    """Chains on the density that a network defines, by the settings of a config."""

    def __init__(self, config: TrainConfig, num_classes: int, shape: tuple[int, ...], rank: int) -> None:
        super().__init__()
        self.config, self.num_classes, self.conditional = config, num_classes, config.sgld_conditional
        self.first_seed = config.seed + STREAMS * (1000 + rank)
        self.chains = Chains(
            shape, config.sgld_buffer, config.sgld_restart, config.sgld_step_size, config.sgld_noise, self.first_seed,
            num_classes if self.conditional else 1,
        )  # fmt: skip

    def reseed(self, restart: int) -> None:
        """Other chains from here on, the same whenever the same run diverges for the same time."""
        self.chains.reseed(self.first_seed + 10**6 * STREAMS * restart)

    def draw(self, model: nn.Module) -> tuple[Tensor, Tensor | None]:
        """Samples as images, pixels in [0, 1] and somewhat beyond, and their classes if they have any."""
        count, device = self.config.sgld_chains, self.chains.buffer.device
        labels = None
        if self.conditional:
            labels = torch.randint(self.num_classes, (count,), generator=self.chains.generator, device=device)
        with frozen(model):
            samples = self.chains.sample(log_density_of(model, labels), count, self.config.sgld_steps, labels)
        return (samples + 1) / 2, labels

    def beside(self, model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits of images and of new samples, in one pass for both, and the samples' classes if they have any."""
        samples, labels = self.draw(model)
        both = model(torch.cat([images, samples])).float()
        logits, drawn = both.split_with_sizes([len(images), len(samples)])
        return logits, drawn, labels


class Jem(Method):
    """-log q(y|x) - log q(x), the second by contrastive divergence; with HDGE's -log q(x|y) as well in hdge_jem.

    The gradient of -log q(x) is that of mean log q over chains less that over images, both up to the same log Z.
    Source: paper, section 5.4; Grathwohl et al. 2019.
    """

    def __init__(self, config: TrainConfig, sampler: Sampler, hybrid: Hdge | None) -> None:
        super().__init__(config)
        self.sampler, self.hybrid = sampler, hybrid

    def forward(self, model: nn.Module, view: View, labels: Tensor) -> Step:
        logits, drawn, _ = self.sampler.beside(model, view())
        gap = log_q_x(logits).mean() - log_q_x(drawn).mean()
        if self.hybrid is None:
            loss = F.cross_entropy(logits, labels)
            return Step(loss - gap, logits, {"discriminative": loss, "energy_gap": gap})
        terms = hybrid_terms(logits, labels, self.hybrid.queue)
        recorded = {**self.hybrid.recorded(terms, logits, labels), "energy_gap": gap}
        # alpha and 1 - alpha sum to 1; the paper weighs each of its three terms with 1.
        return Step(2 * terms.weighed(self.config.alpha) - gap, logits, recorded)

    def after_step(self, logits: Tensor) -> None:
        if self.hybrid is not None:
            self.hybrid.after_step(logits)


class Igebm(Method):
    r"""Implicit generation with an energy-based model, by short chains and a replay buffer.

    .. math:: \frac1N \sum E(x^+) - E(x^-) + \lambda (E(x^+)^2 + E(x^-)^2)

    E(x) = -f(x) with a single logit, or E(x, y) = -f(x)[y] with chains of every class. The network carries spectral
    normalisation, and is not told to classify: in the conditional form argmax f(x) predicts all the same.

    Source: Du & Mordatch 2019.
    """

    def __init__(self, config: TrainConfig, sampler: Sampler) -> None:
        super().__init__(config)
        self.sampler = sampler

    def forward(self, model: nn.Module, view: View, labels: Tensor) -> Step:
        logits, drawn, drawn_labels = self.sampler.beside(model, view())
        if drawn_labels is None:
            own, other = log_q_x(logits), log_q_x(drawn)
        else:
            own, other = of_label(logits, labels), of_label(drawn, drawn_labels)
        gap = own.mean() - other.mean()
        size = own.square().mean() + other.square().mean()
        return Step(self.config.energy_weight * size - gap, logits, {"energy_gap": gap, "squared_energy": size})


class Adversarial(Method):
    """Cross-entropy on the worst image that projected gradient descent finds in a ball (Madry et al. 2017).

    The ball is measured in pixels in [0, 1]; see :func:`hdge.methods.adversarial.pgd`.
    """

    def forward(self, model: nn.Module, view: View, labels: Tensor) -> Step:
        logits = model(self.attacked(model, view().clamp(0, 1), labels)).float()
        return Step(F.cross_entropy(logits, labels), logits, {})

    def attacked(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        norm: AttackNorm = "l2" if self.config.method == "adversarial_l2" else "linf"
        with frozen(model):
            return pgd(model, images, labels, norm, self.config.attack_radius, self.config.attack_steps)


def build_method(
    config: TrainConfig,
    model: nn.Module,
    num_classes: int,
    shape: tuple[int, ...],
    training_images: int,
    group: dist.ProcessGroup | None = None,
) -> Method:
    """The method that a config names.

    Args:
        config: of the run.
        model: the network that will be trained.
        num_classes: C.
        shape: of an image, (channels, height, width).
        training_images: how many there are.
        group: the ranks that train together; None is a single process.
    """

    def sampler() -> Sampler:
        return Sampler(config, num_classes, shape, rank_of(group)[0])

    def hybrid() -> Hdge:
        return Hdge(config, num_classes, training_images, group)

    match config.method:
        case "hdge" | "generative":
            return hybrid()
        case "hdge_batch":
            return HdgeBatch(config, group)
        case "jem":
            return Jem(config, sampler(), None)
        case "hdge_jem":
            return Jem(config, sampler(), hybrid())
        case "igebm" | "igebm_conditional":
            return Igebm(config, sampler())
        case "supcon" | "contrastive_pretraining":
            from hdge.methods.contrastive import ContrastivePretraining

            return ContrastivePretraining(config, model)
        case "jointloss":
            from hdge.methods.contrastive import JointLoss

            return JointLoss(config, model)
        case "glow" | "glow_conditional":
            from hdge.methods.flows import Likelihood

            return Likelihood(config)
        case "adversarial_l2" | "adversarial_linf":
            return Adversarial(config)
    return CrossEntropy(config)
