"""Samples scored by a critic: a classifier of the study, or the Inception network if a user has its weights."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from hdge.data.augment import to_unit
from hdge.data.splits import SPLIT_SEED
from hdge.measure.network import EVALUATION_BATCH, load_network, measure_each, pick_device, splits_of
from hdge.measure.samples import random_starts, sample_run, to_bytes
from hdge.study.errors import HdgeError
from hdge.study.measured import Sampled
from hdge.study.measurements import CRITIC
from hdge.study.runs import Run, RunFolder
from hdge.study.settings import SamplingProtocol

INCEPTION = "inception-v3-compat"  # torch-fidelity's name for the network of published FIDs
Extractor = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Critic:
    """A network, "study" or "inception", that turns images into features and class probabilities.

    For a shape of images, ``load`` gives a function from uint8 images (N, channels, H, W) to features (N, D) and
    probabilities (N, C). The folder stores the critic's scores of real images, under the digest of its weights.
    """

    name: str
    digest: str
    folder: RunFolder
    load: Callable[[tuple[int, ...]], Extractor]


def critic_of(runs: Sequence[Run], inception_weights: str = "") -> Critic | None:
    """Choose the critic of samples: Inception if its weights are given, else the first cross-entropy run."""
    if inception_weights and runs:
        return _inception(Path(inception_weights).expanduser(), runs[0].folder)
    own = next((run for run in runs if run.row == CRITIC), None)
    return None if own is None else Critic("study", own.folder.weights_digest(), own.folder, partial(_classifier, own))


def _classifier(run: Run, shape: tuple[int, ...]) -> Extractor:
    model = load_network(run, shape).to(pick_device())

    def extract(images: Tensor) -> tuple[Tensor, Tensor]:
        features = model.features(to_unit(images))  # type: ignore[operator]
        return features, model.head(features).softmax(dim=1)  # type: ignore[operator]

    return extract


def _inception(weights: Path, folder: RunFolder) -> Critic:
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

    return Critic("inception", hashlib.sha256(weights.read_bytes()).hexdigest(), folder, load)


@torch.inference_mode()
def _features_and_probabilities(
    extract: Extractor, images: UInt8[Tensor, "n c h w"]
) -> tuple[Float[Tensor, "n features"], Float[Tensor, "n classes"]]:
    parts = [extract(batch.to(pick_device())) for batch in images.split(EVALUATION_BATCH)]
    features, probabilities = (torch.cat(part).float().cpu() for part in zip(*parts, strict=True))
    return features, probabilities


def criticise(run: Run, samples: dict[str, Tensor], critic: Critic, protocol: SamplingProtocol) -> dict[str, Tensor]:
    """Read or compute the critic's features (N, D) and probabilities (N, C) of samples."""

    def measure() -> dict[str, Tensor]:
        extract = critic.load(tuple(samples["samples"].shape[1:]))
        features, probabilities = _features_and_probabilities(extract, samples["samples"])
        results = {"features": features, "probabilities": probabilities}
        if "class_samples" in samples:
            results["class_probabilities"] = _features_and_probabilities(extract, samples["class_samples"])[1]
        return results

    asked = {**asdict(protocol), "critic": critic.digest}
    return run.folder.measured(f"critique-{critic.name}", asked, measure, [run.folder.measured_path("samples")])


def criticise_reference(critic: Critic, dataset: str, protocol: SamplingProtocol, data_root: Path) -> dict[str, Tensor]:
    """Read or compute the critic's scores of real images and of random starts of chains.

    The result has train_mean (D,) and train_covariance (D, D) of the features of all training images, in float64. For
    "test" and "noise", it has <kind>_features (N, D) and <kind>_probabilities (N, C), for as many images as samples.
    """

    def measure() -> dict[str, Tensor]:
        splits = splits_of(critic.folder, dataset, data_root)
        test = splits.test.images[: protocol.chains]
        generator = torch.Generator().manual_seed(SPLIT_SEED)
        if protocol.start == "uniform":
            noise = torch.randint(256, test.shape, generator=generator, dtype=torch.uint8)
        else:
            noise = to_bytes((random_starts(splits.train, len(test), None, protocol, generator) + 1) / 2)
        extract = critic.load(tuple(test.shape[1:]))
        train = _features_and_probabilities(extract, splits.train.images)[0].double()
        results = {"train_mean": train.mean(dim=0), "train_covariance": train.T.cov()}
        for kind, images in (("test", test), ("noise", noise)):
            said = _features_and_probabilities(extract, images)
            results[f"{kind}_features"], results[f"{kind}_probabilities"] = said
        return results

    return critic.folder.measured(f"reference-{critic.name}", {**asdict(protocol), "critic": critic.digest}, measure)


def sample_runs(
    runs: Sequence[Run], protocol: SamplingProtocol, data_root: Path, critic: Critic | None
) -> tuple[list[Sampled], dict[str, Tensor], list[str]]:
    """Return the runs with samples and scores, the scores of real images, and one sentence for each thing missing."""
    nothing = "No samples: they need a finished run, with its weights, of a method that is sampled."
    sampled, missing = measure_each(runs, lambda run: Sampled(run, sample_run(run, protocol, data_root), {}), nothing)
    if not sampled:
        return [], {}, missing
    if critic is None:
        return sampled, {}, [*missing, "No scores: they need a finished cross_entropy run, or Inception's weights."]
    reference: dict[str, Tensor] = {}
    try:
        reference = criticise_reference(critic, sampled[0].run.config.dataset, protocol, data_root)
        for i, one in enumerate(sampled):
            sampled[i] = Sampled(one.run, one.samples, criticise(one.run, one.samples, critic, protocol))
    except HdgeError as error:
        missing.append(f"Scores are missing: {error}")
    return sampled, reference, missing
