"""What a network that was not sampled says of the samples of others: features and class probabilities.

The judge is a classifier of the study's own, or, where a user has its weights, the Inception network of published
scores. What it says is stored with the runs, as the samples are.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from hdge.data.splits import SPLIT_SEED, load_splits, to_unit
from hdge.measure.network import EVALUATION_BATCH, load_network
from hdge.measure.samples import SAMPLED, SamplingProtocol, sample_run
from hdge.study.config import HdgeError
from hdge.study.runs import Run, RunFolder
from hdge.training.trainer import pick_device

INCEPTION = "inception-v3-compat"  # torch-fidelity's name for the network behind published FIDs
Extractor = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Judge:
    """A network that turns images into features and class probabilities, by which samples are scored.

    Args:
        name: "study", a classifier of this study, or "inception".
        digest: fingerprint of its weights.
        folder: where what it says of real images is stored.
        load: gives, for a shape of images, a function of uint8 images (N, channels, H, W) to features (N, D) and
            probabilities (N, C).
    """

    name: str
    digest: str
    folder: RunFolder
    load: Callable[[tuple[int, ...]], Extractor]


@dataclass(frozen=True)
class Sampled:
    """A run with its samples, and what the judge says of them (nothing without a judge)."""

    run: Run
    samples: dict[str, Tensor]
    judged: dict[str, Tensor]


def judge_of(runs: Sequence[Run], inception_weights: str = "") -> Judge | None:
    """The judge of a profile's samples: its first cross-entropy run, or Inception where its weights are given.

    Raises:
        HdgeError: no such file, or no torch-fidelity to read it.
    """
    if inception_weights and runs:
        return _inception(Path(inception_weights).expanduser(), runs[0].folder)
    own = next((run for run in runs if run.method == "cross_entropy"), None)
    return None if own is None else Judge("study", own.folder.weights_digest(), own.folder, _classifier(own))


def _classifier(run: Run) -> Callable[[tuple[int, ...]], Extractor]:
    def load(shape: tuple[int, ...]) -> Extractor:
        model = load_network(run, shape).to(pick_device())

        def extract(images: Tensor) -> tuple[Tensor, Tensor]:
            features = model.features(to_unit(images))  # type: ignore[operator]
            return features, model.head(features).softmax(dim=1)  # type: ignore[operator]

        return extract

    return load


def _inception(weights: Path, folder: RunFolder) -> Judge:
    try:
        from torch_fidelity.utils import create_feature_extractor
    except ImportError:
        raise HdgeError(
            "inception_weights is given, but torch-fidelity is not installed; run `pip install torch-fidelity==0.4.0`."
        ) from None
    if not weights.is_file():
        raise HdgeError(f"inception_weights is {str(weights)!r}, and no such file; leave it empty for the study's own.")

    def load(shape: tuple[int, ...]) -> Extractor:
        model = create_feature_extractor(
            INCEPTION, ["2048", "logits_unbiased"], cuda=pick_device().type == "cuda", verbose=False,
            feature_extractor_weights_path=str(weights),
        )  # fmt: skip

        def extract(images: Tensor) -> tuple[Tensor, Tensor]:
            features, logits = model(images.expand(-1, 3, -1, -1))
            return features, logits.softmax(dim=1)

        return extract

    return Judge("inception", hashlib.sha256(weights.read_bytes()).hexdigest(), folder, load)


@torch.inference_mode()
def _judged(
    extract: Extractor, images: UInt8[Tensor, "n c h w"]
) -> tuple[Float[Tensor, "n features"], Float[Tensor, "n classes"]]:
    parts = [extract(batch.to(pick_device())) for batch in images.split(EVALUATION_BATCH)]
    features, probabilities = (torch.cat(part).float().cpu() for part in zip(*parts, strict=True))
    return features, probabilities


def judge_samples(run: Run, samples: dict[str, Tensor], judge: Judge, protocol: SamplingProtocol) -> dict[str, Tensor]:
    """What the judge says of a run's samples, as stored or anew.

    Returns:
        features (N, D), probabilities (N, C), and class_probabilities (M', C) if there are samples of classes.

    Raises:
        HdgeError: it is not stored, and the judge or the run has no weights.
    """

    def measure() -> dict[str, Tensor]:
        extract = judge.load(tuple(samples["samples"].shape[1:]))
        features, probabilities = _judged(extract, samples["samples"])
        results = {"features": features, "probabilities": probabilities}
        if "class_samples" in samples:
            results["class_probabilities"] = _judged(extract, samples["class_samples"])[1]
        return results

    return run.folder.measured(f"judged-{judge.name}", {**asdict(protocol), "judge": judge.digest}, measure)


def judge_reference(judge: Judge, dataset: str, protocol: SamplingProtocol, data_root: Path) -> dict[str, Tensor]:
    """What the judge says of real images and of uniform noise, as many test images and as much noise as samples.

    Returns:
        train_mean (D,) and train_covariance (D, D) of the features of all training images, in float64; and for "test"
        and "noise" <kind>_features (N, D) and <kind>_probabilities (N, C).

    Raises:
        HdgeError: it is not stored, and the judge has no weights.
    """

    def measure() -> dict[str, Tensor]:
        splits = load_splits(dataset, data_root)
        test = splits.test.images[: protocol.chains]
        generator = torch.Generator().manual_seed(SPLIT_SEED)
        noise = torch.randint(256, test.shape, generator=generator, dtype=torch.uint8)
        extract = judge.load(tuple(test.shape[1:]))
        train = _judged(extract, splits.train.images)[0].double()
        results = {"train_mean": train.mean(dim=0), "train_covariance": train.T.cov()}
        for kind, images in (("test", test), ("noise", noise)):
            results[f"{kind}_features"], results[f"{kind}_probabilities"] = _judged(extract, images)
        return results

    return judge.folder.measured(f"reference-{judge.name}", {**asdict(protocol), "judge": judge.digest}, measure)


def sample_runs(
    runs: Sequence[Run], protocol: SamplingProtocol, data_root: Path, judge: Judge | None
) -> tuple[list[Sampled], dict[str, Tensor], list[str]]:
    """Samples of every run that can be sampled, judged if they can be judged.

    Returns:
        The runs with their samples; what the judge says of real images (nothing without a judge); and one sentence for
        each thing that is missing.

    Raises:
        HdgeError: none of the runs can be sampled.
    """
    sampled, reference, missing = [], {}, []
    for run in runs:
        try:
            sampled.append(Sampled(run, sample_run(run, protocol, data_root), {}))
        except HdgeError as error:
            missing.append(f"{run.method}, seed {run.seed}: not sampled: {error}")
    if not sampled:
        raise HdgeError(" ".join([*missing, f"Nothing can be sampled; train one of {', '.join(SAMPLED)}."]))
    if judge is None:
        return sampled, {}, [*missing, "No scores: they need a finished cross_entropy run, or Inception's weights."]
    try:
        reference = judge_reference(judge, sampled[0].run.config.dataset, protocol, data_root)
        for i, one in enumerate(sampled):
            sampled[i] = Sampled(one.run, one.samples, judge_samples(one.run, one.samples, judge, protocol))
    except HdgeError as error:
        missing.append(f"Scores are missing: {error}")
    return sampled, reference, missing
