"""Samples of trained networks, by Langevin dynamics or directly from a flow; their runs store them."""

from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from tqdm import tqdm

from hdge.core.readings import log_q_x, prediction
from hdge.data.augment import to_unit
from hdge.data.images import Bytes, ImageSet, Labels, Pixels
from hdge.measure.network import EVALUATION_BATCH, load_network, pick_device, splits_of
from hdge.methods.base import frozen
from hdge.methods.flows import LEVELS, Glow
from hdge.methods.sgld import class_gaussians, log_density_of, sgld_step
from hdge.study.runs import Run
from hdge.study.settings import SamplingProtocol

CHAIN_BATCH = 256  # chains stepped together: their activations fit a GPU at WRN-28-10, and more would not help a CPU


def sample_run(run: Run, protocol: SamplingProtocol, data_root: Path) -> dict[str, Tensor]:
    """Read or draw the samples of one run.

    Returns:
        samples, uint8 (N, channels, H, W), with their logits (N, C); images (M, channels, H, W), real ones from which
        chains started, and image_labels (M,). With classes: class_samples, class_labels and class_logits alike. With
        chains: steps (S,), and for chains from random starts ("noise") and from "data" <start>_log_q_x (S, N) in nats,
        <start>_distance (S, N), root mean square over pixels in [0, 1], and <start>_changed (S, N), whether
        argmax f(x) has changed since the start.
    """

    def measure() -> dict[str, Tensor]:
        device = pick_device()
        splits = splits_of(run.folder, run.config.dataset, data_root)
        test = splits.test
        model = load_network(run, tuple(test.images.shape[1:])).to(device)
        classes = len(test.classes) if run.classifies else 1
        images, image_labels = first_of_each_class(test, protocol.per_class)
        labels = torch.arange(classes, device=device).repeat_interleave(protocol.per_class)
        if isinstance(model, Glow):
            results = sample_flow(model, labels, protocol)
        else:
            training, name = splits.train.to(device), f"{run.row} seed {run.seed}"
            results = sample_chains(model, training, images.to(device), labels, protocol, name)
        return {name: value.cpu() for name, value in results.items()} | {"images": images, "image_labels": image_labels}

    return run.folder.measured("samples", asdict(protocol), measure)


def first_of_each_class(test: ImageSet, count: int) -> tuple[UInt8[Tensor, "m c h w"], Int[Tensor, " m"]]:
    """Return the first few test images of every class, in order of classes, and their labels."""
    places = [(test.labels == label).nonzero().flatten()[:count] for label in range(len(test.classes))]
    return test.images[torch.cat(places)], test.labels[torch.cat(places)]


def random_starts(
    training: ImageSet, count: int, labels: Labels | None, protocol: SamplingProtocol, generator: torch.Generator
) -> Pixels:
    """Draw random starts of chains, pixels in [-1, 1]; those of classes are of all equally, unless labels are given."""
    device = training.images.device
    if protocol.start == "uniform":
        return torch.empty(count, *training.images.shape[1:], device=device).uniform_(-1, 1, generator=generator)
    every = torch.arange(count, device=device) % len(training.classes)
    chosen = every if labels is None else labels
    return class_gaussians(2 * to_unit(training.images) - 1, training.labels, chosen, generator)


def sample_chains(
    model: nn.Module,
    training: ImageSet,
    images: Bytes,
    labels: Int[Tensor, " l"],
    protocol: SamplingProtocol,
    name: str,
) -> dict[str, Tensor]:
    """Run chains of log q(x) from random starts and images, and of log q(x|y); see :func:`sample_run`."""
    generator = torch.Generator(images.device).manual_seed(protocol.seed)
    starts: dict[str, tuple[Tensor, Tensor | None]] = {
        "noise": (random_starts(training, protocol.chains, None, protocol, generator), None),
        "data": (2 * to_unit(images) - 1, None),
    }
    conditional = len(labels) > protocol.per_class  # one logit has no classes
    if conditional:
        starts["class"] = (random_starts(training, len(labels), labels, protocol, generator), labels)
    total = protocol.steps * sum(len(start) for start, _ in starts.values())
    results, ends = {"steps": torch.arange(0, protocol.steps + 1, protocol.record_every)}, {}
    with frozen(model), tqdm(total=total, desc=name, unit="step", unit_scale=True) as bar:
        for kind, (start, own) in starts.items():
            ends[kind], *traces = run_chains(model, start, own, protocol, generator, bar)
            if own is None:
                results |= dict(zip((f"{kind}_log_q_x", f"{kind}_distance", f"{kind}_changed"), traces, strict=True))
    samples = to_bytes((ends["noise"] + 1) / 2)
    results |= {"samples": samples, "logits": logits_of(model, samples)}
    if conditional:
        shown = to_bytes((ends["class"] + 1) / 2)
        results |= {"class_samples": shown, "class_labels": labels, "class_logits": logits_of(model, shown)}
    return results


