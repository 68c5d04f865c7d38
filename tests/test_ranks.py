import copy
import json
import os
import pickle
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from hdge import LogitQueue, hybrid_loss
from hdge.core.distributed import rank_of, sum_over_ranks
from hdge.data.splits import load_splits
from hdge.study.config import TrainConfig
from hdge.study.errors import HdgeError
from hdge.study.profiles import load_profile
from hdge.study.runs import RunFolder
from hdge.study.settings import QueueSettings
from hdge.training import trainer
from hdge.training.rows import train_row

BATCH, CLASSES, SIZE, STEPS = 6, 4, 10, 5
SMALL = TrainConfig(
    dataset="digits",
    evaluation_sets=(),
    depth=10,
    width=1,
    queue=QueueSettings(size=200),
    optimizer="sgd",
    learning_rate=0.02,
    warmup_steps=0,
    epochs=2,
    crop_padding=0,
    flip=False,
    noise=0.0,
    precision="float32",
    batch_size=100,
)


def draws(dtype: torch.dtype) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(BATCH, CLASSES, generator=generator, dtype=torch.float64).mul(3).to(dtype),
         torch.randint(CLASSES, (BATCH,), generator=generator))
        for _ in range(STEPS)
    ]  # fmt: skip


def losses_and_gradients(dtype: torch.dtype, with_queue: bool, group: dist.ProcessGroup | None) -> list[torch.Tensor]:
    """Loss and gradient of every step of a short training, as DistributedDataParallel would average them."""
    rank, ranks = rank_of(group)
    queue = LogitQueue(CLASSES, SIZE, group=group).to(dtype) if with_queue else None
    results = []
    for logits, labels in draws(dtype):
        own = logits[rank::ranks].clone().requires_grad_()
        options = {} if with_queue else {"group": group}
        loss = hybrid_loss(own, labels[rank::ranks], queue, alpha=0.3, **options)
        (gradient,) = torch.autograd.grad(loss, own)
        whole = torch.zeros_like(logits)
        whole[rank::ranks] = gradient / ranks
        loss = loss.detach() / ranks
        sum_over_ranks([loss, whole], group)
        results += [loss, whole]
        if queue is not None:
            queue.enqueue(own.detach())
    return results


def inside_a_model(group: dist.ProcessGroup) -> list[torch.Tensor]:
    """log Z of a queue inside a model that DistributedDataParallel wraps by its defaults, and of one for all images."""
    rank, ranks = rank_of(group)
    torch.manual_seed(0)
    model = torch.nn.Linear(CLASSES, CLASSES, dtype=torch.float64)
    model.queue, whole = LogitQueue(CLASSES, SIZE, group=group).double(), LogitQueue(CLASSES, SIZE).double()
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    results = []
    for inputs, labels in draws(torch.float64):
        logits = parallel(inputs[rank::ranks])
        loss = hybrid_loss(logits, labels[rank::ranks], model.queue)
        loss.backward()
        results += [model.queue.log_partition(), whole.log_partition()]
        model.queue.enqueue(logits.detach())
        whole.enqueue(model(inputs).detach())
    twin = copy.deepcopy(model).queue
    assert twin.group is group
    return [*results, twin.log_partition(), whole.log_partition()]


