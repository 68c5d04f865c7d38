# The way of the study: runs, their measurements, then figures. Rules call papermill and `hdge measure`, nothing else;
# `hdge notebook` is papermill that refuses unknown parameters. Plain `snakemake` runs the default profile; see
# profiles/default/config.yaml.
import json
import os
import shlex
import sys
from pathlib import Path

from hdge.study import contents
from hdge.study.config import HOME
from hdge.study.dependencies import code_digest, imported_modules, training_code
from hdge.study.measurements import CRITIC, KINDS, determined_by, seeds_of
from hdge.study.profiles import avx2_alone, job_name, load_profile
from hdge.study.roster import has_chains

profile = load_profile(config.get("profile", "digits"))
only = str(config["only"]).split("+") if config.get("only") else ()
os.environ.update({"HDGE_PYTHON": sys.executable, **profile.environment})  # of all jobs
# Of those that draw, in every profile: what a notebook computes, its table holds alike on all x86-64 processors.
DRAWING = "".join(f"{name}={value} " for name, value in avx2_alone().items())


def here(path):
    """A path as seen from the root, so that a study that is moved or copied is still up to date."""
    return os.path.relpath(path)


NOTEBOOKS = Path(here(HOME / "notebooks"))
TRAINING = NOTEBOOKS / "01_training.ipynb"
RUNS = f"papermill_runs/{profile.name}/runs"
EXECUTED = f"papermill_runs/{profile.name}/notebooks"
FIGURES = f"figures/{profile.name}"
fresh = bool(config.get("fresh"))
HERE = profile.trained(only, fresh)
JOBS = profile.jobs(only, fresh)
DRAWN = contents.notebooks(bool(profile.variants))


def tables(notebook):
    return [f"{FIGURES}/{name}.csv" for name in contents.tables(notebook, bool(profile.variants))]


def drawn(notebook):
    pictures = contents.pictures(notebook, bool(profile.variants))
    return tables(notebook) + [f"{FIGURES}/{name}.svg" for name in pictures]


# Outputs are stamps in the run folders, never what a run or a measurement consists of: Snakemake deletes the outputs of
# a failed job, or with `update()` puts older ones back. A job itself leaves alone what is up to date, seed by seed.
def trained(row, seed):
    """A run's stamp; of a run that the repository archives, its record, whatever its age beside the code's."""
    if (row, seed) in HERE:
        return f"{RUNS}/{row}-seed{seed}/trained.txt"
    return ancient(here(profile.archived_record(row, seed)))


def measured(row, seeds):
    return [f"{RUNS}/{row}-seed{seed}/measured/done.txt" for seed in seeds]


def all_trained(variants):
    return [trained(row, seed) for row, seed in profile.wanted(only, fresh, variants)]


def runs_of(notebook):
    """Runs that a notebook reads; of methods without a run it says so once the variants have theirs."""
    needs = contents.NOTEBOOKS[notebook].needs
    return [] if needs == "nothing" else all_trained(needs == "variants") or all_trained(variants=True)


def measured_for(notebook):
    kinds = contents.NOTEBOOKS[notebook].measured
    rows = [row for row, _ in JOBS if any(seeds_of(kind, row) != "none" for kind in kinds)]
    return [path for row, seeds in JOBS if row in rows for path in measured(row, seeds)]


def weights_for(row):
    """Of all seeds of a row, among which those to be measured are chosen, and of the critic of its samples."""
    rows = (row, CRITIC) if seeds_of("samples", row) != "none" else (row,)
    return [trained(other, seed) for other, seed in profile.wanted(only, fresh, variants=True) if other in rows]


def judged(notebook):
    """What the verdict is passed on: the tables of the other notebooks."""
    if notebook != contents.VERDICT:
        return []
    return [path for name in DRAWN if name != notebook and runs_of(name) for path in tables(name)]


def protocol_of(notebook):
    parts = [KINDS[kind].protocol for kind in contents.NOTEBOOKS[notebook].measured]
    return "".join(str(getattr(profile, part)) for part in parts if part)


def parameters(**extra):
    return json.dumps({"profile": profile.name, **extra})


rule all:
    input:
        [drawn(notebook) for notebook in DRAWN],


rule runs:
    """Only the training, for a machine that is better at that."""
    input:
        all_trained(variants=True),


for row, seeds in JOBS:
    job = job_name(row, seeds)
    configs = [profile.config(row, seed) for seed in seeds]

    # Some seeds of a row, trained anew if their config changes or the code that their method's training executes.
    rule:
        name:
            f"train_{job}"
        input:
            ancient(TRAINING),
        output:
            [trained(row, seed) for seed in seeds],
        log:
            notebook=f"{EXECUTED}/01_training-{job}.ipynb",
        params:
            # Only what determines the runs, so that a changed setting retrains just what it touches.
            configs=[one.to_json() for one in configs],
            code=training_code(configs[0].method),
            notebook=code_digest([TRAINING]),  # an edit of it draws its curves anew, and trains nothing
            given=parameters(method=row, seeds=seeds),
        # Those that sample take longest, and should not begin last.
        priority: int(has_chains(configs[0].method))
        # One a rank, however many cores there are: a run's last bits depend on how many threads share its sums.
        threads: profile.ranks
        resources:
            **{**profile.resources, "gpu": profile.ranks * profile.resources["gpu"]},
        # Now and then a kernel does not start beside another; what had been trained is left alone.
        retries: 1
        shell:
            'TQDM_MININTERVAL=10 "$HDGE_PYTHON" -m hdge.cli notebook {input[0]:q} {log.notebook:q} --root .'
            " --parameters {params.given:q}"

    if not determined_by(profile, row):
        continue

    # Samples, attacks and scores of the same runs, made anew if their protocol changes or the code that makes them.
    rule:
        name:
            f"measure_{job}"
        input:
            weights_for(row),
        output:
            measured(row, seeds),
        params:
            determined_by=json.dumps(determined_by(profile, row)),
            given=shlex.join([profile.name, row, *map(str, seeds)]),
        threads: 1
        resources:
            **profile.resources,
        shell:
            'TQDM_MININTERVAL=10 "$HDGE_PYTHON" -m hdge.cli measure {params.given} --root .'


for notebook in DRAWN:

    rule:
        name:
            notebook
        input:
            NOTEBOOKS / f"{notebook}.ipynb",
            [here(module) for module in imported_modules(NOTEBOOKS / f"{notebook}.ipynb")],
            runs_of(notebook),
            measured_for(notebook),
            judged(notebook),
        output:
            [report(path, category=notebook) for path in drawn(notebook)],
        log:
            notebook=f"{EXECUTED}/{notebook}.ipynb",
        params:
            given=parameters(),
            scale=profile.scale,  # every caption says it
            measured=protocol_of(notebook),
        threads: 1
        resources:
            mem_mb=4000,
            runtime=60,
        shell:
            DRAWING + '"$HDGE_PYTHON" -m hdge.cli notebook {input[0]:q} {log.notebook:q} --root .'
            " --parameters {params.given:q}"
