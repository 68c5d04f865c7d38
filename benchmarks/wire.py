"""What two ranks send each other for the contrastive term, counted by the loopback device."""

import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from hdge.core.losses import hybrid_loss
from hdge.core.queue import LogitQueue

RANKS, BATCH, STEPS = 2, 32, 500


def measure_wire() -> pd.DataFrame:
    """Bytes a step on the wire, for all ranks together: the numbers sent, and what gloo and TCP make of them.

    Returns:
        Columns: classes, ranks, steps, payload_bytes (two all-reduces of C float32 numbers), wire_bytes (measured,
        headers and acknowledgements included; missing where the system does not count), logits_bytes (what gathering
        the batch's logits would send instead, each rank's to every other).
    """
    rows = []
    for classes in (10, 100, 1000):
        with tempfile.TemporaryDirectory() as folder:
            mp.spawn(_rank, (classes, folder), nprocs=RANKS)
            wire = float(Path(folder, "bytes").read_text())
        # In a ring over R ranks, an all-reduce of n numbers sends 2 (R - 1) n of them in all.
        payload = 2 * 2 * (RANKS - 1) * classes * 4
        rows.append(
            {"classes": classes, "ranks": RANKS, "steps": STEPS, "payload_bytes": payload, "wire_bytes": wire,
             "logits_bytes": RANKS * (RANKS - 1) * BATCH * classes * 4}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _rank(rank: int, classes: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS)
    torch.set_num_threads(1)
    queue = LogitQueue(classes, 4096, group=dist.group.WORLD)
    logits, labels = torch.randn(BATCH, classes, requires_grad=True), torch.randint(classes, (BATCH,))
    dist.barrier()
    before = _loopback_bytes()
    for _ in range(STEPS):
        hybrid_loss(logits, labels, queue).backward()
        queue.enqueue(logits.detach())
    dist.barrier()
    time.sleep(0.2)  # let the last acknowledgements pass
    if rank == 0:
        Path(folder, "bytes").write_text(str((_loopback_bytes() - before) / STEPS))
    dist.barrier()
    dist.destroy_process_group()


def _loopback_bytes() -> float:
    """Bytes that the loopback device has sent since the start, where the system counts them."""
    devices = Path("/proc/net/dev")
    if not devices.exists():
        return float("nan")
    [line] = [line for line in devices.read_text().splitlines() if line.strip().startswith("lo:")]
    return float(line.split(":")[1].split()[8])
