"""What one changed setting does: K and N, the departures of the released code, and alpha.

Runs are found by their configs, not by their names: a run belongs to a sweep if nothing but the setting in question
(and the seed) tells it from the method's own run.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from hdge.evaluators.calibration import expected_calibration_error, negative_log_likelihood
from hdge.evaluators.classification import accuracy_table
from hdge.evaluators.intervals import effect, holm
from hdge.evaluators.ood import SCORES, auroc_table
from hdge.evaluators.tables import Rows, rows
from hdge.study.config import TrainConfig
from hdge.study.runs import Run, of_rows

# What the released code does and Algorithm 1 does not; notes on each are in notebook 08.
DEPARTURES = {
    (("queue.energy", "masked"),): "energies masked",
    (("queue.start", "noise"),): "queue starts as noise",
    (("queue.forward_passes", 2),): "two passes a step",
    (("queue.energy", "masked"), ("queue.forward_passes", 2), ("queue.start", "noise")): "these three together",
}
MEASURES = {
    "accuracy": "higher",
    "ECE": "lower",
    "−log q(y|x)": "lower",
    **{f"AUROC, {score}": "higher" for score in SCORES[:2]},
}
COLUMNS = ["method", "seed", "measure", "better", "ood_set", "n", "n_out", "value", "low", "high"]
COST, SELECTION = "operations ÷ HDGE's", "epoch picked by the images reported"


def measures_table(runs: Sequence[Run], replicates: int = 0) -> pd.DataFrame:
    """The study's main measures of every run that classifies, in one column; n counts in-distribution test images."""
    accuracy = accuracy_table(runs).rename(columns={"accuracy": "value"}).drop(columns="correct")

    def calibration(run: Run) -> Rows:
        outputs = run.folder.outputs("test")
        for measure, function in (("ECE", expected_calibration_error), ("−log q(y|x)", negative_log_likelihood)):
            value = function(outputs.logits, outputs.labels)
            yield {"measure": measure, "n": len(outputs.labels), "value": value}

    detection = auroc_table(runs, replicates).rename(columns={"auroc": "value", "n_in": "n"})
    detection = detection[detection["score"].isin(SCORES[:2])].assign(measure="AUROC, " + detection["score"])
    parts = [accuracy.assign(measure="accuracy"), rows(runs, calibration, ["measure", "n", "value"]), detection]
    table = pd.concat(parts, ignore_index=True).fillna({"ood_set": "–"})
    table["better"] = table["measure"].map(MEASURES)
    return table.reindex(columns=COLUMNS)


def changes(config: TrainConfig, base: TrainConfig) -> tuple[tuple[str, object], ...]:
    """Dotted names and values of the settings, seed apart, in which a config differs from a base.

    A setting that only one of the two methods has is no difference between them.
    """
    own, other = _settings(config), _settings(base)
    shared = (own.keys() & other.keys()) - {"seed"}
    return tuple(sorted((name, own[name]) for name in shared if own[name] != other[name]))


def _settings(config: TrainConfig) -> dict[str, Any]:
    """A config's settings by name, those of a group as "group.name"."""
    flat: dict[str, Any] = {}
    for name, value in json.loads(config.to_json()).items():
        flat |= {f"{name}.{own}": v for own, v in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _with_changes(runs: Sequence[Run], method: str) -> list[tuple[Run, tuple[tuple[str, object], ...]]]:
    """Every run with its changes of the method's config; none without a run of the method."""
    bases = [run.config for run in runs if run.row == method]
    return [(run, changes(run.config, bases[0])) for run in runs if bases]


def of_setting(runs: Sequence[Run], method: str, *settings: str) -> list[Run]:
    """The runs of a method, and those that differ from them in the settings alone."""
    return [run for run, changed in _with_changes(runs, method) if {name for name, _ in changed} <= set(settings)]


def size_table(runs: Sequence[Run], replicates: int = 0) -> pd.DataFrame:
    """Measures against the number of images behind the estimate: K of HDGE's queue, N of JEM's chains."""
    parts = []
    for estimate, method, setting in (("K", "hdge", "queue.size"), ("N", "jem", "sgld.chains")):
        own = of_setting(runs, method, setting)
        if own:
            sizes = {run.row: _settings(run.config)[setting] for run in own}
            table = measures_table(own, replicates)
            parts.append(table.assign(estimate=estimate, size=table["method"].map(sizes)))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*COLUMNS, "estimate", "size"])


def alpha_table(runs: Sequence[Run], replicates: int = 0) -> pd.DataFrame:
    """Measures against alpha: HDGE and its variants, cross-entropy (alpha = 1) and the generative term alone (0)."""
    alphas = {
        run.row: 1.0 if run.config.method == "cross_entropy" else run.config.hybrid.alpha
        for run in of_setting(runs, "hdge", "method", "hybrid.alpha")
        if run.config.method in ("hdge", "generative", "cross_entropy")
    }
    table = measures_table(of_rows(runs, list(alphas)), replicates)
    return table.assign(alpha=table["method"].map(alphas))


def departures_table(runs: Sequence[Run]) -> pd.DataFrame:
    """What every departure of the released code changes, seed by seed on the same test images.

    AUROC is averaged over the out-of-distribution sets. One departure is in reporting alone: the released code picks an
    epoch by the images that it reports. On HDGE's runs it adds the validation accuracy of the best epoch less that of
    the last.
    """
    names = {run.row: DEPARTURES[c] for run, c in _with_changes(runs, "hdge") if c in DEPARTURES}
    own = of_rows(runs, ["hdge", *names])

    def cost(run: Run) -> Rows:
        yield {"measure": COST, "value": run.folder.record()["cost"]["operations_per_image"]}

    table = pd.concat([measures_table(own), rows(own, cost, ["measure", "value"])])
    values: dict[Any, float] = table.groupby(["method", "seed", "measure"], sort=False)["value"].mean().to_dict()
    n = table["n"].head(1).astype(int).tolist()  # of the test images; none without a run
    found: list[tuple[Any, ...]] = []
    for departing, departure in names.items():
        for (row, seed, measure), value in values.items():
            if row == departing and ("hdge", seed, measure) in values:
                unit = values["hdge", seed, COST] if measure == COST else 1.0
                hdge, departed = values["hdge", seed, measure] / unit, value / unit
                found.append((departure, measure, *n, seed, hdge, departed, departed - hdge))
    for run in of_rows(runs, ["hdge"]):
        curve = run.folder.history()["validation_accuracy"]
        images = len(run.folder.outputs("validation").labels)
        last, best = curve.iloc[-1], curve.max()
        found.append((SELECTION, "accuracy", images, run.seed, last, best, best - last))
    return pd.DataFrame(found, columns=["departure", "measure", "n", "seed", "hdge", "value", "difference"])


def effects_table(table: pd.DataFrame) -> pd.DataFrame:
    """Mean effects in a :func:`departures_table` over seeds, and p-values corrected for all of them together."""
    found = []
    for (departure, measure), part in table.groupby(["departure", "measure"], sort=False):
        names = {"departure": departure, "measure": measure, "n": part["n"].iloc[0], "seeds": len(part)}
        means = {column: part[column].mean() for column in ("hdge", "value")}
        found.append({**names, **means, **effect(part["difference"].tolist())})
    columns = ["departure", "measure", "n", "seeds", "hdge", "value", "difference", "low", "high", "p"]
    effects = pd.DataFrame(found, columns=columns).assign(p_holm=math.nan)
    tested = effects["p"].notna()
    effects.loc[tested, "p_holm"] = holm(effects.loc[tested, "p"].tolist())
    return effects
