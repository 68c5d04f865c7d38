"""Robustness of a trained network: projected gradient descent (PGD), strong attacks, and an attack through the noise.

Pixels and radii are in [0, 1] throughout. If the network is right under the attacks of a radius and of all smaller
ones, an image is withstood at this radius. An image that is lost is not attacked again.
"""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from tqdm import tqdm

from hdge.core.readings import log_q_y_given_x, prediction
from hdge.data.augment import add_noise, to_unit
from hdge.data.images import Labels, Pixels
from hdge.measure.network import load_network, measure_each, pick_device, splits_of
from hdge.methods.adversarial import pgd
from hdge.methods.base import frozen
from hdge.study.measured import Attacked
from hdge.study.measurements import chosen
from hdge.study.roster import METHODS
from hdge.study.runs import Run
from hdge.study.settings import AttackNorm, AttackProtocol

# The unit of a protocol's radii, in pixels of [0, 1].
UNITS: dict[AttackNorm, float] = {"l2": 1.0, "linf": 1 / 255}
# The activations of so small a batch stay in a processor's cache.
ATTACK_BATCH = 100


def to_attack(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Choose runs to attack, and give one sentence for each row of the roster that is left out."""
    own = chosen(runs, "attacks")
    left_out = {}
    for run in runs:
        if not run.classifies:
            left_out[run.row] = f"{run.row}: not attacked, for a single logit tells no classes apart."
        elif run.row in METHODS and run.row not in {one.row for one in own}:
            left_out[run.row] = f"{run.row}: not attacked, for gradients through a flow take too long."
    return own, list(left_out.values())


def attack_runs(runs: Sequence[Run], protocol: AttackProtocol, data_root: Path) -> tuple[list[Attacked], list[str]]:
    """Attack the runs in the order of rows, or read stored results; give one sentence for each run left out."""
    own, missing = to_attack(runs)

    def attack(run: Run) -> Attacked:
        return Attacked(run, protocol, attack_run(run, protocol, data_root))

    nothing = "No attacks: they need a finished run, with its weights, that classifies."
    attacked, without = measure_each(tqdm(own, desc="attacks", unit="run"), attack, nothing)
    return attacked, missing + without


def attack_run(run: Run, protocol: AttackProtocol, data_root: Path) -> dict[str, Tensor]:
    """Read what a run's network withstands from the run's folder, or measure it by :func:`attack_network`."""

    def measure() -> dict[str, Tensor]:
        test, device = splits_of(run.folder, run.config.dataset, data_root).test, pick_device()
        model = load_network(run, tuple(test.images.shape[1:])).to(device)
        count = protocol.images or len(test)
        images, labels = to_unit(test.images[:count]).to(device), test.labels[:count].to(device)
        return attack_network(model, images, labels, run.config.noise, protocol)

    return run.folder.measured("attacks", asdict(protocol), measure)


def attacked_examples(
    protocol: AttackProtocol, data_root: Path, count: int, run: Run, radius: int
) -> tuple[Pixels, Float[Tensor, "n classes"], Labels]:
    """Attack the first test images by PGD within a radius of the maximum norm, in 255ths; 0 leaves them as they are.

    Returns:
        The images in [0, 1], the network's logits of them, and their labels.
    """
    test = splits_of(run.folder, run.config.dataset, data_root).test.take(torch.arange(count)).to(pick_device())
    model, images = load_network(run, tuple(test.images.shape[1:])).to(pick_device()), to_unit(test.images)
    with torch.random.fork_rng(), frozen(model):
        torch.manual_seed(protocol.seed)
        if radius:
            images = pgd(model, images, test.labels, "linf", radius * UNITS["linf"], protocol.steps)
        logits = model(images).float()
    return images.cpu(), logits.cpu(), test.labels.cpu()


def attack_network(
    model: nn.Module, images: Pixels, labels: Labels, noise: float, protocol: AttackProtocol
) -> dict[str, Tensor]:
    """Run all attacks of a protocol without the evaluation noise, as JEM does, and one attack through it.

    Images are in [0, 1], and the noise is on the scale of [-1, 1].

    Returns:
        Whether an image is withstood, 0 or 1. "l2" and "linf" have shape (1 + radii, N), the first row without attack.
        If M images are checked, "strong" has shape (checked, M). If there is noise as well, "noise" has shape
        (2, M): without attack and at the noise radius.
    """
    withstood: dict[str, Tensor] = {}
    steps, seed = protocol.steps, protocol.seed
    few = images[: protocol.checked_images], labels[: protocol.checked_images]
    with frozen(model):
        for norm, unit in UNITS.items():
            radii = [radius * unit for radius in protocol.radii(norm)]
            withstood[norm] = withstands_pgd(model, images, labels, norm, radii, steps, seed)
        if protocol.checked_images and protocol.checked:
            checks = [withstands_strong(model, *few, norm, r * UNITS[norm], protocol) for norm, r in protocol.checked]
            withstood["strong"] = torch.stack(checks)
        if protocol.checked_images and noise > 0:
            noisy = ThroughNoise(model, tuple(images.shape[1:]), noise, protocol.noise_draws, seed).eval()
            radii = [protocol.noise_radius * UNITS["linf"]]
            withstood["noise"] = withstands_pgd(noisy.to(images.device), *few, "linf", radii, steps, seed)
    return {name: tensor.to(torch.uint8).cpu() for name, tensor in withstood.items()}


def withstands_pgd(
    model: nn.Module, images: Pixels, labels: Labels, norm: AttackNorm, radii: list[float], steps: int, seed: int
) -> Bool[Tensor, "rows n"]:
    """Find the images that are withstood without attack (first row) and at each of the rising radii."""
    rows = [right(model, images, labels)]
    for radius in radii:
        still = rows[-1].clone()
        for part in batches(still):
            with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
                torch.manual_seed(seed)
                attacked = pgd(model, images[part], labels[part], norm, radius, steps)
            still[part] = right(model, attacked, labels[part])
        rows.append(still)
    return torch.stack(rows)


def withstands_strong(
    model: nn.Module, images: Pixels, labels: Labels, norm: AttackNorm, radius: float, protocol: AttackProtocol
) -> Bool[Tensor, " n"]:
    """Find the images that are withstood under the four attacks of AutoAttack, each on what those before it have left.

    They are APGD on the cross-entropy with restarts, APGD on a targeted ratio of logit differences (from four classes
    on), targeted FAB, which looks for the nearest image of another class, and Square, which needs no gradient. The
    budget is the protocol's, not that of AutoAttack's standard version.

    Source: Croce & Hein 2020.
    """
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
    from pyautoattack.fab_pt import FABAttack_PT
    from pyautoattack.square import SquareAttack

    given = {"eps": radius, "norm": {"l2": "L2", "linf": "Linf"}[norm], "seed": protocol.seed, "device": images.device}
    steps, queries = protocol.strong_steps, protocol.strong_queries
    still = right(model, images, labels)
    classes = model(images[:1]).shape[1]
    targets = min(protocol.strong_targets, classes - 1)
    parts = [APGDAttack(model, n_iter=steps, n_restarts=protocol.strong_restarts, **given)]
    if classes >= 4:  # the ratio's denominator takes four logits
        parts.append(APGDAttack_targeted(model, n_iter=steps, n_target_classes=targets, **given))
    parts.append(FABAttack_PT(model, n_iter=steps, targeted=True, n_target_classes=targets, **given))
    parts.append(SquareAttack(model, n_queries=queries, **given))
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []), warnings.catch_warnings():
        # The library warns of points with zero gradient, which Square covers.
        warnings.filterwarnings("ignore", message="there are .* points with zero gradient")
        for attack in parts:
            for part in batches(still):
                still[part] = right(model, attack.perturb(images[part], labels[part]), labels[part])
    return still


class ThroughNoise(nn.Module):
    r"""A network that decides by its mean probability under m draws of the evaluation noise sigma, on [-1, 1]'s scale.

    .. math:: \log \frac1m \sum_{j=1}^m q(y | x + \sigma \xi_j)

    The draws xi are the same for every image and call. If noise hides a gradient, the mean over draws shows it.

    Source: Athalye et al. 2018, "expectation over transformation".
    """

    draws: Tensor

    def __init__(self, model: nn.Module, shape: tuple[int, ...], noise: float, draws: int, seed: int) -> None:
        super().__init__()
        self.model = model
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("draws", add_noise(torch.zeros(draws, *shape), noise, generator))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        copies = (x[:, None] + self.draws).flatten(0, 1)
        said = log_q_y_given_x(self.model(copies).float()).unflatten(0, (len(x), len(self.draws)))
        return said.logsumexp(dim=1) - math.log(len(self.draws))


def batches(chosen: Bool[Tensor, " n"]) -> Iterable[Int[Tensor, " batch"]]:
    """Split the places of the chosen images into batches; no image chosen gives no batch."""
    places = chosen.nonzero().squeeze(1)
    return places.split(ATTACK_BATCH) if len(places) else ()


@torch.no_grad()
def right(model: nn.Module, images: Pixels, labels: Labels) -> Bool[Tensor, " n"]:
    """Check image by image whether argmax f(x) is the label."""
    return torch.cat(
        [prediction(model(x)) == y for x, y in zip(images.split(ATTACK_BATCH), labels.split(ATTACK_BATCH), strict=True)]
    )
