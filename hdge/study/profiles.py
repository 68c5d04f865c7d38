"""Profiles, free of PyTorch: files that name the runs of a study, rows times seeds, and their shared settings."""

import functools
import json
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from hdge.study.config import BLOCKS, HOME, TrainConfig, frozen, parse_config, read_settings
from hdge.study.errors import HdgeError, refuse_unknown, require
from hdge.study.roster import METHODS
from hdge.study.settings import AttackProtocol, SamplingProtocol
from hdge.study.values import read_json, read_yaml

NO_SETTINGS = ("seeds", "optional")  # what a row may hold besides settings
# Names of rows and profiles stand in paths, in lists with commas, and in YAML, where some words are no text.
NAME = re.compile(r"(?!(?i:yes|no|on|off|true|false|null)$)[^\W\d_][\w.-]*")
PROOF_SEEDS = 3
RESOURCES = {"mem_mb": 4000, "runtime": 240, "gpu": 0}
PROTOCOLS = {"samples": SamplingProtocol, "attacks": AttackProtocol}


def archived_folder(profile: str, row: str, seed: int) -> Path:
    """Locate the archived copy of a run; see :mod:`hdge.study.archive`."""
    return HOME / "papermill_runs" / profile / "archive" / f"{row}-seed{seed}"


@dataclass(frozen=True)
class Profile:
    """Rows times seeds, with shared settings and settings of single rows.

    Args:
        name: the file's name without its suffix.
        scale: the scale of the numbers, as every table and caption calls it.
        seeds: seeds of every row; one run a row and seed.
        settings: :class:`TrainConfig` values that all rows share; a group of settings reaches the methods that have it.
        methods: for each method, the values that differ. "seeds" replaces the profile's. If "optional" is true, the
            method is trained only when asked for by name.
        variants: rows of another name; each names its method by "method" and changes some settings of the method's row.
            They are trained with the methods, and notebooks 07 to 09 compare them.
        samples: how notebook 05 samples trained networks.
        attacks: how notebook 06 attacks trained networks.
        references: rows that are also trained once for twice the epochs, as variants ``<row>_twice``; the gates of the
            verdict ask whether a baseline had enough.
        proof: rows of which three seeds are trained from scratch, although they are archived, to prove that runs
            reproduce; a list, even an empty one, leaves all other rows to be trained only when asked for.
        seeds_per_job: how many seeds of a row one job trains and then measures; 0 for all. A cluster spreads jobs.
        ranks: how many processes train one run together, by torchrun; each takes a core, and GPUs as ``resources`` say.
        resources: what one job of training or measuring needs: mem_mb, runtime in minutes, and gpu, their number for
            each rank. A cluster reserves all three; one machine starts no more jobs than it has GPUs for.
        instructions: "avx2" leaves newer instructions of an x86-64 processor unused, so that runs are equal to the bit
            on processors with and without AVX-512; empty for all that there are.
    """

    name: str
    scale: str
    seeds: tuple[int, ...]
    settings: dict[str, Any]
    methods: dict[str, dict[str, Any]]
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    samples: SamplingProtocol = SamplingProtocol()
    attacks: AttackProtocol = AttackProtocol()
    references: tuple[str, ...] = ()
    proof: tuple[str, ...] | None = None
    seeds_per_job: int = 0
    ranks: int = 1
    resources: dict[str, int] = field(default_factory=lambda: dict(RESOURCES))
    instructions: str = ""

    def __post_init__(self) -> None:
        per_job = self.seeds_per_job
        require("seeds_per_job", per_job, isinstance(per_job, int) and per_job >= 0, "a whole number, 0 for all seeds")
        require("ranks", repr(self.ranks), type(self.ranks) is int and self.ranks >= 1, "a whole number, 1 or more")
        require("instructions", repr(self.instructions), self.instructions in ("", "avx2"), "avx2 or empty")
        for name, value in self.resources.items():
            refuse_unknown("resource", name, RESOURCES)
            require(f"resources.{name}", repr(value), type(value) is int and value >= 0, "a whole number, 0 or more")
        for row in self.variants:
            require("variants", row, row not in self.methods, "named unlike the methods")
        for row, own in {**self.methods, **self.variants}.items():
            _require_seeds(f"{row}: seeds", own.get("seeds", self.seeds))
            optional = own.get("optional", False)
            require(f"{row}: optional", optional, isinstance(optional, bool), "true or false")

    def config(self, row: str, seed: int, /, **overrides: Any) -> TrainConfig:
        """Build the config of one run of a row; overrides win over the profile."""
        refuse_unknown("method", row, self.methods | self.variants)
        own = self.variants.get(row, {})
        method = own.get("method", row)
        refuse_unknown("method", method, self.methods)
        require("seed", repr(seed), isinstance(seed, int), "int")
        for name in ("method", "seed", *NO_SETTINGS):
            if name in overrides or name in self.settings:
                raise HdgeError(f"{name} is no setting that rows share; a profile's rows and `seeds` give it.")
            if name in ("method", "seed") and name in self.methods[method]:
                raise HdgeError(f"{name} is no setting of the method {method}; leave it out.")
        blocks = METHODS[method].blocks if method in METHODS else tuple(BLOCKS)
        values = {name: value for name, value in self.settings.items() if name not in BLOCKS or name in blocks}
        for more in (self.methods[method], own, overrides, {"method": method}):
            values = merged(values, more)
        settings = {name: value for name, value in values.items() if name not in NO_SETTINGS}
        return replace(_parsed(json.dumps(settings)), seed=seed)

    @property
    def environment(self) -> dict[str, str]:
        """What PyTorch, oneDNN and MKL read at their start; they choose kernels by the processor otherwise."""
        return avx2_alone() if self.instructions else {}

    def runs(self, variants: bool = False) -> list[tuple[str, int]]:
        """List every (row, seed) of the methods, optional ones included, and of the variants if asked for."""
        rows = self.methods | (self.variants if variants else {})
        return [(row, seed) for row, own in rows.items() for seed in own.get("seeds", self.seeds)]

    def archived_record(self, row: str, seed: int) -> Path | None:
        """Locate the record of an archived run, if the profile still asks for its settings."""
        path = archived_folder(self.name, row, seed) / "record.json"
        if not path.exists():
            return None
        recorded = read_json(path, "restore the archived run, for example by `git checkout`")["config"]
        return path if self.config(row, seed).is_recorded_as(recorded) else None

    def trained(self, only: Sequence[str] = (), fresh: bool = False) -> list[tuple[str, int]]:
        """List the runs to be trained here: those of ``only``, or of the proof, or of all rows that are not optional.

        What is archived is trained again only for the proof, or if ``fresh`` is set.
        """
        rows = self.methods | self.variants
        for row in only:
            refuse_unknown("method", row, rows)
        if self.proof is not None and not only and not fresh:
            return [(row, seed) for row in self.proof for seed in rows[row].get("seeds", self.seeds)[:PROOF_SEEDS]]
        chosen = only or [row for row, own in rows.items() if not own.get("optional")]
        return [(r, s) for r, s in self.runs(True) if r in chosen and (fresh or self.archived_record(r, s) is None)]

    def wanted(self, only: Sequence[str] = (), fresh: bool = False, variants: bool = False) -> list[tuple[str, int]]:
        """List the runs that figures draw from: those trained here, and archived ones."""
        here = set(self.trained(only, fresh))
        return [run for run in self.runs(variants) if run in here or self.archived_record(*run) is not None]

    def jobs(self, only: Sequence[str] = (), fresh: bool = False) -> list[tuple[str, tuple[int, ...]]]:
        """Group the runs to be trained here: at most ``seeds_per_job`` seeds of a row together."""
        own: dict[str, list[int]] = {}
        for row, seed in self.trained(only, fresh):
            own.setdefault(row, []).append(seed)
        most = self.seeds_per_job or sys.maxsize
        return [(row, tuple(seeds[i : i + most])) for row, seeds in own.items() for i in range(0, len(seeds), most)]

    def job_seconds(self, only: Sequence[str] = (), fresh: bool = False) -> dict[str, float]:
        """Sum, for each training job, the seconds that its archived runs took, if all are archived."""
        records = {job: [self.archived_record(job[0], seed) for seed in job[1]] for job in self.jobs(only, fresh)}
        return {
            f"train_{job_name(*job)}": sum(read_json(path, "")["cost"]["seconds"] for path in paths if path)
            for job, paths in records.items()
            if all(paths)
        }


