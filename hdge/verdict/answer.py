"""README's answer, from stored tables: the headlines, and what stands for and against the paper's claims."""

import io
import subprocess
from functools import cache
from typing import Any, get_args

import pandas as pd

from hdge.evaluators.intervals import LEVEL, student_interval
from hdge.figures.claims import TITLE
from hdge.study.config import HOME
from hdge.study.profiles import load_profile
from hdge.study.protocol import stated
from hdge.study.roster import METHODS
from hdge.study.study import read_table
from hdge.verdict.claims import claims as all_claims
from hdge.verdict.markdown import header, line
from hdge.verdict.reported import reported
from hdge.verdict.rule import SMALL, Outcome

PROFILES = ("digits", "cifar10-small", "cifar100-small")
ALPHA = 1 - LEVEL
IN_PERCENT = ("accuracy", "robust")  # measures that are shares
MEASURED_BY = {
    "accuracy": "accuracy", "nll": "NLL", "log q(x)": "AUROC", "max q(y|x)": "AUROC", "robust": "accuracy under attack",
    "log score": "log score", "log distance": "log distance", "log operations": "log operations",
}  # fmt: skip
# HDGE against cross-entropy in each of the paper's tasks; in sampling against JEM, as cross-entropy does not sample.
HEADLINES = (
    "more accurate than cross-entropy", "OOD by log q(x): beats the classifier", "better calibrated than cross-entropy",
    "more robust than cross-entropy", "HDGE + JEM samples better than JEM: distance",
)  # fmt: skip
FIRST_FOREST = HOME / "figures" / "claims_first.svg"


def stored_table(name: str, committed: bool = False, folder: str = "") -> pd.DataFrame | None:
    """A table under figures/, from the working tree or as last committed; None where there is none."""
    path = HOME / "figures" / folder / f"{name}.csv"
    if committed:
        there = path.relative_to(HOME).as_posix()
        shown = subprocess.run(["git", "show", f"HEAD:{there}"], cwd=HOME, capture_output=True, check=False)
        if shown.returncode == 0:
            return pd.read_csv(io.BytesIO(shown.stdout))
    return read_table(path) if path.exists() else None


def verdicts(committed: bool = False) -> dict[str, pd.DataFrame]:
    """Every profile's verdicts, as its notebook 09 has stored them."""
    tables = {name: stored_table(f"{name}/09_verdict_claims", committed) for name in PROFILES}
    return {name: table for name, table in tables.items() if table is not None}


def counted(claims: pd.DataFrame) -> dict[str, int]:
    """How many of the claims have which verdict."""
    return {verdict: int((claims["verdict"] == verdict).sum()) for verdict in get_args(Outcome)}


def summary(committed: bool = False) -> list[str]:
    """README's answer: the headlines, the forest, what else to know, counts of each scale, and a group a row."""
    tables = verdicts(committed)
    lines = [headline(claim, tables) for claim in HEADLINES]
    lines += ["", f"![{TITLE}]({FIRST_FOREST.relative_to(HOME).as_posix()})", ""]
    lines += [
        f"- {load_profile(name).scale}: {counts_phrase(table)}. {after_holm(table)}" for name, table in tables.items()
    ]
    every = pd.concat([table.assign(profile=name) for name, table in tables.items()], ignore_index=True)
    for verdict in ("reproduced", "contradicted"):
        lines += [f"- {text}" for text in clearest(every, verdict)]
    accuracies = {name: stored_table(f"{name}/04_classification_accuracy", committed) for name in tables}
    lines += [f"- {text}" for text in against_jem(tables, accuracies)]
    for name, table in tables.items():
        lines += [f"- `{name}`: {text}" for text in without_batch_norm(table, accuracies[name])]
    lines += [f"- `{name}`: {text}" for name in tables for text in why_k_hardly_matters(name, committed)][-1:]
    lines += ["", f"A cell counts claims, in this order: {', '.join(get_args(Outcome))}.", ""]
    lines += header(["claims about", *(f"`{name}`" for name in tables)])
    for group in stated()["groups"]:
        counts = (counted(table[table["group"] == group]) for table in tables.values())
        lines.append(line([group, *(", ".join(map(str, count.values())) for count in counts)]))
    return lines


def headline(claim: str, tables: dict[str, pd.DataFrame]) -> str:
    """A claim and its verdicts in one line: each verdict once, with the data that gave it, what is untested last."""
    data: dict[str, list[str]] = {}
    for name, table in tables.items():
        [row] = table[table["claim"] == claim].to_dict("records")
        verdict = f"{'provisionally ' if row['provisional'] is True else ''}{row['verdict'].removesuffix(' here')}"
        small = " within δ" if SMALL in row["reason"] else ""
        data.setdefault(verdict + small, []).append(short_scale(name))
    untested = data.pop("not testable", [])
    told = [f"{verdict} on {', '.join(names)}" for verdict, names in data.items()]
    if untested:
        told.append("not testable elsewhere" if told else "not testable")
    return f"- **{claim}** – {'; '.join(told)}"


@cache
def short_scale(profile: str) -> str:
    """Name a profile's data in a word."""
    return load_profile(profile).scale.split(" (")[0].split()[-1]


