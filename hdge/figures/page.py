"""One page of text, tables and pictures that holds all it shows: it opens offline, and can be sent."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

LOOK = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
h1 { font-size: 1.6em } h2 { font-size: 1.2em; margin-top: 2.2em; border-bottom: 1px solid #ddd }
table { border-collapse: collapse; font-size: 12px; margin: 1em 0; display: block; overflow-x: auto }
th, td { padding: 3px 8px; border-bottom: 1px solid #eee; text-align: right; vertical-align: top }
th { background: #f6f6f6; position: sticky; top: 0 } td:first-child, th { text-align: left }
td.text { text-align: left; min-width: 9em } img { width: 100%; height: auto; margin: 1em 0 }
nav a { margin-right: 1em } .links { font-size: 12px; color: #666 }
"""


@dataclass(frozen=True)
class Section:
    """A heading with sentences, tables, pictures (files), and files to link to by name."""

    title: str
    sentences: Sequence[str] = ()
    tables: Sequence[pd.DataFrame] = ()
    pictures: Sequence[Path] = ()
    links: Sequence[tuple[str, str]] = ()


def page(title: str, sentences: Sequence[str], sections: Sequence[Section]) -> str:
    """Write the page as HTML; a picture is part of it, and a link is relative to it."""
    contents = "".join(f'<a href="#part{i}">{html.escape(one.title)}</a>' for i, one in enumerate(sections))
    body = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)
    parts = "".join(_section(i, one) for i, one in enumerate(sections))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{LOOK}</style></head><body><h1>{html.escape(title)}</h1>{body}<nav>{contents}</nav>{parts}"
        "</body></html>\n"
    )


def _section(number: int, section: Section) -> str:
    text = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in section.sentences)
    pictures = "".join(_picture(path) for path in section.pictures)
    tables = "".join(_table(table) for table in section.tables)
    links = ", ".join(f'<a href="{html.escape(to, quote=True)}">{html.escape(name)}</a>' for name, to in section.links)
    links = f'<p class="links">Files: {links}</p>' if links else ""
    return f'<h2 id="part{number}">{html.escape(section.title)}</h2>{text}{pictures}{tables}{links}'


def _picture(path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{html.escape(path.stem, quote=True)}" src="data:image/svg+xml;base64,{content}">'


def _table(table: pd.DataFrame) -> str:
    head = "".join(f"<th>{html.escape(str(column))}</th>" for column in table.columns)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.itertuples(index=False, name=None))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, str | bool):
        return f'<td class="text">{html.escape(str(value))}</td>'
    return f"<td>{'–' if pd.isna(value) else format(value, '.4g' if isinstance(value, float) else ',')}</td>"