def job_name(row: str, seeds: Sequence[int]) -> str:
    return f"{row}-seed{'-'.join(map(str, seeds))}"


def reference(row: str) -> str:
    """Name the variant of a row that trains for twice the epochs."""
    return f"{row}_twice"


def avx2_alone() -> dict[str, str]:
    """Variables that leave newer instructions of an x86-64 processor unused; none on other processors."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return {}
    return {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


def merged(values: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Override values; within a group, setting by setting."""
    groups = {n: {**values[n], **v} for n, v in more.items() if isinstance(v, dict) and isinstance(values.get(n), dict)}
    return {**values, **more, **groups}


@functools.cache
def _parsed(settings: str) -> TrainConfig:
    """Read a row's settings once for all its seeds, because strict reading takes 15 ms."""
    return parse_config(json.loads(settings))


def load_profile(name: str, folder: Path = HOME / "profiles") -> Profile:
    """Read ``profiles/<name>.yaml``, over the profile that it is "like" if it says so, and check each of its runs."""
    values = _values(name, folder)
    needed, known = ("scale", "seeds", "settings", "methods"), [f.name for f in fields(Profile)][1:]
    if not set(needed) <= set(values) <= set(known):
        allowed = ", ".join(sorted(set(known) - set(needed)))
        raise HdgeError(f"profile {name!r} must hold {', '.join(needed)}, and at most {allowed} besides.")
    try:
        return _profile(name, values)
    except HdgeError as error:
        raise HdgeError(f"profile {name!r}: {error}") from None


