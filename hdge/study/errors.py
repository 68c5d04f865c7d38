"""Errors that a user can mend, each in one sentence."""

import difflib
from collections.abc import Collection


class HdgeError(ValueError):
    """A request that cannot be met; its one sentence names the value, the bound and the remedy."""


def refuse_unknown(kind: str, name: str, known: Collection[str]) -> None:
    """Refuse an unknown name, and suggest the nearest known one."""
    if isinstance(name, str) and name in known:
        return
    near = difflib.get_close_matches(str(name), list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}."
    raise HdgeError(f"no {kind} {name!r}; {hint}")


def require(name: str, value: object, holds: bool, bound: str) -> None:
    """Refuse a value that is out of its bounds."""
    if not holds:
        raise HdgeError(f"{name} is {value}; it must be {bound}.")
