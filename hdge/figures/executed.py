"""An executed notebook as a page that opens offline: formulas become MathML, and nothing is fetched."""

import json
import re
from pathlib import Path
from typing import Any

from hdge.study.errors import HdgeError
from hdge.study.values import read_json

# JupyterLab's look without the scripts that it would fetch. Those draw formulas, diagrams and menus that no one serves.
LOOK = "{% extends 'lab/index.html.j2' %}" + "".join(
    f"{{% block {name} %}}{{% endblock %}}"
    for name in ("html_head_js", "html_head_js_mathjax", "html_head_js_mermaidjs", "jupyter_widgets")
)
FORMULA = re.compile(r"\$\$(?P<display>.+?)\$\$|\$(?P<inline>[^$\n]+)\$", re.DOTALL)


def executed_page(notebook: Path) -> str:
    """Write a notebook with its outputs as HTML that holds all it shows; a damaged one is refused."""
    import nbformat
    from nbconvert import HTMLExporter

    stored = read_json(notebook, "delete it")
    try:
        nbformat.validate(stored)
    except nbformat.ValidationError:
        raise HdgeError(f"{notebook} is damaged, for it is no notebook; delete it.") from None
    node: Any = nbformat.v4.reads(json.dumps(stored))  # which joins the lines of a cell
    for cell in node.cells:
        if cell.cell_type == "markdown":
            cell.source = FORMULA.sub(_mathml, cell.source)
    exporter: Any = HTMLExporter(raw_template=LOOK)
    text: str = exporter.from_notebook_node(node, {"metadata": {"name": notebook.stem}})[0]
    return text


def _mathml(found: "re.Match[str]") -> str:
    from latex2mathml.converter import convert

    formula = found["display"] or found["inline"]
    return convert(formula.strip(), display="block" if found["display"] else "inline")
