"""Jobs of several seeds, killed, cut and repeated, in a copy of the project."""

import os
import platform
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest
import torch

from hdge.cli import _gpus, _lock
from hdge.measure import network
from hdge.study.errors import HdgeError
from hdge.study.profiles import Profile, load_profile
from tests.test_study import Study

TRAIN_HDGE = ("-m", "hdge.cli", "reproduce", "smoke", "--only", "hdge", "--cores", "1")
RUNS = "papermill_runs/smoke/runs"


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A study whose two-seed job was killed, with all its processes, while the second seed trained."""
    study = Study(tmp_path_factory.mktemp("project"))
    study.edit("Snakefile", "[drawn(notebook) for notebook in DRAWN]", "all_trained(variants=True)")
    study.edit("profiles/smoke.yaml", "  hdge:\n", "  hdge: {epochs: 6}\n")
    process = study.begin(*TRAIN_HDGE)
    deadline = time.monotonic() + 120
    while not (study.folder / RUNS / "hdge-seed1" / "config.json").exists():
        assert process.poll() is None, "the job ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    tree = psutil.Process(process.pid)
    for one in [*tree.children(recursive=True), tree]:
        one.kill()
    process.communicate()
    assert not (study.folder / RUNS / "hdge-seed1" / "record.json").exists()
    return study


def records(study: Study) -> dict[int, tuple[bytes, int]]:
    """What tells a run from the same run trained anew: seconds stand in a record, and its file has an age."""
    paths = {seed: study.folder / RUNS / f"hdge-seed{seed}" / "record.json" for seed in (0, 1)}
    return {seed: (path.read_bytes(), path.stat().st_mtime_ns) for seed, path in paths.items() if path.exists()}


def test_a_killed_job_goes_on_after_the_seeds_that_had_ended(killed):
    before = records(killed)
    assert list(before) == [0]
    done = killed.run(*TRAIN_HDGE)
    assert done.returncode == 0, done.stderr
    assert list(records(killed)) == [0, 1]
    assert records(killed)[0] == before[0]
    assert "Nothing to be done" in killed.run(*TRAIN_HDGE).stderr


def test_a_deleted_run_folder_is_trained_anew_and_no_other(killed):
    killed.run(*TRAIN_HDGE)
    before = records(killed)
    killed.remove(f"{RUNS}/hdge-seed0")
    done = killed.run(*TRAIN_HDGE)
    assert done.returncode == 0, done.stderr
    assert records(killed)[0][1] > before[1][1]
    assert records(killed)[1] == before[1]


def test_a_seed_that_fails_is_named_and_costs_the_others_nothing(killed):
    """The DAG deletes the outputs of a failed job, so a run must not be one."""
    for seed in (0, 1):
        killed.remove(f"{RUNS}/hdge-seed{seed}")
    in_the_way = killed.folder / RUNS / "hdge-seed0" / "weights.safetensors"
    in_the_way.mkdir(parents=True)
    done = killed.run(*TRAIN_HDGE)
    assert done.returncode != 0
    assert "hdge, seed 0:" in done.stderr
    assert "cannot be written" in done.stderr
    before = records(killed)
    assert list(before) == [1]
    in_the_way.rmdir()
    assert killed.run(*TRAIN_HDGE).returncode == 0
    assert list(records(killed)) == [0, 1]
    assert records(killed)[1] == before[1]


def test_two_commands_at_once_are_one_too_many(killed):
    with _lock(killed.folder, "smoke"):
        done = killed.run(*TRAIN_HDGE)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "profile 'smoke' is being reproduced in" in done.stderr


def test_a_profile_can_leave_newer_instructions_unused(monkeypatch):
    """PyTorch's own word for its kernels is the proof that the variable reaches it."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    digits = load_profile("digits").environment
    assert digits["ATEN_CPU_CAPABILITY"] == "avx2"
    assert load_profile("cifar10-small").environment == {}
    asked = [sys.executable, "-c", "import torch; print(torch.backends.cpu.get_cpu_capability())"]
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
        said = subprocess.run(asked, env={**os.environ, **digits}, capture_output=True, text=True, check=True).stdout
        assert said == "AVX2\n"
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert load_profile("digits").environment == {}
    with pytest.raises(ValueError, match="instructions is 'sse'; it must be avx2 or empty"):
        Profile("none", "test scale", (0,), {}, {}, instructions="sse")


def test_a_profile_says_how_many_seeds_a_job_takes():
    smoke = load_profile("smoke")
    assert ("hdge", (0, 1)) in smoke.jobs()
    assert smoke.jobs(["jem"]) == [("jem", (0,))]
    three = Profile("none", "test scale", (0, 1, 2), smoke.settings, {"hdge": {}}, seeds_per_job=2)
    assert three.jobs() == [("hdge", (0, 1)), ("hdge", (2,))]
    assert all(len(seeds) == 1 for _, seeds in load_profile("paper").jobs())
    with pytest.raises(ValueError, match="seeds_per_job is -1; it must be a whole number, 0 for all seeds"):
        Profile("none", "test scale", (0,), {}, {}, seeds_per_job=-1)


def test_every_training_of_a_gpu_profile_states_what_it_needs(killed):
    """All lines but that of the last rule, which does nothing."""
    done = killed.run("-m", "snakemake", "--config", "profile=paper", "--cores", "2", "--dry-run")
    stated = [line for line in (done.stdout + done.stderr).splitlines() if line.strip().startswith("resources:")]
    heavy = [line for line in stated if {"gpu=1", "mem_mb=16000", "runtime=4320"} <= set(line.split(", "))]
    assert heavy
    assert len(stated) == len(heavy) + 1


@pytest.mark.parametrize(("visible", "gpus"), [("0,2", 2), ("", 0), ("-1", 0), ("GPU-8f3a", 1)])
def test_gpus_are_counted_as_cuda_sees_them(visible, gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert _gpus() == gpus


def test_two_processes_take_different_gpus_and_a_third_shares(tmp_path, monkeypatch):
    monkeypatch.setattr(network.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=f"uuid-{device}"))
    take = network.free_gpu.__wrapped__  # a process asks once
    assert [take(0), take(0), take(0)] == [0, 1, 0]


@pytest.mark.parametrize(("resources", "said"), [
    ({"gpus": 1}, "resource"), ({"gpu": -1}, "resources.gpu is -1"),
])  # fmt: skip
def test_resources_that_mean_nothing_are_refused(resources, said):
    with pytest.raises(HdgeError, match=said):
        replace(load_profile("smoke"), resources=resources)
