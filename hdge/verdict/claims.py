"""The paper's claims, each as the comparisons that would bear it out, and the rule that judges them.

Written before any number of this study was seen, like the rule for a single comparison in :mod:`hdge.verdict.rule`. A
claim of several comparisons, such as "outperforms all of the baselines", is

* ``reproduced`` if every comparison is, each at 95 %: all must hold at once, so none needs a correction (an
  intersection-union test); or as many as the claim says, if it says how many (a partial conjunction test);
* ``not reproduced`` if so many go the other way at 5 %, after Holm's correction for the claim's comparisons, that the
  claim cannot hold any more: one, for most claims;
* ``inconclusive`` otherwise, and the reason says what is missing: seeds, methods, or a difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hdge.evaluators.intervals import LEVEL, holm, partial_conjunction
from hdge.study.runs import project_root
from hdge.verdict.rule import LEAST_SEEDS, Better, Verdict, compare, reported

CHANCE = "chance"  # a baseline whose AUROC is 0.5


@dataclass(frozen=True)
class Claim:
    """One claim of the paper.

    Args:
        name: in a few words.
        where: the place in the paper.
        words: of the paper, quoted or, where it is a figure that speaks, in short.
        table: the study's table that holds the measure, without its suffix.
        value: the measure's column.
        better: the direction claimed for the method.
        pairs: (method, baseline), each compared within every combination of the keys.
        keys: columns within which methods are compared.
        only: column and how the values must begin there of the rows that count.
        margin: of a claim that values are alike.
        least: how many comparisons must hold, if not all.
        task: of the paper's own numbers in :func:`hdge.verdict.rule.reported`, if they are known.
    """

    name: str
    where: str
    words: str
    table: str
    value: str
    better: Better
    pairs: tuple[tuple[str, str], ...]
    keys: tuple[str, ...] = ()
    only: tuple[tuple[str, str], ...] = ()
    margin: float = 0.0
    least: int = 0
    task: str = ""


def against(method: str, *baselines: str) -> tuple[tuple[str, str], ...]:
    """The method paired with each of the baselines."""
    return tuple((method, baseline) for baseline in baselines)


BY_SET = ("score", "ood_set")
DENSITY, CONFIDENCE = (("score", "log q(x)"),), (("score", "max q(y|x)"),)
ACCURACY = ("04_classification_cost", "accuracy")
AUROC = ("02_ood_auroc", "auroc")
SIZE = ("07_approximation_size", "value")
ALPHA = ("09_verdict_alpha", "value")

CLAIMS = (
    Claim("more accurate than cross-entropy", "section 5.3, Table 2", "HDGE outperforms standard Supervised Learning",
          *ACCURACY, "higher", against("hdge", "cross_entropy"), task="accuracy"),
    Claim("more accurate than SupCon", "section 5.3, Table 2", "outperforms Supervised Contrastive Learning",
          *ACCURACY, "higher", against("hdge", "supcon"), task="accuracy"),
    Claim("more accurate than JEM", "section 5.3, Table 2", "outperforms JEM",
          *ACCURACY, "higher", against("hdge", "jem"), task="accuracy"),
    Claim("both terms beat the generative one", "section 5.3, Table 2", "outperforms HDGE with log q(x|y)",
          *ACCURACY, "higher", against("hdge", "generative"), task="accuracy"),
    Claim("the generative term alone beats SupCon", "section 5.3, Table 2",
          "HDGE (log q(x|y) only) achieves higher accuracy than Khosla et al.",
          *ACCURACY, "higher", against("generative", "supcon"), task="accuracy"),
    Claim("OOD by log q(x): best of all", "section 5.1.1, Tables 1 and 4",
          "HDGE consistently outperforms all of the baselines", *AUROC, "higher",
          against("hdge", "cross_entropy", "glow", "glow_conditional", "igebm", "jem", "jointloss"),
          BY_SET, DENSITY, task="log_qx"),
    Claim("OOD images get lower log q(x)", "section 5.1.1, Figure 1",
          "HDGE correctly assign[s] lower scores to out-of-distribution samples", *AUROC, "higher",
          against("hdge", CHANCE), BY_SET, DENSITY),
    Claim("OOD by max q(y|x): beats the classifier", "section 5.1.2, Tables 1 and 4",
          "performs beyond the performance of a strong baseline classifier", *AUROC, "higher",
          against("hdge", "cross_entropy", "contrastive_pretraining"), BY_SET, CONFIDENCE, task="max_py"),
    Claim("OOD by max q(y|x): beats generative and hybrid models", "section 5.1.2, Tables 1 and 4",
          "considerably outperforms all other generative modeling and hybrid modeling methods", *AUROC, "higher",
          against("hdge", "glow_conditional", "igebm_conditional", "jem"), BY_SET, CONFIDENCE, task="max_py"),
    Claim("better calibrated than cross-entropy", "section 5.2, Figure 2",
          "significantly improve[s] both the accuracy and the calibration", "03_calibration_ece", "ece", "lower",
          against("hdge", "cross_entropy")),
    Claim("better calibrated than JEM", "abstract; section 5.2, Figure 2",
          "performs better than or on par with state-of-the-art hand-tailored methods in each task",
          "03_calibration_ece", "ece", "lower", against("hdge", "jem")),
    Claim("more robust than cross-entropy", "section 5.4, Figure 4",
          "significantly improves the robustness of standard classifiers", "06_robustness_curves", "accuracy", "higher",
          against("hdge", "cross_entropy"), ("norm", "radius"), (("claimed", "True"),)),
    Claim("as robust as adversarial training", "section 5.4, Figure 4",
          "can achieve compelling robustness to the state-of-the-art adversarial training methods",
          "06_robustness_curves", "accuracy", "higher", against("hdge", "adversarial_l2", "adversarial_linf"),
          ("norm", "radius"), (("claimed", "True"),)),
    Claim("HDGE + JEM samples better than JEM: score", "section 5.4, Table 3", "can outperform optimizing … by JEM",
          "05_generation_scores", "value", "higher", against("hdge_jem", "jem"), ("score",),
          (("score", "Inception"),), task="inception_score"),
    Claim("HDGE + JEM samples better than JEM: distance", "section 5.4, Table 3", "can outperform optimizing … by JEM",
          "05_generation_scores", "value", "lower", against("hdge_jem", "jem"), ("score",),
          (("score", "Fréchet"),), task="fid"),
    Claim("HDGE + JEM more accurate than JEM", "section 5.4, Table 3", "retains high classification accuracy",
          *ACCURACY, "higher", against("hdge_jem", "jem"), task="hybrid"),
    Claim("no training instability", "abstract; section 6", "does not suffer from training instability",
          "04_classification_cost", "restarts", "lower", against("hdge", "jem")),
    Claim("cheaper than JEM", "section 5.4; appendix D", "JEM runs more slower than HDGE with the largest K",
          "04_classification_cost", "seconds_per_step", "lower", against("hdge", "jem")),
    Claim("queue and batch form are alike", "appendix C, Table 5",
          "SimCLR style of HDGE performs comparably with the default MoCo style",
          *ACCURACY, "alike", against("hdge_batch", "hdge"), margin=0.01),
    Claim("more negatives, more accuracy", "appendix D, Figure 5", "increasing number of negative samples K improves",
          *SIZE, "higher", against("hdge", "hdge_k_64"), ("measure",), (("measure", "accuracy"),)),
    Claim("more negatives, better OOD detection", "appendix D, Table 6",
          "increasing K in HDGE can more significantly boost the performance on all of the four datasets",
          *SIZE, "higher", against("hdge", "hdge_k_64"), ("measure", "ood_set"), (("measure", "AUROC, log q(x)"),),
          task="approximation"),
    Claim("K = 64 detects better than JEM", "appendix D, Table 6",
          "HDGE (K = 64) outperforms JEM and three out of four datasets",
          *SIZE, "higher", against("hdge_k_64", "jem"), ("measure", "ood_set"), (("measure", "AUROC, log q(x)"),),
          least=3, task="approximation"),
    Claim("more chains help JEM", "appendix D, Table 6", "increasing batch size of JEM improves the performance",
          *SIZE, "higher", against("jem_n_128", "jem"), ("measure", "ood_set"), (("measure", "AUROC, log q(x)"),),
          task="approximation"),
    Claim("alpha = 1/2 is best for accuracy and OOD detection", "section 4, below equation 14",
          "α = 0.5 delivers the highest performance on classification accuracy [and …] out-of-distribution detection",
          *ALPHA, "higher", against("hdge", "cross_entropy", "hdge_alpha_075", "hdge_alpha_025", "generative"),
          ("measure", "ood_set"), (("better", "higher"),)),
    Claim("alpha = 1/2 is best for calibration", "section 4, below equation 14",
          "α = 0.5 delivers the highest performance on … calibration", *ALPHA, "lower",
          against("hdge", "cross_entropy", "hdge_alpha_075", "hdge_alpha_025", "generative"),
          ("measure",), (("better", "lower"),)),
)  # fmt: skip

# The names that the paper's tables have for this study's methods.
REPORTED_NAMES = {
    "cross_entropy": "supervised", "generative": "hdge_generative_only", "glow": "glow_unconditional",
    "glow_conditional": "glow_class_conditional", "igebm_conditional": "igebm",
}  # fmt: skip
REPORTED_SIZES = {"hdge": "hdge_k65536", "hdge_k_64": "hdge_k64", "jem": "jem_n64", "jem_n_128": "jem_n128"}


def stored_tables(profile: str, root: str | Path = "") -> dict[str, pd.DataFrame]:
    """The tables beside a profile's pictures that claims are judged by; those that exist."""
    folder = project_root(root) / "figures" / profile
    names = sorted({claim.table for claim in CLAIMS})
    return {name: pd.read_csv(folder / f"{name}.csv") for name in names if (folder / f"{name}.csv").exists()}


