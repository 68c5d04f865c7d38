"""The anatomy of every notebook, read without running it."""

import ast
import io
import re
import tokenize

import nbformat
import papermill
import pytest

from hdge.study.config import HOME

NOTEBOOKS = sorted((HOME / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def cells(path):
    return nbformat.read(path, as_version=4).cells


def code(cells) -> list[str]:
    return [cell.source for cell in cells if cell.cell_type == "code"]


def test_it_is_committed_without_outputs(cells):
    assert all(not cell.outputs and cell.execution_count is None for cell in cells if cell.cell_type == "code")


def test_it_is_thin(cells):
    tree = ast.parse("\n".join(code(cells)))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda)]
    lines = [line for source in code(cells)[1:] for line in source.splitlines() if line.strip()]
    assert len(lines) <= 40  # beside the parameters, which hold no logic


def test_its_parameters_are_literals_with_their_help(path, cells):
    [source] = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    names = []
    for statement, line in zip(ast.parse(source).body, source.splitlines(), strict=True):
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)
        comments = [t for t in tokenize.generate_tokens(io.StringIO(line).readline) if t.type == tokenize.COMMENT]
        assert len(comments) == 1
        assert " = " not in comments[0].string  # papermill drops a line with a second assignment
        names.append(statement.targets[0].id)
    assert list(papermill.inspect_notebook(str(path))) == names


def test_it_refuses_unknown_parameters_before_it_does_anything(cells):
    statements = ast.parse(code(cells)[1]).body
    done = [ast.unparse(one) for one in statements if not isinstance(one, ast.Import | ast.ImportFrom)]
    assert done[0] == "refuse_unknown_parameters()"


def test_it_tells_its_question_protocol_and_limits(path, cells):
    text = [cell.source for cell in cells if cell.cell_type == "markdown"]
    assert text[0].startswith(f"# {path.stem[:2]} · ")
    assert "?" in text[0]
    assert "**The paper's claim.**" in text[1]
    headings = [line for source in text for line in source.splitlines() if line.startswith("## ")]
    assert "## Protocol" in headings
    assert headings[-1] == "## Reading"
    assert "## Verdict" in headings or path.stem == "01_training"  # one run is no evidence for a claim


def test_no_number_of_this_study_is_typed_into_a_verdict(cells):
    sources = [cell.source for cell in cells]
    for i, source in enumerate(sources):
        if source.startswith("## Verdict"):
            assert not re.search(r"\d\.\d\d", source + sources[i + 1])
            assert "=" in sources[i + 1] or "(" in sources[i + 1]
            assert cells[i + 1].cell_type == "code"
