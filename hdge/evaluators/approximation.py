r"""How good the contrastive estimate of log q(x|y) is, and what it does to the gradient.

The term is -log sigma(s - log Z_y) with s = p[y]/t, so its gradient with respect to an image's own score is -(1 - w)
with w = sigma(s - log Z_y). With L2 normalisation, ds/df = (e_y - p[y] p) / (t |f|): the term turns the logit vector
towards its class's axis and does not see its length. All that the negatives do is the weight 1 - w.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hdge.core.queue import Normalization, normalize_logits
from hdge.core.readings import of_label
from hdge.evaluators.intervals import BOOTSTRAP_SEED, student_interval
from hdge.evaluators.tables import rows
from hdge.study.runs import Run

DRAWS = 32  # random queues a size: the relative error of a standard deviation from 32 draws is 1 / sqrt(64) = 13 %
TEMPERATURES = (0.05, 0.1, 0.2, 0.5, 1.0)
LAGS = (1, 2, 4, 8)
SMALL_SIZE = 64  # the smallest K of the paper's ablation (Table 6)


def true_logit_weight(
    scores: Float[Tensor, " batch"], log_partition: Float[Tensor, "*draws batch"]
) -> Float[Tensor, "*draws batch"]:
    r"""Weight of the generative gradient on an image's own score.

    .. math:: 1 - w = \sigma(\log Z_y - s) = \frac{Z_y}{e^s + Z_y}

    Args:
        scores: s = p[y]/t, shape (B,).
        log_partition: log Z_y of every image's class, shape (..., B).

    Returns:
        In [0, 1]: 0 if an image outweighs all negatives, 1 if it does not count against them.
    """
    return torch.sigmoid(log_partition - scores)


def log_partition_draws(
    logits: Float[Tensor, "n classes"],
    sizes: Sequence[int],
    temperature: float,
    normalize: Normalization,
    draws: int = DRAWS,
) -> Float[Tensor, "draws sizes classes"]:
    r"""log Z_y of random queues: K of N images drawn without replacement, nested over K.

    .. math:: \log \sum_{k=1}^{K} e^{p_{\pi(k)}[y] / t}

    Args:
        logits: f(x) of the N images of the pool.
        sizes: values of K, each at most N.
        temperature: t.
        normalize: see :func:`hdge.core.queue.normalize_logits`.
        draws: number of random orders.

    Returns:
        Shape (draws, sizes, C), in float64.
    """
    generator = torch.Generator().manual_seed(BOOTSTRAP_SEED)
    scores = normalize_logits(logits.double(), normalize) / temperature
    rows = torch.tensor(sizes) - 1
    orders = (torch.randperm(len(scores), generator=generator) for _ in range(draws))
    return torch.stack([torch.logcumsumexp(scores[order], dim=0)[rows] for order in orders])


def label_scores(
    logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], temperature: float, normalize: Normalization
) -> Float[Tensor, " n"]:
    """s = p[y]/t of every image, in float64."""
    scores = normalize_logits(logits.double(), normalize) / temperature
    return of_label(scores, labels)


def queue_sizes(images: int) -> list[int]:
    """Powers of 4 below the number of images, and that number."""
    return [4**power for power in range(20) if 4**power < images] + [images]


def weight_table(runs: Sequence[Run]) -> pd.DataFrame:
    """The weight 1 - w on test images of the trained network, against K and t, with queues drawn from training images.

    Returns:
        Columns: method, seed, temperature, size, n, draws, weight (mean over test images and draws), low, high
        (central 95 % of the draws' means: what varies is which images the queue holds).
    """

    def weight(run: Run) -> Iterable[dict[str, Any]]:
        pool, test, kind = run.folder.outputs("train").logits, run.folder.outputs("test"), run.config.hybrid.normalize
        sizes = queue_sizes(len(pool))
        for temperature in TEMPERATURES:
            scores = label_scores(test.logits, test.labels, temperature, kind)
            for size, drawn in zip(sizes, log_partition_draws(pool, sizes, temperature, kind).unbind(1), strict=True):
                means = true_logit_weight(scores, drawn[:, test.labels]).mean(dim=1).numpy()
                low, high = np.quantile(means, [0.025, 0.975])
                yield {
                    "temperature": temperature, "size": size,
                    "n": len(scores), "draws": DRAWS, "weight": means.mean(), "low": low, "high": high,
                }  # fmt: skip

    return rows(runs, weight)


def partition_table(runs: Sequence[Run]) -> pd.DataFrame:
    r"""Error of log (Z_y / K) from K images of the trained network; the whole training set is the truth.

    The expected spread is that of a mean of K of N numbers v = exp(p[y]/t) drawn without replacement, to first order

    .. math:: \frac{\mathrm{sd}(v)}{\bar v} \sqrt{\frac{1}{K} - \frac{1}{N}}

    Returns:
        Columns: method, seed, class, size, draws, bias and spread (mean and standard deviation of the error over
        draws, in nats), expected_spread.
    """

    def partition(run: Run) -> Iterable[dict[str, Any]]:
        pool, t, kind = run.folder.outputs("train").logits, run.config.hybrid.temperature, run.config.hybrid.normalize
        sizes = queue_sizes(len(pool))
        estimates = log_partition_draws(pool, sizes, t, kind) - torch.tensor(sizes).log()[:, None]
        errors = estimates - estimates[:1, -1:]
        scores = normalize_logits(pool.double(), kind) / t
        values = (scores - scores.amax(dim=0)).exp()
        variation = values.std(dim=0) / values.mean(dim=0)
        for k, size in enumerate(sizes):
            for label in range(pool.shape[1]):
                expected = variation[label].item() * max(0.0, 1 / size - 1 / len(pool)) ** 0.5
                yield {
                    "class": label, "size": size, "draws": DRAWS,
                    "bias": errors[:, k, label].mean().item(), "spread": errors[:, k, label].std().item(),
                    "expected_spread": expected,
                }  # fmt: skip

    return rows(runs, partition)


def staleness_table(runs: Sequence[Run]) -> pd.DataFrame:
    """How far logits move in the epochs that they spend in the queue, on validation images after every epoch.

    Returns:
        Columns: method, seed, epoch, lag (epochs of age), n, score_change (root mean square over images of the change
        of s = p[y]/t, nats), partition_shift (mean over classes of the absolute change of log Z_y, nats).
    """

    def staleness(run: Run) -> Iterable[dict[str, Any]]:
        labels, path = run.folder.outputs("validation").labels, run.folder.trajectory()
        t, kind = run.config.hybrid.temperature, run.config.hybrid.normalize
        scores = torch.stack([label_scores(logits, labels, t, kind) for logits in path])
        partitions = torch.stack([torch.logsumexp(normalize_logits(f.double(), kind) / t, dim=0) for f in path])
        for lag in LAGS:
            for epoch in range(lag, len(path)):
                moved = (scores[epoch] - scores[epoch - lag]).square().mean().sqrt()
                shift = (partitions[epoch] - partitions[epoch - lag]).abs().mean()
                yield {
                    "epoch": epoch + 1, "lag": lag, "n": len(labels),
                    "score_change": moved.item(), "partition_shift": shift.item(),
                }  # fmt: skip

    return rows(runs, staleness)


def gradient_table(runs: Sequence[Run]) -> pd.DataFrame:
    r"""Length of each term's gradient with respect to the logits, on validation images after every epoch.

    .. math:: \|\mathrm{softmax}(f) - e_y\| \quad\text{and}\quad (1 - w) \Big\|\frac{\partial s}{\partial f}\Big\|

    The second with log Z_y = log K + log of the mean of exp(p[y]/t) over the validation images, for K = 1, 64 and the
    run's own, by automatic differentiation of s.

    Returns:
        Columns: method, seed, epoch, size (K; 0 for the discriminative term), n, weight (mean of 1 - w; of
        1 - q(y|x) for the discriminative term), length (mean over images).
    """

    def gradient(run: Run) -> Iterable[dict[str, Any]]:
        labels, t, kind = (
            run.folder.outputs("validation").labels,
            run.config.hybrid.temperature,
            run.config.hybrid.normalize,
        )
        for epoch, path in enumerate(run.folder.trajectory(), start=1):
            logits = path.double().requires_grad_()
            scores = label_scores(logits, labels, t, kind)
            (direction,) = torch.autograd.grad(scores.sum(), logits)
            with torch.no_grad():
                q = torch.softmax(logits, dim=1)
                residual = q - torch.nn.functional.one_hot(labels, q.shape[1])
                terms = {0: (1 - of_label(q, labels), residual.norm(dim=1))}
                mean = torch.logsumexp(normalize_logits(logits, kind) / t, dim=0) - np.log(len(logits))
                for size in sorted({1, SMALL_SIZE, run.config.queue.size}):
                    weight = true_logit_weight(scores, (mean + np.log(size))[labels])
                    terms[size] = (weight, weight * direction.norm(dim=1))
            for size, (weight, length) in terms.items():
                yield {
                    "epoch": epoch, "size": size, "n": len(labels),
                    "weight": weight.mean().item(), "length": length.mean().item(),
                }  # fmt: skip

    return rows(runs, gradient)


def summary_table(
    runs: Sequence[Run], weights: pd.DataFrame, partitions: pd.DataFrame, staleness: pd.DataFrame
) -> pd.DataFrame:
    """What K can and cannot change, in four numbers a run, over seeds.

    Returns:
        Columns: measure, seeds, value, low, high (95 % Student interval over seeds).
    """
    measures: dict[str, list[float]] = {}
    for run in runs:
        own = weights[(weights["seed"] == run.seed) & (weights["temperature"] == run.config.hybrid.temperature)]
        weight = own.groupby("size")["weight"].mean()
        spread = partitions[partitions["seed"] == run.seed].groupby("size")["spread"].mean()
        moved = staleness[(staleness["seed"] == run.seed) & (staleness["lag"] == 1)]["partition_shift"]
        for name, value in (
            (f"weight 1 − w with {SMALL_SIZE} negatives", weight[SMALL_SIZE]),
            (f"weight 1 − w with all {weight.index.max():,} training images", weight[weight.index.max()]),
            (f"spread of log Z at K = {SMALL_SIZE} (nats)", spread[SMALL_SIZE]),
            ("change of log Z in one epoch, median (nats)", moved.median()),
            ("change of log Z in the last epoch (nats)", moved.iloc[-1]),
        ):
            measures.setdefault(name, []).append(float(value))
    found = []
    for name, values in measures.items():
        low, high = student_interval(values)
        found.append({"measure": name, "seeds": len(values), "value": float(np.mean(values)), "low": low, "high": high})
    return pd.DataFrame(found)
