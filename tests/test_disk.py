"""A disk that fills up: one sentence, no half file, and the same command goes on once there is space."""

import os
import resource
import subprocess
import sys

import pytest

WORDS = [
    "-m",
    "hdge.cli",
    "train",
    "--dataset",
    "digits",
    "--evaluation_sets",
    "[interp]",
    "--depth",
    "10",
    "--width",
    "1",
]
WORDS += ["--epochs", "2", "--warmup_steps", "5", "--crop_padding", "1", "--precision", "float32"]


def train(output, most: int | None = None) -> subprocess.CompletedProcess[str]:
    """Train where no file may grow beyond a size, which is what a quota and a full disk amount to."""

    def limit() -> None:
        if most is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    command = [sys.executable, *WORDS, "--output", str(output), "--checkpoint_seconds", "0"]
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, preexec_fn=limit)


@pytest.mark.parametrize(("most", "file"), [(100, "config.json"), (20_000, "state.pt")])
def test_a_full_disk_is_told_in_a_sentence_and_leaves_no_half_file(tmp_path, most, file):
    done = train(tmp_path / "run", most)
    assert done.returncode == 2, done.stderr
    sentence = "cannot be written (File too large); free some space or choose another root."
    assert done.stderr.splitlines()[-1] == f"hdge: {tmp_path / 'run' / file} {sentence}"
    assert "Traceback" not in done.stderr
    assert not [path for path in (tmp_path / "run").rglob(".*") if path.is_file()]
    assert all(path.stat().st_size <= most for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert not (tmp_path / "run" / "record.json").exists()
    assert not (tmp_path / "run" / file).exists()
    done = train(tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "record.json").exists()
