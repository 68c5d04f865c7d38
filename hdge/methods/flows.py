"""Glow, a normalising flow, in the study's terms: a network from images to logits log p(x|y) + log p(y)."""

import math
import warnings

import normflows as nf
import torch
from jaxtyping import Float
from torch import Tensor, nn

from hdge.core.readings import log_q_x, of_label
from hdge.methods.base import Method, Step, View
from hdge.study.errors import HdgeError

LEVELS = 256  # of a pixel


class Glow(nn.Module):
    r"""Multi-scale Glow of images in [0, 1], with the class in its base distribution alone.

    .. math:: \log p(x|y) = \log p_0(z|y) + \log \left|\det \frac{\partial z}{\partial x}\right|

    Densities are of pixels in units of 1/256, each spread over its own bin: in training by a uniform draw, in
    evaluation not at all. One pass through the flow serves all classes.

    Args:
        shape: of an image, (channels, height, width); both sides divisible by 2 to the number of levels.
        num_classes: C; 1 for an unconditional flow.
        levels: scales, each of half the side.
        depth: steps (activation normalisation, 1x1 convolution, affine coupling) a scale.
        width: hidden channels of the coupling networks.

    Raises:
        HdgeError: a side that cannot be halved so often.

    Source: Kingma & Dhariwal 2018.
    """

    def __init__(self, shape: tuple[int, ...], num_classes: int, levels: int, depth: int, width: int) -> None:
        super().__init__()
        channels, height, side = shape
        if height % 2**levels or side % 2**levels:
            raise HdgeError(f"flow.levels is {levels}; images of {height} x {side} cannot be halved so often.")
        bases, flows, merges = [], [], []
        for level in range(levels):
            inner = channels * 2 ** (levels + 1 - level)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the library calls a deprecated LU decomposition, rightly
                blocks = [nf.flows.GlowBlock(inner, width) for _ in range(depth)]
            flows.append([*blocks, nf.flows.Squeeze()])
            scale = 2 ** (levels - level)
            kept = inner if level == 0 else inner // 2
            bases.append(nf.distributions.GlowBase((kept, height // scale, side // scale), num_classes))
            if level > 0:
                merges.append(nf.flows.Merge())
        self.flow = nf.MultiscaleFlow(bases, flows, merges)
        self.num_classes, self.pixels = num_classes, math.prod(shape)

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """log p(x|y) + log p(y) of every class in nats, shape (B, C), with p(y) uniform."""
        spread = torch.rand_like(images) - 0.5 if self.training else 0.0
        # From [0, 1] to [-1/2, 1/2], in which a pixel's bin is 1/256 wide.
        centred = ((LEVELS - 1) * images + 0.5 + spread) / LEVELS - 0.5
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library's own warnings
            latents, log_det = self.flow.inverse_and_log_det(centred)
        log_det = log_det - self.pixels * math.log(LEVELS)
        per_class = []
        for label in range(self.num_classes):
            y = torch.full((len(images),), label, device=images.device)
            per_class.append(sum(base.log_prob(z, y) for base, z in zip(self.flow.q0, latents, strict=True)))
        return torch.stack(per_class, dim=1) + log_det[:, None] - math.log(self.num_classes)


def bits_per_dimension(log_p: Float[Tensor, " batch"], dimensions: int) -> Float[Tensor, ""]:
    r"""Mean code length of a pixel and channel.

    .. math:: -\frac{1}{B D \log 2} \sum_i \log p(x_i)

    Args:
        log_p: log p(x) in nats of images whose pixels are in units of 1/256, shape (B,).
        dimensions: D, channels times pixels.

    Returns:
        Bits; 8 for a uniform density over the pixel values.
    """
    return -log_p.mean() / (dimensions * math.log(2))


class Likelihood(Method):
    """Maximum likelihood of a flow: -log p(x), or -log p(x|y) of its class, from which Bayes' rule predicts."""

    def forward(self, model: nn.Module, view: View, labels: Tensor) -> Step:
        images = view()
        logits = model(images).float()
        # A single logit is log p(x) of every image; else log p(x|y) = log p(x, y) + log C.
        own = of_label(logits, labels % logits.shape[1]) + math.log(logits.shape[1])
        bits = bits_per_dimension(log_q_x(logits), images[0].numel())
        return Step(-own.mean() / images[0].numel(), logits, {"bits_per_dimension": bits})

    def constant_prediction(self, classes: int, images: int) -> tuple[str, float]:
        """Take the uniform density over a pixel's values, in nats a pixel."""
        return "loss", math.log(LEVELS)
