"""The battery on networks of any program: from files of logits to tables, pictures and one page to send."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hdge.core.readings import log_q_x
from hdge.data.scored import Scored, read_scored
from hdge.evaluators.calibration import calibration_table, reliability_table, scaling_table
from hdge.evaluators.classification import accuracy_table
from hdge.evaluators.ood import auroc_table, log_q_x_histograms
from hdge.evaluators.tables import by_row
from hdge.figures.calibration import errors_figure, reliability_figure, scaled_figure
from hdge.figures.compare import comparison_figure
from hdge.figures.ood import auroc_figure, histogram_figure
from hdge.figures.page import Section, page
from hdge.figures.style import use_style
from hdge.study.errors import HdgeError, require
from hdge.study.files import atomic_write
from hdge.study.runs import Run, classifiers, of_rows
from hdge.study.study import store
from hdge.verdict.claims import Measure
from hdge.verdict.compare import compare_table, unpaired

SIDE_BY_SIDE = 4  # methods whose diagrams fit into the width of a page
# Nats: with log q(x) this near to 0 for all images, logits are log-probabilities. Below 8, bfloat16 has gaps of 2^-5.
NORMALISED = 2**-5
TABLES = ("accuracy", "calibration", "reliability", "temperature", "ood", "ood_histograms", "comparison")


def score(paths: Sequence[Path], output: Path, delta: float | None = None) -> tuple[Path, list[str]]:
    """Write tables, pictures and ``report.html`` of networks' logits into a folder; return the page and its sentences.

    ``delta`` is the smallest difference of interest, in each measure's unit; None for the study's own.
    """
    if output.exists() and not output.is_dir():
        raise HdgeError(f"{output} is a file; choose a folder for the results.")
    require("delta", delta, delta is None or delta > 0, "above 0")
    runs = read_scored(paths)
    for old in [output / f"{name}.{kind}" for name in TABLES for kind in ("csv", "svg")]:  # of other networks, maybe
        old.unlink(missing_ok=True)
    use_style()
    said = [_told(runs)]
    lost = by_row([run for run in runs if run not in _with_density(runs)])
    if lost:
        said.append(f"{', '.join(lost)}: log q(x) is 0 for every image, for these are log-probabilities; left out.")
    classify = classifiers(runs)
    fitted = [run for run in runs if run.classifies and "validation" in run.folder.sets]
    sections = [_accuracy(classify, output), _calibration(classify, output)] if classify else []
    sections += [_scaling(fitted, output)] if fitted else []
    sections += [_detection(runs, output)] if runs[0].stored_sets() else []
    if len(by_row(runs)) > 1:
        sections.append(_comparison(runs, output, delta, said))
    atomic_write(output / "report.html", page("Networks scored by the HDGE study's battery", said, sections).encode())
    return output / "report.html", said


def _told(runs: Sequence[Scored]) -> str:
    sets = runs[0].folder.sets
    images = ", ".join(f"{name} {len(own.logits):,}" for name, own in sets.items())
    methods = ", ".join(f"{name} ({len(own)} seed{'s' * (len(own) > 1)})" for name, own in by_row(runs).items())
    return f"Methods: {methods}. Images: {images}. Classes: {sets['test'].logits.shape[1]}."


def _with_density(runs: Sequence[Scored]) -> list[Scored]:
    """Select the runs whose log q(x) says something: log-probabilities have lost it."""
    return [
        run for run in runs
        if not run.classifies or float(log_q_x(run.folder.outputs("test").logits).abs().max()) > NORMALISED
    ]  # fmt: skip


def _section(title: str, names: Sequence[str], output: Path, tables: Sequence[pd.DataFrame], *said: str) -> Section:
    """Show some tables and all pictures of stored names, with links to the tables."""
    pictures = [path for name in names if (path := output / f"{name}.svg").exists()]
    return Section(title, said, tables, pictures, [(f"{name}.csv", f"{name}.csv") for name in names])


def _accuracy(runs: Sequence[Run], output: Path) -> Section:
    table = store(accuracy_table(runs), output / "accuracy.csv")
    said = "Low and high are Wilson's 95 % interval over test images."
    return _section("Accuracy", ["accuracy"], output, [table], said)


def _calibration(runs: Sequence[Run], output: Path) -> Section:
    table = calibration_table(runs)
    table = store(table, output / "calibration.csv", errors_figure(table))
    few = of_rows(runs, list(by_row(runs))[:SIDE_BY_SIDE])
    bins = reliability_table(few)
    store(bins, output / "reliability.csv", reliability_figure(bins, table))
    said = "An ECE says something only where it lies above the one of a perfectly calibrated network."
    return _section("Calibration", ["calibration", "reliability"], output, [table], said)


def _scaling(runs: Sequence[Run], output: Path) -> Section:
    table = scaling_table(runs)
    table = store(table, output / "temperature.csv", scaled_figure(table))
    said = "T divides all logits and is fitted on validation images. Test images are scaled by it."
    return _section("Temperature scaling", ["temperature"], output, [table], said)


def _detection(runs: Sequence[Scored], output: Path) -> Section:
    dense, names = _with_density(runs), ["ood"]
    table = auroc_table(runs)
    kept = {(run.row, run.seed) for run in dense}
    has = np.array([pair in kept for pair in zip(table["method"], table["seed"], strict=True)], dtype=bool)
    table = table[(table["score"] != "log q(x)") | has]
    table = store(table, output / "ood.csv", auroc_figure(table))
    if dense:
        histograms = log_q_x_histograms(of_rows(dense, list(by_row(dense))[:SIDE_BY_SIDE]))
        store(histograms, output / "ood_histograms.csv", histogram_figure(histograms))
        names.append("ood_histograms")
    said = "Test images are the positive class. Low and high are a bootstrap over images."
    return _section("Out-of-distribution detection", names, output, [table], said)


def _comparison(runs: Sequence[Scored], output: Path, delta: float | None, said: list[str]) -> Section:
    classify, sets = len(classifiers(runs)) == len(runs), runs[0].stored_sets()
    compared: dict[Measure, Sequence[Run]] = {"accuracy": runs, "nll": runs} if classify else {}
    compared |= {"max q(y|x)": runs} if classify and sets else {}
    compared |= {"log q(x)": _with_density(runs)} if sets else {}
    table = compare_table(compared, delta)
    table = store(table, output / "comparison.csv", comparison_figure(table))
    said += unpaired(runs)
    for _, row in table[table["outcome"].isin(["better", "worse"])].iterrows():
        said.append(
            f"{row['measure']}: {row['method']} is {row['outcome']} than {row['baseline']}, with a difference of "
            f"{row['difference']:+.3g} {row['unit']} [{row['low']:+.3g}, {row['high']:+.3g}] over {row['over']}; "
            f"Holm's p {row['p_holm']:.2g}."
        )
    how = "An interval over images alone says nothing about another seed. Three seeds a method or more say something."
    return _section("Comparison by pairs", ["comparison"], output, [table], how)
