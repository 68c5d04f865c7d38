"""Stochastic gradient Langevin dynamics: the step, and persistent chains with a replay buffer.

Chains live in the coordinates of JEM and IGEBM, pixels scaled to [-1, 1], so that step sizes are the papers' own.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hdge.core.readings import log_q_x, of_label

LogDensity = Callable[[Tensor], Tensor]


def log_density_of(model: nn.Module, labels: Int[Tensor, " n"] | None) -> LogDensity:
    """Define log q(x), or log q(x|y) of given labels, up to a constant, for samples with pixels in [-1, 1]."""

    def log_density(samples: Tensor) -> Tensor:
        logits = model((samples + 1) / 2).float()
        return log_q_x(logits) if labels is None else of_label(logits, labels)

    return log_density


def sgld_step(
    samples: Float[Tensor, "chains *shape"],
    log_density: LogDensity,
    step_size: float,
    noise: float,
    generator: torch.Generator,
) -> Float[Tensor, "chains *shape"]:
    r"""One step of every chain.

    .. math:: x' = x + \eta \, \frac{\partial \log q(x)}{\partial x} + \sigma \xi, \qquad \xi \sim N(0, 1)

    Langevin dynamics proper has sigma = sqrt(2 eta). Like JEM and IGEBM, this sampler chooses sigma freely; a smaller
    sigma samples a sharpened density.

    Args:
        samples: x, shape (N, ...).
        log_density: maps x to log q(x) up to a constant, shape (N,), each from its own chain alone.
        step_size: eta, positive (1 in JEM).
        noise: sigma, 0 or more (0.01 in JEM).
        generator: source of xi.

    Returns:
        x', shape (N, ...), without gradient.

    Source: paper, equation 5; Welling & Teh 2011.
    """
    samples = samples.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(log_density(samples).sum(), samples)
    xi = torch.empty_like(samples, requires_grad=False).normal_(generator=generator)
    return samples.detach() + step_size * gradient + noise * xi


def class_gaussians(
    images: Float[Tensor, "n *shape"], labels: Int[Tensor, " n"], classes: Int[Tensor, " m"], generator: torch.Generator
) -> Float[Tensor, "m *shape"]:
    r"""Draw from Gaussians with the mean and covariance of each class's images, clipped to [-1, 1].

    .. math:: x = \mu_y + \frac{1}{\sqrt{n_y}} \sum_{i:\, y_i = y} \xi_i (x_i - \mu_y), \qquad \xi_i \sim N(0, 1)

    The n_y images of class y have the mean mu_y. The sum has their covariance, which is never formed.

    Args:
        images: x_i, shape (N, ...), pixels in [-1, 1].
        labels: y_i, shape (N,); every class that is drawn has images.
        classes: y of each draw, shape (M,).
        generator: source of xi.

    Returns:
        x, shape (M, ...), on the images' device.

    Source: Yang & Ji 2021 (JEM++), "informative initialization".
    """
    drawn = images.new_empty(len(classes), *images.shape[1:])
    for label in classes.unique():
        own, places = images[labels == label].flatten(1), classes == label
        mean = own.mean(dim=0)
        xi = torch.randn(int(places.sum()), len(own), generator=generator, device=generator.device).to(images.device)
        drawn[places] = (mean + xi @ (own - mean) / len(own) ** 0.5).view(-1, *images.shape[1:])
    return drawn.clamp(-1, 1)


class Chains(nn.Module):
    """Persistent chains: a replay buffer and a generator, which are both part of a run's state.

    The buffer holds ``size`` chains (10,000 in JEM), which start uniform in [-1, 1]. A drawn chain starts afresh with
    probability ``restart`` (0.05 in JEM). Every class has an equal part of the buffer; ``num_classes`` is 1 for log
    q(x). :meth:`start_from` gives the chains other starts.
    """

    buffer: Tensor
    starts: Tensor | None

    def __init__(
        self,
        shape: tuple[int, ...],
        size: int,
        restart: float,
        step_size: float,
        noise: float,
        seed: int,
        num_classes: int = 1,
    ) -> None:
        super().__init__()
        if size < num_classes:
            raise ValueError(
                f"the replay buffer holds {size} chains; it must hold at least {num_classes}, one a class."
            )
        self.restart, self.step_size, self.noise = restart, step_size, noise
        self.per_class = size // num_classes
        self.register_buffer("buffer", torch.empty(self.per_class * num_classes, *shape))
        # Not part of the state: the same seed draws them again.
        self.register_buffer("starts", None, persistent=False)
        self.reseed(seed)
        self.buffer.uniform_(-1, 1, generator=self.generator)

    def start_from(self, starts: Float[Tensor, "size *shape"]) -> None:
        """Begin all chains at these images, one for each place in the buffer, and restart chains at any of them."""
        self.starts = starts
        self.buffer.copy_(starts)

    def reseed(self, seed: int) -> None:
        """Start the generator anew, as after a divergence."""
        self.generator = torch.Generator(self.buffer.device).manual_seed(seed)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Chains":
        super()._apply(fn, recurse)
        if self.generator.device != self.buffer.device:
            self.generator = torch.Generator(self.buffer.device).manual_seed(self.generator.initial_seed())
        return self

    def get_extra_state(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"].cpu())

    def sample(
        self, log_density: LogDensity, count: int, steps: int, labels: Int[Tensor, " count"] | None = None
    ) -> Float[Tensor, "count *shape"]:
        """Take chains from the buffer (by class if labels are given), run them, and put their ends back."""
        device = self.buffer.device
        places = torch.randint(self.per_class, (count,), generator=self.generator, device=device)
        if labels is not None:
            places = places + labels * self.per_class
        if self.starts is None:
            fresh = torch.empty(count, *self.buffer.shape[1:], device=device).uniform_(-1, 1, generator=self.generator)
        else:
            chosen = torch.randint(self.per_class, (count,), generator=self.generator, device=device)
            fresh = self.starts[chosen if labels is None else chosen + labels * self.per_class]
        restarted = torch.rand(count, generator=self.generator, device=device) < self.restart
        restarted = restarted.view(-1, *[1] * (self.buffer.ndim - 1))
        samples = torch.where(restarted, fresh, self.buffer[places])
        for _ in range(steps):
            samples = sgld_step(samples, log_density, self.step_size, self.noise, self.generator)
        self.buffer[places] = samples
        return samples
