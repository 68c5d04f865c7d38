"""The report and the executed notebooks beside it, in a real browser without a network."""

import pytest

from tests.browser.test_jupyterlab import CHROMIUM, playwright
from tests.test_page import report_of_digits

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")


def test_the_report_opens_offline_and_asks_no_one_for_anything(tmp_path):
    report = report_of_digits(tmp_path)[-1]
    asked = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(offline=True)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"file://{report}")
        drawn = page.evaluate("[...document.images].map(image => image.complete && image.naturalWidth > 0)")
        page.get_by_role("link", name="03_calibration.html").click()
        page.locator("math").first.wait_for()
        heights = page.evaluate("[...document.querySelectorAll('math')].map(one => one.getBoundingClientRect().height)")
        browser.close()
    assert len(drawn) > 20
    assert all(drawn)
    assert len(heights) == 2
    assert min(heights) > 5  # pixels: set as formulas, not left out
    assert all(url.startswith(("file://", "data:")) for url in asked)
