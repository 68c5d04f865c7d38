"""Two post-hoc detectors of a library on trained networks, for perspective: ODIN and Mahalanobis.

Neither is the paper's. Both start from a plain classifier and are fitted, if at all, on its training images alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from hdge.data.splits import SPLIT_SEED, ImageSet, add_noise, load_evaluation_set, load_splits, to_unit
from hdge.evaluators.intervals import REPLICATES
from hdge.evaluators.ood import detection_row
from hdge.measure.network import EVALUATION_BATCH, load_network
from hdge.study.config import HdgeError
from hdge.study.runs import Run

# The detectors' own defaults: nothing is tuned on out-of-distribution images.
PROTOCOL: dict[str, Any] = {"odin_temperature": 1000.0, "odin_step": 0.0014, "mahalanobis": "last features"}


def posthoc_scores(run: Run, data_root: Path) -> dict[str, Tensor]:
    """Scores of both detectors on every set of a run, "<detector>/<set>", shape (N,), higher for in-distribution.

    Raises:
        HdgeError: a kept run that was never measured.
    """

    def measure() -> dict[str, Tensor]:
        splits = load_splits(run.config.dataset, data_root)
        model: Any = load_network(run, tuple(splits.train.images.shape[1:]))
        sets = {"test": splits.test}
        sets |= {name: load_evaluation_set(name, data_root, splits.test) for name in run.config.evaluation_sets}
        return _measure(model, splits.train, sets, run.config.noise)

    return run.folder.measured("posthoc", PROTOCOL, measure)


def _measure(model: Any, training: ImageSet, sets: dict[str, ImageSet], noise: float) -> dict[str, Tensor]:
    from pytorch_ood.detector import ODIN, Mahalanobis

    odin = ODIN(model, eps=PROTOCOL["odin_step"], temperature=PROTOCOL["odin_temperature"])
    mahalanobis = Mahalanobis(model.features)
    mahalanobis.fit_features(_by_batch(training, noise, model.features), training.labels)
    scores = {}
    for name, images in sets.items():
        scores[f"ODIN/{name}"] = -_by_batch(images, noise, odin.predict)
        scores[f"Mahalanobis/{name}"] = -_by_batch(images, noise, mahalanobis.predict)
    return scores


def _by_batch(images: ImageSet, noise: float, function: Any) -> Tensor:
    """A function of batches of images, under the same draw of evaluation noise as the stored logits."""
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    batches = (add_noise(to_unit(batch), noise, generator) for batch in images.images.split(EVALUATION_BATCH))
    return torch.cat([function(batch).detach() for batch in batches]).float()


def posthoc_table(runs: Sequence[Run], data_root: Path, replicates: int = REPLICATES) -> tuple[pd.DataFrame, list[str]]:
    """Detection by both detectors, and one sentence for each run without weights to measure.

    Returns:
        Columns as of :func:`hdge.evaluators.ood.auroc_table`; the score is the detector's name.
    """
    rows, missing = [], []
    for run in runs:
        try:
            scores = posthoc_scores(run, data_root)
        except HdgeError as error:
            missing.append(str(error))
            continue
        for detector in ("ODIN", "Mahalanobis"):
            for name in run.config.evaluation_sets:
                inside, outside = (scores[f"{detector}/{part}"].numpy() for part in ("test", name))
                row = detection_row(inside, outside, replicates)
                rows.append({"method": run.method, "seed": run.seed, "score": detector, "ood_set": name, **row})
    return pd.DataFrame(rows), missing
