"""The protocol that a run was trained under, free of PyTorch: docs/protocol.md and the claims, by their digest."""

import csv
import hashlib

from hdge.study.config import HOME

FILES = (HOME / "docs" / "protocol.md", HOME / "hdge" / "verdict" / "claims.yaml")
VERSIONS = HOME / "hdge" / "verdict" / "versions.csv"
FIRST_SEED = 100  # runs of lower seeds are exploratory, and no verdict rests on them


def protocol_digest() -> str:
    """Fingerprint the protocol as it stands; empty where it is not at hand, as in an installation without a clone."""
    if not all(path.exists() for path in FILES):
        return ""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in FILES)).hexdigest()


def versions() -> list[dict[str, str]]:
    """List the protocol's versions, oldest first: version, date, digest, what changed, after which results."""
    with VERSIONS.open(newline="") as file:
        return list(csv.DictReader(file))
