"""The files that make an environment say the same, and README does what it says."""

import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement

from hdge import __version__
from hdge.study.config import HOME
from hdge.verdict.results import pages

PROJECT = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
README = (HOME / "README.md").read_text()


def pins(lines: list[str]) -> dict[str, str]:
    """Name, as the packaging rules spell it, to version; a line that is no exact pin is an error."""
    found = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.+!]+)", line)
        assert match, f"not an exact pin: {line}"
        found[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
    return found


def constraints() -> dict[str, str]:
    lines = (HOME / "constraints.txt").read_text().splitlines()
    return pins([line for line in lines if line and not line.startswith("#")])


def test_the_constraints_pin_every_direct_dependency_within_its_bounds():
    extras = PROJECT["optional-dependencies"]
    for line in [*PROJECT["dependencies"], *extras["study"], *extras["cluster"], *extras["dev"]]:
        direct = Requirement(line)
        name = re.sub(r"[-_.]+", "-", direct.name).lower()
        assert name == "hdge" or constraints()[name] in direct.specifier, line


def test_the_loss_needs_little():
    assert {Requirement(line).name for line in PROJECT["dependencies"]} == {"torch", "jaxtyping"}


def test_conda_environment_points_at_the_same_pins():
    environment = yaml.safe_load((HOME / "environment.yml").read_text())
    python, pip, section = environment["dependencies"]
    given, least = python.removeprefix("python="), PROJECT["requires-python"].removeprefix(">=")
    assert tuple(map(int, given.split("."))) >= tuple(map(int, least.split(".")))
    assert pip == "pip"
    assert section["pip"] == ["--constraint constraints.txt", "--editable .[dev]"]


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((HOME / "CITATION.cff").read_text())
    assert PROJECT["version"] == __version__ == citation["version"]
    assert f"## {__version__}" in (HOME / "CHANGELOG.md").read_text()


def test_quick_start_holds_exactly_the_two_commands():
    quick_start = re.search(r"^## Quick start$(.*?)^## ", README, re.M | re.S)[1]
    blocks = re.findall(r"^```sh\n(.*?)^```$", quick_start, re.M | re.S)
    assert len(blocks) == 2
    assert "hdge reproduce" in blocks[0]
    assert "pytest" in blocks[1]
    for block in blocks:
        assert block.startswith("python3 -m venv .venv\n")
        assert "--constraint constraints.txt --editable" in block


def test_continuous_integration_finds_those_blocks():
    """The script's own extraction, with the commands shown instead of run."""
    script = (HOME / ".ci" / "run").read_text().replace('bash -euo pipefail -c "$script"', 'printf "%s" "$script"')
    shown = subprocess.run(
        ["bash", "-c", script.replace('"$(dirname "$0")/.."', f'"{HOME}"')], capture_output=True, text=True, check=True
    ).stdout
    assert "hdge reproduce" in shown
    assert "pytest" in shown


def test_results_on_both_pages_are_those_of_the_committed_tables():
    for path, text in pages(committed=True).items():
        assert path.read_text() == text, f"{path}: run `python -m hdge.verdict.results`"


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=lambda words: words[0]
)
def test_lint_format_and_types(command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=HOME, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_is_one_idea():
    for path in [*HOME.glob("hdge/**/*.py"), *HOME.glob("tests/**/*.py")]:
        assert len(path.read_text().splitlines()) <= 300, path