def comparisons(claim: Claim, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Every comparison of a claim: columns of :func:`hdge.verdict.rule.compare`, with the claim's name and Holm's p.

    Empty if the measure or the methods are not there.
    """
    table = tables.get(claim.table)
    if table is None or claim.value not in table:
        return pd.DataFrame()
    for column, value in claim.only:
        table = table[table[column].astype(str).str.startswith(value)]
    keys = list(claim.keys) or ["all"]
    table = table.assign(all="")
    parts = []
    for method, baseline in claim.pairs:
        own = table
        if baseline == CHANCE:
            certain = dict.fromkeys((claim.value, "low", "high"), 0.5)
            level = table[table["method"] == method].assign(method=CHANCE, **certain)
            own = pd.concat([table, level])
        own = own[own[claim.value].notna()]
        parts.append(compare(own, claim.value, keys, claim.better, method, baseline, claim.margin))
    found = [part for part in parts if not part.empty]
    if not found:
        return pd.DataFrame()
    rows = pd.concat(found, ignore_index=True)
    rows["within"] = ["; ".join(str(row[key]) for key in claim.keys) for _, row in rows.iterrows()]
    judged = rows["seeds"] >= LEAST_SEEDS
    rows["p_holm"] = float("nan")
    rows.loc[judged, "p_holm"] = holm(rows.loc[judged, "p"].tolist())
    counts = [column for column in ("n", "n_in", "n_out") if column in rows]
    columns = ["baseline", "method", "within", "metric", "better", *counts, "seeds", "baseline_mean", "method_mean"]
    columns += ["difference", "low", "high", "image_low", "image_high", "p", "p_holm", "verdict", "reason"]
    return rows[columns].assign(claim=claim.name)


def judge_claim(claim: Claim, rows: pd.DataFrame) -> Verdict:
    """The rule for a claim, applied to its comparisons."""
    if rows.empty:
        return Verdict("inconclusive", "not measured at this scale")
    there = set(zip(rows["method"], rows["baseline"], strict=True))
    absent = sorted({name for pair in claim.pairs if pair not in there for name in pair[1:]})
    if len(rows) == 1 and not absent:
        return Verdict(rows["verdict"].iloc[0], rows["reason"].iloc[0])
    needed = min(claim.least or len(rows), len(rows))
    contrary = (rows["verdict"] == "not reproduced") & (rows["p_holm"] < 1 - LEVEL)
    if contrary.sum() > len(rows) - needed:
        return Verdict("not reproduced", f"{contrary.sum()} of {len(rows)} go the other way, Holm-corrected")
    held, few = rows["verdict"] == "reproduced", rows["seeds"] < LEAST_SEEDS
    p_values = rows["p"].where(held, 1.0) if claim.better != "alike" else (~held).astype(float)
    if partial_conjunction(p_values.tolist(), needed) < 1 - LEVEL and not absent:
        return Verdict("reproduced", f"{held.sum()} of {len(rows)} on the claimed side")
    reasons = []
    if few.any():
        reasons.append(f"{few.sum()} of {len(rows)} rest on fewer than {LEAST_SEEDS} seeds")
    if absent:
        reasons.append(f"not measured here: {', '.join(absent)}")
    undecided = ~held & ~few
    if undecided.any():
        reasons.append(f"{undecided.sum()} of {len(rows)} may be no difference")
    return Verdict("inconclusive", "; ".join(reasons))


def paper_says(claim: Claim) -> str:
    """The paper's own numbers for a claim: method against baseline, or how many comparisons favour the method."""
    if not claim.task:
        return "no numbers known"
    table = reported()
    sizes = claim.task == "approximation"
    if claim.task in ("inception_score", "fid"):
        table = table[(table["table"] == "generation") & (table["metric"] == claim.task)]
    else:
        table = table[(table["task"] == claim.task) | (table["table"] == claim.task)]
        table = table[table["metric"].isin(["accuracy", "auroc"])]
    names = REPORTED_SIZES if sizes else REPORTED_NAMES
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
    """Every claim with its verdict, and all comparisons that the verdicts rest on.

    Returns:
        A row a claim (claim, where, words, paper, ours, comparisons, seeds, n, scale, verdict, reason), and a row a
        comparison.
    """
    claims, everything = [], []
    for claim in CLAIMS:
        rows = comparisons(claim, tables)
        verdict = judge_claim(claim, rows)
        claims.append(
            {"claim": claim.name, "where": claim.where, "words": claim.words, "paper": paper_says(claim),
             "ours": we_say(claim, rows), "comparisons": len(rows), "seeds": _span(rows, ["seeds"]),
             "n": _span(rows, ["n", "n_in", "n_out"]), "scale": scale, **verdict._asdict()}
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
