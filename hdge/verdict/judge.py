"""Every claim judged from the runs of a study, by the rule and the gates of docs/protocol.md."""

import math
from typing import Any

import pandas as pd

from hdge.evaluators.crossed import Crossed
from hdge.evaluators.influences import Influence
from hdge.evaluators.intervals import LEAST_SEEDS, holm
from hdge.study.errors import HdgeError
from hdge.study.protocol import versions
from hdge.study.study import Study
from hdge.verdict import gates
from hdge.verdict.claims import CHANCE, Claim, claims
from hdge.verdict.evidence import DETECTION, Evidence, MissingError, interval_of
from hdge.verdict.reported import paper_difference
from hdge.verdict.rule import MOST_SEEDS, Verdict, judge_all, judge_rare, outcome, p_value, seeds_needed

COLUMNS = (
    "claim", "group", "where", "words", "kind", "measure", "method", "baseline", "delta", "seeds", "planned", "n",
    "method_mean", "baseline_mean", "difference", "low", "high", "se_seed", "se_image", "p", "p_holm", "paper",
    "singles", "held", "seeds_needed", "provisional", "protocol", "verdict", "reason",
)  # fmt: skip
SHOWN = [
    "claim", "baseline", "seeds", "n", "method_mean", "baseline_mean", "difference", "low", "high", "delta", "verdict",
    "reason",
]  # fmt: skip
SINGLES = (
    "claim", "method", "baseline", "within", "seeds", "n", "difference", "low", "high", "towards_claim",
)  # fmt: skip


