"""The run folder: the files of a training run, and the only code that touches them.

::

    <root>/papermill_runs/<profile>/runs/<row>-seed<seed>/
        config.json            the TrainConfig
        state.pt               full state of a run under way; gone when it has ended
        history.csv            one row an epoch
        weights.safetensors    the trained network
        outputs/<set>.safetensors   logits (N, C) float32 and labels (N,) int64 of each evaluation set; for test
                                    images also the gradient norms (N,) of log q(x)
        trajectory.safetensors      logits (epochs, N, C) float16 of the validation images after every epoch
        record.json            written last: config, code, data, cost, versions, and the SHA-256 of every file above
        measured/<name>.safetensors what was measured on the network since: samples, attacks, post-hoc scores
        trained.txt, measured/done.txt   stamps that the DAG writes and deletes at will; nothing else reads them

No file can run code when it is read: safetensors, JSON and CSV cannot, and the state is loaded with ``weights_only``.
"""

import hashlib
import inspect
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors
import safetensors.torch
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hdge.study.checks import finite
from hdge.study.config import HOME, TrainConfig, place
from hdge.study.dependencies import code_digest, imported_modules
from hdge.study.errors import HdgeError
from hdge.study.roster import METHODS

TRAINED = "trained.txt"  # the DAG's stamp beside a record


def project_root(root: str | Path) -> Path:
    """Resolve the folder that holds papermill_runs/ and figures/, by default the checkout."""
    return place(root) if str(root) else HOME


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, even if the process is killed; a failed write leaves nothing behind."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise HdgeError(
            f"{path} cannot be written ({error.strerror}); free some space or choose another root."
        ) from None


def as_archived(tensor: Tensor) -> Tensor:
    """Round as the archive does, so that a table is the same whether its runs are archived or trained here.

    Several logits an image, and norms, are kept in float16. A single logit is a log-density, which may be in the
    thousands, where float16 has gaps of 2.
    """
    single = tensor.ndim == 2 and tensor.shape[1] == 1
    return tensor if single or not tensor.is_floating_point() else tensor.half()


def file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Outputs:
    """Logits (N, C) float32 and labels (N,) on one set; of test images also the gradient norms (N,) of log q(x)."""

    logits: Float[Tensor, "n classes"]
    labels: Int[Tensor, " n"]
    gradient_norms: Float[Tensor, " n"] | None = None


