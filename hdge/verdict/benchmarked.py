"""What the benchmarks measured, for docs/results.md."""

from hdge.study.roster import label
from hdge.study.settings import SgldSettings
from hdge.verdict.caveats import Read
from hdge.verdict.markdown import header, line


def measured_steps(read: Read) -> list[str]:
    """Measured time beside the claim of cost, which is judged by counted operations."""
    table = read("benchmarks/step")
    if table is None:
        return []
    chains = f" with {SgldSettings().steps} chain steps"
    said = [
        f"- {label(row['method'])}{chains * (row['method'] == 'jem')} at C = {row['classes']}: {row['ratio']:.3f} "
        f"[{row['ratio_low']:.3f}, {row['ratio_high']:.3f}] times cross-entropy's step "
        f"({row['network']}, {row['device']})."
        for row in table.to_dict("records")
    ]
    claim = "The claim “cheaper than JEM” is judged by counted operations."
    return [f"{claim} `python -m benchmarks step` measured these times of a step, with intervals:", "", *said]


def growth(read: Read) -> list[str]:
    """How time and storage grow with the study, and what a job costs beside its training."""
    table = read("benchmarks/growth")
    if table is None:
        return []
    columns = ["methods", "seeds", "sets", "seeds a job", "runs", "jobs", "minutes", "again (s)", "storage (MB)"]
    lines = ["", "## How the study grows", ""]
    alike = table[(table["methods"] == 2) & (table["seeds"] == 25) & (table["sets"] == 2)].sort_values("jobs")
    if len(alike) > 1:
        few, many = alike.iloc[0], alike.iloc[-1]
        cost = few["cores"] * (many["seconds"] - few["seconds"]) / (many["jobs"] - few["jobs"])
        lines += [f"A job costs {cost:.1f} s of a core beside its training: the process, its imports and the engine."]
    cores = table["cores"].iloc[0]
    lines += [
        f"`python -m benchmarks.growth` ran these studies of smoke size on {cores} cores.",
        "“Again” is the same command with nothing left to do.",
        "",
        *header(columns),
    ]
    for row in table.to_dict("records"):
        size = [row[name] for name in ("methods", "seeds", "sets", "seeds_per_job", "runs", "jobs")]
        lines.append(
            line([*size, f"{row['seconds'] / 60:.1f}", f"{row['again_seconds']:.0f}", f"{row['megabytes']:.1f}"])
        )
    return lines
