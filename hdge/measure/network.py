"""What a trained network says of test images: its logits, and how steep its density is there."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from hdge.core.readings import log_q_x
from hdge.data.splits import SPLIT_SEED, add_noise, to_unit
from hdge.methods.networks import build_network
from hdge.methods.sgld import frozen
from hdge.study.config import HdgeError
from hdge.study.runs import Run

EVALUATION_BATCH = 500


def load_network(run: Run, shape: tuple[int, ...]) -> nn.Module:
    """A run's trained network, in evaluation mode on the processor.

    Args:
        run: a finished run.
        shape: of an image, (channels, height, width).

    Raises:
        HdgeError: a kept run, which has no weights.
    """
    if not (run.folder.path / "weights.safetensors").exists():
        raise HdgeError(f"{run.folder.path} has no weights; train the run to have them.")
    record = run.folder.record()
    model = build_network(run.config, len(record["data"]["classes"]), shape)
    model.load_state_dict(run.folder.weights())
    return model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


@torch.inference_mode()
def evaluate(
    model: nn.Module, images: UInt8[Tensor, "n channels height width"], noise: float
) -> Float[Tensor, "n classes"]:
    """Logits of test images in float32, under the protocol's test-time noise, the same draw for every model."""
    model.eval()
    generator = torch.Generator(images.device).manual_seed(SPLIT_SEED)
    batches = [model(add_noise(to_unit(batch), noise, generator)) for batch in images.split(EVALUATION_BATCH)]
    return torch.cat(batches).float().cpu()


def gradient_norms(
    model: nn.Module, images: UInt8[Tensor, "n channels height width"], noise: float
) -> Float[Tensor, " n"]:
    r"""Steepness of log q(x) at test images, the negative of JEM's score "approximate mass".

    .. math:: \left\| \frac{\partial \log q(x)}{\partial x} \right\|_2

    A mode that is narrow holds little mass however high it is; where the density is flat, much of it lies.

    Returns:
        Nats per unit of pixels in [0, 1], shape (N,), under the same draw of noise as :func:`evaluate`.

    Source: Grathwohl et al. 2019, section 5.3.
    """
    generator = torch.Generator(images.device).manual_seed(SPLIT_SEED)
    norms = []
    with frozen(model):
        for batch in images.split(EVALUATION_BATCH):
            x = add_noise(to_unit(batch), noise, generator).requires_grad_()
            (gradient,) = torch.autograd.grad(log_q_x(model(x).float()).sum(), x)
            norms.append(gradient.flatten(1).norm(dim=1))
    return torch.cat(norms).cpu()
