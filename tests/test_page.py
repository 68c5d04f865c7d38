"""The page to send: it holds all it shows, says what it is told and nothing else, and asks no one for anything."""

import html
import re

import pandas as pd
import pytest

from hdge.cli import main
from hdge.figures.page import Section, page
from hdge.study.config import HOME
from hdge.study.errors import HdgeError
from hdge.study.study import Study
from hdge.verdict.report import write_report


def test_text_is_shown_and_not_obeyed(tmp_path):
    picture = tmp_path / "a.svg"
    picture.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    bad = "<script>alert(1)</script>"
    table = pd.DataFrame({bad: [bad, None], "n": [1234, 5], "x": [0.123456, float("nan")], "yes": [True, False]})
    made = page(bad, [bad], [Section(bad, [bad], [table], [picture], [(bad, '"><script>')])])
    assert "<script" not in made
    # title, heading, sentence, contents, section, its sentence, column, cell, link
    assert made.count("&lt;script&gt;alert(1)") == 9
    assert "<td>1,234</td><td>0.1235</td>" in made
    assert made.count("<td>–</td>") == 2
    assert "http:" not in made


def report_of_digits(folder):
    """The report drawn from the committed tables, under another root."""
    target = folder / "figures" / "digits"
    target.parent.mkdir()
    target.symlink_to(HOME / "figures" / "digits")
    return write_report(Study("digits", folder))


def test_a_studys_report_has_every_claim_and_every_picture(tmp_path):
    *said, path = report_of_digits(tmp_path)
    text = (tmp_path / "papermill_runs" / "digits" / "report.html").read_text()
    assert path == str(tmp_path / "papermill_runs" / "digits" / "report.html")
    claims = pd.read_csv(HOME / "figures" / "digits" / "09_verdict_claims.csv")
    counts = claims["verdict"].value_counts()
    assert all(f"{count} {verdict}" in said[1] for verdict, count in counts.items())
    for words in claims["claim"]:
        assert f">{html.escape(words)}<" in text
    pictures = list((HOME / "figures" / "digits").glob("*.svg"))
    assert text.count("data:image/svg+xml") == len(pictures)
    outside = re.findall(r'(?:src|href)="([^"]{0,40})', text)
    assert all(link.startswith(("data:image", "#part", "../")) for link in outside)


def test_a_study_without_verdicts_has_no_report(tmp_path, capsys):
    with pytest.raises(HdgeError, match="run `hdge reproduce smoke` first"):
        write_report(Study("smoke", tmp_path))
    assert main(["report", "smoke", "--root", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())