@dataclass(frozen=True)
class RunFolder:
    """One run's folder, finished or under way."""

    path: Path

    @classmethod
    def of(cls, profile: str, row: str, seed: int, root: str | Path = "") -> "RunFolder":
        return cls(project_root(root) / "papermill_runs" / profile / "runs" / f"{row}-seed{seed}")

    def write_config(self, config: TrainConfig) -> None:
        """Write the config of a run that begins, and delete the record of an earlier run."""
        atomic_write(self.path / "config.json", config.to_json().encode())
        for name in ("record.json", TRAINED):
            (self.path / name).unlink(missing_ok=True)

    def write_history(self, history: pd.DataFrame) -> None:
        if history.empty:  # a run that diverged within its first epoch; a table without columns cannot be read
            history = pd.DataFrame(columns=["epoch", "stage", "learning_rate", "loss"])
        atomic_write(self.path / "history.csv", history.to_csv(index=False).encode())

    def history(self) -> pd.DataFrame:
        """Read one row an epoch: learning rate, losses, accuracies."""
        return pd.read_csv(self.path / "history.csv")

    def write_weights(self, tensors: Mapping[str, Tensor], config: TrainConfig) -> None:
        """Write weights with the config as one metadata entry, because several would not be stored in order."""
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        metadata = {"config": json.dumps(json.loads(config.to_json()), sort_keys=True)}
        atomic_write(self.path / "weights.safetensors", safetensors.torch.save(contiguous, metadata))

    def weights(self) -> dict[str, Tensor]:
        return safetensors.torch.load_file(self.path / "weights.safetensors")

    def write_trajectory(self, logits: Sequence[Tensor]) -> None:
        tensors = {"logits": torch.stack(list(logits)) if logits else torch.empty(0, 0, 0)}
        atomic_write(self.path / "trajectory.safetensors", safetensors.torch.save(tensors))

    def trajectory(self) -> Float[Tensor, "epochs n classes"]:
        """Read the logits of the validation images after every epoch; float16 in the file, float32 here."""
        return safetensors.torch.load_file(self.path / "trajectory.safetensors")["logits"].float()

    def write_outputs(self, name: str, outputs: Outputs) -> None:
        tensors = {"logits": outputs.logits.float().cpu().contiguous(), "labels": outputs.labels.cpu()}
        if outputs.gradient_norms is not None:
            tensors["gradient_norms"] = outputs.gradient_norms.float()
        atomic_write(self.path / "outputs" / f"{name}.safetensors", safetensors.torch.save(tensors))

    def outputs(self, name: str) -> Outputs:
        """Read the outputs on an evaluation set, which must be finite, from a file that must match the record."""
        path = self.path / "outputs" / f"{name}.safetensors"
        if not path.exists():
            raise HdgeError(f"{self.path} holds no outputs for {name!r}; add it to evaluation_sets and train again.")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != self.record()["files"].get(f"outputs/{path.name}"):
            raise HdgeError(f"{path} does not match its record.json; delete the run folder and train again.")
        tensors = {name: as_archived(tensor) for name, tensor in safetensors.torch.load(content).items()}
        for kind in ("logits", "gradient_norms"):
            if kind in tensors and len(tensors[kind]):
                finite(f"{path}: {kind}", tensors[kind])
        norms = tensors.get("gradient_norms")
        return Outputs(tensors["logits"].float(), tensors["labels"].long(), None if norms is None else norms.float())

    def weights_digest(self) -> str:
        """Return the fingerprint of the trained weights, which the record of an archived run keeps."""
        record = self.record()
        return record.get("weights") or record["files"].get("weights.safetensors", "")

    def measured_path(self, name: str) -> Path:
        return self.path / "measured" / f"{name}.safetensors"

    def measured(
        self,
        name: str,
        protocol: Mapping[str, Any],
        measure: Callable[[], Mapping[str, Tensor]],
        read: Iterable[Path] = (),
    ) -> dict[str, Tensor]:
        """Read ``measured/<name>.safetensors``, or call ``measure`` and store its tensors.

        The protocol holds, as plain values, everything but the weights that determines the outcome. A file is up to
        date if its protocol and weights are those asked for. Unless the run is archived, the measuring code, with all
        that it imports, and the files in ``read`` must be the same as well. An archived run has no weights to measure
        anew.
        """
        path, archived = self.measured_path(name), "archived" in self.record()
        asked = {"protocol": json.loads(json.dumps(dict(protocol))), "weights": self.weights_digest()}
        if not archived:
            asked["code"] = code_digest(imported_modules(Path(inspect.getfile(measure))))
            asked["read"] = [file_digest(file) for file in read]
        if path.exists():
            with safetensors.safe_open(path, "pt") as file:
                stored = json.loads(file.metadata()["measured"])
            if asked.items() <= stored.items():
                return safetensors.torch.load_file(path)
        if archived:
            raise HdgeError(f"{self.path} has no weights, and no {name} by this protocol; train the run to measure it.")
        tensors = {key: tensor.contiguous() for key, tensor in measure().items()}
        metadata = {"measured": json.dumps(asked, sort_keys=True)}
        atomic_write(path, safetensors.torch.save(tensors, metadata))
        return tensors

    def stored(self, name: str, protocol: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """Read what was measured of these weights by a protocol; return None if it was not."""
        path = self.measured_path(name)
        asked = {"protocol": json.loads(json.dumps(dict(protocol))), "weights": self.weights_digest()}
        if not path.exists():
            return None
        with safetensors.safe_open(path, "pt") as file:
            found = json.loads(file.metadata()["measured"])
        return safetensors.torch.load_file(path) if asked.items() <= found.items() else None

    def write_state(self, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        atomic_write(self.path / "state.pt", buffer.getvalue())

    def state(self) -> dict[str, Any] | None:
        if not (self.path / "state.pt").exists():
            return None
        return torch.load(self.path / "state.pt", map_location="cpu", weights_only=True)

    def finish(self, record: dict[str, Any]) -> None:
        """Write the record, with digests of all files but measurements that may change, then delete the state."""
        later = () if "archived" in record else tuple((self.path / "measured").glob("*"))
        files = sorted(p for p in self.path.rglob("*") if p.suffix in (".csv", ".safetensors", ".json"))
        digests = {
            str(p.relative_to(self.path)): file_digest(p) for p in files if p.name != "record.json" and p not in later
        }
        text = json.dumps({**record, "files": digests}, indent=1)
        atomic_write(self.path / "record.json", text.encode())
        (self.path / "state.pt").unlink(missing_ok=True)

    def record(self) -> dict[str, Any]:
        return json.loads((self.path / "record.json").read_text())

    def holds(self, config: TrainConfig, code: str = "") -> bool:
        """Check whether the folder holds a finished run of this config and, if given, trained by this code."""
        if not (self.path / "record.json").exists():
            return False
        record = self.record()
        return config.is_recorded_as(record["config"]) and code in ("", record.get("code"))

    def stamp(self, name: str, files: Iterable[Path]) -> None:
        """Tell the DAG that a step is done; a changed digest makes anew what depends on the step."""
        lines = [f"{file_digest(path)}  {path.name}\n" for path in sorted(files)]
        atomic_write(self.path / name, "".join(lines).encode())


@dataclass(frozen=True)
class Run:
    """A finished run of a profile, as the notebooks see it."""

    row: str
    seed: int
    folder: RunFolder
    config: TrainConfig

    @property
    def classifies(self) -> bool:
        """Check whether every class has a logit; a single logit models images alone."""
        return METHODS[self.config.method].logits == "classes"

    def stored_sets(self) -> list[str]:
        """List the config's out-of-distribution sets whose outputs are stored."""
        outputs = self.folder.path / "outputs"
        return [name for name in self.config.evaluation_sets if (outputs / f"{name}.safetensors").exists()]


def classifiers(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.classifies]


def of_rows(runs: Sequence[Run], rows: Sequence[str]) -> list[Run]:
    """Select the runs of some rows, for pictures that have no room for all."""
    return [run for run in runs if run.row in rows]


def first_seeds(runs: Sequence[Run], count: int = 1) -> list[Run]:
    """Select the runs of the lowest seeds of each row."""
    lowest = {run.row: sorted(one.seed for one in runs if one.row == run.row)[:count] for run in runs}
    return [run for run in runs if run.seed in lowest[run.row]]
