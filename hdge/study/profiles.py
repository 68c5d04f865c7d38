"""Profiles: files that name runs by the dozen, rows times seeds, with the settings they share.

A row trains a method; a variant is a row that changes a method's settings. Free of PyTorch, like the configs.
"""

import functools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from hdge.study.config import BLOCKS, HOME, TrainConfig, as_tuples, parse_config, parsed, refuse_unknown_settings
from hdge.study.errors import HdgeError, refuse_unknown, require
from hdge.study.roster import METHODS
from hdge.study.settings import AttackProtocol, SamplingProtocol

NO_SETTINGS = ("seeds", "optional")  # what a row may say besides settings
PROTOCOLS = {"samples": SamplingProtocol, "attacks": AttackProtocol}


def archived_folder(profile: str, row: str, seed: int) -> Path:
    """Where the repository archives a small copy of a run; see :mod:`hdge.study.archive`."""
    return HOME / "papermill_runs" / profile / "archive" / f"{row}-seed{seed}"


@dataclass(frozen=True)
class Profile:
    """Rows times seeds, with the settings they share and those of their own.

    Args:
        name: the file's name without its suffix.
        scale: what every table and caption calls the scale of its numbers.
        seeds: one run a row and seed.
        settings: :class:`TrainConfig` values that all rows share; a group of settings reaches the methods that have it.
        methods: for each method, the values that are its own. Two of them are no settings: "seeds", for a method too
            expensive for all, and "optional", for one that is trained only when asked for by name.
        variants: rows of another name that change some settings of a method's row, which they name by "method":
            notebooks 07 to 09 compare them with it. They are trained with the methods.
        samples: how notebook 05 samples trained networks.
        attacks: how notebook 06 attacks them.
        seeds_per_job: how many seeds of a row one job trains, and then measures; 0 for all. A cluster spreads jobs.
    """

    name: str
    scale: str
    seeds: tuple[int, ...]
    settings: dict[str, Any]
    methods: dict[str, dict[str, Any]]
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    samples: SamplingProtocol = SamplingProtocol()
    attacks: AttackProtocol = AttackProtocol()
    seeds_per_job: int = 0

    def __post_init__(self) -> None:
        per_job = self.seeds_per_job
        require("seeds_per_job", per_job, isinstance(per_job, int) and per_job >= 0, "a whole number, 0 for all seeds")

    def config(self, row: str, seed: int, **overrides: Any) -> TrainConfig:
        """The config of one run of a row; overrides win over the profile."""
        refuse_unknown("method", row, self.methods | self.variants)
        own = self.variants.get(row, {})
        method = own.get("method", row)
        refuse_unknown("method", method, self.methods)
        if not isinstance(seed, int):
            raise HdgeError(f"seed is {seed!r}; it must be int.")
        blocks = METHODS[method].blocks if method in METHODS else tuple(BLOCKS)
        values = {name: value for name, value in self.settings.items() if name not in BLOCKS or name in blocks}
        for more in (self.methods[method], own, overrides, {"method": method}):
            values = merged(values, more)
        settings = {name: value for name, value in values.items() if name not in NO_SETTINGS}
        return replace(_parsed(json.dumps(settings)), seed=seed)

    def runs(self, variants: bool = False) -> list[tuple[str, int]]:
        """Every (row, seed) of the profile's methods in its order, optional ones included, and of its variants."""
        rows = self.methods | (self.variants if variants else {})
        return [(row, seed) for row, own in rows.items() for seed in own.get("seeds", self.seeds)]

    def archived_record(self, row: str, seed: int) -> Path | None:
        """The record of a run that the repository archives, if it is of the run that the profile now asks for."""
        path = archived_folder(self.name, row, seed) / "record.json"
        if not path.exists():
            return None
        recorded = json.loads(path.read_text())["config"]
        return path if self.config(row, seed).is_recorded_as(recorded) else None

    def wanted(self, only: Sequence[str] = (), variants: bool = False) -> list[tuple[str, int]]:
        """The runs that figures are to be drawn from: archived ones, and those of the rows asked for.

        Args:
            only: rows to train; empty for all that are not optional.
            variants: whether variants are drawn from, too.
        """
        rows = self.methods | self.variants
        for row in only:
            refuse_unknown("method", row, rows)
        chosen = only or [row for row, own in rows.items() if not own.get("optional")]
        return [(r, s) for r, s in self.runs(variants) if r in chosen or self.archived_record(r, s) is not None]

    def jobs(self, only: Sequence[str] = ()) -> list[tuple[str, tuple[int, ...]]]:
        """The wanted runs that no archived one stands in for, as many seeds of a row together as one job takes."""
        own: dict[str, list[int]] = {}
        for row, seed in self.wanted(only, variants=True):
            if self.archived_record(row, seed) is None:
                own.setdefault(row, []).append(seed)
        most = self.seeds_per_job or sys.maxsize
        return [(row, tuple(seeds[i : i + most])) for row, seeds in own.items() for i in range(0, len(seeds), most)]


def merged(values: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Values after more of them, setting by setting also within a group."""
    groups = {n: {**values[n], **v} for n, v in more.items() if isinstance(v, dict) and isinstance(values.get(n), dict)}
    return {**values, **more, **groups}


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
    needed, known = ("scale", "seeds", "settings", "methods"), [f.name for f in fields(Profile)][1:]
    if not isinstance(values, dict) or not set(needed) <= set(values) <= set(known):
        allowed = ", ".join(sorted(set(known) - set(needed)))
        raise HdgeError(f"profile {name!r} must hold {', '.join(needed)}, and at most {allowed} besides.")
    methods = {method: own or {} for method, own in values["methods"].items()}
    protocols = {part: _protocol(part, values.get(part, {})) for part in PROTOCOLS}
    seeds, variants = tuple(values["seeds"]), values.get("variants", {})
    others = {**protocols, "seeds_per_job": values.get("seeds_per_job", 0)}
    profile = Profile(name, values["scale"], seeds, values["settings"], methods, variants, **others)
    for row, seed in profile.runs(variants=True):
        profile.config(row, seed)
    return profile


def _protocol(part: str, values: Any) -> Any:
    kind = PROTOCOLS[part]
    refuse_unknown_settings(values, kind, part)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, sub_configs=False)
    found = vars(parsed(parser, values, kind))
    return kind(**{name: as_tuples(value) for name, value in found.items()})


def _values(name: str, folder: Path) -> Any:
    """What a profile's file says, after what the file says that it is like."""
    refuse_unknown("profile", name, sorted(path.stem for path in folder.glob("*.yaml")))
    values = yaml.safe_load((folder / f"{name}.yaml").read_text())
    if not isinstance(values, dict) or "like" not in values:
        return values
    other = _values(values.pop("like"), folder)
    shared = {part: merged(other[part], values.get(part, {})) for part in ("settings", *PROTOCOLS) if part in other}
    return {**other, **values, **shared}
