"""The run folder: the files of a training run, and the only code that touches them.

::

    <root>/papermill_runs/<profile>/runs/<row>-seed<seed>/
        config.json            the TrainConfig
        state.pt               full state of a run under way, then its SHA-256; gone when it has ended
        history.csv            one row an epoch
        weights.safetensors    the trained network
        outputs/<set>.safetensors   logits (N, C) float32, labels (N,) int64; of evaluation sets also the gradient
                                    norms (N,) of log q(x)
        trajectory.safetensors      logits (epochs, N, C) float16 of the validation images after every epoch
        record.json            written last: config, code, data, cost, versions, SHA-256 of itself and all files above
        measured/<name>.safetensors what was measured on the network since: samples, attacks, post-hoc scores
        trained.txt, measured/done.txt   stamps that the DAG writes and deletes at will

No file can run code when it is read. Files of a finished run are refused by name if they do not match the record. A
damaged measurement is taken anew.
"""

import contextlib
import hashlib
import inspect
import io
import json
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
from hdge.study.condensed import FOLLOWED, condensed, expand
from hdge.study.config import HOME, TrainConfig, place
from hdge.study.dependencies import code_digest, imported_modules
from hdge.study.errors import HdgeError
from hdge.study.files import PACKED, atomic_write, file_digest, read_measured, stored_as, unpacked, write_measured
from hdge.study.roster import METHODS
from hdge.study.values import read_json, read_whole

TRAINED = "trained.txt"  # the DAG's stamp beside a record
STATE = {"config", "step", "model", "optimizer", "ranks"}  # what every state holds, and more


def project_root(root: str | Path) -> Path:
    """Resolve the folder that holds papermill_runs/ and figures/, by default the checkout."""
    return place(root) if str(root) else HOME


def record_digest(record: Mapping[str, Any]) -> str:
    """Fingerprint a record without its own digest, whatever its layout."""
    rest = {name: value for name, value in record.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest).encode()).hexdigest()


