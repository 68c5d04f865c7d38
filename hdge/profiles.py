"""Profiles: files that name runs by the dozen, methods times seeds and the settings they share.

Free of PyTorch, like the configs they are made of.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hdge.config import HOME, HdgeError, TrainConfig, parse_config, refuse_unknown


def kept_folder(profile: str, method: str, seed: int) -> Path:
    """Where the repository keeps a small copy of a run; see :mod:`hdge.keep`."""
    return HOME / "papermill_runs" / profile / "kept" / f"{method}-seed{seed}"


@dataclass(frozen=True)
class Profile:
    """A row of methods times seeds, with the settings they share and those of their own.

    Args:
        name: the file's name without its suffix.
        scale: what every table and caption calls the scale of its numbers.
        seeds: one run a method and seed.
        settings: :class:`TrainConfig` values that all methods share.
        methods: for each method, the values that are its own. Two of them are no settings: "seeds", for a method too
            dear for all, and "optional", for one that is trained only when asked for by name.
    """

    name: str
    scale: str
    seeds: tuple[int, ...]
    settings: dict[str, Any]
    methods: dict[str, dict[str, Any]]

    def config(self, method: str, seed: int, **overrides: Any) -> TrainConfig:
        """The config of one run; overrides win over the profile."""
        refuse_unknown("method", method, self.methods)
        own = {name: value for name, value in self.methods[method].items() if name not in ("seeds", "optional")}
        values = {**self.settings, **own, **overrides, "method": method, "seed": seed}
        return parse_config(values)

    def runs(self) -> list[tuple[str, int]]:
        """Every (method, seed) of the profile, methods in the profile's order, optional ones included."""
        return [(method, seed) for method, own in self.methods.items() for seed in own.get("seeds", self.seeds)]

    def kept_record(self, method: str, seed: int) -> Path | None:
        """The record of a run that the repository keeps, if it is of the run that the profile now asks for."""
        path = kept_folder(self.name, method, seed) / "record.json"
        if not path.exists():
            return None
        recorded = json.loads(path.read_text())["config"]
        return path if self.config(method, seed).is_recorded_as(recorded) else None

    def wanted(self, only: Sequence[str] = ()) -> list[tuple[str, int]]:
        """The runs that figures are to be drawn from: kept ones, and those of the methods asked for.

        Args:
            only: methods to train; empty for all that are not optional.
        """
        for method in only:
            refuse_unknown("method", method, self.methods)
        chosen = only or [method for method, own in self.methods.items() if not own.get("optional")]
        return [(m, s) for m, s in self.runs() if m in chosen or self.kept_record(m, s) is not None]


def load_profile(name: str, folder: Path = HOME / "profiles") -> Profile:
    """The profile ``profiles/<name>.yaml``, each of its runs checked.

    Raises:
        HdgeError: no such profile, or one whose values are refused.
    """
    refuse_unknown("profile", name, sorted(path.stem for path in folder.glob("*.yaml")))
    values = yaml.safe_load((folder / f"{name}.yaml").read_text())
    expected = {"scale", "seeds", "settings", "methods"}
    if not isinstance(values, dict) or set(values) != expected:
        raise HdgeError(f"profile {name!r} must hold exactly {', '.join(sorted(expected))}.")
    methods = {method: own or {} for method, own in values["methods"].items()}
    profile = Profile(name, values["scale"], tuple(values["seeds"]), values["settings"], methods)
    for method, seed in profile.runs():
        profile.config(method, seed)
    return profile
