"""Classification: accuracy, learning curves and confusions."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import torch

from hdge.core.readings import prediction
from hdge.evaluators.intervals import wilson_interval
from hdge.evaluators.tables import rows
from hdge.study.roster import METHODS
from hdge.study.runs import Run


def accuracy_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Accuracy of every run on the in-distribution test images.

    Returns:
        Columns: method, seed, n, correct, accuracy, low, high (Wilson, over test images).
    """

    def accuracy(run: Run) -> Iterable[dict[str, Any]]:
        outputs = run.folder.outputs("test")
        n, correct = len(outputs.labels), int((prediction(outputs.logits) == outputs.labels).sum())
        low, high = wilson_interval(correct, n)
        yield {"n": n, "correct": correct, "accuracy": correct / n, "low": low, "high": high}

    return rows(runs, accuracy)


def cost_table(runs: Sequence[Run]) -> pd.DataFrame:
    """What each run's training cost in counted work, the same on every machine, beside its accuracy.

    Returns:
        Columns: those of :func:`accuracy_table`, and batch_size, epochs (of both stages), times_cross_entropy
        (operations an image over the mean of cross-entropy's; not a number without cross-entropy),
        operations_per_image (floating-point operations), forward_passes_per_step, backward_passes_per_step, restarts
        (after divergence).
    """

    def cost(run: Run) -> Iterable[dict[str, Any]]:
        record, config = run.folder.record(), run.config
        second = config.views.head_epochs if "views" in METHODS[config.method].blocks else 0
        counted = ("operations_per_image", "forward_passes_per_step", "backward_passes_per_step")
        yield {
            "batch_size": config.batch_size, "epochs": config.epochs + second,
            **{name: record["cost"][name] for name in counted}, "restarts": len(record.get("rollbacks", [])),
        }  # fmt: skip

    costs = rows(runs, cost)
    base = costs.loc[costs["method"] == "cross_entropy", "operations_per_image"].mean()
    costs.insert(4, "times_cross_entropy", costs["operations_per_image"] / base)
    return accuracy_table(runs).merge(costs, on=["method", "seed"])


def seconds_table(runs: Sequence[Run]) -> pd.DataFrame:
    """What each run's training took on the machine that trained it.

    Returns:
        Columns: method, seed, minutes, seconds_per_step, images_per_second, peak_memory_bytes.
    """

    def seconds(run: Run) -> Iterable[dict[str, Any]]:
        cost = run.folder.record()["cost"]
        measured = ("seconds_per_step", "images_per_second", "peak_memory_bytes")
        yield {"minutes": cost["seconds"] / 60, **{name: cost[name] for name in measured}}

    return rows(runs, seconds)


def learning_curves(runs: Sequence[Run]) -> pd.DataFrame:
    """Every run's history, one row an epoch, with method and seed in front."""
    histories = [run.folder.history().assign(method=run.row, seed=run.seed) for run in runs]
    table = pd.concat(histories, ignore_index=True)
    return table[["method", "seed", *(c for c in table.columns if c not in ("method", "seed"))]]


def confusion_table(runs: Sequence[Run]) -> pd.DataFrame:
    """How often each class was taken for each, seeds pooled.

    Returns:
        Columns: method, seeds, label, predicted (class names), count, share (of the label's images).
    """
    counted = []
    for method in dict.fromkeys(run.row for run in runs):
        own = [run for run in runs if run.row == method]
        classes = own[0].folder.record()["data"]["classes"]
        counts = torch.zeros(len(classes) ** 2, dtype=torch.int64)
        for run in own:
            outputs = run.folder.outputs("test")
            pairs = outputs.labels * len(classes) + prediction(outputs.logits)
            counts += torch.bincount(pairs, minlength=len(counts))
        matrix = counts.reshape(len(classes), len(classes))
        for label, row in zip(classes, matrix, strict=True):
            for predicted, count in zip(classes, row.tolist(), strict=True):
                counted.append(
                    {"method": method, "seeds": len(own), "label": label, "predicted": predicted,
                     "count": count, "share": count / max(1, int(row.sum()))}
                )  # fmt: skip
    return pd.DataFrame(counted)
