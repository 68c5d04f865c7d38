"""Running notebooks by papermill, strictly, and knowing which modules a notebook depends on."""

import ast
import json
import logging
import sys
from pathlib import Path
from typing import Any

from hdge.study.config import HOME, HdgeError, refuse_unknown


def imported_modules(source: Path) -> list[Path]:
    """Every file of this package that a notebook or module runs: its imports, theirs, and the module itself.

    This is what the DAG lists as a notebook's inputs, so that an edit reruns the notebooks that use it, and
    only those.
    """
    found = {source} if source.suffix == ".py" else set()
    pending = [source]
    while pending:
        for module in _direct_imports(pending.pop()):
            if module not in found:
                found.add(module)
                pending.append(module)
    return sorted(found)


def _direct_imports(source: Path) -> list[Path]:
    """Files named by ``import hdge.x``, ``from hdge.x import y`` and ``from hdge import x``; not the package itself,
    whose ``__init__`` files only pass names on.
    """
    files = []
    for node in (node for text in _code(source) for node in ast.walk(_parse(text))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            path = HOME / Path(*name.split(".")).with_suffix(".py")
            if name.startswith("hdge.") and path.exists():
                files.append(path)
    return files


def _code(source: Path) -> list[str]:
    """A module's text, or the code cells of a notebook."""
    if source.suffix == ".py":
        return [source.read_text()]
    cells = json.loads(source.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def _parse(text: str) -> ast.AST:
    """A cell with magics, or with an error, is no Python and imports nothing: running it will tell what it is."""
    try:
        return ast.parse(text)
    except SyntaxError:
        return ast.Module([], [])


def execute(notebook: Path, output: Path, parameters: dict[str, Any]) -> None:
    """Run a notebook with parameters and keep the executed copy, whether it succeeds or not.

    Args:
        notebook: the source, which is never written to.
        output: where the executed copy goes.
        parameters: values for names that its parameters cell has.

    Raises:
        HdgeError: a parameter that the notebook does not have (papermill itself would only warn), or a failed
            cell; the message names notebook, cell, error and executed copy.
    """
    # jsonschema would compile a grammar of URIs for a second, which no notebook's validation asks for.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    import papermill
    from papermill.exceptions import PapermillExecutionError

    known = papermill.inspect_notebook(str(notebook))
    for name in parameters:
        refuse_unknown(f"parameter of {notebook.name}", name, known)
    _pass_on_progress(notebook.stem)
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            str(notebook), str(output), parameters, cwd=str(notebook.parent), log_output=True, progress_bar=False,
            extra_arguments=["--IPKernelApp.log_level=50"],  # the kernel's own chatter is of no use to a reader
        )  # fmt: skip
    except PapermillExecutionError as error:
        reason = f"{error.ename}: {error.evalue}".splitlines()[0]
        raise HdgeError(
            f"{notebook.name} failed in cell In [{error.exec_count}]: {reason} (executed copy: {output})"
        ) from None


def _pass_on_progress(label: str) -> None:
    """Show the progress bars that a notebook prints, a line each, under the notebook's name."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = record.getMessage().rstrip().rpartition("\r")[2].strip()
            if "%|" in line:
                print(f"{label}  {line}", file=sys.stderr, flush=True)

    logger = logging.getLogger("papermill")
    logger.handlers, logger.propagate = [Lines()], False
    logger.setLevel(logging.INFO)
