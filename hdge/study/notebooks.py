"""Running notebooks by papermill, strictly."""

import logging
import sys
from pathlib import Path
from typing import Any

from hdge.study.errors import HdgeError, refuse_unknown


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
