"""Running notebooks by papermill, strictly, in the Python that asks for it."""

import ast
import contextlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from traitlets.config import Config

from hdge.study.errors import HdgeError, refuse_unknown

SOCKET_FOLDER = 90  # characters; a socket's name has at most 103, and Jupyter appends "/kernel-ipc-5"
INJECTED = "# Parameters\n"  # how papermill begins the cell that it injects


def refuse_unknown_parameters() -> None:
    """Refuse, in a notebook that plain papermill runs, a parameter that no cell before names; papermill only warns."""
    from IPython import get_ipython

    shell = get_ipython()
    known: set[str] = set()
    for cell in shell.user_ns["In"] if shell else []:
        try:
            nodes = list(ast.walk(ast.parse(cell)))
        except SyntaxError:  # of a cell typed by hand, which has told so itself
            continue
        names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        if cell.startswith(INJECTED):
            for name in sorted(names):
                refuse_unknown("parameter", name, known)
        known |= names


def parameters_of(text: str) -> dict[str, Any]:
    """Read parameters as the command line gives them, a JSON object without a name twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise HdgeError(f"parameters are {text!r}; give each name once.")
        return dict(pairs)

    try:
        values = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise HdgeError(f"parameters are {text!r}, no JSON ({error}); put names and texts in double quotes.") from None
    if not isinstance(values, dict):
        raise HdgeError(f"parameters are {text!r}; they must be a JSON object.")
    return values


def execute(notebook: Path, output: Path, parameters: dict[str, Any]) -> None:
    """Run a notebook with parameters that it must know, and keep the executed copy even if a cell fails."""
    # jsonschema would spend a second on a grammar of URIs, which no notebook's validation uses.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    import papermill
    from papermill.exceptions import PapermillExecutionError

    # In papermill's paths, a name in braces is that of a parameter.
    source, target = (str(path).replace("{", "{{").replace("}", "}}") for path in (notebook, output))
    if notebook == output:
        raise HdgeError(f"{notebook} would be overwritten by its executed copy; name another output.")
    try:
        known = papermill.inspect_notebook(source)
    except Exception as error:  # of many kinds, by papermill, nbformat and the file system
        raise HdgeError(f"{notebook} is no notebook that can be read ({_reason(error)}); name another one.") from None
    for name in parameters:
        refuse_unknown(f"parameter of {notebook.name}", name, known)
    _pass_on_progress(notebook.stem)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with own_kernel() as (kernel, config):
            papermill.execute_notebook(
                source, target, parameters, cwd=str(notebook.parent), log_output=True, progress_bar=False,
                kernel_name=kernel, language="python", config=config,
                extra_arguments=["--IPKernelApp.log_level=50"],  # the kernel's log is of no use to a reader
            )  # fmt: skip
    except PapermillExecutionError as error:
        reason = f"{error.ename}: {error.evalue}".splitlines()[0]
        raise HdgeError(
            f"{notebook.name} failed in cell In [{error.exec_count}]: {reason} (executed copy: {output})"
        ) from None
    except Exception as error:  # of many kinds, by papermill, its kernel and the file system
        raise HdgeError(f"{notebook.name} could not be run to {output} ({_reason(error)}); run it again.") from None


@contextlib.contextmanager
def own_kernel() -> Iterator[tuple[str, Config]]:
    """Describe this Python to Jupyter under the first name that it looks up, and keep its files out of the home.

    The kernel "python3" of a user's home may be another environment's, and a home may be read-only. Jupyter reserves no
    port: two kernels that start at once may be given the same one, and one of them dies. Sockets in a folder of their
    own cannot meet. A folder too deep for a socket's name leaves the ports.
    """
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    with tempfile.TemporaryDirectory(prefix="hdge-") as folder:
        kernel = Path(folder, "kernels", "python3", "kernel.json")
        kernel.parent.mkdir(parents=True)
        kernel.write_text(json.dumps({"argv": command, "display_name": "Python 3", "language": "python"}))
        places = {"JUPYTER_PATH": os.pathsep.join(filter(None, [folder, os.environ.get("JUPYTER_PATH")]))}
        places |= {"JUPYTER_RUNTIME_DIR": f"{folder}/runtime", "IPYTHONDIR": f"{folder}/ipython"}
        config = Config()
        if len(folder) <= SOCKET_FOLDER:
            config.KernelManager = Config(transport="ipc", connection_file=f"{folder}/kernel.json")
        with mock.patch.dict(os.environ, places):
            yield kernel.parent.name, config


def _reason(error: Exception) -> str:
    """Return the first line of what an error says, or its name if it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _pass_on_progress(label: str) -> None:
    """Print a notebook's progress bars, a line each, under the notebook's name."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = record.getMessage().rstrip().rpartition("\r")[2].strip()
            if "%|" in line:
                print(f"{label}  {line}", file=sys.stderr, flush=True)

    logger = logging.getLogger("papermill")
    logger.handlers, logger.propagate = [Lines()], False
    logger.setLevel(logging.INFO)
