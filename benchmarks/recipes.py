"""Which network and schedule reach the best accuracy on CIFAR-10 in some minutes of one processor core?

``python -m benchmarks.recipes --output FOLDER`` trains cross-entropy by every recipe below, one after another on one
thread, and writes the table ``benchmarks/recipes.csv``: what was tried, how long its steps took, and what it reached.
A run that is there already is not trained again. HDGE's settings play no part in the choice.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch

from hdge.core.readings import prediction
from hdge.evaluators.intervals import wilson_interval
from hdge.study.config import TrainConfig, data_root
from hdge.study.runs import RunFolder
from hdge.study.study import write_table
from hdge.training.loop import train

SHARED = {
    "method": "cross_entropy", "evaluation_sets": (), "initialization": "zero_residual", "schedule": "one_cycle",
    "warmup_steps": 300, "crop_padding": 2, "precision": "bfloat16", "stem_stride": 2, "clip": 1.0,
    "learning_rate": 4e-3,
}  # fmt: skip
BATCH_NORM = {"norm": "batch", "optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4, "clip": 0.0}
# Depth and width, epochs, and what differs from the shared settings: first some seven minutes of a core, then fifteen.
RECIPES: dict[str, tuple[int, int, int, dict]] = {
    "WRN-10-2": (10, 2, 10, {}),
    "WRN-10-2, rate 8e-3": (10, 2, 10, {"learning_rate": 8e-3}),
    "WRN-16-2, 13 epochs": (16, 2, 13, {}),
    "WRN-16-3, 15 epochs": (16, 3, 15, {}),
    "WRN-10-2, 20 epochs": (10, 2, 20, {}),
    "WRN-10-2, batch norm, 16 epochs": (10, 2, 16, BATCH_NORM),
    "WRN-16-2, batch norm, 22 epochs": (16, 2, 22, BATCH_NORM),
    "WRN-10-4, 8 epochs": (10, 4, 8, {}),
}


def main() -> None:
    """Train what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--table", type=Path, default=Path(__file__).parent / "recipes.csv")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, (depth, width, epochs, own) in RECIPES.items():
        config = TrainConfig(**{**SHARED, "depth": depth, "width": width, "epochs": epochs, **own})
        folder = train(config, RunFolder(arguments.output / name.replace(" ", "_")), data_root())
        record, outputs = folder.record(), folder.outputs("test")
        correct, n = int((prediction(outputs.logits) == outputs.labels).sum()), len(outputs.labels)
        low, high = wilson_interval(correct, n)
        rows.append(
            {"recipe": name, "epochs": epochs, "batch_size": config.batch_size, "precision": config.precision,
             "learning_rate": config.learning_rate, "norm": config.norm, "stem_stride": config.stem_stride,
             "minutes": record["cost"]["seconds"] / 60, "images_per_second": record["cost"]["images_per_second"],
             "outcome": record["outcome"], "n": n, "accuracy": correct / n, "low": low, "high": high}
        )  # fmt: skip
        write_table(pd.DataFrame(rows), arguments.table)
        print(f"{name}: {correct / n:.1%} in {rows[-1]['minutes']:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
