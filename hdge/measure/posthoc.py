"""Two post-hoc out-of-distribution detectors of a library on trained networks: ODIN and Mahalanobis.

The paper has neither. Both start from a plain classifier and are fitted, if at all, on its training images alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hdge.data.images import ImageSet
from hdge.measure.network import evaluated_sets, load_network, measure_each, pick_device, splits_of, with_noise
from hdge.study.measured import DETECTORS
from hdge.study.runs import Run

# The detectors keep their defaults: nothing is tuned on out-of-distribution images.
PROTOCOL: dict[str, Any] = {"odin_temperature": 1000.0, "odin_step": 0.0014, "mahalanobis": "last features"}


def posthoc_scores(run: Run, data_root: Path) -> dict[str, Tensor]:
    """Read or compute both detectors' scores of every set, "<detector>/<set>" (N,), higher for in-distribution."""

    def measure() -> dict[str, Tensor]:
        splits = splits_of(run.folder, run.config.dataset, data_root)
        model: Any = load_network(run, tuple(splits.train.images.shape[1:])).to(pick_device())
        return _measure(model, splits.train, evaluated_sets(run, splits, data_root), run.config.noise)

    scores = run.folder.measured("posthoc", PROTOCOL, measure)  # in alphabetical order, because files sort names
    return {name: scores[name] for detector in DETECTORS for name in scores if name.startswith(detector)}


def _measure(model: Any, training: ImageSet, sets: dict[str, ImageSet], noise: float) -> dict[str, Tensor]:
    from pytorch_ood.detector import ODIN, Mahalanobis

    odin = ODIN(model, eps=PROTOCOL["odin_step"], temperature=PROTOCOL["odin_temperature"])
    mahalanobis = Mahalanobis(model.features)
    features, device = _by_batch(training, noise, model.features), pick_device()
    mahalanobis.fit_features(features.to(device), training.labels.to(device))
    scores = {}
    for name, images in sets.items():
        scores[f"ODIN/{name}"] = -_by_batch(images, noise, odin.predict)
        scores[f"Mahalanobis/{name}"] = -_by_batch(images, noise, mahalanobis.predict)
    return scores


def _by_batch(images: ImageSet, noise: float, function: Any) -> Tensor:
    """Apply a function to batches of images, with the draw of noise that the stored logits have."""
    pixels = images.images.to(pick_device())
    return torch.cat([function(batch).detach() for batch in with_noise(pixels, noise)]).float().cpu()


def posthoc_runs(runs: Sequence[Run], data_root: Path) -> tuple[list[tuple[Run, dict[str, Tensor]]], list[str]]:
    """Score every run, or give one sentence for a run without weights."""
    scored, missing = measure_each(runs, lambda run: (run, posthoc_scores(run, data_root)))
    if not scored:
        missing.append("No post-hoc scores: they need a finished run of cross-entropy, with its weights.")
    return scored, missing
