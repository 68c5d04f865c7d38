"""The whole training step of HDGE and of JEM beside cross-entropy's, by the study's own training loop."""

import warnings
from itertools import product

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from benchmarks.measure import interleaved, median_interval, seconds
from hdge.core.queue import LogitQueue
from hdge.data.images import ImageSet
from hdge.data.splits import Splits
from hdge.study.config import parse_config
from hdge.training.trainer import Trainer

IMAGES = 4096
SECONDS = 90.0  # of measuring, a row


def measure_steps(device: torch.device) -> pd.DataFrame:
    """A training step as a ratio to cross-entropy's: WRN-16-2 on a processor, WRN-28-10 on a GPU.

    HDGE's floor is 1. JEM's, with 20 sampling steps, is 46/3 = 15.3: a sampling step is a forward pass and a gradient
    of the input (2 units), a training step a forward pass and both gradients (3), of which JEM has two.

    Returns:
        Columns: method, network, batch, classes, size (K; 0 for JEM), rounds, cross_entropy_ms, method_ms (medians),
        ratio with its interval (median over interleaved rounds), images_per_second (of the method), matmul_share (of
        the floating-point operations a second that one large matrix product reaches in the same precision, in the same
        run), precision, device.
    """
    cuda = device.type == "cuda"
    network = (28, 10) if cuda else (16, 2)
    batches, sizes = ((64, 256), (65_536, 2**20)) if cuda else ((64,), (65_536,))
    cases = [("hdge", *case) for case in product(batches, (10, 100), sizes)] + [("jem", 64, 10, 0)]
    rows = []
    for method, batch, classes, size in tqdm(cases, desc="the training step"):
        trainers = {name: _trainer(name, network, batch, classes, size, device) for name in ("cross_entropy", method)}
        times = interleaved({name: trainer.train_step for name, trainer in trainers.items()}, SECONDS)
        ratio, low, high = median_interval(times[method] / times["cross_entropy"])
        with FlopCounterMode(display=False) as counter:
            trainers[method].train_step()
        step, precision = median_interval(times[method])[0], trainers[method].precision
        rows.append(
            {"method": method, "network": f"WRN-{network[0]}-{network[1]}", "batch": batch, "classes": classes,
             "size": size, "rounds": len(times[method]),
             "cross_entropy_ms": 1e3 * median_interval(times["cross_entropy"])[0], "method_ms": 1e3 * step,
             "ratio": ratio, "ratio_low": low, "ratio_high": high, "images_per_second": batch / step,
             "matmul_share": counter.get_total_flops() / step / _matmul_peak(device, precision),
             "precision": precision, "device": device.type}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _trainer(
    method: str, network: tuple[int, int], batch: int, classes: int, size: int, device: torch.device
) -> Trainer:
    """A run that goes on for ever on made-up images, its queue full. On a processor in float32, like the profiles."""
    depth, width = network
    config = parse_config(
        {"method": method, "depth": depth, "width": width, "batch_size": batch, "epochs": 10**6,
         "precision": "auto" if device.type == "cuda" else "float32",
         **({"queue": {"size": size}} if size and method == "hdge" else {})}
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the queue is longer than this made-up training set, and means to be
        trainer = Trainer(config, _made_up(classes), device)
    for queue in trainer.method.modules():
        if isinstance(queue, LogitQueue):
            for start in range(0, size, 8192):
                queue.enqueue(torch.randn(min(8192, size - start), classes, device=device))
    return trainer


def _made_up(classes: int) -> Splits:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (IMAGES, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.randint(classes, (IMAGES,), generator=generator)
    names = tuple(str(label) for label in range(classes))
    whole, nothing = ImageSet("made up", images, labels, names), ImageSet("nothing", images[:0], labels[:0], names)
    return Splits(whole, nothing, nothing)


def _matmul_peak(device: torch.device, precision: str) -> float:
    """Floating-point operations a second of a large matrix product, the best of ten."""
    side = 8192 if device.type == "cuda" else 2048
    matrix = torch.randn(side, side, device=device, dtype=getattr(torch, precision))
    return 2 * side**3 / min(seconds(lambda: matrix @ matrix) for _ in range(10))
