"""The networks of the study, with input scaling inside: a wide residual network as JEM trains it, and ResNet-50."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Norm = Literal["none", "batch"]
Initialization = Literal["pytorch", "zero_residual"]

LEAK = 0.2  # negative slope of every rectifier, as in JEM and IGEBM


class WideBlock(nn.Module):
    r"""Pre-activation residual block with two 3x3 convolutions.

    .. math:: x + W_2 \, \rho(n(\mathrm{dropout}(W_1 \, \rho(n(x))))), \qquad \rho = \text{LeakyReLU}(0.2)

    The second convolution carries the stride and a 1x1 convolution matches the shortcut's shape, as in the
    networks of JEM.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm, dropout: float) -> None:
        super().__init__()
        self.norm1 = _norm(norm, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.norm2 = _norm(norm, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride=stride, padding=1)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride=stride)
        self.rectifier = nn.LeakyReLU(LEAK)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        residual = self.dropout(self.conv1(self.rectifier(self.norm1(x))))
        residual = self.conv2(self.rectifier(self.norm2(residual)))
        return residual + self.shortcut(x)


class WideResNet(nn.Module):
    """Wide residual network from images in [0, 1] to C logits.

    Args:
        depth: layers, 6 n + 4 for n blocks in each of three stages (28 in the paper).
        width: multiple of the 16, 32 and 64 channels of the three stages (10 in the paper).
        num_classes: C, at least 1.
        in_channels: 3 for colour, 1 for grey images.
        norm: "none" (the paper's energy-based models) or "batch" (its Table 2).
        dropout: probability inside each block, in [0, 1).
        initialization: "pytorch" leaves the library's defaults, as JEM does; "zero_residual" draws convolutions by
            He's rule and starts every block as its shortcut, which a network without normalisation needs to learn
            quickly (Fixup; Zhang et al. 2019). Fixup's zero head is left out: see :func:`_start_from_shortcuts`.
        stem_stride: of the first convolution: 1 as published, or 2 for a quarter of the arithmetic.

    Raises:
        ValueError: a depth that is not 6 n + 4 with n at least 1.

    Source: Zagoruyko & Komodakis 2016; JEM's variant without normalisation (paper, section 5.1).

    >>> sum(p.numel() for p in WideResNet(depth=28, width=10, num_classes=10).parameters())
    36471338
    """

    def __init__(
        self,
        depth: int = 28,
        width: int = 10,
        num_classes: int = 10,
        in_channels: int = 3,
        norm: Norm = "none",
        dropout: float = 0.0,
        initialization: Initialization = "pytorch",
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth is {depth}; it must be 10, 16, 22, 28, … (6 n + 4).")
        blocks = (depth - 4) // 6
        channels = [16, 16 * width, 32 * width, 64 * width]
        self.stem = nn.Conv2d(in_channels, channels[0], 3, stride=stem_stride, padding=1)
        layers: list[nn.Module] = []
        for stage in range(3):
            for block in range(blocks):
                inputs = channels[stage] if block == 0 else channels[stage + 1]
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(WideBlock(inputs, channels[stage + 1], stride, norm, dropout))
        self.blocks = nn.Sequential(*layers)
        self.norm = _norm(norm, channels[3])
        self.rectifier = nn.LeakyReLU(LEAK)
        self.head = nn.Linear(channels[3], num_classes)
        if initialization == "zero_residual":
            self.apply(_start_from_shortcuts)

    def features(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch features"]:
        """Features before the linear head, averaged over all positions, shape (B, 64 width)."""
        x = self.blocks(self.stem(2 * images - 1))
        return torch.mean(self.rectifier(self.norm(x)), dim=(2, 3))

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Logits f(x), shape (B, C), of images in [0, 1], shape (B, channels, H, W) with H and W from 4 up."""
        return self.head(self.features(images))


def _start_from_shortcuts(module: nn.Module) -> None:
    """Initialise every convolution by He's rule, and the last one of each block with zero.

    The head keeps PyTorch's initialisation. A head at zero would give f = 0, where an optimiser cannot use the gradient
    of f / |f|. The contrastive term's gradient would be as large as its floor allows, and Adam's second moment would
    keep it.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, a=LEAK)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, WideBlock):  # visited after the convolutions inside it
        nn.init.zeros_(module.conv2.weight)


def _norm(norm: Norm, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.Identity()


class ResNet50(nn.Module):
    """torchvision's ResNet-50 with a stem for small images: a 3x3 convolution without stride, and no pooling after it.

    Args:
        num_classes: C.
        in_channels: 3 for colour, 1 for grey images.

    Source: He et al. 2016; the stem as in Chen et al. 2020, appendix B.9.
    """

    def __init__(self, num_classes: int, in_channels: int = 3) -> None:
        from torchvision.models import resnet50  # two seconds that no other network need wait for

        super().__init__()
        self.body = resnet50(num_classes=num_classes)
        self.head, self.body.fc = self.body.fc, nn.Identity()
        self.body.conv1 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
        self.body.maxpool = nn.Identity()

    @property
    def stem(self) -> nn.Module:
        return self.body.conv1

    def features(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch features"]:
        """Features before the linear head, shape (B, 2048)."""
        return self.body(2 * images - 1)

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Logits f(x), shape (B, C), of images in [0, 1]."""
        return self.head(self.features(images))
