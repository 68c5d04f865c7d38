"""What a scale's verdicts cannot tell by themselves: sentences for docs/results.md, from stored tables."""

from collections.abc import Callable

import pandas as pd

from hdge.evaluators.generation import REFERENCES
from hdge.evaluators.robustness import PGD, STRONG
from hdge.study.profiles import Profile
from hdge.study.roster import METHODS, label

Read = Callable[[str], pd.DataFrame | None]  # a stored table of the scale, by its name


def caveats(profile: Profile, read: Read) -> list[str]:
    """One paragraph for each measure that needs one."""
    return [" ".join(own) for own in (smoothness(read), calibration(read), scores(read), attacks(profile, read)) if own]


def smoothness(read: Read) -> list[str]:
    """JEM and HDGE on the set where matched smoothness moves JEM's AUROC most: notebook 02's insight."""
    table = read("02_ood_variation")
    if table is None or not {"jem", "hdge"} <= set(table["method"]):
        return []
    columns = ["correlation", "auroc", "auroc_matched"]
    mean = table.groupby(["method", "ood_set"], sort=False)[columns].mean().dropna()
    moved = (mean["auroc_matched"] - mean["auroc"]).abs()
    if "jem" not in moved:
        return []
    ood_set = moved["jem"].idxmax()
    jem, hdge = (mean.loc[row, ood_set] for row in ("jem", "hdge"))
    return [
        "**Detection.** Images differ in smoothness, and log q(x) follows it.",
        f"Over test images it correlates with total variation by {jem['correlation']:+.2f} for JEM and "
        f"{hdge['correlation']:+.2f} for HDGE.",
        f"On {ood_set}, JEM has an AUROC of {jem['auroc']:.2f} and HDGE of {hdge['auroc']:.2f}.",
        f"Among images of alike total variation, JEM has {jem['auroc_matched']:.2f} and HDGE "
        f"{hdge['auroc_matched']:.2f}.",
        "Notebook 02 has all sets and methods. The claims are judged without matching.",
    ]


def calibration(read: Read) -> list[str]:
    """How much of cross-entropy's and HDGE's NLL is miscalibration that one temperature mends."""
    table = read("03_calibration_scaled")
    if table is None or not {"cross_entropy", "hdge"} <= set(table["method"]):
        return []
    mean = table.groupby("method")[["nll", "scaled_nll"]].mean()
    (before, after), (hdge_before, hdge_after) = mean.loc[["cross_entropy", "hdge"]].to_numpy().tolist()
    rise = after > before and hdge_after > hdge_before
    return [
        "**Calibration.** It is judged by the NLL, which counts errors as well.",
        f"Temperature scaling takes the NLL of cross-entropy from {before:.3f} to {after:.3f} nats, and that of HDGE "
        f"from {hdge_before:.3f} to {hdge_after:.3f}.",
        "A temperature mends nothing but confidences that are all too high or all too low. The ECE shows what is left.",
        *(["Here both NLLs rise, because few images fit the temperature."] if rise else []),
    ]


def scores(read: Read) -> list[str]:
    """Which samples have an Inception score that images do not reach."""
    table = read("05_generation_scores")
    if table is None or table.empty:
        return []
    mean = table[table["score"].str.startswith("Inception")].groupby("method", sort=False)["value"].mean()
    images = mean.pop(REFERENCES["test"]) if REFERENCES["test"] in mean else float("inf")
    above = [f"{label(str(row))} {value:.2f}" for row, value in mean.items() if row in METHODS and value > images]
    if not above:
        return []
    return [
        f"**Samples.** As many test images have an Inception score of {images:.2f}.",
        f"Samples of these methods have more: {', '.join(above)}.",
        "A score above that of images shows that the critic is sure. It does not show that the samples are good.",
    ]


def attacks(profile: Profile, read: Read) -> list[str]:
    """At which radii robustness is judged, and whose gradients mislead the attacks."""
    table = read("06_robustness_gap")
    if table is None or table.empty or not profile.attacks.checked:
        return []
    sizes = {"l2": "L2 {:g} (pixels of [0, 1])", "linf": "L∞ {:g}/255"}
    radii = " and ".join(sizes[norm].format(radius) for norm, radius in profile.attacks.checked)
    masked = table[table["check"] == STRONG].groupby("method", sort=False)["masked"].all()
    named = ", ".join(label(str(row)) for row, always in masked.items() if always)
    misled = f"In every run of {named}, {PGD} leaves many more images right than stronger attacks do."
    bound = "Gradients mislead attacks there, so that the accuracy is an upper bound."
    return [
        f"**Robustness.** It is judged at {radii}, on {profile.attacks.checked_images} images a run.",
        *([misled, bound] if named else []),
    ]
