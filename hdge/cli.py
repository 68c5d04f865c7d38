"""The command line, which hands the work to the DAG engine, papermill and the training loop."""

import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, TextIO

from hdge import __version__

try:
    from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, Namespace, set_parsing_settings

    from hdge.study.config import HOME, config_from, data_root, place, read_settings, train_parser
    from hdge.study.errors import HdgeError, require
    from hdge.study.profiles import load_profile
    from hdge.study.progress import follow
    from hdge.study.values import read_yaml
except ModuleNotFoundError as error:
    print(f"hdge: {error.name} is not installed; install the study by `pip install 'hdge[study]'`.", file=sys.stderr)
    sys.exit(2)

DATA_HELP = "where data sets are found or downloaded; empty: $HDGE_DATA, or data/ in the checkout"
ROOT_HELP = "holds papermill_runs/ and figures/; empty: the checkout"
SNAKEFILE = HOME / "Snakefile"
OF_A_STUDY = {
    "verify": "compare the runs trained here with their archived copies",
    "status": "say what is done, under way, missing, and how long the rest takes",
    "report": "write the study's answers and pictures on one page to send",
}


class SettingsFile(ActionConfigFile):
    """``--config``: a file of settings, read as strictly as a profile; words after it on the command line win."""

    @staticmethod
    def apply_config(parser: ArgumentParser, cfg: Namespace, dest: str, value: Any) -> None:
        path = place(value)
        settings = read_yaml(path)
        try:
            read_settings(settings)
        except HdgeError as error:
            raise HdgeError(f"{path}: {error}") from None
        ActionConfigFile.apply_config(parser, cfg, dest, json.dumps(settings))


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return 0, 2 for a request that cannot be met, or 130 if stopped."""
    try:
        set_parsing_settings(add_print_completion_argument=True)
        words = sys.argv[1:] if arguments is None else arguments
        parsed = _parser().parse_args([_underscored(word) for word in words])
        command = parsed[parsed.subcommand]
        return COMMANDS[parsed.subcommand](command)
    except (HdgeError, ArgumentError) as error:
        print(f"hdge: {_sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("hdge: stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _underscored(word: str) -> str:
    """Take an option's dashes for underscores, so that --data-root is --data_root."""
    name, equals, value = word.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else word


