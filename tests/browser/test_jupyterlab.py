"""JupyterLab in a real browser, started as README says: notebooks run from the menu, and widgets move pictures."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hdge.study.config import HOME

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")

MINUTES = 4 * 60_000  # milliseconds; a notebook takes some 15 s on quiet cores
PARTS = (
    "hdge",
    "notebooks",
    "profiles",
    "Snakefile",
    "pyproject.toml",
    "papermill_runs/digits/archive",
    "figures/digits",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    for part in PARTS:
        source, target = HOME / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    return folder


@pytest.fixture(scope="module")
def lab(project) -> Iterator[str]:
    """The address of a server of the project's notebooks."""
    command = [sys.executable, "-m", "jupyterlab", "notebooks", "--no-browser", "--allow-root", "--port=0"]
    home = {name: str(project / "home") for name in ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    environment = {**os.environ, **home, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    log = (project / "lab.log").open("w+")
    server = subprocess.Popen(
        [*command, "--expose-app-in-browser", "--IdentityProvider.token="],
        cwd=project,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        deadline, found = time.monotonic() + 120, None
        while not found:
            assert server.poll() is None, Path(log.name).read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
            found = re.search(r"http://(localhost|127\.0\.0\.1):\d+", Path(log.name).read_text())
        yield found.group()
    finally:
        server.terminate()
        server.wait()
        log.close()


@pytest.fixture
def page(lab):
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 2400})
        page.set_default_timeout(MINUTES)
        yield page
        browser.close()


def run_all(page, lab: str, name: str) -> None:
    """Open a notebook and run it from the menu until every cell has run without an error."""
    page.goto(f"{lab}/lab/tree/{name}.ipynb?reset")  # else it restores the notebooks seen before
    page.locator(".jp-Notebook").first.wait_for()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Run All Cells$")).click()
    deadline = time.monotonic() + MINUTES / 1000
    cells: list[dict] = []
    while not (cells and all(cell["execution_count"] for cell in cells)):
        assert time.monotonic() < deadline
        page.wait_for_timeout(1000)
        # Not from the file: if it is read while the server writes it, the server puts an older one in its place, and
        # JupyterLab asks what to do with a changed file, in a dialog that takes every key.
        held = page.evaluate("Array.from(jupyterapp.shell.currentWidget.content.model.cells, cell => cell.toJSON())")
        cells = [cell for cell in held if cell["cell_type"] == "code"]
        failed = [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
        assert not failed, failed


def beside(page, widget: str):
    """The picture beside the widgets of a kind, and its present content."""
    area = page.locator(".jp-OutputArea-child", has=page.locator(widget)).first
    area.scroll_into_view_if_needed()
    picture = area.locator("img").first
    return area, picture, picture.get_attribute("src")


def moves(page, picture, seen: str, act: Callable[[], object]) -> None:
    """Act until the picture changes: while JupyterLab scrolls, it may take the focus from a widget."""
    deadline = time.monotonic() + 120
    while picture.get_attribute("src") == seen:
        assert not page.locator(".jp-Dialog").all_inner_texts()
        assert time.monotonic() < deadline, "the picture did not change"
        act()
        page.wait_for_timeout(5000)


@pytest.mark.parametrize("name", ["00_tour", "02_ood", "03_calibration", "06_robustness"])
def test_a_notebook_runs_from_the_menu_and_its_widgets_move_the_picture(name, page, lab, project, tmp_path):
    before = {path: path.read_bytes() for path in (project / "figures").rglob("*") if path.is_file()}
    run_all(page, lab, name)
    if name == "03_calibration":
        area, picture, seen = beside(page, ".widget-slider")
        moves(page, picture, seen, lambda: area.locator(".noUi-handle").first.press("ArrowRight"))
    if name == "02_ood":
        area, picture, seen = beside(page, ".widget-dropdown")
        moves(page, picture, seen, lambda: area.locator("select").nth(1).select_option("max q(y|x)"))
    page.screenshot(path=os.environ.get("SCREENSHOTS", str(tmp_path)) + f"/{name}.png")
    assert before == {path: path.read_bytes() for path in (project / "figures").rglob("*") if path.is_file()}
