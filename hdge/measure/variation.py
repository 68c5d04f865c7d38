"""Total variation of evaluation images: how rough each is, which a density may follow in place of what it shows."""

from pathlib import Path

import torch
from torch import Tensor

from hdge.data.images import Bytes, Labels
from hdge.measure.network import evaluated_sets, measure_each, splits_of
from hdge.study.measurements import CRITIC, chosen
from hdge.study.runs import Run
from hdge.study.study import Study


def total_variation(images: Bytes) -> Labels:
    r"""Anisotropic total variation of images: what neighbouring pixels differ by, summed.

    .. math:: \mathrm{TV}(x) = \sum_{c,i,j} |x_{c,i+1,j} - x_{c,i,j}| + |x_{c,i,j+1} - x_{c,i,j}|

    Pixels x and the sum are in steps of 1/255. It is 0 for a flat image, and at most 255 a pair of neighbours.

    Source: Rudin, Osher & Fatemi 1992, in its anisotropic form.
    """
    x = images.int()
    down, right = (x.diff(dim=side).abs().sum(dim=(1, 2, 3), dtype=torch.int32) for side in (2, 3))
    return down + right


def variation_of(run: Run, data_root: Path) -> dict[str, Tensor]:
    """Read or compute the total variation of every image that a run was evaluated on, a tensor (N,) a set."""

    def measure() -> dict[str, Tensor]:
        splits = splits_of(run.folder, run.config.dataset, data_root)
        sets = evaluated_sets(run.config, splits, data_root)
        return {name: total_variation(one.images) for name, one in sets.items()}

    return run.folder.measured("variation", {}, measure)


def study_variation(study: Study) -> tuple[dict[str, Tensor], list[str]]:
    """The total variation of a study's evaluation images, or one sentence where no run tells it.

    All runs see the same images, so one run stores it for all.
    """
    runs, _ = study.runs()
    nothing = f"No total variation of images: it needs a finished run of {CRITIC}."
    found, missing = measure_each(chosen(runs, "variation"), lambda run: variation_of(run, study.data_root), nothing)
    return (found[0] if found else {}), missing