def _sentence(error: Exception) -> str:
    """Write an error in one line, and one of a word's type as errors of settings in files are written."""
    text = " ".join(str(error).split())
    wrong = re.fullmatch(r"Parser key \"(.+?)\": Expected a <class '(\w+)'>. Got value: (.*)", text)
    if not wrong:
        return text
    name, kind, value = wrong.groups()
    return f"{name} is {value!r}; it must be {'a list such as [a, b]' if kind == 'tuple' else kind}."


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="hdge", exit_on_error=False, description="Reproduce the HDGE study, or train one of its runs."
    )
    parser.add_argument("--version", action="version", version=f"hdge {__version__}")
    commands = parser.add_subcommands(required=True)

    reproduce = ArgumentParser(exit_on_error=False)
    reproduce.add_argument("profile", nargs="?", default="digits", help="a file of profiles/, without its suffix")
    reproduce.add_argument("--cores", type=int, default=os.cpu_count(), help="processor cores to use")
    reproduce.add_argument("--data_root", default="", help=DATA_HELP)
    reproduce.add_argument("--root", default="", help=ROOT_HELP)
    reproduce.add_argument("--only", default="", help="methods to train, with commas; by default all but optional ones")
    reproduce.add_argument("--fresh", action="store_true", help="train everything anew, also what is archived")
    reproduce.add_argument("--executor", default="", help="a Snakemake executor, such as slurm; see docs/cluster.md")
    reproduce.add_argument(
        "--jobs", type=int, default=0, help="jobs at a time on a cluster; 0: what the folder below says"
    )
    reproduce.add_argument("--workflow_profile", default="", help="a folder of Snakemake's options: workflow/slurm")
    reproduce.add_argument("--verbose", action="store_true", help="show all that Snakemake says")
    reproduce.add_argument("--dry_run", action="store_true", help="only say what would run, and why")
    commands.add_subcommand("reproduce", reproduce, help="run what is not up to date: training, figures, tables")

    train = train_parser()
    train.add_argument("--config", action=SettingsFile, help="a YAML file of the settings below")
    train.add_argument("--output", default="runs/latest", help="run folder; a killed run in it is taken up again")
    train.add_argument("--data_root", default="", help=DATA_HELP)
    train.add_argument("--checkpoint_seconds", type=float, default=60.0, help="how often the state is saved")
    commands.add_subcommand("train", train, help="train a single run, by default with the paper's settings")

    measure = ArgumentParser(exit_on_error=False)
    measure.add_argument("profile", help="a file of profiles/, without its suffix")
    measure.add_argument("row", help="one of the profile's methods")
    measure.add_argument("seeds", type=int, nargs="+", help="seeds of the row to measure, such as 100 101")
    measure.add_argument("--data_root", default="", help=DATA_HELP)
    measure.add_argument("--root", default="", help=ROOT_HELP)
    commands.add_subcommand("measure", measure, help="sample, attack and score trained runs; `reproduce` calls it")

    for name, what in OF_A_STUDY.items():
        of_a_study = ArgumentParser(exit_on_error=False)
        of_a_study.add_argument("profile", nargs="?", default="digits", help="a file of profiles/, without its suffix")
        of_a_study.add_argument("--root", default="", help=ROOT_HELP)
        commands.add_subcommand(name, of_a_study, help=what)

    score = ArgumentParser(exit_on_error=False)
    score.add_argument("files", nargs="+", help="logits and labels as .npz or .csv, or a folder of them; see docs")
    score.add_argument("--output", default="scored", help="folder for tables, pictures and report.html")
    score.add_argument("--delta", type=float, default=None, help="smallest difference of interest of every measure")
    commands.add_subcommand("score", score, help="score and compare your own networks from their stored logits")

    notebook = ArgumentParser(exit_on_error=False)
    notebook.add_argument("source", help="the notebook")
    notebook.add_argument("output", help="its executed copy")
    notebook.add_argument("--parameters", default="{}", help="a JSON object; unknown names are refused")
    notebook.add_argument("--root", default="", help="the notebook's parameter root, from the working folder")
    commands.add_subcommand("notebook", notebook, help="run one notebook by papermill, strictly")
    return parser


def _reproduce(arguments: Namespace) -> int:
    """Call Snakemake; the Snakefile decides what to make."""
    if not SNAKEFILE.exists():
        raise HdgeError(f"{SNAKEFILE} does not exist; `hdge reproduce` needs a clone of the repository, installed -e.")
    require("cores", arguments.cores, arguments.cores >= 1, "at least 1")
    only = [name for name in arguments.only.split(",") if name]
    profile = load_profile(arguments.profile)
    profile.wanted(only)
    root = place(arguments.root) if arguments.root else HOME
    for folder in (root, HOME):
        if {"{", "}"} & set(str(folder)):
            raise HdgeError(f"{folder} holds braces, which Snakemake takes for the name of a part; rename the folder.")
    nearest = next(folder for folder in (root, *root.parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise HdgeError(f"{nearest} is no folder that can be written to; choose another root.")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), "--directory", str(root)]
    command += ["--cores", str(arguments.cores), "--keep-going", "--rerun-incomplete", "--quiet", "rules", "host"]
    command += ["--config", f"profile={arguments.profile}", *([f"only={'+'.join(only)}"] if only else [])]
    command += ["fresh=1"] if arguments.fresh else []
    command += _elsewhere(arguments) or ["--resources", f"gpu={max(1, _gpus())}"]
    # The place of the data does not determine a run, so it is no parameter of the DAG.
    environment = {**os.environ, "HDGE_DATA": str(data_root(arguments.data_root))}
    if arguments.dry_run:
        return subprocess.run([*command, "--dry-run"], env=environment).returncode
    with _lock(root, arguments.profile) as lock:
        # Snakemake's own lock would outlive a killed process; it inherits this one, which ends with it.
        command, inherited = [*command, "--nolock"], [lock.fileno()]
        if arguments.verbose:
            done = subprocess.call(command, env=environment, pass_fds=inherited)
        else:
            seconds = profile.job_seconds(only, arguments.fresh)
            done = follow(command, seconds, env=environment, pass_fds=inherited)
    if done == 0:
        from hdge.study.study import Study
        from hdge.study.verify import report

        study = Study(arguments.profile, root)
        for line in report(study):
            print(line)
        if study.path("09_verdict_claims").exists():
            _report(arguments)
    return done


