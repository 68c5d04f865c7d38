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
        from pytorch_ood.detector import ODIN, Mahalanobis

        splits, device, noise = splits_of(run.folder, run.config.dataset, data_root), pick_device(), run.config.noise
        model: Any = load_network(run, tuple(splits.train.images.shape[1:])).to(device)
        odin = ODIN(model, eps=PROTOCOL["odin_step"], temperature=PROTOCOL["odin_temperature"])
        mahalanobis = Mahalanobis(model.features)
        features = _by_batch(splits.train, noise, model.features)
        mahalanobis.fit_features(features.to(device), splits.train.labels.to(device))
        return {
            f"{name}/{of}": -_by_batch(images, noise, detector.predict)
            for of, images in evaluated_sets(run.config, splits, data_root).items()
            for name, detector in (("ODIN", odin), ("Mahalanobis", mahalanobis))
        }

    scores = run.folder.measured("posthoc", PROTOCOL, measure)  # in alphabetical order, because files sort names
    return {name: scores[name] for detector in DETECTORS for name in scores if name.startswith(detector)}


def _by_batch(images: ImageSet, noise: float, function: Any) -> Tensor:
    """Apply a function to batches of images, with the draw of noise that the stored logits have."""
    pixels = images.images.to(pick_device())
    return torch.cat([function(batch).detach() for batch in with_noise(pixels, noise)]).float().cpu()


def posthoc_runs(runs: Sequence[Run], data_root: Path) -> tuple[list[tuple[Run, dict[str, Tensor]]], list[str]]:
    """Score every run, or give one sentence for a run without weights."""
    nothing = "No post-hoc scores: they need a finished run of cross-entropy, with its weights."
    return measure_each(runs, lambda run: (run, posthoc_scores(run, data_root)), nothing)
