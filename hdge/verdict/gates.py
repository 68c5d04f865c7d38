"""The gates of docs/protocol.md: what must hold before a claim is judged. Each gives a reason, or nothing."""

from hdge.evaluators.intervals import LEAST_SEEDS
from hdge.study.profiles import reference
from hdge.verdict.claims import CHANCE, Claim
from hdge.verdict.evidence import OF_SAMPLES, Evidence

BELOW_REFERENCE = 0.05  # largest loss of accuracy against twice the epochs
ABOVE_REFERENCE = 0.25  # largest excess of the negative log-likelihood, in nats


def missing(evidence: Evidence, row: str) -> str:
    """Ask whether a row has runs enough."""
    if not evidence.planned(row):
        return f"{row} is not a row of this profile"
    seeds = len(evidence.ended.get(row, {}))
    if seeds == 0:
        return f"{row} is not trained here"
    few = f"{row} has {seeds} seed{'s' * (seeds > 1)} here; the rule needs {LEAST_SEEDS}"
    return few if seeds < LEAST_SEEDS else ""


def of_baseline(evidence: Evidence, claim: Claim, row: str) -> str:
    """Ask whether a baseline is worth a comparison: trained, for long enough, and with something to measure."""
    if row == CHANCE:
        return ""
    return "; ".join(evidence.failures(row)) or _too_short(evidence, row) or of_measure(evidence, claim, row)


def _too_short(evidence: Evidence, row: str) -> str:
    """Ask whether a baseline had enough training: whether twice the epochs would have made it much better."""
    profile, twice = evidence.study.profile, reference(row)
    if row not in profile.references:
        return ""
    runs = evidence.ended[row]
    if not all(run.classifies for run in runs.values()):
        return ""
    seed = profile.variants[twice]["seeds"][0]
    if seed not in evidence.ended.get(twice, {}):
        return f"the reference of {row}, with twice the epochs, is not trained yet"
    if evidence.failures(twice):
        return f"the reference of {row} did not train"
    lost = evidence.mean("accuracy", twice) - evidence.mean("accuracy", row)
    if lost > BELOW_REFERENCE:
        return f"{row} had too few epochs: twice as many gain {100 * lost:.1f} points of accuracy"
    excess = evidence.mean("nll", row) - evidence.mean("nll", twice)
    if excess > ABOVE_REFERENCE:
        return f"{row} had too few epochs: twice as many lower the NLL by {excess:.2f} nats"
    return ""


def of_measure(evidence: Evidence, claim: Claim, row: str) -> str:
    """Ask whether a claim's measure says anything of a row: samples beat their starts, and attacks leave something.

    Raises:
        MissingError: the row is not measured, which holds the claim up whatever its other baselines are.
    """
    if claim.measure in OF_SAMPLES:
        own, noise = evidence.distances(row)
        return "" if own < noise else f"samples of {row} are no nearer to images than their random starts are"
    if claim.measure == "robust" and evidence.mean("robust", row) == 0:
        return f"attacks leave nothing of {row}"
    return ""


def of_headroom(evidence: Evidence, claim: Claim, baseline: str) -> str:
    """Ask whether a baseline leaves room for a gain of delta in accuracy."""
    if claim.measure != "accuracy" or claim.kind != "higher":
        return ""
    error = 1 - evidence.mean("accuracy", baseline)
    if error >= claim.delta:
        return ""
    return f"{baseline} errs on {100 * error:.2f} % of images, which leaves no room for δ"
