"""The numbers that the paper's tables report, and the differences that its claims rest on."""

import math
from importlib import resources

import numpy as np
import pandas as pd

from hdge.study.roster import METHODS
from hdge.verdict.claims import Claim

# The names that the paper's table of sizes has for rows of this study.
SIZES = {"hdge": "hdge_k65536", "hdge_k_64": "hdge_k64", "jem": "jem_n64", "jem_n_128": "jem_n128"}


def reported() -> pd.DataFrame:
    """Columns: table, task, model, dataset, metric, value, source; without values that the sources do not state."""
    with resources.files("hdge.verdict").joinpath("reported_results.csv").open() as file:
        return pd.read_csv(file)


def paper_difference(claim: Claim, dataset: str) -> float:
    """Return the paper's own difference, in the measure's unit, against its strongest baseline; NaN if it has none.

    Accuracy is that of the in-distribution data set, and CIFAR-10's on the digits. AUROC is the mean over the paper's
    sets; scores of samples are logarithms.
    """
    if not claim.task:
        return math.nan
    names = SIZES if claim.task == "approximation" else {name: entry.reported for name, entry in METHODS.items()}
    table = reported()
    metric = claim.task if claim.task in ("inception_score", "fid") else None
    if metric:
        table = table[table["metric"] == metric]
    else:
        table = table[(table["task"] == claim.task) | (table["table"] == claim.task)]
        table = table[table["metric"].isin(["accuracy", "auroc"])]
    if claim.task == "accuracy":
        table = table[table["dataset"] == (dataset if dataset == "cifar100" else "cifar10")]
    values = table.drop_duplicates(["model", "dataset"]).groupby("model")["value"].mean()
    if claim.measure == "accuracy":
        values /= 100
    if metric:
        values = np.log(values)

    def of(row: str) -> float:
        return float(values.get(names.get(row) or row, math.nan))

    change = of(claim.change[0]) - of(claim.change[1]) if claim.change else 0.0
    differences = [of(claim.method) - of(row) - change for row in claim.baselines]
    known = [difference for difference in differences if not math.isnan(difference)]
    return min(known, key=lambda difference: claim.sign * difference) if known else math.nan