def one_of_two(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    results = {
        f"{dtype} {with_queue}": losses_and_gradients(dtype, with_queue, dist.group.WORLD)
        for dtype in (torch.float64, torch.float32)
        for with_queue in (True, False)
    }
    inside = inside_a_model(dist.group.WORLD)
    refused = []
    for attempt in (
        lambda: pickle.dumps(LogitQueue(CLASSES, SIZE, group=dist.group.WORLD)),
        lambda: LogitQueue(CLASSES, SIZE, group=dist.group.WORLD).load_state_dict(
            LogitQueue(CLASSES, SIZE).state_dict()
        ),
        lambda: LogitQueue(CLASSES, SIZE + 1, group=dist.group.WORLD),
        lambda: hybrid_loss(
            torch.zeros(2, 2), torch.full((2, 2), 0.5), LogitQueue(2, 4, start="noise", group=dist.group.WORLD)
        ),
        lambda: hybrid_loss(torch.zeros(2, 2), torch.full((2, 2), 0.5), None, group=dist.group.WORLD),
    ):
        try:
            attempt()
        except (ValueError, TypeError, RuntimeError) as error:
            refused.append(str(error))
    if rank == 0:
        torch.save({"results": results, "refused": refused, "inside": inside}, f"{folder}/results.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(one_of_two, (str(folder),), nprocs=2)
    return torch.load(folder / "results.pt", weights_only=True)


@pytest.mark.parametrize("with_queue", [True, False])
# Sums of at most SIZE + 1 terms in another order: a few units in the last place, 2.2e-16 and 1.2e-7.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_two_ranks_are_one_rank_with_the_whole_batch(two_ranks, dtype, tolerance, with_queue):
    together = two_ranks["results"][f"{dtype} {with_queue}"]
    alone = losses_and_gradients(dtype, with_queue, None)
    for ours, expected in zip(together, alone, strict=True):
        assert (ours - expected).abs().max() <= tolerance * expected.abs().max()


def test_a_queue_inside_a_distributed_model_keeps_every_ranks_own_entries(two_ranks):
    for ours, expected in zip(two_ranks["inside"][::2], two_ranks["inside"][1::2], strict=True):
        # Sums of at most SIZE terms in another order, in float64; both are minus infinity at first.
        torch.testing.assert_close(ours, expected, rtol=1e-14, atol=0)


def test_what_ranks_cannot_share_is_refused(two_ranks):
    pickled, state, size, queue, batch = two_ranks["refused"]
    assert "a queue with a process group cannot be pickled; save its state_dict() instead" in pickled
    assert "ranks=1 in the state, but ranks=2 here" in state
    assert "size is 11; it must be a multiple of the 2 ranks" in size
    assert "labels are soft, but the queue is shared by 2 ranks" in queue
    assert "labels are soft, but the batch is shared by 2 ranks" in batch


def torchrun(folder, *options: str) -> dict:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "config.json"
    folder.mkdir()
    config.write_text(SMALL.to_json())
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}",
        "-m", "hdge.cli", "train", f"--config={config}", f"--output={folder / 'run'}", *options,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)
    return json.loads((folder / "run" / "record.json").read_text())


def test_torchrun_trains_the_run_that_one_process_trains(tmp_path):
    record = torchrun(tmp_path / "two", "--checkpoint_seconds=0")
    assert record["machine"]["ranks"] == 2
    one = trainer.Trainer(SMALL, load_splits("digits", tmp_path), torch.device("cpu"))
    start = copy.deepcopy(one.model.state_dict())
    while one.step < one.total_steps:
        one.train_step()
    two = RunFolder(tmp_path / "two" / "run")
    # The last batch of an epoch, 66 images, and all others are halved. Rounding of 6e-8 grows over 18 steps.
    for name in ("loss", "discriminative", "generative", "train_accuracy", "true_logit_weight", "validation_nll"):
        assert two.history()[name].tolist() == pytest.approx([row[name] for row in one.history], rel=1e-4)
    for name, tensor in two.weights().items():
        end = one.model.state_dict()[name]
        assert (tensor - end).norm() < 1e-3 * (end - start[name]).norm(), name


def test_a_profile_of_two_ranks_trains_a_row_by_torchrun_inside_its_job(tmp_path, capfd):
    smoke = load_profile("smoke")
    two, root = replace(smoke, ranks=2), tmp_path / "two"
    same = {"crop_padding": 0, "flip": False, "noise": 0.0, "precision": "float32"}  # no draws of a rank's own
    [run] = train_row(two, "hdge", [0], same, root, str(tmp_path))
    assert run.folder.record()["machine"]["ranks"] == 2
    [alone] = train_row(smoke, "hdge", [0], same, tmp_path / "one", str(tmp_path))
    losses = (one.folder.history()["loss"].tolist() for one in (run, alone))
    assert next(losses) == pytest.approx(next(losses), rel=1e-3)
    stored = run.folder.path / "record.json"
    before = stored.stat().st_mtime_ns
    train_row(two, "hdge", [0], same, root, str(tmp_path))
    assert stored.stat().st_mtime_ns == before
    stored.write_text("{")
    with pytest.raises(HdgeError, match="hdge, seed 0: the 2 ranks that train .*hdge-seed0 failed; what they said"):
        train_row(two, "hdge", [0], same, root, str(tmp_path))
    assert "record.json" in capfd.readouterr().err
    with pytest.raises(HdgeError, match="ranks is 0; it must be a whole number, 1 or more"):
        replace(smoke, ranks=0)


def test_a_state_of_two_ranks_is_not_taken_up_by_one(tmp_path):
    run = trainer.Trainer(SMALL, load_splits("digits", tmp_path), torch.device("cpu"))
    state = copy.deepcopy(run.state_dict())
    state["ranks"] *= 2
    with pytest.raises(HdgeError, match="1 ranks cannot go on with a state of 2"):
        run.load_state_dict(state)
