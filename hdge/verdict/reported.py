"""The numbers of the paper's tables."""

from importlib import resources

import pandas as pd


def reported() -> pd.DataFrame:
    """The numbers of the paper's tables.

    Returns:
        Columns: table, task, model, dataset, metric, value, source. Values that the sources do not state are not
        there.
    """
    with resources.files("hdge.verdict").joinpath("reported_results.csv").open() as file:
        return pd.read_csv(file)
