"""What is done of a profile, what is under way, what is missing, and how long the rest will take."""

import math
from typing import Any

import pandas as pd

from hdge.study.runs import RunFolder
from hdge.study.study import Study

COLUMNS = ("row", "planned", "finished", "archived", "failed", "under way", "missing", "minutes left")


def status_table(study: Study) -> pd.DataFrame:
    """Count the runs of every row; the time left is that of the row's finished runs, and NaN where there is none.

    A run is "archived" if its copy in the repository stands in for it. One that diverged or did not train is "failed".
    """
    rows = dict.fromkeys(row for row, _ in study.profile.runs(variants=True))
    return pd.DataFrame([_status(study, row) for row in rows], columns=list(COLUMNS))


def _status(study: Study, row: str) -> dict[str, Any]:
    seeds = [seed for own, seed in study.profile.runs(variants=True) if own == row]
    counts = dict.fromkeys(COLUMNS[2:7], 0)
    seconds, left = [], 0.0
    for seed in seeds:
        run, folder = study.ended(row, seed), RunFolder.of(study.name, row, seed, study.root)
        if run is not None:
            record = run.folder.record()
            seconds.append(record["cost"]["seconds"])
            done = "finished" if run.folder == folder else "archived"
            counts[done if record.get("outcome", "finished") == "finished" else "failed"] += 1
        elif (folder.path / "state.pt").exists():
            counts["under way"] += 1
            history = folder.path / "history.csv"
            epochs = len(history.read_text().splitlines()[1:]) if history.exists() else 0
            left += max(0.0, 1 - epochs / study.profile.config(row, seed).epochs)
        else:
            counts["missing"] += 1
            left += 1
    each = sum(seconds) / len(seconds) if seconds else math.nan
    return {"row": row, "planned": len(seeds), **counts, "minutes left": round(left * each / 60, 1) if left else 0.0}


def status_lines(study: Study) -> list[str]:
    """The table as text, and one line for all."""
    table = status_table(study)
    counts = ", ".join(f"{table[name].sum()} {name}" for name in COLUMNS[2:7] if table[name].sum())
    hours = table["minutes left"].sum() / 60  # of the rows whose time is known
    unknown = table["minutes left"].isna().sum()
    said = f"some {hours:.1f} hours of one core left" + (f", and {unknown} rows of unknown time" if unknown else "")
    return [table.to_string(index=False), f"{study.name}: {table['planned'].sum()} runs, {counts}; {said}"]