def run_chains(
    model: nn.Module,
    start: Pixels,
    labels: Labels | None,
    protocol: SamplingProtocol,
    generator: torch.Generator,
    bar: tqdm,
) -> tuple[Pixels, Float[Tensor, "s n"], Float[Tensor, "s n"], Bool[Tensor, "s n"]]:
    """Run chains of log q(x) or, with labels, of log q(x|y), whose gradient is that of f(x)[y].

    Pixels are in [-1, 1]. The result holds the chains' ends. At every recorded step it has log q(x) up to a constant in
    nats, the distance from the start, and whether argmax f(x) has changed.
    """
    ends, traces = [], []
    for places in torch.arange(len(start), device=start.device).split(CHAIN_BATCH):
        samples = first = start[places]
        log_density = log_density_of(model, None if labels is None else labels[places])
        trace = [look(model, samples, first)]
        for step in range(1, protocol.steps + 1):
            samples = sgld_step(samples, log_density, protocol.step_size, protocol.noise, generator)
            if step % protocol.record_every == 0:
                trace.append(look(model, samples, first))
            bar.update(len(samples))
        ends.append(samples)
        traces.append([torch.stack(seen) for seen in zip(*trace, strict=True)])
    log_q, distance, predicted = (torch.cat(parts, dim=1) for parts in zip(*traces, strict=True))
    return torch.cat(ends), log_q, distance, predicted != predicted[:1]


@torch.no_grad()
def look(model: nn.Module, samples: Pixels, start: Pixels) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"], Labels]:
    """Return log q(x) up to a constant, distance from the start in pixels in [0, 1], and argmax f(x)."""
    logits = model((samples + 1) / 2).float()
    distance = ((samples - start) / 2).square().flatten(1).mean(dim=1).sqrt()
    return log_q_x(logits), distance, prediction(logits)


@torch.no_grad()
def sample_flow(model: Glow, labels: Int[Tensor, " l"], protocol: SamplingProtocol) -> dict[str, Tensor]:
    """Draw samples of a flow with all classes equally often, and a few of every class; see :func:`sample_run`."""

    def draw(own: Tensor) -> Tensor:
        centred, _ = model.flow.sample(len(own), own)
        return to_bytes(((centred + 0.5) * LEVELS - 0.5) / (LEVELS - 1))

    every = torch.arange(protocol.chains, device=labels.device) % model.num_classes
    with torch.random.fork_rng(devices=[labels.device] if labels.is_cuda else []):
        torch.manual_seed(protocol.seed)
        samples = torch.cat([draw(part) for part in every.split(CHAIN_BATCH)])
        shown = draw(labels)
    results = {"samples": samples, "logits": logits_of(model, samples)}
    if model.num_classes > 1:
        results |= {"class_samples": shown, "class_labels": labels, "class_logits": logits_of(model, shown)}
    return results


def to_bytes(images: Pixels) -> Bytes:
    """Convert pixels in [0, 1] to whole values up to 255; pixels outside are clipped, and NaN becomes black."""
    return (255 * images.nan_to_num(0.0, 1.0, 0.0).clamp(0, 1)).round().to(torch.uint8)


@torch.no_grad()
def logits_of(model: nn.Module, images: Bytes) -> Float[Tensor, "n classes"]:
    """Compute f(x) of images as they are shown, without test-time noise, because samples carry noise already."""
    return torch.cat([model(to_unit(batch)).float() for batch in images.split(EVALUATION_BATCH)])