@dataclass(frozen=True)
class Outputs:
    """Logits (N, C) float32 and labels (N,) on one set, 0 where images have none; of evaluation sets gradient norms."""

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
        return pd.read_csv(io.BytesIO(self.content("history.csv")))

    def stores(self, name: str) -> bool:
        return stored_as(self.path / name).exists()

    def content(self, name: str) -> bytes:
        """Read a file of a finished run, which must match the record."""
        path = stored_as(self.path / name)
        content = read_whole(path, self._remedy())
        if hashlib.sha256(content).hexdigest() != self.record().get("files", {}).get(str(path.relative_to(self.path))):
            raise HdgeError(f"{path} does not match its record.json; {self._remedy()}.")
        return unpacked(content, path)

    def _remedy(self) -> str:
        if self.path.parent.name == "archive":
            return "restore the archived run, for example by `git checkout`"
        return f"delete {self.path} and train again"

    def write_weights(self, tensors: Mapping[str, Tensor], config: TrainConfig) -> None:
        """Write weights with the config as one metadata entry, because several would not be stored in order."""
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        metadata = {"config": json.dumps(json.loads(config.to_json()), sort_keys=True)}
        atomic_write(self.path / "weights.safetensors", safetensors.torch.save(contiguous, metadata))

    def weights(self) -> dict[str, Tensor]:
        return safetensors.torch.load(self.content("weights.safetensors"))

    def write_trajectory(self, logits: Sequence[Tensor]) -> None:
        tensors = {"logits": torch.stack(list(logits)) if logits else torch.empty(0, 0, 0)}
        atomic_write(self.path / "trajectory.safetensors", safetensors.torch.save(tensors))

    def trajectory(self) -> Float[Tensor, "epochs n classes"]:
        """Read the logits of the first validation images after every epoch; float16 in the file, float32 here."""
        return safetensors.torch.load(self.content("trajectory.safetensors"))["logits"][:, :FOLLOWED].float()

    def write_outputs(self, name: str, outputs: Outputs) -> None:
        tensors = {"logits": outputs.logits.float().cpu().contiguous(), "labels": outputs.labels.cpu()}
        if outputs.gradient_norms is not None:
            tensors["gradient_norms"] = outputs.gradient_norms.float()
        atomic_write(self.path / "outputs" / f"{name}.safetensors", safetensors.torch.save(tensors))

    def outputs(self, name: str) -> Outputs:
        """Read the outputs on an evaluation set, which must be finite, as the archive would keep them."""
        file = f"outputs/{name}.safetensors"
        if not self.stores(file):
            raise HdgeError(f"{self.path} holds no outputs for {name!r}; add it to evaluation_sets and train again.")
        tensors = safetensors.torch.load(self.content(file))
        stored = tensors if {"rest", "offset"} & set(tensors) else condensed(name, tensors)
        for found in (tensors, stored):
            for part in {"logits", "rest", "gradient_norms"} & {part for part, tensor in found.items() if len(tensor)}:
                finite(f"{self.path / file}: {part}", found[part])
        logits, norms = expand(stored), stored.get("gradient_norms")
        labels = stored.get("labels", torch.zeros(len(logits)))
        return Outputs(logits, labels.long(), None if norms is None else norms.float())

    def weights_digest(self) -> str:
        """Return the fingerprint of the trained weights, which the record of an archived run keeps."""
        return self.record().get("weights") or self.record()["files"].get("weights.safetensors", "")

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
        that it imports, and the files in ``read`` must be the same as well. An archived run cannot be measured.
        """
        path, archived = self.measured_path(name), "archived" in self.record()
        asked = {"protocol": json.loads(json.dumps(dict(protocol))), "weights": self.weights_digest()}
        if not archived:
            code = code_digest(imported_modules(Path(inspect.getfile(measure))))
            asked |= {"code": code, "read": [file_digest(file) for file in read]}
        elif self.stores(f"measured/{path.name}"):
            self.content(f"measured/{path.name}")
        found = read_measured(path, archived)
        if found and asked.items() <= found[1].items():
            return found[0]
        if archived:
            raise HdgeError(f"{self.path} has no weights, and no {name} by this protocol; train the run to measure it.")
        tensors = {key: tensor.contiguous() for key, tensor in measure().items()}
        write_measured(path, tensors, asked)
        return tensors

    def stored(self, name: str, protocol: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """Read what was measured of these weights by a protocol; return None if it was not."""
        asked = {"protocol": json.loads(json.dumps(dict(protocol))), "weights": self.weights_digest()}
        found = read_measured(self.measured_path(name), "archived" in self.record())
        return found[0] if found and asked.items() <= found[1].items() else None

    def write_state(self, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        atomic_write(self.path / "state.pt", content + hashlib.sha256(content).digest())

    def state(self) -> dict[str, Any] | None:
        """Read the state of a run under way; nothing in it is executed."""
        path, remedy = self.path / "state.pt", "delete it to train the run from its beginning"
        if not path.exists():
            return None
        file = read_whole(path, remedy)
        content, digest = file[:-32], file[-32:]
        state = None
        if hashlib.sha256(content).digest() == digest:
            with contextlib.suppress(Exception):  # of many kinds, by torch, for a state of another version
                state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not state.keys() >= STATE:
            raise HdgeError(f"{path} is damaged and cannot be gone on from; {remedy}.")
        return state

    def finish(self, record: dict[str, Any]) -> None:
        """Write the record, with digests of all files but measurements that may change, then delete the state."""
        later = () if "archived" in record else tuple((self.path / "measured").glob("*"))
        kinds = (".csv", ".safetensors", ".json", PACKED)
        files = sorted(p for p in self.path.rglob("*") if p.suffix in kinds and p.name != "record.json")
        digests = {str(p.relative_to(self.path)): file_digest(p) for p in files if p not in later}
        whole = {name: value for name, value in record.items() if name != "sha256"} | {"files": digests}
        whole["sha256"] = record_digest(whole)
        atomic_write(self.path / "record.json", json.dumps(whole, indent=1).encode())
        (self.path / "state.pt").unlink(missing_ok=True)

    def record(self) -> dict[str, Any]:
        """Read the record, which must be as it was written."""
        path = self.path / "record.json"
        record = read_json(path, self._remedy())
        if record.get("sha256", "") not in ("", record_digest(record)):
            raise HdgeError(f"{path} is damaged; {self._remedy()}.")
        return record

    def refuse_other_images(self, digest: str) -> None:
        """Refuse the images of another digest than those that the finished run was trained on."""
        recorded = self.record().get("data", {}).get("sha256", digest)
        if recorded != digest:
            what = "was trained on other images than its data set holds now"
            raise HdgeError(f"{self.path} {what}; restore them, or {self._remedy()}.")

    def holds(self, config: TrainConfig, code: str = "") -> bool:
        """Check whether the folder holds a finished run of this config and, if given, trained by this code."""
        if not (self.path / "record.json").exists():
            return False
        record = self.record()
        if not isinstance(record.get("config"), dict):
            raise HdgeError(f"{self.path / 'record.json'} is no record of a run; {self._remedy()}.")
        return config.is_recorded_as(record["config"]) and code in ("", record.get("code"))

    def refuse_another(self, config: TrainConfig) -> None:
        """Refuse to replace a run, finished or under way, that has other settings."""
        path = self.path / "config.json"
        if path.exists() and any((self.path / name).exists() for name in ("record.json", "state.pt")):
            recorded, own = read_json(path, self._remedy()), json.loads(config.to_json())
            if not config.is_recorded_as(recorded):
                other = sorted(name for name in {*recorded, *own} if recorded.get(name) != own.get(name))
                what = f"holds a run of other settings ({', '.join(other)})"
                raise HdgeError(f"{self.path} {what}; choose another output, or delete it.")

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
        return [name for name in self.config.evaluation_sets if self.folder.stores(f"outputs/{name}.safetensors")]


def classifiers(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.classifies]


def of_rows(runs: Sequence[Run], rows: Sequence[str]) -> list[Run]:
    """Select the runs of some rows, for pictures that have no room for all."""
    return [run for run in runs if run.row in rows]


def first_seeds(runs: Sequence[Run], count: int = 1) -> list[Run]:
    """Select the runs of the lowest seeds of each row."""
    lowest = {run.row: sorted(one.seed for one in runs if one.row == run.row)[:count] for run in runs}
    return [run for run in runs if run.seed in lowest[run.row]]
