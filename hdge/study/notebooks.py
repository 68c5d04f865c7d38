"""Running notebooks by papermill, strictly."""

import logging
import sys
from pathlib import Path
from typing import Any

from hdge.study.errors import HdgeError, refuse_unknown


def execute(notebook: Path, output: Path, parameters: dict[str, Any]) -> None:
    """Run a notebook with parameters that it must know, and keep the executed copy even if a cell fails."""
    # jsonschema would spend a second on a grammar of URIs, which no notebook's validation uses.
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
            extra_arguments=["--IPKernelApp.log_level=50"],  # the kernel's log is of no use to a reader
        )  # fmt: skip
    except PapermillExecutionError as error:
        reason = f"{error.ename}: {error.evalue}".splitlines()[0]
        raise HdgeError(
            f"{notebook.name} failed in cell In [{error.exec_count}]: {reason} (executed copy: {output})"
        ) from None


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
