"""Whole batches on the device: pixels in [0, 1], evaluation noise, and augmentation."""

import functools
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from hdge.data.images import Bytes, Pixels


def to_unit(images: Bytes) -> Pixels:
    """Pixels in [0, 1], as every model here expects them."""
    return images.float().div_(255)


def add_noise(images: Pixels, noise: float, generator: torch.Generator) -> Pixels:
    """Gaussian noise whose standard deviation is given on JEM's scale, [-1, 1], twice as wide as the images'."""
    if noise == 0:
        return images
    sample = torch.empty_like(images).normal_(generator=generator)
    return images.add(sample, alpha=noise / 2)


def augment(
    images: Bytes, generator: torch.Generator, crop_padding: int = 4, flip: bool = True, noise: float = 0.03
) -> Pixels:
    """Training images in [0, 1]: random crops of the reflected border, mirroring with probability 1/2, Gaussian noise.

    The border has from 0 to the image's side less 1 pixels. Noise is that of :func:`add_noise`. The generator is on the
    images' device.

    Source: JEM's protocol, which the paper follows (section 5.1).
    """
    batch, _, height, width = images.shape
    device = images.device

    def shifted(side: int) -> Int[Tensor, "batch side"]:
        offset = torch.randint(-crop_padding, crop_padding + 1, (batch, 1), generator=generator, device=device)
        index = (offset + torch.arange(side, device=device)).abs()
        return (side - 1) - ((side - 1) - index).abs()

    rows, columns = shifted(height), shifted(width)
    if flip:
        mirrored = torch.rand((batch, 1), generator=generator, device=device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    each = torch.arange(batch, device=device)[:, None, None]
    crops = images.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]]
    return add_noise(to_unit(crops.permute(0, 3, 1, 2)), noise, generator)


def augment_strongly(images: Bytes, generator: torch.Generator, flip: bool = True, noise: float = 0.0) -> Pixels:
    """A batch of training images in [0, 1] as SimCLR sees them, by kornia: crops, mirroring, colours, and no colours.

    Every image has its own draw: a crop of 20 to 100 % of the area with sides in 3:4 to 4:3; mirroring with probability
    1/2; with probability 0.8 brightness, contrast and saturation by factors of 0.6 to 1.4 and hue by a tenth of its
    circle; with probability 0.2 no colour at all. Kornia draws from PyTorch's own generator.

    Args:
        images: uint8, shape (B, channels, H, W), on any device; grey ones stay grey.
        generator: of the Gaussian noise, on the same device.
        flip: whether to mirror.
        noise: standard deviation of Gaussian noise in units of [-1, 1].

    Source: Chen et al. 2020, appendix A, with the strength of its experiments on CIFAR-10.
    """
    channels = images.shape[1]
    coloured = to_unit(images).expand(-1, 3, -1, -1)
    views = _simclr(tuple(images.shape[2:]), flip)(coloured)[:, :channels]
    return add_noise(views, noise, generator)


@functools.cache
def _simclr(side: tuple[int, int], flip: bool) -> Any:
    import kornia.augmentation as kornia  # where it is used: other methods need not wait for it

    return kornia.AugmentationSequential(
        kornia.RandomResizedCrop(side, scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3)),
        kornia.RandomHorizontalFlip(p=0.5 if flip else 0.0),
        kornia.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        kornia.RandomGrayscale(p=0.2),
    )
