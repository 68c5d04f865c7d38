"""Labelled images in memory, and their change to other channels and another size."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

Bytes = UInt8[Tensor, "n channels height width"]  # pixels up to 255
Pixels = Float[Tensor, "n channels height width"]  # in [0, 1], where nothing else is said
Labels = Int[Tensor, " n"]


@dataclass(frozen=True)
class ImageSet:
    """Images with labels: uint8 of shape (N, channels, H, W) and int64 of shape (N,)."""

    name: str
    images: Bytes
    labels: Labels
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Int[Tensor, " m"]) -> "ImageSet":
        return ImageSet(self.name, self.images[indices], self.labels[indices], self.classes)

    def to(self, device: torch.device) -> "ImageSet":
        return ImageSet(self.name, self.images.to(device), self.labels.to(device), self.classes)


def fit(images: Tensor, channels: int, height: int, width: int) -> Tensor:
    """Images in other channels and another size: grey or repeated, shorter side resized, centre cropped."""
    # torchvision's import takes two seconds, so it stands where it is used.
    from torchvision.transforms.functional import center_crop, resize, rgb_to_grayscale

    if images.shape[1] != channels:
        images = rgb_to_grayscale(images) if channels == 1 else images.expand(-1, channels, -1, -1)
    if images.shape[2:] != (height, width):
        scale = max(height / images.shape[2], width / images.shape[3])
        size = [max(height, round(images.shape[2] * scale)), max(width, round(images.shape[3] * scale))]
        images = center_crop(resize(images, size, antialias=True), [height, width])
    return images.contiguous()
