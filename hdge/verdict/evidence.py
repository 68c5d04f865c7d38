"""What a study holds for its verdicts: its runs, and the measures of the claims with the influence of every image."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from hdge.core.readings import log_q_y_given_x, of_label, prediction
from hdge.data.splits import interpolated_pairs
from hdge.evaluators.crossed import Crossed, interval
from hdge.evaluators.generation import REFERENCES
from hdge.evaluators.influences import Influence, auroc_influence, average, mean_influence
from hdge.evaluators.intervals import effect
from hdge.evaluators.ood import SCORES, scores_of
from hdge.study.config import TrainConfig
from hdge.study.errors import HdgeError
from hdge.study.runs import Run
from hdge.study.study import Study, how_it_ended
from hdge.verdict.claims import CHANCE, Measure

OF_SAMPLES = ("log score", "log distance")
PAIRED = ("interp",)
DETECTION = SCORES[:2]  # the measures that are an AUROC
SCORES_TABLE, NOISE = "05_generation_scores", REFERENCES["noise"]


class MissingError(HdgeError):
    """A claim that cannot be tested here, and why."""


@dataclass(frozen=True)
class Evidence:
    """The runs of a study that have ended, by row and seed, and the table of the scores of samples."""

    study: Study
    ended: dict[str, dict[int, Run]]
    scores: pd.DataFrame
    _measured: dict[tuple[Any, ...], Influence] = field(default_factory=dict)  # what several claims ask for

    @classmethod
    def of(cls, study: Study) -> "Evidence":
        ended: dict[str, dict[int, Run]] = {}
        for row, seed in study.profile.runs(variants=True):
            run = study.ended(row, seed)
            if run is not None:
                ended.setdefault(row, {})[seed] = run
        scores = study.table(SCORES_TABLE)
        return cls(study, ended, pd.DataFrame() if scores is None else scores)

    def planned(self, row: str) -> list[int]:
        """List the seeds that the profile plans for a row."""
        return [seed for own, seed in self.study.profile.runs(variants=True) if own == row]

    def config(self, row: str) -> TrainConfig:
        """Return the config of a row, or of the profile's first one if it has no such row."""
        runs = self.study.profile.runs(variants=True)
        return self.study.profile.config(*next((run for run in runs if run[0] == row), runs[0]))

    def failures(self, row: str) -> list[str]:
        """List, in a few words each, the runs of a row that diverged for good or did not train."""
        records = {seed: run.folder.record() for seed, run in self.ended.get(row, {}).items()}
        return [
            f"{row}, seed {seed}: {how_it_ended(record)}"
            for seed, record in records.items()
            if record.get("outcome", "finished") != "finished"
        ]

    def precisions(self, rows: Sequence[str]) -> dict[int, set[str]]:
        """Return, for every seed that all rows have, the precisions in which they were trained: one if they pair."""
        found = [self.ended.get(row, {}) for row in rows]
        seeds = sorted(set.intersection(*map(set, found))) if found else []
        return {seed: {own[seed].folder.record()["machine"]["precision"] for own in found} for seed in seeds}

    def measure(self, measure: Measure, row: str, seeds: Sequence[int], within: str = "") -> Influence:
        """Measure a row's runs of some seeds; detection of one set, if it is named, or else the mean over all sets."""
        asked = (measure, row, *seeds, within)
        if asked not in self._measured:
            self._measured[asked] = self._measure(measure, row, seeds, within)
        return self._measured[asked]

    def _measure(self, measure: Measure, row: str, seeds: Sequence[int], within: str) -> Influence:
        runs = [self.ended[row][seed] for seed in seeds]
        if measure in OF_SAMPLES:
            return Influence(self._of_samples(measure, row, seeds), {})
        if measure == "log operations":
            operations = [run.folder.record()["cost"]["operations_per_image"] for run in runs]
            return Influence(np.log(operations), {})
        if measure == "robust":
            return self._robust(runs)
        return of_runs(measure, runs, (within,) if within else runs[0].config.evaluation_sets, paired=PAIRED)

    def mean(self, measure: Measure, row: str) -> float:
        """Average a measure over all finished runs of a row."""
        return 0.5 if row == CHANCE else float(self.measure(measure, row, sorted(self.ended[row])).estimates.mean())

    def _of_samples(self, measure: Measure, row: str, seeds: Sequence[int]) -> np.ndarray:
        kind = "Fréchet" if measure == "log distance" else "Inception"
        table = self.scores
        if not table.empty:
            table = table[(table["method"] == row) & table["score"].str.startswith(kind)].set_index("seed")
        if table.empty or not set(seeds) <= set(table.index):
            raise MissingError(f"samples of {row} are not scored here")
        return np.log(table.loc[list(seeds), "value"].to_numpy())

    def distances(self, row: str) -> tuple[float, float]:
        """Return the mean Fréchet distance of a row's samples, and that of random starts."""
        scores = self.scores if not self.scores.empty else pd.DataFrame(columns=["method", "score", "value"], dtype=str)
        own = scores[scores["score"].str.startswith("Fréchet")].groupby("method")["value"].mean()
        for name in (row, NOISE):
            if name not in own:
                raise MissingError(f"samples of {name} are not scored here")
        return float(own[row]), float(own[NOISE])

    def _robust(self, runs: Sequence[Run]) -> Influence:
        protocol, norms = self.study.profile.attacks, []
        if not protocol.checked:
            raise MissingError("the profile's protocol checks no attack")
        withstood = [run.folder.stored("attacks", asdict(protocol)) for run in runs]
        for run, own in zip(runs, withstood, strict=True):
            if own is None or "strong" not in own:
                raise MissingError(f"{run.row}, seed {run.seed}, is not attacked by this protocol here")
        for place, (norm, radius) in enumerate(protocol.checked):
            pgd = [own[norm][1 + protocol.radii(norm).index(radius)] for own in withstood if own]
            strong = [own["strong"][place] for own in withstood if own]
            worst = [(a[: len(b)] & b).numpy().astype(float) for a, b in zip(pgd, strong, strict=True)]
            norms.append(mean_influence(np.stack(worst)))
        return average(norms)


