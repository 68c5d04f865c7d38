"""The protocol that a run was trained under, free of PyTorch: docs/protocol.md and the claims, by their digest."""

import csv
import hashlib
from functools import cache
from typing import Any

import yaml

from hdge.study.config import HOME

CLAIMS = HOME / "hdge" / "verdict" / "claims.yaml"
FILES = (HOME / "docs" / "protocol.md", CLAIMS)
VERSIONS = CLAIMS.with_name("versions.csv")


def protocol_digest() -> str:
    """Fingerprint the protocol as it stands; empty where it is not at hand, as in an installation without a clone."""
    if not all(path.exists() for path in FILES):
        return ""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in FILES)).hexdigest()


def versions() -> list[dict[str, str]]:
    """List the protocol's versions, oldest first: version, date, digest, what changed, after which results."""
    with VERSIONS.open(newline="") as file:
        return list(csv.DictReader(file))


@cache
def stated() -> dict[str, Any]:
    """Read the claims as plain values."""
    found: dict[str, Any] = yaml.safe_load(CLAIMS.read_text())
    return found


@cache
def judged_rows(*measures: str) -> frozenset[str]:
    """List the rows that claims compare by some measures: all of their seeds must be measured."""
    own = [claim for claim in stated()["claims"] if claim.get("measure") in measures]
    return frozenset(row for claim in own for row in (claim["method"], *claim["baselines"]))
