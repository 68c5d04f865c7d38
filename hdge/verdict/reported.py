"""The numbers that the paper's tables report."""

from importlib import resources

import pandas as pd


def reported() -> pd.DataFrame:
    """Columns: table, task, model, dataset, metric, value, source; without values that the sources do not state."""
    with resources.files("hdge.verdict").joinpath("reported_results.csv").open() as file:
        return pd.read_csv(file)