def _profile(name: str, values: dict[str, Any]) -> Profile:
    """Check a profile's parts and each of its runs."""
    scale = values["scale"]
    require("scale", repr(scale), isinstance(scale, str) and bool(scale.strip()), "a text")
    _require_seeds("seeds", values["seeds"])
    rows = {part: _rows(part, values.get(part, {})) for part in ("methods", "variants")}
    require("methods", "empty", bool(rows["methods"]), "a group of at least one method")
    read_settings(
        {name: own for name, own in values["settings"].items() if name not in ("method", "seed", *NO_SETTINGS)}
    )
    checked: dict[str, Any] = {**rows, "seeds": tuple(values["seeds"])}
    for part, kind in PROTOCOLS.items():
        checked[part] = frozen(kind, read_settings(values.get(part, {}), kind, part).as_dict())
    checked["resources"] = {**RESOURCES, **_group("resources", values.get("resources", {}))}
    checked |= {p: _names(p, values[p], rows["methods"]) for p in ("references", "proof") if p in values}
    profile = Profile(name, **{**values, **checked})
    for row, seed in profile.runs(variants=True):
        try:
            profile.config(row, seed)
        except HdgeError as error:
            raise HdgeError(f"{row}: {error}") from None
    for row in profile.references:
        require("variants", reference(row), reference(row) not in profile.variants, f"free for twice {row}'s epochs")
        lowest = min(profile.methods[row].get("seeds", profile.seeds))
        twice = {"method": row, "epochs": 2 * profile.config(row, lowest).epochs, "seeds": [lowest]}
        profile = replace(profile, variants=profile.variants | {reference(row): twice})
    return profile


def _rows(part: str, values: Any) -> dict[str, dict[str, Any]]:
    """Check that rows are groups, of which an empty one changes nothing."""
    rows = {row: {} if own is None else own for row, own in _group(part, values).items()}
    for row, own in rows.items():
        _require_name("row", row)
        _group(row, own)
    return rows


def _group(part: Any, values: Any) -> dict[Any, Any]:
    require(part, repr(values), isinstance(values, dict), "a group, lines of `name: value`")
    return values


def _names(part: str, names: Any, known: dict[str, Any]) -> tuple[str, ...]:
    require(part, repr(names), isinstance(names, list), "a list of rows")
    for name in names:
        refuse_unknown(f"method of {part}", name, known)
    return tuple(names)


def _require_seeds(name: str, seeds: Any) -> None:
    whole = isinstance(seeds, list | tuple) and bool(seeds) and all(type(seed) is int and seed >= 0 for seed in seeds)
    require(name, repr(seeds), whole and len(set(seeds)) == len(seeds), "a list of different whole numbers, 0 or more")


def _require_name(kind: str, name: Any) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        remedy = "it must begin with a letter and hold letters, digits, '_', '-' and '.' alone"
        raise HdgeError(f"{kind} {name!r} cannot be a name; {remedy}.")


def _values(name: Any, folder: Path, before: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read a profile's file, merged into the profile that it is like."""
    _require_name("profile", name)
    refuse_unknown("profile", name, sorted(path.stem for path in folder.glob("*.yaml")))
    if name in before:
        raise HdgeError(f"profile {name!r} is like itself, through {', '.join(before)}; let one of them stand alone.")
    values = read_yaml(folder / f"{name}.yaml")
    for part in ("settings", *PROTOCOLS):
        _group(f"profile {name!r}: {part}", values.get(part, {}))
    if "like" not in values:
        return values
    model = values.pop("like")
    _require_name(f"profile {name!r}: like profile", model)
    other = _values(model, folder, (*before, name))
    shared = {part: merged(other[part], values.get(part, {})) for part in ("settings", *PROTOCOLS) if part in other}
    other.pop("proof", None)  # the rows that are trained although they are archived: another profile has no archive
    return {**other, **values, **shared}
