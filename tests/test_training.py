import math
import os
import re
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest
import torch

from hdge.data.splits import load_splits
from hdge.measure import network as evaluation
from hdge.methods.base import Stage
from hdge.methods.networks import WideResNet
from hdge.study.config import TrainConfig
from hdge.study.errors import HdgeError
from hdge.study.runs import Outputs, RunFolder, atomic_write
from hdge.study.settings import QueueSettings
from hdge.training import loop as training
from hdge.training import optimiser, trainer

SMALL = TrainConfig(
    dataset="digits", evaluation_sets=("interp",), depth=10, width=1, queue=QueueSettings(size=200), learning_rate=4e-3,
    schedule="one_cycle", warmup_steps=5, epochs=3, crop_padding=1, precision="float32", batch_size=100,
)  # fmt: skip


def without_queue(method: str) -> TrainConfig:
    """The same run by another method, with the queue's settings only where it has a queue."""
    return replace(SMALL, method=method, queue=SMALL.queue if method == "hdge" else QueueSettings())


WORDS = [
    "--dataset=digits", '--evaluation_sets=["interp"]', "--depth=10", "--width=1", "--queue.size=200",
    "--learning_rate=4e-3", "--schedule=one_cycle", "--warmup_steps=5", "--epochs=3", "--crop_padding=1",
    "--precision=float32", "--batch_size=100",
]  # fmt: skip


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A run from beginning to end, on one thread like all runs of these tests."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = RunFolder(tmp_path_factory.mktemp("unbroken"))
    training.train(SMALL, folder, folder.path, progress=False)
    torch.set_num_threads(threads)
    return folder


def command(folder) -> list[str]:
    options = ["--checkpoint_seconds=0", f"--output={folder}", f"--data_root={folder}"]
    return [sys.executable, "-m", "hdge.cli", "train", *WORDS, *options]


def test_a_killed_run_ends_as_the_unbroken_one_to_the_bit(unbroken, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command(tmp_path), env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    step = 0
    while step < 11:  # past the first epoch of nine steps, amid the second
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        step = (RunFolder(tmp_path).state() or {"step": 0})["step"]
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "record.json").exists()

    subprocess.run(command(tmp_path), env=environment, check=True, capture_output=True)
    resumed = RunFolder(tmp_path)
    pd.testing.assert_frame_equal(resumed.history(), unbroken.history(), check_exact=True)
    for name in ("test", "interp", "validation"):
        assert resumed.outputs(name).logits.equal(unbroken.outputs(name).logits)
    for name, tensor in unbroken.weights().items():
        assert resumed.weights()[name].equal(tensor)
    assert not (tmp_path / "state.pt").exists()


def test_a_state_is_taken_up_at_the_step_it_was_left(tmp_path):
    splits = load_splits("digits", tmp_path)
    run = trainer.Trainer(SMALL, splits, torch.device("cpu"))
    for _ in range(11):
        run.train_step()
    folder = RunFolder(tmp_path)
    folder.write_state(run.state_dict())
    again = trainer.Trainer(SMALL, splits, torch.device("cpu"))
    again.load_state_dict(folder.state())
    assert again.step == 11
    for each in (run, again):
        for _ in range(3):
            each.train_step()
    assert again.means() == run.means()
    assert again.method.queue.filled().equal(run.method.queue.filled())


def test_a_finished_run_is_left_alone_and_another_config_is_not(unbroken, monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "Trainer", fail)
    training.train(SMALL, unbroken, unbroken.path, progress=False)
    with pytest.raises(AssertionError, match="trained again"):
        training.train(replace(SMALL, seed=1), unbroken, unbroken.path, progress=False)


def test_a_run_of_other_code_is_trained_anew_where_that_is_asked_for(unbroken, monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "Trainer", fail)
    training.train(SMALL, unbroken, unbroken.path, progress=False, same_code=True)
    monkeypatch.setattr(training, "training_code", lambda method: "other")
    training.train(SMALL, unbroken, unbroken.path, progress=False)
    with pytest.raises(AssertionError, match="trained again"):
        training.train(SMALL, unbroken, unbroken.path, progress=False, same_code=True)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is that of the whole process")
def test_a_run_does_not_answer_for_the_memory_of_one_before_it():
    cpu = torch.device("cpu")
    held = torch.ones(100_000_000)
    before = training._peak_memory(cpu)
    del held
    training._forget_peak_memory(cpu)
    assert training._peak_memory(cpu) < before - 300e6


def test_training_learns_and_the_record_tells_what_was_done(unbroken):
    history, record = unbroken.history(), unbroken.record()
    assert history["epoch"].tolist() == [1, 2, 3]
    assert history["discriminative"].iloc[-1] < history["discriminative"].iloc[0]
    weighed = 0.5 * history["discriminative"] + 0.5 * history["generative"]
    assert history["loss"].tolist() == pytest.approx(weighed.tolist(), rel=1e-6)
    assert record["data"]["images"] == {"train": 866, "validation": 96, "test": 481, "interp": 481}
    assert record["cost"]["forward_passes_per_step"] == record["cost"]["backward_passes_per_step"] == 1
    assert unbroken.trajectory().shape == (3, 96, 8)
    # float16 has 11 bits: the last epoch's row is the stored validation logits to a relative 2^-11.
    stored = unbroken.outputs("validation").logits
    torch.testing.assert_close(unbroken.trajectory()[-1], stored, rtol=2**-11, atol=1e-4)
    assert history["true_logit_weight"].between(0, 1).all()
    assert record["parameters"] == 77_288
    assert record["cost"]["seconds"] > 0
    assert record["cost"]["peak_memory_bytes"] > 1e8
    assert set(record["files"]) >= {"config.json", "history.csv", "weights.safetensors", "outputs/test.safetensors"}


