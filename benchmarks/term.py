"""The contrastive term alone: forward, backward and enqueue, ours beside the published forms, K from 64 to 2^20."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from tqdm import tqdm

from benchmarks.measure import Call, interleaved, median_interval, peak_bytes
from hdge.core.losses import conditional_nll
from hdge.core.queue import LogitQueue
from hdge.methods.as_published import Variant, published_nll

SIZES = (64, 1024, 16_384, 65_536, 2**20)
CLASSES = (10, 100, 1000)
BATCHES = (64, 256, 2048)
# The published forms write out B C K numbers, some of them twice: beyond this many they ask for more than 5 GB.
MOST_NUMBERS = 5 * 10**8
SECONDS = 4.0  # of measuring, a cell


def measure_terms(device: torch.device) -> pd.DataFrame:
    """Time and peak memory of every form at every B, C and K that it can do.

    Returns:
        Columns: form, batch, classes, size (0 for cross-entropy), rounds, milliseconds, ratio and its interval
        (to cross-entropy, median over rounds), over_ours and its interval (to ours at the same K), over_smallest and
        its interval (ours to ours at K = 64), peak_bytes (beyond what the queue holds), device.
    """
    rows = []
    for batch, classes in tqdm(list(product(BATCHES, CLASSES)), desc="the term alone"):
        logits = torch.randn(batch, classes, device=device, requires_grad=True)
        labels = torch.randint(classes, (batch,), device=device)
        queues = {size: _filled(classes, size, device) for size in SIZES}
        calls: dict[str, Call] = {"cross_entropy 0": _cross_entropy(logits, labels)}
        calls |= {f"ours {size}": _ours(logits, labels, queue) for size, queue in queues.items()}
        times = interleaved(calls, SECONDS)
        rows += [_row(name, batch, classes, times, times, peak_bytes(calls[name])) for name in calls]
        for size, queue in queues.items():
            if batch * classes * size > MOST_NUMBERS:
                continue
            forms = {f"{variant} {size}": _published(logits, labels, queue, variant) for variant in VARIANTS}
            ours = {f"ours {size}": calls[f"ours {size}"]}
            beside = interleaved(ours | forms, SECONDS)
            rows += [_row(name, batch, classes, beside, times, peak_bytes(call)) for name, call in forms.items()]
    return pd.DataFrame(rows).assign(device=device.type)


VARIANTS: tuple[Variant, ...] = ("figure", "released_code")


def _filled(classes: int, size: int, device: torch.device) -> LogitQueue:
    queue = LogitQueue(classes, size).to(device)
    for start in range(0, size, 8192):
        queue.enqueue(torch.randn(min(8192, size - start), classes, device=device))
    return queue


def _backward(loss: Callable[[], torch.Tensor], logits: torch.Tensor) -> Call:
    return lambda: torch.autograd.grad(loss(), logits)


def _cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> Call:
    return _backward(lambda: F.cross_entropy(logits, labels), logits)


def _ours(logits: torch.Tensor, labels: torch.Tensor, queue: LogitQueue) -> Call:
    def step() -> None:
        torch.autograd.grad(conditional_nll(logits, labels, queue), logits)
        queue.enqueue(logits.detach())

    return step


def _published(logits: torch.Tensor, labels: torch.Tensor, queue: LogitQueue, variant: Variant) -> Call:
    """Without the price of enqueueing, which is small beside the rest."""
    past = queue.filled()
    return _backward(lambda: published_nll(logits, labels, past, variant=variant), logits)


def _row(
    name: str, batch: int, classes: int, times: dict[str, np.ndarray], cheap: dict[str, np.ndarray], peak: int
) -> dict[str, object]:
    form, size = name.split()
    milliseconds = median_interval(1e3 * times[name])[0]
    row = {"form": form, "batch": batch, "classes": classes, "size": int(size), "rounds": len(times[name])}
    row |= {"milliseconds": milliseconds, "peak_bytes": peak}
    entropy = cheap["cross_entropy 0"]
    # A published form has rounds of its own: its ratio to cross-entropy goes by way of ours, which is in both.
    if form in ("ours", "cross_entropy"):
        row |= _named("ratio", times[name] / entropy)
    else:
        over = times[name] / times[f"ours {size}"]
        row |= _named("over_ours", over) | _named("ratio", over * np.median(cheap[f"ours {size}"] / entropy))
    if form == "ours":
        row |= _named("over_smallest", times[name] / times[f"ours {SIZES[0]}"])
    return row


def _named(name: str, values: np.ndarray) -> dict[str, float]:
    middle, low, high = median_interval(values)
    return {name: middle, f"{name}_low": low, f"{name}_high": high}
