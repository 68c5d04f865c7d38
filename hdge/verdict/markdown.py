"""Tables in Markdown."""

from typing import Any


def line(cells: list[Any]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def header(columns: list[str]) -> list[str]:
    return [line(columns), "|---" * len(columns) + "|"]
