"""Profiles: files that name runs by the dozen, methods times seeds and the settings they share.

Free of PyTorch, like the configs they are made of.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from hdge.study.config import HOME, HdgeError, TrainConfig, parse_config, refuse_unknown


def kept_folder(profile: str, method: str, seed: int) -> Path:
    """Where the repository keeps a small copy of a run; see :mod:`hdge.study.archive`."""
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
        variants: rows of their own name that change some settings of a method's row, which they name by "method":
            notebooks 07 to 09 compare them with it. They are trained with the methods.
    """

    name: str
    scale: str
    seeds: tuple[int, ...]
    settings: dict[str, Any]
    methods: dict[str, dict[str, Any]]
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)

    def config(self, row: str, seed: int, **overrides: Any) -> TrainConfig:
        """The config of one run of a method or a variant; overrides win over the profile."""
        refuse_unknown("method", row, self.methods | self.variants)
        own = self.variants.get(row, {})
        method = own.get("method", row)
        refuse_unknown("method", method, self.methods)
        if not isinstance(seed, int):
            raise HdgeError(f"seed is {seed!r}; it must be int.")
        values = {**self.settings, **self.methods[method], **own, **overrides, "method": method}
        settings = {name: value for name, value in values.items() if name not in ("seeds", "optional")}
        return replace(_parsed(json.dumps(settings)), seed=seed)

    def runs(self, variants: bool = False) -> list[tuple[str, int]]:
        """Every (row, seed) of the profile's methods in its order, optional ones included, and of its variants."""
        rows = self.methods | (self.variants if variants else {})
        return [(row, seed) for row, own in rows.items() for seed in own.get("seeds", self.seeds)]

    def kept_record(self, row: str, seed: int) -> Path | None:
        """The record of a run that the repository keeps, if it is of the run that the profile now asks for."""
        path = kept_folder(self.name, row, seed) / "record.json"
        if not path.exists():
            return None
        recorded = json.loads(path.read_text())["config"]
        return path if self.config(row, seed).is_recorded_as(recorded) else None

    def wanted(self, only: Sequence[str] = (), variants: bool = False) -> list[tuple[str, int]]:
        """The runs that figures are to be drawn from: kept ones, and those of the rows asked for.

        Args:
            only: methods and variants to train; empty for all that are not optional.
            variants: whether variants are drawn from, too.
        """
        rows = self.methods | self.variants
        for row in only:
            refuse_unknown("method", row, rows)
        chosen = only or [row for row, own in rows.items() if not own.get("optional")]
        return [(r, s) for r, s in self.runs(variants) if r in chosen or self.kept_record(r, s) is not None]


@functools.cache
def _parsed(settings: str) -> TrainConfig:
    """A row's settings, read once for all its seeds: strict reading takes 15 ms, and a study has many runs."""
    return parse_config(json.loads(settings))


def load_profile(name: str, folder: Path = HOME / "profiles") -> Profile:
    """The profile ``profiles/<name>.yaml``, each of its runs checked.

    A file that begins with "like" takes all that it does not say itself from the profile named there, setting by
    setting.

    Raises:
        HdgeError: no such profile, or one whose values are refused.
    """
    values = _values(name, folder)
    expected = {"scale", "seeds", "settings", "methods"}
    if not isinstance(values, dict) or set(values) - {"variants"} != expected:
        raise HdgeError(f"profile {name!r} must hold {', '.join(sorted(expected))}, and at most variants besides.")
    methods = {method: own or {} for method, own in values["methods"].items()}
    variants = values.get("variants", {})
    profile = Profile(name, values["scale"], tuple(values["seeds"]), values["settings"], methods, variants)
    for row, seed in profile.runs(variants=True):
        profile.config(row, seed)
    return profile


def _values(name: str, folder: Path) -> Any:
    """What a profile's file says, after what the file says that it is like."""
    refuse_unknown("profile", name, sorted(path.stem for path in folder.glob("*.yaml")))
    values = yaml.safe_load((folder / f"{name}.yaml").read_text())
    if not isinstance(values, dict) or "like" not in values:
        return values
    other = _values(values.pop("like"), folder)
    return {**other, **values, "settings": {**other["settings"], **values.get("settings", {})}}
