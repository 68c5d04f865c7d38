# The way of the study: runs, then figures. Rules call papermill, nothing else; `hdge notebook` is papermill that
# refuses unknown parameters. Plain `snakemake` runs the default profile; see profiles/default/config.yaml.
import json
import shlex
import sys
from pathlib import Path

from hdge.config import HOME
from hdge.profiles import load_profile
from hdge.notebooks import imported_modules

profile = load_profile(config.get("profile", "digits"))
wanted = profile.wanted(str(config["only"]).split("+") if config.get("only") else ())
PYTHON = shlex.quote(sys.executable)
NOTEBOOKS = HOME / "notebooks"
RUNS = f"papermill_runs/{profile.name}/runs"
EXECUTED = f"papermill_runs/{profile.name}/notebooks"
FIGURES = f"figures/{profile.name}"

# What each notebook draws: a picture and its table for every name, and one table of comparisons and verdicts.
DRAWN = {
    "00_tour": ["00_tour_density"],
    "02_ood": ["02_ood_auroc", "02_ood_histograms"],
    "03_calibration": ["03_calibration_ece", "03_calibration_reliability"],
    "04_classification": [f"04_classification_{name}" for name in ("accuracy", "confusion", "cost", "learning")],
    "07_approximation": ["07_approximation_gradient", "07_approximation_partition"],
}
WITHOUT_RUNS = ["00_tour"]


def drawn(notebook):
    pairs = [f"{FIGURES}/{name}.{kind}" for name in DRAWN[notebook] for kind in ("svg", "csv")]
    return pairs if notebook in WITHOUT_RUNS else [*pairs, f"{FIGURES}/{notebook}_verdict.csv"]


def record(method, seed):
    """A run's last file; of a run that the repository keeps, whatever its age beside the code's."""
    kept = profile.kept_record(method, seed)
    return ancient(str(kept)) if kept else f"{RUNS}/{method}-seed{seed}/record.json"


def parameters(**extra):
    return json.dumps({"profile": profile.name, "root": str(Path.cwd()), **extra})


rule all:
    input:
        [drawn(notebook) for notebook in DRAWN],


rule runs:
    """Only the training, for a machine that is better at that."""
    input:
        [record(method, seed) for method, seed in wanted],


rule train:
    """One run. Its inputs are the modules that training imports, so a new plotting function retrains nothing."""
    input:
        NOTEBOOKS / "01_training.ipynb",
        imported_modules(HOME / "hdge" / "training.py"),
    output:
        f"{RUNS}/{{method}}-seed{{seed}}/record.json",
    log:
        notebook=f"{EXECUTED}/01_training-{{method}}-seed{{seed}}.ipynb",
    params:
        # Only what determines the run, so that a changed setting retrains just what it touches.
        config=lambda wildcards: profile.config(wildcards.method, int(wildcards.seed)).to_json(),
        given=lambda wildcards: parameters(method=wildcards.method, seed=int(wildcards.seed)),
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
            [] if notebook in WITHOUT_RUNS else [record(method, seed) for method, seed in wanted],
        output:
            drawn(notebook),
        log:
            notebook=f"{EXECUTED}/{notebook}.ipynb",
        params:
            given=parameters(),
        threads: 1
        shell:
            "{PYTHON} -m hdge.cli notebook {input[0]:q} {log.notebook:q} --parameters {params.given:q}"