def of_runs(measure: Measure, runs: Sequence[Run], sets: Sequence[str], paired: Sequence[str] = ()) -> Influence:
    """Measure runs of a row: a mean over test images, or the mean AUROC of a score over sets.

    Images of paired sets are means of test images.
    """
    if measure not in DETECTION:
        return mean_influence(np.stack([_of_images(measure, run) for run in runs]))
    if not sets:
        raise MissingError(f"{runs[0].row} has no out-of-distribution set")
    for run in runs:
        lost = set(sets).difference(run.stored_sets())
        if lost:
            raise MissingError(f"{run.row}, seed {run.seed}, has no outputs for {', '.join(sorted(lost))}")
    inside = np.stack([_score(measure, run, "test") for run in runs])
    outside = {name: np.stack([_score(measure, run, name) for run in runs]) for name in sets}
    pairs = interpolated_pairs(inside.shape[1]).numpy()
    return auroc_influence(inside, outside, {name: pairs for name in sets if name in paired})


def _score(measure: Measure, run: Run, name: str) -> np.ndarray:
    scores = scores_of(run.folder.outputs(name))
    if measure not in scores:
        raise MissingError(f"{run.row} has no {measure}")
    return scores[measure].astype(float)


def _of_images(measure: Measure, run: Run) -> np.ndarray:
    """Whether each test image is right, or its −log q(y|x)."""
    if not run.classifies:
        raise MissingError(f"{run.row} does not classify")
    outputs = run.folder.outputs("test")
    values: Tensor = prediction(outputs.logits) == outputs.labels
    if measure == "nll":
        values = -of_label(log_q_y_given_x(outputs.logits.double()), outputs.labels)
    return values.double().numpy()


def interval_of(difference: Influence) -> Crossed:
    """Give a difference its interval: crossed; Student's over seeds without images; none where nothing varies."""
    if difference.parts:
        return interval(difference)
    values, nothing = difference.estimates, {"image_low": math.nan, "image_high": math.nan, "image_p": math.nan}
    seeds, se = len(values), float(values.std(ddof=1)) / math.sqrt(len(values))
    return Crossed(**effect(values.tolist()), se=se, df=seeds - 1.0, seeds=seeds, se_seed=se, se_image=0.0, **nothing)
