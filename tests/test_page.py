"""The page to send: it holds all it shows, says what it is told and nothing else, and asks no one for anything."""

import html
import re

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from hdge.cli import main
from hdge.figures.executed import executed_page
from hdge.figures.page import Section, page
from hdge.study.config import HOME
from hdge.study.errors import HdgeError
from hdge.study.study import Study
from hdge.verdict.answer import HEADLINES, against_jem, clearest, headline, without_batch_norm
from hdge.verdict.claims import claims
from hdge.verdict.report import write_report
from hdge.verdict.rule import outcome


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


def an_executed_notebook(path):
    """A notebook with formulas, and with an output of a menu, as a notebook run in JupyterLab has."""
    menu = {"application/vnd.jupyter.widget-view+json": {"model_id": "0"}, "text/plain": "Dropdown()"}
    outputs = [new_output("execute_result", {"text/plain": "2"}), new_output("display_data", menu)]
    text = "# Calibration\n\n$$\n\\log Z_y = \\sum_i s_i\n$$\n\nHere $q(y|x)$ is *it*."
    cells = [new_markdown_cell(text), new_code_cell("1 + 1", outputs=outputs)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)
    return path


def report_of_digits(folder):
    """The report drawn from the committed tables, under another root, with one executed notebook."""
    an_executed_notebook(folder / "papermill_runs" / "digits" / "notebooks" / "03_calibration.ipynb")
    target = folder / "figures" / "digits"
    target.parent.mkdir()
    target.symlink_to(HOME / "figures" / "digits")
    return write_report(Study("digits", folder))


def test_the_clearest_claim_is_the_furthest_from_another_verdict():
    """No difference is clear if the interval is small beside δ, another verdict if it is far from 0.

    Claims about another method than HDGE come second.
    """
    columns = ["claim", "kind", "verdict", "difference", "low", "high", "delta"]
    claims = pd.DataFrame(
        [
            ("barely", "higher", "no difference", 0.009, -0.001, 0.019, 0.02),
            ("well", "lower", "no difference", 0.001, -0.004, 0.006, 0.02),
            ("widely", "alike", "reproduced", 0.008, 0.007, 0.009, 0.02),
            ("weakly", "higher", "reproduced", 0.03, 0.01, 0.05, 0.02),
            ("strongly", "lower", "reproduced", -0.02, -0.022, -0.018, 0.02),
            ("rarely", "rare", "reproduced", 0.0, 0.0, 0.06, 0.1),
        ],
        columns=columns,
    ).assign(method="hdge", baseline="jem", measure="nll", method_mean=1.0, baseline_mean=1.0, seeds=3.0, n=100)
    for verdict, name in (("no difference", "well"), ("reproduced", "strongly")):
        assert f"{verdict} most clearly: “{name}”" in clearest(claims, verdict)[0]
    assert clearest(claims, "contradicted") == []
    claims.loc[claims["claim"] == "strongly", "method"] = "hdge_jem"
    assert "“weakly”" in clearest(claims, "reproduced")[0]
    assert "“strongly”" in clearest(claims[claims["method"] == "hdge_jem"], "reproduced")[0]


def test_a_headline_says_each_verdict_once_and_last_what_is_untested():
    def said(*found, provisional=False, largest=0.05):
        ends = {"reproduced": (0.01, largest), "contradicted": (-largest, -0.01), "undecided": (-largest, 0.05)}
        scales = zip(("digits", "cifar10-small", "cifar100-small"), found, strict=True)
        rows = {name: {"claim": "so", "verdict": verdict, "provisional": provisional} for name, verdict in scales}
        for row in rows.values():
            row["reason"] = outcome("higher", *ends.get(row["verdict"], (0.01, 0.05)), delta=0.04).reason
        return headline("so", {name: pd.DataFrame([row]) for name, row in rows.items()})

    untested = "not testable here"
    assert said("reproduced", "contradicted", "reproduced") == (
        "- **so** – reproduced on digits, CIFAR-100; contradicted on CIFAR-10"
    )
    assert said(untested, "undecided", untested) == "- **so** – undecided on CIFAR-10; not testable elsewhere"
    assert said(untested, untested, untested) == "- **so** – not testable"
    small = said("reproduced", "contradicted", "undecided", largest=0.03)
    assert (
        small == "- **so** – reproduced within δ on digits; contradicted within δ on CIFAR-10; undecided on CIFAR-100"
    )
    assert "provisionally undecided on digits, CIFAR-10, CIFAR-100" in said(*["undecided"] * 3, provisional=True)


