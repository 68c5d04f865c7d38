"""Adversarial robustness: what attacks leave of the accuracy, and whether the gradients they follow can be believed."""

import math
from collections.abc import Sequence

import pandas as pd
from scipy import stats
from torch import Tensor

from hdge.evaluators.intervals import LEVEL, wilson_interval
from hdge.evaluators.tables import Rows, rows
from hdge.measure.attacks import Attacked

PGD, AUTOATTACK, THROUGH_NOISE = "PGD", "AutoAttack", "PGD through noise"
UNIT_NAMES = {"l2": "pixels of [0, 1]", "linf": "1/255"}
# PGD and AutoAttack differ by three or four points of accuracy on networks of plain adversarial training, which mask no
# gradients. They differ by ten and more where gradients are masked (Croce & Hein 2020).
MASKED_ABOVE = 0.05


def robustness_table(attacked: Sequence[Attacked]) -> pd.DataFrame:
    """Accuracy under every attack and radius; radius 0 is without attack.

    Returns:
        Columns: method, seed, attack, norm, radius, unit (of the radius), n, correct, accuracy, low, high (Wilson, over
        test images), chance (1/C), claimed (whether a verdict is passed here).
    """

    def accuracies(one: Attacked) -> Rows:
        chance = 1 / len(one.run.folder.record()["data"]["classes"])
        for attack, norm, radius, images in _measured(one):
            n, correct = len(images), int(images.sum())
            low, high = wilson_interval(correct, n)
            yield {
                "attack": attack,
                "norm": norm,
                "radius": radius,
                "unit": UNIT_NAMES[norm],
                "n": n,
                "correct": correct,
                "accuracy": correct / n,
                "low": low,
                "high": high,
                "chance": chance,
                "claimed": attack == PGD and (norm, radius) in one.protocol.checked,
            }

    return rows(attacked, accuracies)


def gap_table(attacked: Sequence[Attacked]) -> pd.DataFrame:
    """PGD beside what checks it, at the same radii and on the same images, of every run that was checked.

    AutoAttack finds what PGD's loss and steps miss. PGD through noise attacks and measures the network's mean decision
    under the noise that it is evaluated with.

    Returns:
        Columns: method, seed, check, norm, radius, unit, n, pgd, checked (accuracies under either), only_pgd,
        only_check (images withstood under one alone), difference (pgd - checked), low, high (over test images, paired),
        masked (whether the difference is above ``MASKED_ABOVE``: PGD alone overstates the method).
    """

    def differences(one: Attacked) -> Rows:
        parts = {part[:3]: part[3] for part in _measured(one)}
        for (check, norm, radius), images in parts.items():
            if check == PGD or radius == 0:
                continue
            n, pgd = len(images), parts[PGD, norm, radius][: len(images)]
            only_pgd, only_check = int((pgd > images).sum()), int((images > pgd).sum())
            low, high = paired_interval(only_pgd, only_check, n)
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
                "low": low,
                "high": high,
                "masked": difference > MASKED_ABOVE,
            }

    return rows(attacked, differences, ["check", "norm", "radius", "unit", "n", "pgd", "checked", "difference"])


def paired_interval(only_first: int, only_second: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    r"""Interval of the difference of two accuracies on the same images; what varies is the n test images.

    .. math:: p_1 - p_2 \pm z \sqrt{\frac{p_1 + p_2 - (p_1 - p_2)^2}{n + 2}}, \qquad p_i = \frac{n_i + 1}{n + 2}

    Here n_1 images are right under the first alone and n_2 under the second alone. Both limits are in [-1, 1].

    Source: Bonett & Price 2012.
    """
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
    if "autoattack" in withstood:
        checks = zip(protocol.checked, withstood["autoattack"], strict=True)
        parts += [(AUTOATTACK, norm, radius, row) for (norm, radius), row in checks]
    if "noise" in withstood:
        noisy = zip((0, protocol.noise_radius), withstood["noise"], strict=True)
        parts += [(THROUGH_NOISE, "linf", float(r), row) for r, row in noisy]
    return parts
