"""Fingerprints of the code that a step of the study runs, so that an edit makes anew only what it touches."""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from hdge.study.config import HOME
from hdge.study.errors import HdgeError
from hdge.study.roster import METHODS
from hdge.study.values import read_json

PACKAGE = HOME / "hdge"


def imported_modules(source: Path, inside_functions: bool = True) -> list[Path]:
    """List every package file that a notebook or module imports, directly or not, and the module itself."""
    found = {source} if source.suffix == ".py" else set()
    pending = [source]
    while pending:
        for module in _direct_imports(pending.pop(), inside_functions):
            if module not in found:
                found.add(module)
                pending.append(module)
    return sorted(found)


def training_modules(method: str) -> list[Path]:
    """List the files that training a method executes, without other methods' files."""
    own = PACKAGE / "methods" / f"{METHODS[method].module}.py"
    if not own.exists():
        raise HdgeError(f"{own} does not exist; the roster names it as the file of method {method!r}.")
    sources = [PACKAGE / "training" / "loop.py", own]
    return sorted({module for source in sources for module in imported_modules(source, inside_functions=False)})


@cache
def training_code(method: str) -> str:
    """Fingerprint what training a method executes, once: a process goes on with the code that it loaded."""
    return code_digest(training_modules(method))


def code_digest(modules: Iterable[Path]) -> str:
    """Fingerprint the syntax trees of modules and notebooks, without comments, docstrings and layout."""
    digest = hashlib.sha256()
    for module in modules:
        digest.update(module.name.encode())
        for text in _texts(module):
            digest.update(_essence(text))
    return digest.hexdigest()


@cache
def _essence(text: str) -> bytes:
    """Write what a module or a cell does, once a text: every measurement of every run asks for the same files."""
    tree = _parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            del node.body[0]
    return _dump(tree).encode()


def _dump(node: Any) -> str:
    """Write a syntax tree without its empty fields, of which each version of Python has its own."""
    if isinstance(node, ast.AST):
        fields = [
            f"{name}={_dump(value)}" for name, value in ast.iter_fields(node) if value is not None and value != []
        ]
        return f"{type(node).__name__}({', '.join(fields)})"
    return f"[{', '.join(map(_dump, node))}]" if isinstance(node, list) else repr(node)


@cache
def _direct_imports(source: Path, inside_functions: bool) -> list[Path]:
    """List the files that imports name, without the packages' ``__init__`` files, which only pass names on."""
    files = []
    for node in (node for text in _texts(source) for node in _nodes(_parse(text), inside_functions)):
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


def _nodes(tree: ast.AST, inside_functions: bool) -> Iterable[ast.AST]:
    """Walk the statements that may import; statements under ``if TYPE_CHECKING`` never run."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.FunctionDef) and not inside_functions:
            continue
        yield node
        yield from _nodes(node, inside_functions)


def _texts(source: Path) -> list[str]:
    """Read a module, or a notebook's code cells."""
    if source.suffix == ".py":
        return [source.read_text()]
    remedy = "restore it, for example by `git checkout`"
    try:
        cells = read_json(source, remedy)["cells"]
        return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (KeyError, TypeError):
        raise HdgeError(f"{source} is no notebook; {remedy}.") from None


def _parse(text: str) -> ast.AST:
    """Parse a cell; one with magics or an error counts as empty, because running it reports the error."""
    try:
        return ast.parse(text)
    except SyntaxError:
        return ast.Module([], [])
