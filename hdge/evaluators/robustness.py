"""Adversarial robustness: what attacks leave of the accuracy, and whether the gradients they follow can be believed."""

import math

from scipy import stats
from torch import Tensor

from hdge.evaluators.classification import accuracy_row
from hdge.evaluators.intervals import LEVEL, limits, require_counts
from hdge.evaluators.tables import Rows, over_runs
from hdge.study.measured import Attacked

PGD, STRONG, THROUGH_NOISE = "PGD", "APGD, FAB and Square", "PGD through noise"
WORST = "worst of PGD, APGD, FAB and Square"  # what verdicts rest on
UNIT_NAMES = {"l2": "pixels of [0, 1]", "linf": "1/255"}
# PGD and AutoAttack differ by three or four points of accuracy on networks of plain adversarial training, which mask no
# gradients. They differ by ten and more where gradients are masked (Croce & Hein 2020).
MASKED_ABOVE = 0.05


@over_runs("attack", "norm", "radius", "unit", "n", "correct", "accuracy", "low", "high", "chance", "claimed")
def robustness_table(one: Attacked) -> Rows:
    """Accuracy under every attack and radius; radius 0 is without attack, and a verdict is passed where claimed."""
    chance = 1 / len(one.run.folder.record()["data"]["classes"])
    for attack, norm, radius, images in _measured(one):
        claimed = attack == WORST and (norm, radius) in one.protocol.checked
        row = {"attack": attack, "norm": norm, "radius": radius, "unit": UNIT_NAMES[norm]}
        yield {**row, **accuracy_row(images), "chance": chance, "claimed": claimed}


@over_runs(
    "check", "norm", "radius", "unit", "n", "pgd", "checked", "only_pgd", "only_check", "difference", "low", "high",
    "masked",
)  # fmt: skip
def gap_table(one: Attacked) -> Rows:
    """Accuracy under PGD and under what checks it, at the same radii and on the same images, of every checked run.

    The strong attacks find what PGD's loss and steps miss. PGD through noise attacks the network's mean decision under
    the noise that it is evaluated with. The columns only_pgd and only_check count images withstood under one alone. If
    the difference is above ``MASKED_ABOVE``, the row is masked: PGD alone overstates the method.
    """
    parts = {part[:3]: part[3] for part in _measured(one)}
    for (check, norm, radius), images in parts.items():
        if check in (PGD, WORST) or radius == 0:
            continue
        n, pgd = len(images), parts[PGD, norm, radius][: len(images)]
        only_pgd, only_check = int((pgd > images).sum()), int((images > pgd).sum())
        difference = (only_pgd - only_check) / n
        yield {
            "check": check,
            "norm": norm,
            "radius": radius,
            "unit": UNIT_NAMES[norm],
            "n": n,
            "pgd": int(pgd.sum()) / n,
            "checked": int(images.sum()) / n,
            "only_pgd": only_pgd,
            "only_check": only_check,
            "difference": difference,
            **limits(paired_interval(only_pgd, only_check, n)),
            "masked": difference > MASKED_ABOVE,
        }


def paired_interval(only_first: int, only_second: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    r"""Interval of the difference of two accuracies on the same images; what varies is the n test images.

    .. math:: p_1 - p_2 \pm z \sqrt{\frac{p_1 + p_2 - (p_1 - p_2)^2}{n + 2}}, \qquad p_i = \frac{n_i + 1}{n + 2}

    Here n_1 images are right under the first alone and n_2 under the second alone. Both limits are in [-1, 1].

    Source: Bonett & Price 2012.
    """
    require_counts(only_first + only_second, n)
    z = stats.norm.ppf(0.5 + level / 2)
    first, second = (only_first + 1) / (n + 2), (only_second + 1) / (n + 2)
    half = z * math.sqrt((first + second - (first - second) ** 2) / (n + 2))
    return max(-1.0, first - second - half), min(1.0, first - second + half)


def _measured(one: Attacked) -> list[tuple[str, str, float, Tensor]]:
    """Attack, norm, radius and images withstood, of each row of each tensor that was measured."""
    protocol, withstood = one.protocol, one.withstood
    parts: list[tuple[str, str, float, Tensor]] = []
    for norm, radii in (("l2", protocol.l2), ("linf", protocol.linf)):
        parts += [(PGD, norm, float(r), row) for r, row in zip((0, *radii), withstood[norm], strict=True)]
    if "strong" in withstood:
        pgd = {(norm, radius): row for _, norm, radius, row in parts}
        for (norm, radius), row in zip(protocol.checked, withstood["strong"], strict=True):
            parts += [(STRONG, norm, radius, row), (WORST, norm, radius, row & pgd[norm, radius][: len(row)])]
    if "noise" in withstood:
        noisy = zip((0, protocol.noise_radius), withstood["noise"], strict=True)
        parts += [(THROUGH_NOISE, "linf", float(r), row) for r, row in noisy]
    return parts
