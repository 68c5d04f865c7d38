"""Which code a step of the study runs, and a fingerprint of it: so that an edit makes anew what it touches, no more."""

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from hdge.study.config import HOME
from hdge.study.roster import METHODS

PACKAGE = HOME / "hdge"


def imported_modules(source: Path, inside_functions: bool = True) -> list[Path]:
    """Every file of this package that a notebook or module runs: its imports, theirs, and the module itself.

    Args:
        source: a notebook or a module.
        inside_functions: whether imports inside functions count, which run only where the function is called.
    """
    found = {source} if source.suffix == ".py" else set()
    pending = [source]
    while pending:
        for module in _direct_imports(pending.pop(), inside_functions):
            if module not in found:
                found.add(module)
                pending.append(module)
    return sorted(found)


def training_modules(method: str) -> list[Path]:
    """What training a method executes: the loop, and the method's own file with what that imports.

    A method's file is imported inside a function, so that the loop does not pull in the files of other methods.
    """
    sources = [PACKAGE / "training" / "loop.py", PACKAGE / "methods" / f"{METHODS[method].module}.py"]
    return sorted({module for source in sources for module in imported_modules(source, inside_functions=False)})


@cache
def training_code(method: str) -> str:
    """Fingerprint of what training a method executes, taken once: a process goes on with the code that it loaded."""
    return code_digest(training_modules(method))


def code_digest(modules: Iterable[Path]) -> str:
    """Fingerprint of what modules and notebooks do: of their syntax trees, without comments, docstrings and layout."""
    digest = hashlib.sha256()
    for module in modules:
        digest.update(module.name.encode())
        for text in _code(module):
            digest.update(ast.dump(_without_docstrings(text)).encode())
    return digest.hexdigest()


def _without_docstrings(text: str) -> ast.AST:
    tree = _parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body and ast.get_docstring(node):
            del node.body[0]
    return tree


@cache
def _direct_imports(source: Path, inside_functions: bool) -> list[Path]:
    """Files named by ``import hdge.x``, ``from hdge.x import y`` and ``from hdge import x``; not the packages'
    ``__init__`` files, which only pass names on.
    """
    files = []
    for node in (node for text in _code(source) for node in _nodes(_parse(text), inside_functions)):
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
    """The statements that may import; those under ``if TYPE_CHECKING`` never run."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.FunctionDef) and not inside_functions:
            continue
        yield node
        yield from _nodes(node, inside_functions)


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
