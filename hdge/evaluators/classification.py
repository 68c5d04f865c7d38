"""Classification: accuracy, its cost, learning curves and confusions."""

from collections.abc import Sequence

import pandas as pd
import torch

from hdge.core.readings import prediction
from hdge.evaluators.intervals import wilson_interval
from hdge.evaluators.tables import Rows, by_row, rows
from hdge.study.roster import METHODS
from hdge.study.runs import Run

COUNTED = ("operations_per_image", "forward_passes_per_step", "backward_passes_per_step")
MEASURED = ("seconds_per_step", "images_per_second", "peak_memory_bytes")


def accuracy_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Accuracy of every run on the in-distribution test images.

    Returns:
        Columns: method, seed, n, correct, accuracy, low, high (Wilson, over test images).
    """

    def accuracy(run: Run) -> Rows:
        outputs = run.folder.outputs("test")
        n, correct = len(outputs.labels), int((prediction(outputs.logits) == outputs.labels).sum())
        low, high = wilson_interval(correct, n)
        yield {"n": n, "correct": correct, "accuracy": correct / n, "low": low, "high": high}

    return rows(runs, accuracy)


def cost_table(runs: Sequence[Run]) -> pd.DataFrame:
    """The operations that each run's training took, the same on every machine, beside its accuracy.

    Returns:
        Columns: those of :func:`accuracy_table`, batch_size, epochs (of all stages), times_cross_entropy (operations
        an image over the mean of cross-entropy's; not a number without cross-entropy), operations_per_image,
        forward_passes_per_step, backward_passes_per_step, restarts (after divergence).
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

    costs = rows(runs, cost)
    operations = costs["operations_per_image"]
    costs.insert(4, "times_cross_entropy", operations / operations[costs["method"] == "cross_entropy"].mean())
    return accuracy_table(runs).merge(costs, on=["method", "seed"])


def seconds_table(runs: Sequence[Run]) -> pd.DataFrame:
    """How long each run trained on its machine.

    Returns:
        Columns: method, seed, minutes, seconds_per_step, images_per_second, peak_memory_bytes.
    """

    def seconds(run: Run) -> Rows:
        cost = run.folder.record()["cost"]
        yield {"minutes": cost["seconds"] / 60, **{name: cost[name] for name in MEASURED}}

    return rows(runs, seconds)


def learning_curves(runs: Sequence[Run]) -> pd.DataFrame:
    """Every run's history, one row an epoch, with method and seed in front."""
    return rows(runs, lambda run: run.folder.history().to_dict("records"))


def confusion_table(runs: Sequence[Run]) -> pd.DataFrame:
    """How often each class was taken for each, seeds pooled.

    Returns:
        Columns: method, seeds, label, predicted (class names), count, share (of the label's images).
    """
    found = []
    for method, own in by_row(runs).items():
        classes = own[0].folder.record()["data"]["classes"]
        counts = torch.zeros(len(classes) ** 2, dtype=torch.int64)
        for run in own:
            outputs = run.folder.outputs("test")
            pairs = outputs.labels * len(classes) + prediction(outputs.logits)
            counts += torch.bincount(pairs, minlength=len(counts))
        for label, row in zip(classes, counts.reshape(len(classes), -1).tolist(), strict=True):
            for predicted, count in zip(classes, row, strict=True):
                share = count / max(1, sum(row))
                names = {"method": method, "seeds": len(own), "label": label, "predicted": predicted}
                found.append({**names, "count": count, "share": share})
    return pd.DataFrame(found)
