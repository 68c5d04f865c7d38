"""`hdge notebook`: which Python runs a notebook, and what a notebook or parameters that are none are told."""

import json
import re
import sys
import tempfile

import nbformat
import pytest

from hdge.cli import main
from hdge.study.dependencies import code_digest
from hdge.study.errors import HdgeError


def notebook(path, *lines: str, kernel: str = "python3"):
    """A notebook with a cell of parameters and a cell of some lines."""
    cells = [nbformat.v4.new_code_cell("name = 'none'", metadata={"tags": ["parameters"]})]
    cells.append(nbformat.v4.new_code_cell("\n".join(lines)))
    spec = {"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=spec), path)
    return path


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A home that cannot be written to, and a kernel of the usual name that is another environment's."""
    folder = tmp_path / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True)
    spec = {"argv": ["/no/such/python", "{connection_file}"], "display_name": "Other", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("HOME", "/dev/null/home")
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.filterwarnings("default")
def test_a_notebook_runs_in_the_python_that_asks_whatever_kernels_there_are(tmp_path, foreign):
    """In a folder, too, whose name papermill would take for a parameter's."""
    folder = tmp_path / "50% of {profile} & Zoë's"
    source = notebook(
        folder / "a.ipynb", "import sys, pathlib", "pathlib.Path('ran').write_text(f'{sys.executable} {name}')",
        kernel="another-environment",
    )  # fmt: skip
    assert main(["notebook", str(source), str(folder / "out" / "b.ipynb"), "--parameters", '{"name": "given"}']) == 0
    assert (folder / "ran").read_text() == f"{sys.executable} given"
    assert nbformat.read(folder / "out" / "b.ipynb", 4).cells
    assert "kernelspec" in nbformat.read(source, 4).metadata


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("depth", "transport"), [(0, "ipc"), (120, "tcp")])
def test_kernels_that_start_at_once_cannot_be_given_the_same_port(depth, transport, tmp_path, monkeypatch):
    """They have no ports, unless their folder is too deep for a socket's name."""
    if depth:
        temporary = tmp_path / ("x" * depth)
        temporary.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    asked = "from ipykernel.kernelapp import IPKernelApp"
    source = notebook(tmp_path / "a.ipynb", asked, "open('transport', 'w').write(IPKernelApp.instance().transport)")
    assert main(["notebook", str(source), str(tmp_path / "b.ipynb")]) == 0
    assert (tmp_path / "transport").read_text() == transport


@pytest.mark.filterwarnings("default")
def test_a_kernel_that_dies_is_told_in_a_sentence(tmp_path, capsys):
    source = notebook(tmp_path / "a.ipynb", "import os", "os._exit(3)")
    assert main(["notebook", str(source), str(tmp_path / "b.ipynb")]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"hdge: a.ipynb (could not be run|failed)", said)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("{'name': 'x'}", "no JSON .*; put names and texts in double quotes"),
        ("", "no JSON"),
        ("null", "they must be a JSON object"),
        ("[1]", "they must be a JSON object"),
        ('"name"', "they must be a JSON object"),
        ('{"name": 1, "name": 2}', "give each name once"),
        ('{"name": {"a": 1, "a": 2}}', "give each name once"),
        ('{"nam": 1}', "no parameter of a.ipynb 'nam'; did you mean 'name'"),
    ],
)
def test_parameters_that_are_no_json_object_are_refused(parameters, message, tmp_path, capsys):
    source = notebook(tmp_path / "a.ipynb", "1")
    assert main(["notebook", str(source), str(tmp_path / "b.ipynb"), "--parameters", parameters]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not (tmp_path / "b.ipynb").exists()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("content", [b"", b"<html></html>", b"{}", b'{"cells": 5}', b"[]", b"\xff\xfe\x00", None])
def test_what_is_no_notebook_is_named(content, tmp_path, capsys):
    path = tmp_path / "a.ipynb"
    path.mkdir() if content is None else path.write_bytes(content)
    assert main(["notebook", str(path), str(tmp_path / "b.ipynb")]) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith(f"hdge: {path} is no notebook that can be read")
    assert "Traceback" not in error
    with pytest.raises(HdgeError, match=re.escape(str(path))):
        code_digest([path])


def test_a_notebook_is_not_overwritten_by_its_copy(tmp_path, capsys):
    source = notebook(tmp_path / "a.ipynb", "1")
    before = source.read_bytes()
    assert main(["notebook", str(source), str(source)]) == 2
    assert "would be overwritten by its executed copy; name another output" in capsys.readouterr().err
    assert source.read_bytes() == before
