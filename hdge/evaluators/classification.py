"""Classification: accuracy, learning curves and confusions."""

from collections.abc import Sequence

import pandas as pd
import torch

from hdge.core.readings import prediction
from hdge.evaluators.intervals import wilson_interval
from hdge.study.runs import Run


def accuracy_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Accuracy of every run on the in-distribution test images.

    Returns:
        Columns: method, seed, n, correct, accuracy, low, high (Wilson, over test images).
    """
    rows = []
    for run in runs:
        outputs = run.folder.outputs("test")
        n, correct = len(outputs.labels), int((prediction(outputs.logits) == outputs.labels).sum())
        low, high = wilson_interval(correct, n)
        rows.append(
            {"method": run.method, "seed": run.seed, "n": n, "correct": correct,
             "accuracy": correct / n, "low": low, "high": high}
        )  # fmt: skip
    return pd.DataFrame(rows)


def cost_table(runs: Sequence[Run]) -> pd.DataFrame:
    """What each run's training cost, beside its accuracy.

    Returns:
        Columns: those of :func:`accuracy_table`, and minutes, images_per_second, seconds_per_step, times_cross_entropy
        (seconds a step over the mean of cross-entropy's; not a number without cross-entropy, or at another batch size),
        forward_passes_per_step, backward_passes_per_step, peak_memory_bytes, restarts (after divergence).
    """
    rows = []
    for run in runs:
        record = run.folder.record()
        cost = dict(record["cost"])
        rows.append(
            {"method": run.method, "seed": run.seed, "batch_size": run.config.batch_size,
             "minutes": cost.pop("seconds") / 60, **cost, "restarts": len(record.get("rollbacks", []))}
        )  # fmt: skip
    costs = pd.DataFrame(rows)
    base = costs[costs["method"] == "cross_entropy"]
    multiple = costs["seconds_per_step"] / base["seconds_per_step"].mean()
    costs.insert(3, "times_cross_entropy", multiple.where(costs["batch_size"].isin(base["batch_size"])))
    return accuracy_table(runs).merge(costs, on=["method", "seed"])


def learning_curves(runs: Sequence[Run]) -> pd.DataFrame:
    """Every run's history, one row an epoch, with method and seed in front."""
    histories = [run.folder.history().assign(method=run.method, seed=run.seed) for run in runs]
    table = pd.concat(histories, ignore_index=True)
    return table[["method", "seed", *(c for c in table.columns if c not in ("method", "seed"))]]


def confusion_table(runs: Sequence[Run]) -> pd.DataFrame:
    """How often each class was taken for each, seeds pooled.

    Returns:
        Columns: method, seeds, label, predicted (class names), count, share (of the label's images).
    """
    rows = []
    for method in dict.fromkeys(run.method for run in runs):
        own = [run for run in runs if run.method == method]
        classes = own[0].folder.record()["data"]["classes"]
        counts = torch.zeros(len(classes) ** 2, dtype=torch.int64)
        for run in own:
            outputs = run.folder.outputs("test")
            pairs = outputs.labels * len(classes) + prediction(outputs.logits)
            counts += torch.bincount(pairs, minlength=len(counts))
        matrix = counts.reshape(len(classes), len(classes))
        for label, row in zip(classes, matrix, strict=True):
            for predicted, count in zip(classes, row.tolist(), strict=True):
                rows.append(
                    {"method": method, "seeds": len(own), "label": label, "predicted": predicted,
                     "count": count, "share": count / max(1, int(row.sum()))}
                )  # fmt: skip
    return pd.DataFrame(rows)
