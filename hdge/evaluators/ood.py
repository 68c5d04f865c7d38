"""Out-of-distribution detection from logits alone: AUROC by log q(x) and by max q(y|x).

The in-distribution test images are the positive class throughout. Scores see logits, never labels, and nothing is
fitted or standardised on out-of-distribution images.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score

from hdge.evaluators.intervals import BOOTSTRAP_SEED, REPLICATES, percentile_interval
from hdge.readings import confidence, log_q_x
from hdge.runs import Run

SCORES = {"log q(x)": log_q_x, "max q(y|x)": confidence}


def auroc(scores_in: ArrayLike, scores_out: ArrayLike) -> float:
    r"""Probability that an in-distribution image outscores an out-of-distribution one, ties counted half.

    .. math:: \frac{1}{n m} \sum_{i=1}^{n} \sum_{j=1}^{m} [s_i > r_j] + \tfrac12 [s_i = r_j]

    Args:
        scores_in: s, shape (n,), of in-distribution images, the positive class.
        scores_out: r, shape (m,), of out-of-distribution images.

    Returns:
        In [0, 1]; 0.5 is chance.

    Raises:
        ValueError: an empty set, or scores that are not finite.

    Source: paper, section 5.1; Hendrycks & Gimpel 2016.
    """
    inside, outside = np.asarray(scores_in, dtype=float), np.asarray(scores_out, dtype=float)
    target = np.concatenate([np.ones(len(inside)), np.zeros(len(outside))])
    return float(roc_auc_score(target, np.concatenate([inside, outside])))


def bootstrap_auroc(
    scores_in: ArrayLike, scores_out: ArrayLike, replicates: int = REPLICATES, seed: int = BOOTSTRAP_SEED
) -> Float[np.ndarray, " replicates"]:
    """AUROC of resampled test sets, both resampled with replacement; what varies is the test images.

    The scores are ranked once. A resample is then a vector of counts, and its AUROC one cumulative sum.

    Args:
        scores_in: shape (n,).
        scores_out: shape (m,).
        replicates: R, number of resamples.
        seed: of the resampling; the same seed draws the same images whatever the scores.

    Returns:
        Shape (R,).
    """
    inside, outside = np.asarray(scores_in, dtype=float), np.asarray(scores_out, dtype=float)
    n, m = len(inside), len(outside)
    distinct, rank = np.unique(np.concatenate([inside, outside]), return_inverse=True)
    rank_in, rank_out, levels = rank[:n], rank[n:], len(distinct)
    rng = np.random.default_rng(seed)
    values = np.empty(replicates)
    for r in range(replicates):
        count_in = np.bincount(rank_in[rng.integers(n, size=n)], minlength=levels)
        count_out = np.bincount(rank_out[rng.integers(m, size=m)], minlength=levels)
        outscored = np.cumsum(count_out) - 0.5 * count_out
        values[r] = count_in @ outscored / (n * m)
    return values


def auroc_table(runs: Sequence[Run], replicates: int = REPLICATES) -> pd.DataFrame:
    """AUROC of every run, score and out-of-distribution set.

    Returns:
        Columns: method, seed, score, ood_set, n_in, n_out, auroc, low, high (bootstrap over test images).
    """
    rows = []
    for run in runs:
        inside = run.folder.outputs("test").logits
        for name in run.config.evaluation_sets:
            outside = run.folder.outputs(name).logits
            for score, reading in SCORES.items():
                if score == "max q(y|x)" and inside.shape[1] == 1:
                    continue  # a single logit says nothing about labels
                scores_in, scores_out = reading(inside).numpy(), reading(outside).numpy()
                low, high = percentile_interval(bootstrap_auroc(scores_in, scores_out, replicates))
                rows.append(
                    {"method": run.method, "seed": run.seed, "score": score, "ood_set": name,
                     "n_in": len(inside), "n_out": len(outside),
                     "auroc": auroc(scores_in, scores_out), "low": low, "high": high}
                )  # fmt: skip
    return pd.DataFrame(rows)


def log_q_x_histograms(runs: Sequence[Run], bins: int = 50) -> pd.DataFrame:
    """Histograms of log q(x), in and out of distribution, one pair a run and set (paper, Figure 1).

    Bins span the central 99.8 % of both sets together, so that a few far images do not flatten the picture;
    the images beyond are counted in the outermost bins.

    Returns:
        Columns: method, seed, ood_set, images ("in" or "out"), lower, upper (nats), count, n, share.
    """
    rows = []
    for run in runs:
        inside = log_q_x(run.folder.outputs("test").logits).double().numpy()
        for name in run.config.evaluation_sets:
            outside = log_q_x(run.folder.outputs(name).logits).double().numpy()
            low, high = np.quantile(np.concatenate([inside, outside]), [0.001, 0.999])
            edges = np.linspace(low, high, bins + 1)
            for images, scores in (("in", inside), ("out", outside)):
                counts, _ = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)
                rows.append(
                    pd.DataFrame(
                        {"method": run.method, "seed": run.seed, "ood_set": name, "images": images,
                         "lower": edges[:-1], "upper": edges[1:], "count": counts,
                         "n": len(scores), "share": counts / len(scores)}
                    )
                )  # fmt: skip
    return pd.concat(rows, ignore_index=True)