def test_outputs_are_the_stored_networks_logits(unbroken, tmp_path):
    model = WideResNet(10, 1, num_classes=8, in_channels=1)
    model.load_state_dict(unbroken.weights())
    test = load_splits("digits", tmp_path).test
    stored = unbroken.outputs("test")
    assert stored.labels.equal(test.labels)
    # The same float32 network in another memory format: convolutions sum 576 products in another order.
    logits = evaluation.evaluate(model, test.images, SMALL.noise)
    torch.testing.assert_close(logits, stored.logits, rtol=2**-11 + 1e-4, atol=1e-4)  # outputs are read as float16
    norms = evaluation.gradient_norms(model, test.images, SMALL.noise)
    torch.testing.assert_close(norms, stored.gradient_norms, rtol=1e-3, atol=1e-4)
    assert unbroken.outputs("validation").gradient_norms is None


def test_both_methods_start_from_the_same_weights_and_see_the_same_images(tmp_path, monkeypatch):
    splits, seen = load_splits("digits", tmp_path), []
    for method in ("cross_entropy", "hdge"):
        run = trainer.Trainer(without_queue(method), splits, torch.device("cpu"))
        weight = run.model.stem.weight.detach().clone()
        batches = []
        run.model.stem.register_forward_hook(lambda m, inputs, out, batches=batches: batches.append(inputs[0]))
        run.train_step()
        run.train_step()
        seen.append((weight, *batches))
    assert all(a.equal(b) for a, b in zip(*seen, strict=True))


def test_learning_rate_schedules():
    steps = replace(SMALL, schedule="steps", warmup_steps=10, milestones=(2, 3), decay=0.5)
    stage = Stage("train", epochs=4, learning_rate=1.0)
    rates = [optimiser.learning_rate(steps, stage, step, steps_per_epoch=20) for step in (0, 4, 9, 39, 40, 59, 60, 79)]
    assert rates == pytest.approx([0.1, 0.5, 1, 1, 0.5, 0.5, 0.25, 0.25])
    cycle = replace(steps, schedule="one_cycle", warmup_steps=0)
    rates = [optimiser.learning_rate(cycle, stage, step, steps_per_epoch=20) for step in (0, 40, 80)]
    assert rates == pytest.approx([1, 0.5, 0], abs=1e-15)


def test_a_queue_longer_than_the_training_set_warns_with_both_numbers(tmp_path):
    with pytest.warns(UserWarning, match="queue size 900 is not below the 866 training images"):
        training.train(
            replace(SMALL, queue=QueueSettings(size=900), epochs=1), RunFolder(tmp_path), tmp_path, progress=False
        )


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged_with_a_remedy(tmp_path, capsys):
    config = replace(without_queue("cross_entropy"), learning_rate=1e30, warmup_steps=0)
    folder = training.train(config, RunFolder(tmp_path), tmp_path, progress=False)
    assert folder.record()["outcome"] == "diverged"
    said = capsys.readouterr().out
    assert re.search("the loss is (nan|inf) after epoch 1. The run ends as diverged; lower learning_rate", said)


def test_a_run_no_better_than_a_constant_prediction_is_recorded_as_not_trained(tmp_path):
    """At this rate the first steps throw the weights far away; the loss stays finite, and above log C."""
    config = replace(without_queue("cross_entropy"), learning_rate=10.0, warmup_steps=0, epochs=2)
    record = training.train(config, RunFolder(tmp_path), tmp_path, progress=False).record()
    assert record["outcome"] == "not trained"
    assert math.isfinite(record["end"]["last_epoch"])
    assert record["end"]["last_epoch"] > record["end"]["constant_prediction"] == pytest.approx(math.log(8))


def test_a_crop_wider_than_the_image_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(HdgeError, match="crop_padding is 8; it must be below the images' side of 8"):
        training.train(replace(SMALL, crop_padding=8), RunFolder(tmp_path / "run"), tmp_path, progress=False)
    assert not (tmp_path / "run").exists()


def test_an_unwritable_folder_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    words = ["--output", str(tmp_path / "file" / "run"), "--data_root", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "hdge.cli", "train", *WORDS, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert "cannot be written (Not a directory); free some space or choose another root" in done.stderr


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    """The limit on file size stands in for a full disk: the write fails half-way, as it would there."""
    atomic_write(tmp_path / "table.csv", b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(HdgeError, match="table.csv cannot be written"):
            atomic_write(tmp_path / "table.csv", bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
    assert (tmp_path / "table.csv").read_bytes() == b"before"


def test_outputs_that_were_tampered_with_are_refused(tmp_path):
    folder = RunFolder(tmp_path)
    outputs = Outputs(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64))
    folder.write_outputs("test", outputs)
    folder.finish({"config": {}})
    assert folder.outputs("test").logits.equal(outputs.logits)
    folder.write_outputs("test", Outputs(torch.ones(3, 2), outputs.labels))
    with pytest.raises(HdgeError, match="does not match its record"):
        folder.outputs("test")
    with pytest.raises(HdgeError, match="holds no outputs for 'svhn'"):
        folder.outputs("svhn")


def test_stored_weights_are_the_same_bytes_every_time(unbroken, tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_weights(dict(reversed(unbroken.weights().items())), SMALL)
    assert (tmp_path / "weights.safetensors").read_bytes() == (unbroken.path / "weights.safetensors").read_bytes()
