"""What samples are worth: two statistics of features and class probabilities, and how chains move.

The formulas are those of the Inception Score and of the Fréchet Inception Distance, which bear these names only with
Inception's features. On the features of a classifier of the study they compare samples within one table alone.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.special import xlogy
from torch import Tensor

from hdge.core.readings import log_q_x, of_label, prediction
from hdge.evaluators.classification import accuracy_table
from hdge.evaluators.intervals import BOOTSTRAP_SEED, limits, percentile_interval
from hdge.evaluators.tables import Rows, over_runs, rows
from hdge.study.checks import finite
from hdge.study.errors import HdgeError, require
from hdge.study.measured import Sampled

SCORES = {
    "study": ("Inception-score formula on the study's classifier", "Fréchet distance on the study's features"),
    "inception": ("Inception Score", "Fréchet Inception Distance"),
}
ACCURACY = "test accuracy"
REFERENCES = {"test": "test images", "noise": "random starts"}
REPLICATES = 200  # a matrix square root each: the Monte Carlo error of a limit is a quarter of the interval's width
WIDEST = 512  # features up to which the square roots of so many replicates take seconds, not an hour
SHOWN = 4  # samples a class in the picture


def inception_score(probabilities: Float[np.ndarray, "n classes"], splits: int = 1) -> float:
    r"""How sure a classifier is of each image, and how varied its labels are over all of them.

    .. math:: \exp \frac1N \sum_i \sum_y p(y|x_i) \log \frac{p(y|x_i)}{p(y)}, \qquad p(y) = \frac1N \sum_i p(y|x_i)

    Here 0 log 0 = 0. The score is averaged over as many consecutive parts as there are splits. It is in [1, C]: 1 if
    all rows are the same, C if each is sure and all classes are equally frequent.

    Raises:
        HdgeError: no image, fewer images than splits, or rows that are not probabilities.

    Source: Salimans et al. 2016, section 4; it is the Inception Score if p is the Inception network's.
    """
    p = finite("probabilities", probabilities, dimensions=2)
    require("splits", splits, 1 <= splits <= len(p), f"from 1 to the number of images, {len(p)}")
    least, sums = float(p.min()), p.sum(axis=1)
    require("the least of the probabilities", least, least >= 0, "0 or more; give softmax(f), not f")
    worst = float(sums[np.abs(sums - 1).argmax()])
    require("the sum of a row of probabilities", worst, abs(worst - 1) < 1e-4, "1; give rows that sum to 1")
    scores = []
    for part in np.array_split(p, splits):
        marginal = part.mean(axis=0)
        divergence = xlogy(part, part).sum(axis=1).mean() - xlogy(marginal, marginal).sum()
        scores.append(np.exp(divergence))
    return float(np.mean(scores))


def moments(features: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]]:
    """Mean, shape (D,), and unbiased covariance, shape (D, D), in float64."""
    wide = finite("features", features, dimensions=2)
    require("the number of images", len(wide), len(wide) > 1, "at least 2 images, for a covariance")
    return wide.mean(axis=0), np.atleast_2d(np.cov(wide, rowvar=False))


def square_root(covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """The symmetric square root of a covariance; eigenvalues that rounding has put below 0 count as 0."""
    values, vectors = np.linalg.eigh(finite("covariance", covariance, dimensions=2))
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def gaussian_distance(
    mean_a: Float[np.ndarray, " d"],
    root_a: Float[np.ndarray, "d d"],
    mean_b: Float[np.ndarray, " d"],
    covariance_b: Float[np.ndarray, "d d"],
) -> float:
    """Squared Fréchet distance of two Gaussians, the first given by the square root of its covariance.

    Raises:
        HdgeError: a mean, root or covariance that is not finite.
    """
    finite("mean_a", mean_a, dimensions=1)
    finite("root_a", root_a, dimensions=2)
    finite("mean_b", mean_b, dimensions=1)
    finite("covariance_b", covariance_b, dimensions=2)
    product = np.linalg.eigvalsh(root_a @ covariance_b @ root_a).clip(min=0)
    squares = np.square(mean_a - mean_b).sum() + np.square(root_a).sum() + np.trace(covariance_b)
    return float(max(0.0, squares - 2 * np.sqrt(product).sum()))


def frechet_distance(features_a: Float[np.ndarray, "n d"], features_b: Float[np.ndarray, "m d"]) -> float:
    r"""Squared Fréchet distance of the Gaussians that have two sets' means and covariances.

    .. math:: \|\mu_a - \mu_b\|^2 + \mathrm{Tr}\big(S_a + S_b - 2 (S_a^{1/2} S_b S_a^{1/2})^{1/2}\big)

    It is at least 0, in squared units of the features. Few images bias it upwards: two sets of N and M images of one
    Gaussian of covariance s^2 I lie about s^2 D (D + 5) / 4 (1/N + 1/M) apart.

    Raises:
        HdgeError: sets of other widths, fewer than two images, or features that are not finite.

    Source: Heusel et al. 2017, equation 6; it is the FID if the features are the Inception network's.
    """
    (mean, covariance), other = moments(features_a), moments(features_b)
    if mean.shape != other[0].shape:
        raise HdgeError(f"features are {len(mean)} and {len(other[0])} wide; take both from the same network.")
    return gaussian_distance(mean, square_root(covariance), *other)


def centred_interval(value: float, replicates: Sequence[float]) -> tuple[float, float]:
    """Percentile interval of bootstrap replicates, moved so that their mean is the value.

    A resample holds fewer distinct images, which biases both statistics once more. Only its spread is of use.
    """
    drawn = finite("replicates", replicates, dimensions=1)
    low, high = percentile_interval(drawn - drawn.mean() + value)
    return max(0.0, low), high


def scores_of(features: Tensor, probabilities: Tensor, reference: Mapping[str, Tensor], names: tuple[str, str]) -> Rows:
    """Both scores of one set of images, with bootstrap intervals over the images."""
    f, p, n = features.double().numpy(), probabilities.double().numpy(), len(features)
    p = p / p.sum(axis=1, keepdims=True)
    mean, root = reference["train_mean"].numpy(), square_root(reference["train_covariance"].numpy())
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    draws = [rng.integers(n, size=n) for _ in range(REPLICATES if f.shape[1] <= WIDEST else 0)]

    def row(name: str, values: np.ndarray, score: Callable[[np.ndarray], float]) -> dict[str, object]:
        value, replicates = score(values), [score(values[draw]) for draw in draws]
        interval = centred_interval(value, replicates) if replicates else (np.nan, np.nan)
        return {"score": name, "n": n, "value": value, **limits(interval)}

    yield row(names[0], p, inception_score)
    yield row(names[1], f, lambda values: gaussian_distance(mean, root, *moments(values)))


def scores_table(sampled: Sequence[Sampled], reference: Mapping[str, Tensor], critic: str) -> pd.DataFrame:
    """Accuracy of every run, both scores of its samples, and those of as many test images and random starts.

    The references have their name as method, and no seed. Accuracy has Wilson intervals over test images. Scores have
    centred bootstrap intervals over samples, which are not numbers beyond :data:`WIDEST` features.
    """

    def both(said: Mapping[str, Tensor], kind: str = "") -> Rows:
        return scores_of(said[f"{kind}features"], said[f"{kind}probabilities"], reference, SCORES[critic])

    def scores(one: Sampled) -> Rows:
        if one.run.classifies:
            [own] = accuracy_table([one.run]).rename(columns={"accuracy": "value"}).to_dict("records")
            yield {"score": ACCURACY, **{name: own[name] for name in ("n", "value", "low", "high")}}
        if reference and one.critique:
            yield from both(one.critique)

    kinds = REFERENCES.items() if reference else ()
    of_references = [
        {"method": name, "seed": None, **row} for kind, name in kinds for row in both(reference, f"{kind}_")
    ]
    table = rows(sampled, scores, ["score", "n", "value", "low", "high"])
    return pd.concat([table, pd.DataFrame(of_references)], ignore_index=True).astype({"seed": "Int64"})


@over_runs("start", "step", "n", "log_q_x", "low", "high", "distance", "changed")
def chains_table(one: Sampled) -> Rows:
    """How chains from random starts and from data move; flows have none.

    At every step it has the median of log q(x) in nats, up to a constant of the network, and 5 and 95 % of the chains
    as low and high. Distance from the start is the mean over chains of the root mean square over pixels in [0, 1].
    Changed is the share of chains with another prediction, and not a number with a single logit.
    """
    for start in ("noise", "data") if "steps" in one.samples else ():
        tensors = (one.samples[f"{start}_{name}"].double() for name in ("log_q_x", "distance", "changed"))
        log_q, distance, changed = tensors
        quantiles = np.quantile(log_q.numpy(), [0.05, 0.5, 0.95], axis=1)
        for i, step in enumerate(one.samples["steps"].tolist()):
            low, median, high = quantiles[:, i]
            share = changed[i].mean().item() if one.run.classifies else np.nan
            row = {"start": start, "step": step, "n": log_q.shape[1], "log_q_x": median, "low": low, "high": high}
            yield {**row, "distance": distance[i].mean().item(), "changed": share}


SAMPLE_COLUMNS = ["method", "class", "index", "pixel_mean", "seed", "logit", "log_q_x", "agrees", "critic_probability"]


def samples_table(sampled: Sequence[Sampled], critic: str, each: int = SHOWN) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """The first few samples of every class, as many test images before them, and what can be said of each.

    It gives one row a picture, and the pictures in the same order, uint8 (channels, H, W). Pixels are in [0, 1]. The
    logit is the run's f(x)[y] in nats; a sample agrees if argmax f(x) is y. The critic's probability is that of y by
    the study's classifier, and not a number if the classifier has not seen the picture.
    """
    shown = [one for one in sampled if "class_samples" in one.samples]
    classes = shown[0].run.folder.record()["data"]["classes"] if shown else []
    found: list[dict[str, object]] = []
    pictures: list[np.ndarray] = []

    def add(images: Tensor, labels: Tensor, names: dict[str, object], said: dict[str, Tensor]) -> None:
        for i, index in _first_of_each(labels, each):
            row = {"class": classes[labels[i]], "index": index, "pixel_mean": images[i].double().mean().item() / 255}
            found.append({**names, **row, **{name: values[i].item() for name, values in said.items()}})
            pictures.append(images[i].numpy())

    for one in [one for one in shown if "images" in one.samples][:1]:
        add(one.samples["images"], one.samples["image_labels"], {"method": REFERENCES["test"]}, {})
    for one in shown:
        logits, labels = one.samples["class_logits"].double(), one.samples["class_labels"]
        said = {"logit": of_label(logits, labels), "log_q_x": log_q_x(logits), "agrees": prediction(logits) == labels}
        if critic == "study" and "class_probabilities" in one.critique:
            said["critic_probability"] = of_label(one.critique["class_probabilities"], labels)
        add(one.samples["class_samples"], labels, {"method": one.run.row, "seed": one.run.seed}, said)
    return pd.DataFrame(found, columns=SAMPLE_COLUMNS).astype({"seed": "Int64"}), pictures


def _first_of_each(labels: Tensor, each: int) -> list[tuple[int, int]]:
    """Places of the first few of every class, class by class, and their number within it."""
    found = [(labels == label).nonzero().flatten()[:each].tolist() for label in torch.unique(labels)]
    return [(place, index) for places in found for index, place in enumerate(places)]