def accuracies(**of_rows):
    rows = [(row, seed, value) for row, values in of_rows.items() for seed, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["method", "seed", "accuracy"])


def test_claims_against_a_weak_baseline_are_counted_beside_its_accuracy():
    verdicts = pd.DataFrame(
        {"verdict": ["reproduced"] * 3 + ["undecided"], "baseline": ["jem", "jem", "supcon", "jem"]}
    )
    weak = accuracies(cross_entropy=[0.8, 0.82], jem=[0.7, 0.7])
    [told] = against_jem({"digits": verdicts, "cifar10-small": verdicts}, {"digits": None, "cifar10-small": weak})
    assert told == (
        "Of the claims reproduced, 2 on CIFAR-10 compare with JEM. JEM's accuracy lies below cross-entropy's by "
        "11.0 on CIFAR-10, in points. In the paper it is 1.4 on CIFAR-10."
    )
    assert against_jem({"digits": verdicts[2:]}, {"digits": weak}) == []


def test_accuracy_without_batch_norm_is_told_where_its_sign_differs():
    gains = accuracies(cross_entropy=[0.5, 0.5, 0.5], hdge=[0.51, 0.52, 0.53])
    for judged, told in ((-0.01, 1), (0.01, 0), (float("nan"), 0)):
        claim = pd.DataFrame({"claim": [HEADLINES[0]], "difference": [judged]})
        said = without_batch_norm(claim, gains)
        assert len(said) == told
        # Student's 97.5 % quantile at two degrees of freedom is 4.303, and the standard error 1 / sqrt(3) points.
        assert not said or "by +2.00 points [-0.48, +4.48], over 3 seeds" in said[0]
    assert without_batch_norm(claim, None) == []


def test_headlines_are_claims_of_a_group_each():
    groups = {claim.name: claim.group for claim in claims()}
    assert len({groups[name] for name in HEADLINES}) == len(HEADLINES)


def test_a_studys_report_has_every_claim_and_every_picture(tmp_path):
    *said, path = report_of_digits(tmp_path)
    text = (tmp_path / "papermill_runs" / "digits" / "report.html").read_text()
    assert path == str(tmp_path / "papermill_runs" / "digits" / "report.html")
    claims = pd.read_csv(HOME / "figures" / "digits" / "09_verdict_claims.csv")
    counts = claims["verdict"].value_counts()
    assert all(re.search(rf"\b{count} {verdict}", said[1]) for verdict, count in counts.items())
    for words in claims["claim"]:
        assert f">{html.escape(words)}<" in text
    pictures = list((HOME / "figures" / "digits").glob("*.svg"))
    assert text.count("data:image/svg+xml") == len(pictures)
    outside = re.findall(r'(?:src|href)="([^"]{0,40})', text)
    assert all(link.startswith(("data:image", "#part", "../", "notebooks/")) for link in outside)
    assert text.count("notebooks/03_calibration.html") == 1
    assert (tmp_path / "papermill_runs" / "digits" / "notebooks" / "03_calibration.html").exists()


def test_a_page_of_an_executed_notebook_has_its_formulas_and_fetches_nothing(tmp_path):
    text = executed_page(an_executed_notebook(tmp_path / "a.ipynb"))
    assert text.count("<math") == 2
    assert text.count('display="block"') == 1
    assert "<em>it</em>" in text
    assert "$" not in re.sub(r"<(style|script).*?</\1>", "", text, flags=re.DOTALL)
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=.?(?:https?:)?//", text)
    assert "import(" not in text


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"{}", b'{"cells": [{}], "nbformat": 4, "metadata": {}}'])
def test_a_damaged_executed_notebook_is_told_by_name(content, tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_bytes(content)
    with pytest.raises(HdgeError, match=r"a\.ipynb is damaged, .*; delete it\.$"):
        executed_page(path)


def test_a_study_without_verdicts_has_no_report(tmp_path, capsys):
    with pytest.raises(HdgeError, match="run `hdge reproduce smoke` first"):
        write_report(Study("smoke", tmp_path))
    assert main(["report", "smoke", "--root", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())
