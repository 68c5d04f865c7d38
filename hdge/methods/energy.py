"""Energy-based methods that sample in training: JEM, HDGE with JEM, and IGEBM."""

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from hdge.core.distributed import rank_of
from hdge.core.readings import log_q_x, of_label
from hdge.data.augment import to_unit
from hdge.data.images import ImageSet
from hdge.methods.base import Method, Step, View, evaluating
from hdge.methods.hdge import Hdge
from hdge.methods.sgld import Chains, class_gaussians, log_density_of
from hdge.study.config import TrainConfig
from hdge.study.errors import require
from hdge.study.streams import stream_seed


class Sampler(nn.Module):
    """Chains on the density that a network defines; every rank runs an equal share."""

    def __init__(self, config: TrainConfig, training: ImageSet, group: dist.ProcessGroup | None) -> None:
        super().__init__()
        self.config, self.num_classes, self.conditional = config, len(training.classes), config.sgld.conditional
        self.rank, ranks = rank_of(group)
        sgld = config.sgld
        for name, value in (("sgld.chains", sgld.chains), ("sgld.buffer", sgld.buffer)):
            require(name, value, value % ranks == 0, f"a multiple of the {ranks} ranks that share them")
        self.count = sgld.chains // ranks
        self.chains = Chains(
            tuple(training.images.shape[1:]), sgld.buffer // ranks, sgld.restart, sgld.step_size, sgld.noise,
            stream_seed(config.seed, "chains", self.rank), self.num_classes if self.conditional else 1,
        )  # fmt: skip
        if sgld.start == "classes":
            places = torch.arange(len(self.chains.buffer), device=training.labels.device)
            classes = places // self.chains.per_class if self.conditional else places % self.num_classes
            images = 2 * to_unit(training.images) - 1
            self.chains.start_from(class_gaussians(images, training.labels, classes, self.chains.generator))

    def reseed(self, restart: int) -> None:
        """Reseed the chains by the run's seed and how often the run has diverged."""
        self.chains.reseed(stream_seed(self.config.seed, "chains", self.rank, restart))

    def draw(self, model: nn.Module) -> tuple[Tensor, Tensor | None]:
        """Draw samples as images, pixels in [0, 1] and somewhat beyond, and their classes if they have any."""
        count, device = self.count, self.chains.buffer.device
        labels = None
        if self.conditional:
            labels = torch.randint(self.num_classes, (count,), generator=self.chains.generator, device=device)
        # Not frozen: autocast keeps the cast of a weight only while the weight asks for a gradient, and a chain's own
        # gradient leaves out the weights' anyway.
        with evaluating(model):
            samples = self.chains.sample(log_density_of(model, labels), count, self.config.sgld.steps, labels)
        return (samples + 1) / 2, labels

    def beside(self, model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Compute logits of images and new samples in one pass; return the samples' classes as well, if any."""
        samples, labels = self.draw(model)
        both = model(torch.cat([images, samples])).float()
        logits, drawn = both.split_with_sizes([len(images), len(samples)])
        return logits, drawn, labels


class Sampling(Method):
    """A method with a sampler."""

    def __init__(self, config: TrainConfig, sampler: Sampler) -> None:
        super().__init__(config)
        self.sampler = sampler

    def reseed(self, restart: int) -> None:
        self.sampler.reseed(restart)

    def passes(self, images: int) -> tuple[int, int]:
        """Count one pass of each kind for every step of a chain, and one for its end beside the images."""
        total = images + self.sampler.count * (1 + self.config.sgld.steps)
        return total, total


class Jem(Sampling):
    """-log q(y|x) - log q(x), the second by contrastive divergence; with HDGE's -log q(x|y) as well in hdge_jem.

    The gradient of -log q(x) is that of mean log q over chains less that over images, both up to the same log Z.
    Source: paper, section 5.4; Grathwohl et al. 2019.
    """

    def __init__(self, config: TrainConfig, sampler: Sampler, hybrid: Hdge | None) -> None:
        super().__init__(config, sampler)
        self.hybrid = hybrid

    def forward(self, model: nn.Module, view: View, labels: Tensor) -> Step:
        logits, drawn, _ = self.sampler.beside(model, view())
        gap = log_q_x(logits).mean() - log_q_x(drawn).mean()
        if self.hybrid is None:
            loss = F.cross_entropy(logits, labels)
            return Step(loss - gap, logits, {"discriminative": loss, "energy_gap": gap})
        terms, weight = self.hybrid.terms(logits, labels)
        recorded = {**terms._asdict(), **weight, "energy_gap": gap}
        # alpha and 1 - alpha sum to 1; the paper weighs each of its three terms with 1.
        return Step(2 * terms.weighed(self.config.hybrid.alpha) - gap, logits, recorded)

    def constant_prediction(self, classes: int, images: int) -> tuple[str, float]:
        """Use log q(y|x) alone, because the gap of log q(x) has no lower bound to be compared with."""
        return "discriminative", math.log(classes)

    def after_step(self, logits: Tensor) -> None:
        if self.hybrid is not None:
            self.hybrid.after_step(logits)


class Igebm(Sampling):
    r"""Implicit generation with an energy-based model, by short chains and a replay buffer.

    .. math:: \frac1N \sum E(x^+) - E(x^-) + \lambda (E(x^+)^2 + E(x^-)^2)

    E(x) = -f(x) with a single logit, or E(x, y) = -f(x)[y] with chains of every class. The network carries spectral
    normalisation. It is not trained to classify, but in the conditional form argmax f(x) predicts all the same.

    Source: Du & Mordatch 2019.
    """

    def forward(self, model: nn.Module, view: View, labels: Tensor) -> Step:
        logits, drawn, drawn_labels = self.sampler.beside(model, view())
        if drawn_labels is None:
            own, other = log_q_x(logits), log_q_x(drawn)
        else:
            own, other = of_label(logits, labels), of_label(drawn, drawn_labels)
        gap = own.mean() - other.mean()
        size = own.square().mean() + other.square().mean()
        return Step(self.config.sgld.energy_weight * size - gap, logits, {"energy_gap": gap, "squared_energy": size})

    def constant_prediction(self, classes: int, images: int) -> tuple[str, float]:
        """Set no bound: chains that run ahead of the images are part of learning, and energy_gap bounds them."""
        return "loss", math.inf
