"""Whole batches on the device: pixels in [0, 1], evaluation noise, and augmentation."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor


def to_unit(images: UInt8[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
    """Pixels in [0, 1], as every model here expects them."""
    return images.float().div_(255)


def add_noise(
    images: Float[Tensor, "batch channels height width"], noise: float, generator: torch.Generator
) -> Float[Tensor, "batch channels height width"]:
    """Gaussian noise whose standard deviation is given on JEM's scale, [-1, 1], twice as wide as the images'."""
    if noise == 0:
        return images
    sample = torch.empty_like(images).normal_(generator=generator)
    return images.add(sample, alpha=noise / 2)


def augment(
    images: UInt8[Tensor, "batch channels height width"],
    generator: torch.Generator,
    crop_padding: int = 4,
    flip: bool = True,
    noise: float = 0.03,
) -> Float[Tensor, "batch channels height width"]:
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


def augment_strongly(
    images: UInt8[Tensor, "batch channels height width"],
    generator: torch.Generator,
    flip: bool = True,
    noise: float = 0.0,
) -> Float[Tensor, "batch channels height width"]:
    """Training images in [0, 1] as SimCLR sees them: resized crops, mirroring, brightness, contrast, colour.

    Every image has one draw of each. A crop, bilinear, has 20 to 100 % of the area and sides in 3:4 to 4:3. Mirroring
    has probability 1/2. With probability 0.8 brightness, contrast and saturation get factors in 0.6 to 1.4. With
    probability 0.2 an image loses its colour. Hue is left alone. Noise is that of :func:`add_noise`.

    Source: Chen et al. 2020, appendix A.
    """
    batch, channels = images.shape[:2]

    def draw(low: float, high: float) -> Float[Tensor, " batch"]:
        return torch.empty(batch, device=images.device).uniform_(low, high, generator=generator)

    area, ratio = draw(0.2, 1.0).sqrt(), (draw(-1.0, 1.0) * np.log(4 / 3) / 2).exp()
    width, height = (area * ratio).clamp(max=1), (area / ratio).clamp(max=1)
    mirrored = torch.where(draw(0.0, 1.0) < 0.5, -1.0, 1.0) if flip else torch.ones_like(area)
    transform = torch.zeros(batch, 2, 3, device=images.device)
    transform[:, 0, 0], transform[:, 0, 2] = width * mirrored, draw(-1.0, 1.0) * (1 - width)
    transform[:, 1, 1], transform[:, 1, 2] = height, draw(-1.0, 1.0) * (1 - height)
    grid = F.affine_grid(transform, list(images.shape), align_corners=False)
    views = F.grid_sample(to_unit(images), grid, padding_mode="reflection", align_corners=False)

    jittered = draw(0.0, 1.0) < 0.8
    brightness, contrast, saturation = (torch.where(jittered, draw(0.6, 1.4), 1.0)[:, None, None, None] for _ in "bcs")
    views = views * brightness
    views = (views - views.mean(dim=(1, 2, 3), keepdim=True)) * contrast + views.mean(dim=(1, 2, 3), keepdim=True)
    if channels == 3:
        weights = torch.tensor([0.299, 0.587, 0.114], device=images.device).view(3, 1, 1)
        grey = (views * weights).sum(dim=1, keepdim=True)
        saturation = torch.where((draw(0.0, 1.0) < 0.2)[:, None, None, None], 0.0, saturation)
        views = (views - grey) * saturation + grey
    return add_noise(views.clamp(0, 1), noise, generator)
