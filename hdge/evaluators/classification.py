"""Classification: accuracy, its cost, learning curves and confusions."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from hdge.core.readings import prediction
from hdge.evaluators.intervals import limits, wilson_interval
from hdge.evaluators.tables import Rows, by_row, over_runs, rows
from hdge.study.checks import labelled
from hdge.study.roster import METHODS
from hdge.study.runs import Run

COUNTED = ("operations_per_image", "forward_passes_per_step", "backward_passes_per_step")
MEASURED = ("seconds_per_step", "images_per_second", "peak_memory_bytes")


def accuracy_row(right: Tensor) -> dict[str, Any]:
    """Accuracy and its Wilson interval over test images, from whether each image is right."""
    n, correct = len(right), int(right.sum())
    interval = limits(wilson_interval(correct, n))
    return {"n": n, "correct": correct, "accuracy": correct / n, **interval}


@over_runs("n", "correct", "accuracy", "low", "high")
def accuracy_table(run: Run) -> Rows:
    """Accuracy of every run on the in-distribution test images."""
    outputs = run.folder.outputs("test")
    yield accuracy_row(prediction(outputs.logits) == labelled(outputs.logits, outputs.labels))


def cost_table(runs: Sequence[Run]) -> pd.DataFrame:
    """The operations that each run's training took, the same on every machine, beside its accuracy.

    Epochs are those of all stages, and restarts those after divergence. If there is no run of cross-entropy,
    times_cross_entropy is not a number.
    """

    def cost(run: Run) -> Rows:
        record, config = run.folder.record(), run.config
        head = config.views.head_epochs if "views" in METHODS[config.method].blocks else 0
        yield {
            "batch_size": config.batch_size,
            "epochs": config.epochs + head,
            **{name: record["cost"][name] for name in COUNTED},
            "restarts": len(record.get("rollbacks", [])),
        }

    costs = rows(runs, cost, ["batch_size", "epochs", *COUNTED, "restarts"])
    operations = costs["operations_per_image"]
    costs.insert(4, "times_cross_entropy", operations / operations[costs["method"] == "cross_entropy"].mean())
    return accuracy_table(runs).merge(costs, on=["method", "seed"])


@over_runs("minutes", *MEASURED)
def seconds_table(run: Run) -> Rows:
    """How long each run trained on its machine."""
    cost = run.folder.record()["cost"]
    yield {"minutes": cost["seconds"] / 60, **{name: cost[name] for name in MEASURED}}


def learning_curves(runs: Sequence[Run]) -> pd.DataFrame:
    """Every run's history, one row an epoch, with method and seed in front."""
    return rows(runs, lambda run: run.folder.history().to_dict("records"), ["epoch", "stage", "learning_rate", "loss"])


def confusion_table(runs: Sequence[Run]) -> pd.DataFrame:
    """How often each class was taken for each, seeds pooled, with the share of the label's images."""
    found = []
    for method, own in by_row(runs).items():
        classes = own[0].folder.record()["data"]["classes"]
        counts = torch.zeros(len(classes) ** 2, dtype=torch.int64)
        for run in own:
            outputs = run.folder.outputs("test")
            pairs = labelled(outputs.logits, outputs.labels) * len(classes) + prediction(outputs.logits)
            counts += torch.bincount(pairs, minlength=len(counts))
        for label, row in zip(classes, counts.reshape(len(classes), -1).tolist(), strict=True):
            for predicted, count in zip(classes, row, strict=True):
                share = count / max(1, sum(row))
                names = {"method": method, "seeds": len(own), "label": label, "predicted": predicted}
                found.append({**names, "count": count, "share": share})
    return pd.DataFrame(found, columns=["method", "seeds", "label", "predicted", "count", "share"])
