r"""How good the contrastive estimate of log q(x|y) is, and what it does to the gradient.

The term is -log sigma(s - log Z_y) with s = p[y]/t, so its gradient with respect to an image's own score is -(1 - w)
with w = sigma(s - log Z_y). With L2 normalisation, ds/df = (e_y - p[y] p) / (t |f|). The term therefore turns the logit
vector towards its class's axis and does not depend on its length. The negatives act through the weight 1 - w alone.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from hdge.core.queue import Normalization, normalize_logits
from hdge.core.readings import of_label
from hdge.evaluators.intervals import BOOTSTRAP_SEED, limits, over_seeds, percentile_interval
from hdge.evaluators.tables import Labels, Logits, Rows, over_runs, rows
from hdge.study.checks import finite, labelled
from hdge.study.errors import require
from hdge.study.runs import Run
from hdge.study.study import lacking_by_row

DRAWS = 32  # random queues a size: the relative error of a standard deviation from 32 draws is 1 / sqrt(64) = 13 %
TEMPERATURES = (0.05, 0.1, 0.2, 0.5, 1.0)
LAGS = (1, 2, 4, 8)
SMALL_SIZE = 64  # the smallest K of the paper's ablation (Table 6)


def true_logit_weight(
    scores: Float[Tensor, " batch"], log_partition: Float[Tensor, "*draws batch"]
) -> Float[Tensor, "*draws batch"]:
    r"""Weight of the generative gradient on an image's own score s, for log Z_y of the image's class.

    .. math:: 1 - w = \sigma(\log Z_y - s) = \frac{Z_y}{e^s + Z_y}

    It is in [0, 1]: 0 if an image outweighs all negatives, 1 if it does not count against them.
    """
    finite("scores", scores, dimensions=1)
    finite("log_partition", log_partition)
    return torch.sigmoid(log_partition - scores)


def all_scores(logits: Logits, temperature: float, normalize: Normalization) -> Logits:
    """p/t of every image and class, in float64."""
    finite("logits", logits, dimensions=2)
    require("temperature", temperature, temperature > 0, "positive")
    return normalize_logits(logits.double(), normalize) / temperature


def label_scores(logits: Logits, labels: Labels, temperature: float, normalize: Normalization) -> Float[Tensor, " n"]:
    """s = p[y]/t of every image, in float64."""
    return of_label(all_scores(logits, temperature, normalize), labelled(logits, labels))


def scores_of(run: Run, logits: Logits) -> Logits:
    """p/t of every image and class, by the run's temperature and normalisation."""
    return all_scores(logits, run.config.hybrid.temperature, run.config.hybrid.normalize)


def log_partition_draws(
    logits: Logits, sizes: Sequence[int], temperature: float, normalize: Normalization, draws: int = DRAWS
) -> Float[Tensor, "draws sizes classes"]:
    r"""log Z_y of random queues, in float64: K of N images drawn without replacement, nested over the sizes K.

    .. math:: \log \sum_{k=1}^{K} e^{p_{\pi(k)}[y] / t}
    """
    require("draws", draws, draws >= 1, "at least 1")
    bound = f"some numbers from 1 to that of images, {len(logits)}"
    require("sizes", list(sizes), bool(sizes) and min(sizes) >= 1 and max(sizes) <= len(logits), bound)
    generator = torch.Generator().manual_seed(BOOTSTRAP_SEED)
    scores, last = all_scores(logits, temperature, normalize), torch.tensor(sizes) - 1
    orders = (torch.randperm(len(scores), generator=generator) for _ in range(draws))
    return torch.stack([torch.logcumsumexp(scores[order], dim=0)[last] for order in orders])


def queue_sizes(images: int, chosen: Sequence[int] = ()) -> list[int]:
    """Some queue lengths K, by default the powers of 4 below the number of images, and that number."""
    require("images", images, images >= 1, "at least 1")
    return sorted({*(chosen or [4**power for power in range(20) if 4**power < images]), images})