def against_jem(tables: dict[str, pd.DataFrame], accuracies: dict[str, pd.DataFrame | None]) -> list[str]:
    """How many reproduced claims have JEM as their baseline, and how far it lies below cross-entropy."""
    counts, gaps = [], []
    for name, table in tables.items():
        own = accuracies[name]
        beaten = int(((table["verdict"] == "reproduced") & (table["baseline"] == "jem")).sum())
        if own is None or not beaten or not {"jem", "cross_entropy"} <= set(own["method"]):
            continue
        mean = 100 * own.groupby("method")["accuracy"].mean()
        counts.append(f"{beaten} on {short_scale(name)}")
        gaps.append(f"{mean['cross_entropy'] - mean['jem']:.1f} on {short_scale(name)}")
    if not counts:
        return []
    paper = reported().query("task == 'accuracy' and dataset == 'cifar10'").set_index("model")["value"]
    return [
        f"Of the claims reproduced, {', '.join(counts)} compare with JEM. JEM's accuracy lies below cross-entropy's by "
        f"{', '.join(gaps)}, in points. In the paper it is {paper['supervised'] - paper['jem']:.1f} on CIFAR-10."
    ]


def without_batch_norm(table: pd.DataFrame, accuracies: pd.DataFrame | None) -> list[str]:
    """The difference in accuracy without batch norm, where the judged one, with it, has the other sign."""
    [judged] = table.loc[table["claim"] == HEADLINES[0], "difference"]
    if accuracies is None or not {"hdge", "cross_entropy"} <= set(accuracies["method"]) or pd.isna(judged):
        return []
    by_seed = 100 * accuracies.pivot(index="seed", columns="method", values="accuracy")
    gains = (by_seed["hdge"] - by_seed["cross_entropy"]).dropna()
    if gains.mean() * judged > 0:
        return []
    low, high = student_interval(gains.tolist())
    return [
        "accuracy is judged with batch norm, as in the paper's Table 2. Without it HDGE's accuracy differs from "
        f"cross-entropy's by {gains.mean():+.2f} points [{low:+.2f}, {high:+.2f}], over {len(gains)} seeds. No claim "
        "judges that."
    ]


def why_k_hardly_matters(name: str, committed: bool) -> list[str]:
    """The weight that all negatives together move, with few of them: notebook 07's insight."""
    table = stored_table(f"{name}/07_approximation_summary", committed)
    if table is None or table.empty:
        return []
    few, whole = table[table["measure"].str.startswith("weight")].to_dict("records")[:2]
    named = [row["measure"].split(" with ")[1] for row in (few, whole)]
    return [
        "more negatives can change little. They act through the weight of the generative term's gradient, which is "
        f"below 1. With {named[0]} it is {few['value']:.2f} already, and with {named[1]} {whole['value']:.4f} "
        f"({few['seeds']} seeds)."
    ]


def counts_phrase(claims: pd.DataFrame) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in counted(claims).items() if count)


def after_holm(claims: pd.DataFrame) -> str:
    """How many verdicts stand if a scale's claims are corrected for their number."""
    kept = counted(claims[claims["p_holm"] < ALPHA])
    low = f"Holm's p is below {ALPHA:g} for {kept['reproduced']} of those reproduced"
    return f"{low} and {kept['contradicted']} of those contradicted."


def clearest(claims: pd.DataFrame, verdict: str) -> list[str]:
    """The claim of one verdict about two methods that is furthest from another verdict, about HDGE if there is one.

    A difference is the clearer, the more of its interval's widths lie between it and 0. No difference is the clearer,
    the smaller a part of ±δ holds the interval.
    """
    own = claims[(claims["verdict"] == verdict) & (claims["high"] > claims["low"]) & (claims["baseline"] != "chance")]
    own = own[own["difference"].notna() & ~own["kind"].isin(["rare", "alike", "not worse"])]
    if own.empty:
        return []
    about_hdge = own["method"].isin([row for row, entry in METHODS.items() if entry.module == "hdge"])
    own = own[about_hdge] if about_hdge.any() else own
    if verdict == "no difference":
        clear = -own[["low", "high"]].abs().max(axis=1) / own["delta"]
    else:
        clear = own["difference"].abs() / (own["high"] - own["low"])
    row = own.iloc[int(clear.argmax())].to_dict()
    where = f"`{row['profile']}`, " if "profile" in row else ""
    evidence = f"{MEASURED_BY[row['measure']]} {said(row)}; {row['seeds']:.0f} seeds, n = {row['n']:,.0f}"
    return [f"{where}{verdict} most clearly: “{row['claim']}”. {evidence}."]


def said(row: dict[Any, Any]) -> str:
    """A claim's numbers, in as few words: both means, their difference and its interval."""
    if pd.isna(row["difference"]):
        return "–"
    unit, sign = (100, " points") if row["measure"] in IN_PERCENT else (1, "")
    interval = f"[{unit * row['low']:+.3g}, {unit * row['high']:+.3g}]"
    if row["kind"] == "rare":
        return f"{100 * row['difference']:.1f} % [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
    difference = f"{unit * round(row['difference'], 12):+.3g} {interval}{sign}"  # else rounding would be 1e-15
    change = {claim.name: claim.change for claim in all_claims()}.get(row["claim"])
    if change:
        return f"gain over {row['baseline']} less that of {change[0]} over {change[1]}: {difference}"
    means = f"{unit * row['method_mean']:.4g} against {unit * row['baseline_mean']:.4g}"
    return f"{means} ({row['baseline']}): {difference}"
