"""Outputs of a trained network on test images: its logits, and the gradient norms of log q(x)."""

import contextlib
import fcntl
import functools
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from hdge.core.readings import log_q_x
from hdge.data.augment import add_noise, to_unit
from hdge.data.images import Bytes, ImageSet
from hdge.data.sources import is_at_hand
from hdge.data.splits import SPLIT_SEED, Splits, load_evaluation_set, load_splits
from hdge.methods.base import frozen
from hdge.methods.build import build_network
from hdge.study.config import TrainConfig
from hdge.study.errors import HdgeError
from hdge.study.runs import Run, RunFolder

EVALUATION_BATCH = 500
Measured = TypeVar("Measured")


def measure_each(
    runs: Iterable[Run], measure: Callable[[Run], Measured], without: str
) -> tuple[list[Measured], list[str]]:
    """Measure each run, or give one sentence for a run that cannot be measured, and one if none can."""
    found, missing = [], []
    for run in runs:
        try:
            found.append(measure(run))
        except HdgeError as error:
            missing.append(f"{run.row}, seed {run.seed}: {error}")
    return found, missing if found else [*missing, without]


def with_noise(images: Bytes, noise: float) -> Iterable[Tensor]:
    """Yield batches of test images in [0, 1] with the protocol's noise, the same draw for every model."""
    generator = torch.Generator(images.device).manual_seed(SPLIT_SEED)
    for batch in images.split(EVALUATION_BATCH):
        yield add_noise(to_unit(batch), noise, generator)


def pick_device() -> torch.device:
    """Pick a CUDA device, else the CPU; TF32 is off, because it would round results to 10 bits.

    One process alone takes a GPU that no other process of the study has; a rank has taken one at its start.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True  # shapes of images never change within a run
    if not dist.is_initialized() and torch.cuda.device_count() > 1:
        torch.cuda.set_device(free_gpu(torch.cuda.current_device()))
    return torch.device("cuda", torch.cuda.current_device())


@functools.cache
def free_gpu(otherwise: int) -> int:
    """Claim a free GPU for as long as this process lives, by a lock on a file that ends with the process."""
    for device in range(torch.cuda.device_count()):
        name = f"hdge-{os.getuid()}-{torch.cuda.get_device_properties(device).uuid}.lock"
        file = os.open(Path(tempfile.gettempdir(), name), os.O_CREAT | os.O_RDWR, 0o600)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # never closed
            return device
        os.close(file)
    return otherwise


def splits_of(folder: RunFolder, dataset: str, data_root: Path) -> Splits:
    """Load the images that a run was trained on, and refuse others under their name."""
    splits = load_splits(dataset, data_root)
    folder.refuse_other_images(splits.sha256())
    return splits


def evaluated_sets(config: TrainConfig, splits: Splits, data_root: Path) -> dict[str, ImageSet]:
    """Load the sets of images that a run is evaluated on: its test images, then the out-of-distribution sets."""
    outside = {name: load_evaluation_set(name, data_root, splits.test) for name in config.evaluation_sets}
    return {"test": splits.test, **outside}


def has_weights(run: Run) -> bool:
    """Check whether a run's weights are here; of archived runs only the critic has them."""
    return run.folder.stores("weights.safetensors")


def can_be_shown(run: Run, data_root: Path) -> bool:
    """Check whether a run's weights and images are here: nothing is downloaded for a look at them."""
    return has_weights(run) and is_at_hand(run.config.dataset, data_root)


def load_network(run: Run, shape: tuple[int, ...]) -> nn.Module:
    """Load a run's network for images of a shape (channels, height, width), in evaluation mode on the CPU."""
    if not has_weights(run):
        raise HdgeError(f"{run.folder.path} has no weights; train the run to have them.")
    record = run.folder.record()
    model = build_network(run.config, len(record["data"]["classes"]), shape)
    model.load_state_dict(run.folder.weights())
    return model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


@torch.inference_mode()
def evaluate(model: nn.Module, images: Bytes, noise: float) -> Float[Tensor, "n classes"]:
    """Compute logits of test images in float32, with the noise of :func:`with_noise`."""
    model.eval()
    return torch.cat([model(batch) for batch in with_noise(images, noise)]).float().cpu()


def gradient_norms(model: nn.Module, images: Bytes, noise: float) -> Float[Tensor, " n"]:
    r"""Steepness of log q(x) at test images, the negative of JEM's score "approximate mass".

    .. math:: \left\| \frac{\partial \log q(x)}{\partial x} \right\|_2

    A narrow mode holds little mass however high it is; a region of flat density holds much.

    Returns:
        Nats per unit of pixels in [0, 1], shape (N,), with the same draw of noise as in :func:`evaluate`.

    Source: Grathwohl et al. 2019, section 5.3.
    """
    norms = []
    with frozen(model):
        for batch in with_noise(images, noise):
            x = batch.requires_grad_()
            (gradient,) = torch.autograd.grad(log_q_x(model(x).float()).sum(), x)
            norms.append(gradient.flatten(1).norm(dim=1))
    return torch.cat(norms).cpu()