def judged(study: Study, group: str = "") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Judge the claims of a group, or all; return a row a claim, and every claim's single comparisons.

    Holm's p counts the claims that are judged together, so it stands only where all are.
    """
    evidence = Evidence.of(study)
    own = [claim for claim in claims() if group in ("", claim.group)]
    rows, known = {claim.name: _row(claim, evidence) for claim in own}, {claim.name: claim for claim in claims()}
    for claim in [claim for claim in own if claim.kind == "all"]:
        parts = {name: rows.get(name) or _row(known[name], evidence) for name in claim.of}
        rows[claim.name] |= judge_all({name: part["verdict"] for name, part in parts.items()})._asdict()
    table = pd.DataFrame(list(rows.values())).reindex(columns=list(COLUMNS)).assign(scale=study.scale)
    tested = table["p"].notna()
    if tested.any() and not group:
        table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"].tolist())
    singles = pd.DataFrame([single for claim in own for single in _singles(claim, evidence)], columns=list(SINGLES))
    for name, part in singles.groupby("claim"):
        table.loc[table["claim"] == name, ["singles", "held"]] = len(part), int((part["towards_claim"] > 0).sum())
    return table, singles


def _row(claim: Claim, evidence: Evidence) -> dict[str, Any]:
    row: dict[str, Any] = {
        "claim": claim.name, "group": claim.group, "where": claim.where, "words": claim.words, "kind": claim.kind,
        "measure": claim.measure, "method": claim.method, "baseline": " or ".join(claim.baselines),
        "delta": claim.delta, "paper": paper_difference(claim, evidence.config(claim.method).dataset),
        "protocol": _status(claim, evidence),
    }  # fmt: skip
    if claim.kind == "all":
        return row | {"measure": "", "method": "", "baseline": "; ".join(claim.of), "delta": math.nan}
    if claim.kind == "rare":
        return row | _rare(claim, evidence)
    try:
        compared, found = primary(claim, evidence)
    except HdgeError as error:  # a gate's, or of values from which nothing can be counted
        return row | Verdict("not testable here", str(error).rstrip("."))._asdict()
    planned = [set(evidence.planned(row)) for row in _contrasted(claim, compared["baseline"])]
    most = len(set.intersection(*planned))
    verdict = outcome(claim.kind, found.low, found.high, claim.delta)
    needed = seeds_needed(claim.kind, found, claim.delta) if verdict.verdict == "undecided" else math.nan
    if verdict.verdict == "undecided":
        few = found.se > found.se_seed  # whatever the seeds, the images leave something open
        more = f"some {needed:.0f} seeds" if needed < math.inf else "more images" if few else f"over {MOST_SEEDS} seeds"
        verdict = verdict._replace(reason=f"{verdict.reason}; it would take {more}")
    return row | compared | verdict._asdict() | {
        "planned": most, "se_seed": found.se_seed, "se_image": found.se_image, "seeds_needed": needed,
        "p": p_value(claim.kind, found, claim.delta), "provisional": found.seeds < most,
    }  # fmt: skip


def primary(claim: Claim, evidence: Evidence) -> tuple[dict[str, Any], Crossed]:
    """Compare the method with the strongest valid baseline; refuse a missing row, or what a gate holds up."""
    _refuse(*(gates.missing(evidence, row) for row in claim.rows))
    _refuse(*(failure for row in (claim.method, *claim.change) for failure in evidence.failures(row)))
    _refuse(gates.of_measure(evidence, claim, claim.method))
    invalid = {row: gates.of_baseline(evidence, claim, row) for row in claim.baselines}
    valid = [row for row, reason in invalid.items() if not reason]
    if not valid:
        _refuse(*invalid.values())
    baseline = max(valid, key=lambda row: claim.sign * evidence.mean(claim.measure, row))
    _refuse(gates.of_headroom(evidence, claim, baseline))
    return compare(claim, evidence, baseline)


def _refuse(*reasons: str) -> None:
    said = "; ".join(reason for reason in reasons if reason)
    if said:
        raise MissingError(said)


def compare(claim: Claim, evidence: Evidence, baseline: str, within: str = "") -> tuple[dict[str, Any], Crossed]:
    """Compare the claim's method with one baseline on the seeds that both have, and on one set if it is named.

    Returns the columns of a table, and the interval with all it rests on.
    """
    rows = _contrasted(claim, baseline)
    precisions = evidence.precisions(rows)
    seeds = [seed for seed, own in precisions.items() if len(own) == 1]
    if len(seeds) < LEAST_SEEDS:
        said = f"{' and '.join(rows)} have {len(seeds)} seeds in common; the rule needs {LEAST_SEEDS}"
        unlike = [f"{seed} ({' and '.join(sorted(own))})" for seed, own in precisions.items() if len(own) > 1]
        raise MissingError(f"{said}; precisions differ at seed {', '.join(unlike)}" if unlike else said)

    def of(row: str) -> Influence:
        return evidence.measure(claim.measure, row, seeds, within)

    method = of(claim.method)
    other = 0.5 if baseline == CHANCE else of(baseline)
    difference = method - other
    if claim.change:
        difference -= of(claim.change[0]) - of(claim.change[1])
    mean = other if isinstance(other, float) else float(other.estimates.mean())
    found, n = interval_of(difference), sum(part.shape[1] for part in difference.parts.values())
    return {
        "baseline": baseline, "seeds": found.seeds, "n": n, "method_mean": float(method.estimates.mean()),
        "baseline_mean": mean, "difference": found.difference, "low": found.low, "high": found.high,
    }, found  # fmt: skip


def _singles(claim: Claim, evidence: Evidence) -> list[dict[str, Any]]:
    """Compare the method with every baseline, on every set by itself where the measure has several; a description."""
    if claim.kind in ("all", "rare"):
        return []
    sets = evidence.config(claim.method).evaluation_sets if claim.measure in DETECTION else [""]
    rows = []
    for baseline in claim.baselines:
        for within in sets:
            try:
                columns, found = compare(claim, evidence, baseline, within)
            except HdgeError:
                continue
            own = {"claim": claim.name, "method": claim.method, "within": within}
            rows.append({**own, **columns, "towards_claim": claim.sign * found.difference})
    return rows


def _rare(claim: Claim, evidence: Evidence) -> dict[str, Any]:
    """Count the runs of all the claim's methods that were rolled back or diverged for good."""
    records = [run.folder.record() for row in claim.methods for run in evidence.ended.get(row, {}).values()]
    planned = sum(len(evidence.planned(row)) for row in claim.methods)
    if not records:
        return Verdict("not testable here", f"no run of {' or '.join(claim.methods)} is here")._asdict()
    diverged = sum(bool(one["rollbacks"]) or one.get("outcome") == "diverged" for one in records)
    verdict, (low, high), p = judge_rare(diverged, len(records), claim.delta)
    said = f"{verdict.reason}: {diverged} of {len(records)} runs diverged"
    best = judge_rare(diverged, max(planned, len(records)), claim.delta)[0].verdict  # if no other run diverges
    said += f"; the {planned} planned could not decide it" if best == verdict.verdict == "undecided" else ""
    return {
        "baseline": "", "method": ", ".join(claim.methods), "n": len(records), "planned": planned,
        "difference": diverged / len(records), "low": low, "high": high, "p": p,
        "provisional": len(records) < planned,
        **verdict._replace(reason=said)._asdict(),
    }  # fmt: skip


def _contrasted(claim: Claim, baseline: str) -> list[str]:
    """List the rows whose runs a contrast with one baseline takes."""
    return [row for row in (claim.method, baseline, *claim.change) if row != CHANCE]


def _status(claim: Claim, evidence: Evidence) -> str:
    """Say whether all runs of a claim began under a version of the protocol."""
    known = {one["sha256"] for one in versions()}
    runs = [run for row in claim.rows for run in evidence.ended.get(row, {}).values()]
    if not runs:
        return ""
    begun = all(run.folder.record().get("protocol") in known for run in runs)
    return "confirmatory" if begun else "exploratory"
