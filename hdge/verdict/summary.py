"""Every claim with its verdict, the paper's numbers and this study's, in one table."""

from collections.abc import Mapping, Sequence

import pandas as pd

from hdge.study.roster import METHODS
from hdge.study.study import Study
from hdge.verdict.claims import CLAIMS, Claim
from hdge.verdict.reported import reported
from hdge.verdict.rule import COUNTS, comparisons, judge_claim

# The names that the paper's table of sizes has for rows of this study.
REPORTED_SIZES = {"hdge": "hdge_k65536", "hdge_k_64": "hdge_k64", "jem": "jem_n64", "jem_n_128": "jem_n128"}


def stored_tables(study: Study) -> dict[str, pd.DataFrame]:
    """The stored tables that claims are judged by."""
    found = {name: study.table(name) for name in sorted({claim.table for claim in CLAIMS})}
    return {name: table for name, table in found.items() if table is not None}


def paper_says(claim: Claim) -> str:
    """The paper's own numbers for a claim: method against baseline, or how many comparisons favour the method."""
    table = reported()
    if claim.task in ("inception_score", "fid"):
        table = table[(table["table"] == "generation") & (table["metric"] == claim.task)]
    else:
        table = table[(table["task"] == claim.task) | (table["table"] == claim.task)]
        table = table[table["metric"].isin(["accuracy", "auroc"])]
    names = {name: entry.reported or name for name, entry in METHODS.items()}
    names = REPORTED_SIZES if claim.task == "approximation" else names
    values = table.drop_duplicates(["model", "dataset"]).set_index(["model", "dataset"])["value"]
    pairs = []
    for method, baseline in claim.pairs:
        ours, theirs = names.get(method, method), names.get(baseline, baseline)
        for model, dataset in values.index:
            if model == ours and (theirs, dataset) in values.index:
                pairs.append((dataset, values[ours, dataset], values[theirs, dataset]))
    if not pairs:
        return "no numbers known"
    if len(pairs) <= 2:
        return "; ".join(f"{dataset}: {own:g} against {other:g}" for dataset, own, other in pairs)
    favoured = sum(own > other if claim.better == "higher" else own < other for _, own, other in pairs)
    return f"{favoured} of {len(pairs)} comparisons in its favour"


def we_say(claim: Claim, rows: pd.DataFrame) -> str:
    """This study's numbers for a claim, in as few words."""
    if rows.empty:
        return "–"
    if len(rows) == 1:
        row = rows.iloc[0]
        interval = f"[{row['low']:+.3g}, {row['high']:+.3g}]"
        if pd.isna(row["low"]):
            over_images = f"; over images [{row['image_low']:+.3g}, {row['image_high']:+.3g}]"
            interval = f"[one seed{'' if pd.isna(row['image_low']) else over_images}]"
        return f"{row['method_mean']:.4g} against {row['baseline_mean']:.4g}: {row['difference']:+.3g} {interval}"
    side = rows["difference"] > 0 if claim.better == "higher" else rows["difference"] < 0
    return f"{side.sum()} of {len(rows)} on the claimed side, {(rows['verdict'] == 'reproduced').sum()} surely"


def claims_table(tables: Mapping[str, pd.DataFrame], scale: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every claim with its verdict, a row each, and all comparisons that the verdicts rest on."""
    claims, everything = [], []
    for claim in CLAIMS:
        rows = comparisons(claim, tables)
        verdict = judge_claim(claim, rows)
        claims.append(
            {"claim": claim.name, "group": claim.group, "where": claim.where, "words": claim.words,
             "paper": paper_says(claim), "ours": we_say(claim, rows), "comparisons": len(rows),
             "seeds": _span(rows, ["seeds"]), "n": _span(rows, COUNTS), "scale": scale, **verdict._asdict()}
        )  # fmt: skip
        if not rows.empty:
            everything.append(rows)
    return pd.DataFrame(claims), pd.concat(everything, ignore_index=True) if everything else pd.DataFrame()


def _span(rows: pd.DataFrame, columns: Sequence[str]) -> str:
    """The smallest and the largest of some columns."""
    values = [int(value) for column in columns if column in rows for value in rows[column].dropna()]
    if not values:
        return "–"
    return f"{min(values):,}" if min(values) == max(values) else f"{min(values):,} to {max(values):,}"