def _gpus() -> int:
    """Count the GPUs that a job may use, as CUDA does, without loading PyTorch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def _elsewhere(arguments: Namespace) -> list[str]:
    """Pass on what says where jobs run, if not here."""
    require("jobs", arguments.jobs, arguments.jobs >= 0, "0 or more")
    words = ["--executor", arguments.executor] if arguments.executor else []
    words += ["--jobs", str(arguments.jobs)] if arguments.jobs else []
    if arguments.workflow_profile:
        folder = place(arguments.workflow_profile)
        if not (folder / "config.yaml").exists():
            raise HdgeError(f"{folder} holds no config.yaml; name a folder such as {HOME / 'workflow' / 'slurm'}.")
        words += ["--workflow-profile", str(folder)]
    return words


def _verify(arguments: Namespace) -> int:
    from hdge.study.study import Study
    from hdge.study.verify import verified

    print(*verified(Study(arguments.profile, arguments.root)), sep="\n")
    return 0


def _status(arguments: Namespace) -> int:
    from hdge.study.status import status_lines
    from hdge.study.study import Study

    print(*status_lines(Study(arguments.profile, arguments.root)), sep="\n")
    return 0


def _lock(root: Path, profile: str) -> TextIO:
    """Open the file that only one command per profile and root can hold at a time."""
    path = root / ".snakemake" / f"hdge-{profile}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise HdgeError(f"profile {profile!r} is being reproduced in {root}; wait, or choose another root.") from None
    return file


def _train(arguments: Namespace) -> int:
    from hdge.core.distributed import rank_of
    from hdge.study.runs import RunFolder
    from hdge.training.loop import train
    from hdge.training.rows import process_group

    seconds = arguments.checkpoint_seconds
    require("checkpoint_seconds", seconds, seconds is not None and seconds >= 0, "0 or more")
    folder = RunFolder(place(arguments.output))
    config = config_from(arguments)
    folder.refuse_another(config)
    with process_group() as group:
        train(config, folder, data_root(arguments.data_root), checkpoint_seconds=seconds, group=group)
        if rank_of(group)[0] == 0:
            outcome = folder.record()["outcome"]
            if outcome != "finished":
                raise HdgeError(f"{folder.path}: the run ended as {outcome}; lower learning_rate, or set clip.")
            print(f"{folder.path}: {json.dumps(folder.history().iloc[-1].to_dict())}")
    return 0


def _measure(arguments: Namespace) -> int:
    from hdge.measure.rows import measure_row
    from hdge.study.study import Study

    study = Study(arguments.profile, arguments.root, arguments.data_root)
    for sentence in measure_row(study, arguments.row, arguments.seeds):
        print(sentence)
    return 0


def _score(arguments: Namespace) -> int:
    from hdge.verdict.score import score

    page, said = score([place(file) for file in arguments.files], place(arguments.output), arguments.delta)
    print(*said, page, sep="\n")
    return 0


def _report(arguments: Namespace) -> int:
    from hdge.study.study import Study
    from hdge.verdict.report import write_report

    print(*write_report(Study(arguments.profile, arguments.root)), sep="\n")
    return 0


def _notebook(arguments: Namespace) -> int:
    from hdge.study.notebooks import execute, parameters_of

    root = {"root": str(place(arguments.root))} if arguments.root else {}
    execute(place(arguments.source), place(arguments.output), parameters_of(arguments.parameters) | root)
    return 0


COMMANDS = {
    "reproduce": _reproduce, "train": _train, "measure": _measure, "notebook": _notebook, "verify": _verify,
    "status": _status, "score": _score, "report": _report,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