def with_pools(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Select the runs whose training images' logits are stored, and say of which the archive has none."""
    pooled = [run for run in runs if run.folder.stores("outputs/train.safetensors")]
    why = "archived without the logits of training images; train it to draw from them"
    return pooled, lacking_by_row([(run.row, run.seed, why) for run in runs if run not in pooled])


@over_runs("temperature", "size", "n", "draws", "weight", "low", "high")
def weight_table(run: Run, sizes: Sequence[int] = ()) -> Rows:
    """The weight 1 - w on test images of the trained network, against K and t, with queues drawn from training images.

    The columns low and high hold the central 95 % of the draws' means: what varies is which images the queue holds.
    """
    pool, test, kind = run.folder.outputs("train").logits, run.folder.outputs("test"), run.config.hybrid.normalize
    sizes = queue_sizes(len(pool), sizes)
    for t in TEMPERATURES:
        scores = label_scores(test.logits, test.labels, t, kind)
        for size, drawn in zip(sizes, log_partition_draws(pool, sizes, t, kind).unbind(1), strict=True):
            means = true_logit_weight(scores, drawn[:, test.labels]).mean(dim=1).numpy()
            row = {"temperature": t, "size": size, "n": len(scores), "draws": DRAWS}
            yield {**row, "weight": means.mean(), **limits(percentile_interval(means))}


@over_runs("class", "size", "draws", "bias", "spread", "expected_spread")
def partition_table(run: Run, sizes: Sequence[int] = ()) -> Rows:
    r"""Error of log (Z_y / K) from K images of the trained network; the whole training set is the truth.

    Bias and spread are the mean and standard deviation of the error over draws, in nats. The expected spread is that of
    a mean of K of N numbers v = exp(p[y]/t) drawn without replacement, to first order

    .. math:: \frac{\mathrm{sd}(v)}{\bar v} \sqrt{\frac{1}{K} - \frac{1}{N}}
    """
    pool, t, kind = run.folder.outputs("train").logits, run.config.hybrid.temperature, run.config.hybrid.normalize
    sizes = queue_sizes(len(pool), sizes)
    estimates = log_partition_draws(pool, sizes, t, kind) - torch.tensor(sizes).log()[:, None]
    errors = estimates - estimates[:1, -1:]
    scores = scores_of(run, pool)
    values = (scores - scores.amax(dim=0)).exp()
    variation = values.std(dim=0) / values.mean(dim=0)
    for k, size in enumerate(sizes):
        for label in range(pool.shape[1]):
            yield {
                "class": label,
                "size": size,
                "draws": DRAWS,
                "bias": errors[:, k, label].mean().item(),
                "spread": errors[:, k, label].std().item(),
                "expected_spread": variation[label].item() * max(0.0, 1 / size - 1 / len(pool)) ** 0.5,
            }


@over_runs("epoch", "lag", "n", "score_change", "partition_shift")
def staleness_table(run: Run) -> Rows:
    """How far logits move in the epochs that they spend in the queue, on validation images after every epoch.

    The score's change is the root mean square over images of the change of s = p[y]/t in nats. The partition's shift is
    the mean over classes of the absolute change of log Z_y in nats.
    """
    labels = run.folder.outputs("validation").labels
    path = [scores_of(run, logits) for logits in run.folder.trajectory()]
    scores = [of_label(epoch, labelled(epoch, labels)) for epoch in path]
    partitions = [epoch.logsumexp(dim=0) for epoch in path]
    for lag in LAGS:
        for epoch in range(lag, len(path)):
            moved = (scores[epoch] - scores[epoch - lag]).square().mean().sqrt().item()
            shift = (partitions[epoch] - partitions[epoch - lag]).abs().mean().item()
            row = {"epoch": epoch + 1, "lag": lag, "n": len(labels)}
            yield {**row, "score_change": moved, "partition_shift": shift}


@over_runs("epoch", "size", "n", "weight", "length")
def gradient_table(run: Run) -> Rows:
    r"""Length of each term's gradient with respect to the logits, on validation images after every epoch.

    .. math:: \|\mathrm{softmax}(f) - e_y\| \quad\text{and}\quad (1 - w) \Big\|\frac{\partial s}{\partial f}\Big\|

    The second has log Z_y = log K + log of the mean of exp(p[y]/t) over the validation images, for K = 1, 64 and the
    run's queue. Weight and length are means over images. The discriminative term has size 0 and weight 1 - q(y|x).
    """
    labels = run.folder.outputs("validation").labels
    for epoch, path in enumerate(run.folder.trajectory(), start=1):
        logits = path.double().requires_grad_()
        every = scores_of(run, logits)
        scores = of_label(every, labelled(every, labels))
        (direction,) = torch.autograd.grad(scores.sum(), logits)
        with torch.no_grad():
            q = torch.softmax(logits, dim=1)
            residual = q - torch.nn.functional.one_hot(labels, q.shape[1])
            terms = {0: (1 - of_label(q, labels), residual.norm(dim=1))}
            mean = every.logsumexp(dim=0) - np.log(len(logits))
            for size in sorted({1, SMALL_SIZE, run.config.queue.size}):
                weight = true_logit_weight(scores, (mean + np.log(size))[labels])
                terms[size] = (weight, weight * direction.norm(dim=1))
        for size, (weight, length) in terms.items():
            row = {"epoch": epoch, "size": size, "n": len(labels)}
            yield {**row, "weight": weight.mean().item(), "length": length.mean().item()}


def summary_table(
    runs: Sequence[Run], weights: pd.DataFrame, partitions: pd.DataFrame, staleness: pd.DataFrame
) -> pd.DataFrame:
    """What K can and cannot change, in a few numbers a run, over seeds; none that the runs are too short to have."""

    def summary(run: Run) -> Rows:
        own = weights[(weights["seed"] == run.seed) & (weights["temperature"] == run.config.hybrid.temperature)]
        weight = own.groupby("size")["weight"].mean()
        spread = partitions[partitions["seed"] == run.seed].groupby("size")["spread"].mean()
        moved = staleness[(staleness["seed"] == run.seed) & (staleness["lag"] == 1)]["partition_shift"]
        whole = weight.index.max()
        measures = {
            f"weight 1 − w with {SMALL_SIZE} negatives": weight.get(SMALL_SIZE),
            f"weight 1 − w with all {whole:,} training images": weight.get(whole),
            f"spread of log Z at K = {SMALL_SIZE} (nats)": spread.get(SMALL_SIZE),
            "change of log Z in one epoch, median (nats)": moved.median(),
            "change of log Z in the last epoch (nats)": moved.tail(1).median(),
        }
        return [{"measure": measure, "value": value} for measure, value in measures.items() if pd.notna(value)]

    return over_seeds(rows(runs, summary, ["measure", "value"]), "value", ["measure"])
