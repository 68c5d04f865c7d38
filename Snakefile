# The way of the study: runs, then figures. Rules call papermill, nothing else; `hdge notebook` is papermill that
# refuses unknown parameters. Plain `snakemake` runs the default profile; see profiles/default/config.yaml.
import json
import shlex
import sys
from pathlib import Path

from hdge.study import contents
from hdge.study.config import HOME
from hdge.study.dependencies import code_digest, imported_modules, training_modules
from hdge.study.profiles import load_profile

profile = load_profile(config.get("profile", "digits"))
only = str(config["only"]).split("+") if config.get("only") else ()
PYTHON = shlex.quote(sys.executable)
NOTEBOOKS = HOME / "notebooks"
TRAINING = NOTEBOOKS / "01_training.ipynb"
RUNS = f"papermill_runs/{profile.name}/runs"
EXECUTED = f"papermill_runs/{profile.name}/notebooks"
FIGURES = f"figures/{profile.name}"
DRAWN = contents.notebooks(bool(profile.variants))


def tables(notebook):
    return [f"{FIGURES}/{name}.csv" for name in contents.tables(notebook, bool(profile.variants))]


def drawn(notebook):
    pictures = contents.pictures(notebook, bool(profile.variants))
    return tables(notebook) + [f"{FIGURES}/{name}.svg" for name in pictures]


def record(row, seed):
    """A run's last file; of a run that the repository archives, whatever its age beside the code's."""
    archived = profile.archived_record(row, seed)
    return ancient(str(archived)) if archived else f"{RUNS}/{row}-seed{seed}/record.json"


def records(variants):
    return [record(row, seed) for row, seed in profile.wanted(only, variants)]


def runs_of(notebook):
    needs = contents.NOTEBOOKS[notebook].needs
    return [] if needs == "nothing" else records(needs == "variants")


def judged(notebook):
    """What the verdict is passed on: the tables of the other notebooks."""
    if notebook != contents.VERDICT:
        return []
    return [path for name in DRAWN if name != notebook and runs_of(name) for path in tables(name)]


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
    """One run, trained anew if its config changes or the code that its method's training executes."""
    input:
        ancient(TRAINING),
    output:
        f"{RUNS}/{{row}}-seed{{seed}}/record.json",
    log:
        notebook=f"{EXECUTED}/01_training-{{row}}-seed{{seed}}.ipynb",
    params:
        # Only what determines the run, so that a changed setting retrains just what it touches.
        config=lambda wildcards: profile.config(wildcards.row, int(wildcards.seed)).to_json(),
        code=lambda wildcards: code_digest(
            [TRAINING, *training_modules(profile.config(wildcards.row, int(wildcards.seed)).method)]
        ),
        given=lambda wildcards: parameters(method=wildcards.row, seed=int(wildcards.seed)),
    # One, however many cores there are: a run's last bits depend on how many threads share its sums.
    threads: 1
    # Now and then a kernel does not start beside another; a run that had begun goes on where it was.
    retries: 1
    shell:
        "TQDM_MININTERVAL=10 {PYTHON} -m hdge.cli notebook {input[0]:q} {log.notebook:q} --parameters {params.given:q}"


for notebook in DRAWN:

    rule:
        name:
            notebook
        input:
            NOTEBOOKS / f"{notebook}.ipynb",
            imported_modules(NOTEBOOKS / f"{notebook}.ipynb"),
            runs_of(notebook),
            judged(notebook),
        output:
            drawn(notebook),
        log:
            notebook=f"{EXECUTED}/{notebook}.ipynb",
        params:
            given=parameters(),
            scale=profile.scale,  # every caption says it
            measured=str((profile.samples, profile.attacks)),
        threads: 1
        shell:
            "{PYTHON} -m hdge.cli notebook {input[0]:q} {log.notebook:q} --parameters {params.given:q}"
