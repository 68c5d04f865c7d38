"""The wheel, installed beside torch and jaxtyping alone, as for a training loop of one's own."""

import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from hdge.study.config import HOME

README = (HOME / "README.md").read_text()


def needed(name: str, found: set[str]) -> set[str]:
    """A distribution and all that it needs here, extras left out."""
    if name not in found:
        found.add(name)
        for line in distribution(name).requires or []:
            one = Requirement(line)
            if one.marker is None or one.marker.evaluate({"extra": ""}):
                needed(re.sub(r"[-_.]+", "-", one.name).lower(), found)
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    shutil.copytree(HOME / "hdge", source / "hdge")
    for name in ("pyproject.toml", "README.md", "LICENSE"):  # a build leaves files beside its source
        shutil.copy(HOME / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    subprocess.run([*command, str(folder), str(source)], check=True, capture_output=True)
    (path,) = folder.glob("hdge-*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """A fresh environment that sees the wheel, torch, jaxtyping and what these need, linked from this one."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in needed("torch", set()) | needed("jaxtyping", set()):
        files = distribution(name).files or []
        for top in {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution(name).locate_file(top))))
    zipfile.ZipFile(wheel).extractall(site)
    return folder / "bin" / "python"


def run(python, text):
    return subprocess.run([python, "-I", "-c", text], capture_output=True, text=True, check=False, cwd=python.parent)


def test_the_wheel_holds_the_package_and_its_data(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    files = {path.relative_to(HOME).as_posix() for path in (HOME / "hdge").rglob("*") if path.is_file()}
    assert {name for name in files if "/__pycache__/" not in name} <= names
    assert not [name for name in names if not name.startswith("hdge")]


def test_readmes_five_lines_run_with_torch_alone(python):
    block = re.search(r"^```python\nimport hdge\n(.*?)^```$", README, re.M | re.S)[1].replace("...\n", "")
    setting = """
import sys, torch, hdge
assert "site-packages" in hdge.__file__
images, labels = torch.rand(8, 3, 32, 32), torch.arange(8)
model = hdge.WideResNet(num_classes=10, depth=10, width=1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
"""
    body = "\n".join(line.strip() for line in block.splitlines())
    done = run(python, f"{setting}{body}\nassert torch.isfinite(loss) and len(queue) == 8\n{ABSENT}")
    assert done.returncode == 0, done.stderr


ABSENT = "assert not {'pandas', 'matplotlib', 'snakemake', 'sklearn', 'torchvision', 'yaml'} & sys.modules.keys()"


def test_the_study_is_asked_for_in_a_sentence(python):
    done = run(python, "import hdge; hdge.evaluators")
    assert "install the study by `pip install 'hdge[study]'`" in done.stderr.splitlines()[-1]
    done = run(python, "from hdge.cli import main; main(['reproduce'])")
    assert done.returncode == 2
    assert done.stderr == "hdge: jsonargparse is not installed; install the study by `pip install 'hdge[study]'`.\n"
