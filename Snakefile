# The way of the study: runs, then figures. Rules call papermill, nothing else; `hdge notebook` is papermill that
# refuses unknown parameters. Plain `snakemake` runs the default profile; see profiles/default/config.yaml.
import json
import shlex
import sys
from pathlib import Path

from hdge.study.config import HOME
from hdge.study.profiles import load_profile
from hdge.study.notebooks import imported_modules

profile = load_profile(config.get("profile", "digits"))
only = str(config["only"]).split("+") if config.get("only") else ()
PYTHON = shlex.quote(sys.executable)
NOTEBOOKS = HOME / "notebooks"
RUNS = f"papermill_runs/{profile.name}/runs"
EXECUTED = f"papermill_runs/{profile.name}/notebooks"
FIGURES = f"figures/{profile.name}"

# What each notebook draws: a picture and its table for every name, and one table of comparisons and verdicts.
DRAWN = {
    "00_tour": ["density"],
    "02_ood": ["auroc", "histograms", "posthoc"],
    "03_calibration": ["ece", "reliability", "scaled"],
    "04_classification": ["accuracy", "confusion", "cost", "learning"],
    "05_generation": ["chains", "samples", "scores"],
    "06_robustness": ["curves", "gap"],
    "07_approximation": ["gradient", "partition", "size"],
    "08_paper_vs_code": ["effects"],
    "09_verdict": ["alpha", "claims"],
}
WITHOUT_RUNS = ["00_tour"]
WITH_VARIANTS = ["07_approximation", "08_paper_vs_code", "09_verdict"]
if not profile.variants:  # nothing to set beside the methods
    del DRAWN["08_paper_vs_code"]
    DRAWN["07_approximation"].remove("size")


def drawn(notebook):
    pairs = [f"{FIGURES}/{notebook}_{name}.{kind}" for name in DRAWN[notebook] for kind in ("svg", "csv")]
    verdict = f"{FIGURES}/{notebook}.csv" if notebook == "09_verdict" else f"{FIGURES}/{notebook}_verdict.csv"
    return pairs if notebook in WITHOUT_RUNS else [*pairs, verdict]


def record(row, seed):
    """A run's last file; of a run that the repository keeps, whatever its age beside the code's."""
    kept = profile.kept_record(row, seed)
    return ancient(str(kept)) if kept else f"{RUNS}/{row}-seed{seed}/record.json"


def records(variants):
    return [record(row, seed) for row, seed in profile.wanted(only, variants)]


def judged(notebook):
    """What the verdict is passed on: the tables of the other notebooks."""
    others = [name for name in DRAWN if name not in (notebook, *WITHOUT_RUNS)]
    return [path for name in others for path in drawn(name) if path.endswith(".csv")]


def parameters(**extra):
    return json.dumps({"profile": profile.name, "root": str(Path.cwd()), **extra})


rule all:
    input:
        [drawn(notebook) for notebook in DRAWN],


rule runs:
    """Only the training, for a machine that is better at that."""
    input:
        records(variants=True),


rule train:
    """One run. Its inputs are the modules that training imports, so a new plotting function retrains nothing."""
    input:
        NOTEBOOKS / "01_training.ipynb",
        imported_modules(HOME / "hdge" / "training" / "loop.py"),
    output:
        f"{RUNS}/{{row}}-seed{{seed}}/record.json",
    log:
        notebook=f"{EXECUTED}/01_training-{{row}}-seed{{seed}}.ipynb",
    params:
        # Only what determines the run, so that a changed setting retrains just what it touches.
        config=lambda wildcards: profile.config(wildcards.row, int(wildcards.seed)).to_json(),
        given=lambda wildcards: parameters(method=wildcards.row, seed=int(wildcards.seed)),
    # One, however many cores there are: a run's last bits depend on how many threads share its sums.
    threads: 1
    shell:
        "TQDM_MININTERVAL=10 {PYTHON} -m hdge.cli notebook {input[0]:q} {log.notebook:q} --parameters {params.given:q}"


for notebook in DRAWN:

    rule:
        name:
            notebook
        input:
            NOTEBOOKS / f"{notebook}.ipynb",
            imported_modules(NOTEBOOKS / f"{notebook}.ipynb"),
            [] if notebook in WITHOUT_RUNS else records(notebook in WITH_VARIANTS),
            judged(notebook) if notebook == "09_verdict" else [],
        output:
            drawn(notebook),
        log:
            notebook=f"{EXECUTED}/{notebook}.ipynb",
        params:
            given=parameters(),
            scale=profile.scale,  # every caption says it
        threads: 1
        shell:
            "{PYTHON} -m hdge.cli notebook {input[0]:q} {log.notebook:q} --parameters {params.given:q}"
