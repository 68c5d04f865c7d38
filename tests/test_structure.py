"""The house: which room may import which, and how large rooms may grow."""

import ast
from pathlib import Path

import pytest

from hdge.study.config import HOME
from hdge.study.dependencies import imported_modules

PACKAGE = HOME / "hdge"
# In reading order: a room imports nothing from those after it.
ROOMS = ("core", "study", "data", "methods", "measure", "training", "evaluators", "figures", "verdict")


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def direct(path: Path) -> set[Path]:
    """The modules that one imports by itself, anywhere in its text."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {HOME / Path(*name.split(".")).with_suffix(".py") for name in names if name.startswith("hdge.")}
    return {module for module in found if module.exists()}


def unseen(path: Path) -> list[str]:
    """Imports that `direct` cannot follow: relative ones, whole rooms, and names that a room itself holds."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.level:
            found.append("." * node.level + (node.module or ""))
        elif isinstance(node, ast.ImportFrom) and (HOME / Path(*str(node.module).split("."))).is_dir():
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        ours = [name for name in names if name.split(".")[0] == "hdge" and name != "hdge.__version__"]
        found += [name for name in ours if not (HOME / Path(*name.split(".")).with_suffix(".py")).exists()]
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def test_the_rooms_are_these_and_no_more():
    there = {path.name for path in PACKAGE.iterdir() if path.name not in ("__init__.py", "__pycache__", "py.typed")}
    assert there == {*ROOMS, "cli.py"}


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_name_modules(path):
    assert not unseen(path), f"{path} imports {unseen(path)}; name modules, as in `from hdge.core.losses import nll`"


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_to_rooms_read_before(path):
    if path.parent == PACKAGE:
        return
    for module in direct(path):
        assert ROOMS.index(room(module)) <= ROOMS.index(room(path)), f"{path} imports {module}"


def floors() -> dict[Path, int]:
    """A module stands one floor above the highest that it imports; an import circle has no floor."""
    found: dict[Path, int] = {}
    while len(found) < len(modules()):
        ready = [path for path in modules() if path not in found and direct(path) <= found.keys() | {path}]
        assert ready, f"import circle among {[p.name for p in modules() if p not in found]}"
        found |= {path: 1 + max((found[m] for m in direct(path) - {path}), default=0) for path in ready}
    return found


def test_there_is_no_import_circle():
    assert min(floors().values()) == 1


def test_the_core_imports_nothing_but_torch_and_itself():
    allowed = {"torch", "jaxtyping", "copy", "math", "typing", "warnings", "hdge"}
    for path in (PACKAGE / "core").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.split(".")[0] for name in names} <= allowed, path
        assert all(room(module) == "core" for module in imported_modules(path))


def test_the_core_stays_small():
    assert sum(len(path.read_text().splitlines()) for path in (PACKAGE / "core").glob("*.py")) <= 750


def test_what_a_stranger_uses_is_at_the_top():
    import hdge

    assert all(hasattr(hdge, name) for name in hdge.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = hdge.nothing


@pytest.mark.parametrize("name", ["evaluators", "figures"])
def test_tables_and_pictures_need_no_weights(name):
    """They read stored outputs, so nothing that trains or measures a network stands behind them but the toy's."""
    for path in (PACKAGE / name).glob("*.py"):
        behind = {room(module) for module in imported_modules(path)}
        assert not behind & {"measure", "methods", "training"} or path.name == "toy.py", path
