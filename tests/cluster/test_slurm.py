"""The smoke profile on a real Slurm of one node, with a job that is killed and requeued, against a local run.

Skipped where Slurm, its Snakemake executor or the rights to start daemons are missing.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.test_study import Study

CONF, MARK = Path("/etc/slurm/slurm.conf"), "ClusterName=hdge-tests"  # job steps read the configuration here alone
PROGRAMS = ("munged", "slurmctld", "slurmd", "sinfo", "scontrol", "squeue")
LACKING = [name for name in PROGRAMS if not shutil.which(name)]
if not importlib.util.find_spec("snakemake_executor_plugin_slurm"):
    LACKING.append("snakemake-executor-plugin-slurm")
if os.geteuid() or (CONF.exists() and MARK not in CONF.read_text()):
    LACKING.append("a machine of one's own to start daemons on")
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"needs {', '.join(LACKING)}")

# A requeued job waits for as long as credentials last, two minutes by default.
SETTINGS = """{mark}
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort=36817
SlurmdPort=36818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
JobRequeue=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=6000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
# What this one-node cluster needs besides workflow/slurm: it has no accounts and no accounting.
HERE = """slurm-no-account: true
slurm-status-command: squeue
slurm-init-seconds-before-status-checks: 5
"""


@pytest.fixture
def slurm(tmp_path):
    """A running Slurm of one node, stopped afterwards."""
    folder = tmp_path / "slurm"
    for path in (folder / "state", folder / "spool", CONF.parent, Path("/run/munge")):
        path.mkdir(parents=True, exist_ok=True)
    host = socket.gethostname().split(".")[0]
    CONF.write_text(SETTINGS.format(mark=MARK, host=host, folder=folder, cores=os.cpu_count()))
    key = Path("/etc/munge/munge.key")
    if not key.exists():
        key.write_bytes(os.urandom(1024))
    subprocess.run(["chown", "-R", "munge:munge", "/etc/munge", "/run/munge", "/var/lib/munge", "/var/log/munge"])
    key.chmod(0o400)
    subprocess.run(["su", "-s", "/bin/sh", "munge", "-c", "munged --pid-file=/run/munge/munged.pid"])
    pids = [Path("/run/munge/munged.pid"), folder / "slurmctld.pid", folder / "slurmd.pid"]
    try:
        for daemon in ("slurmctld", "slurmd"):
            time.sleep(1)
            subprocess.run([daemon])
        for _ in range(30):
            if "idle" in said("sinfo", "-h", "-o", "%T"):
                break
            time.sleep(1)
        else:
            pytest.skip(f"this machine's Slurm does not start: {said('sinfo', '-R')}")
        yield
    finally:
        subprocess.run(["scancel", "--user", "root"])
        for pid in reversed(pids):
            if pid.exists():
                subprocess.run(["kill", pid.read_text().strip()])
        CONF.unlink()


def said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True).stdout


def wait_for(holds, seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


def smaller(folder: Path) -> Study:
    """The study without what takes longest, and with a run long enough to be killed."""
    study = Study(folder)
    study.edit("profiles/smoke.yaml", "  hdge:\n", "  hdge: {epochs: 8}\n")
    text = (folder / "profiles" / "smoke.yaml").read_text()
    start, end = text.index("  jem:"), text.index("samples:")
    (folder / "profiles" / "smoke.yaml").write_text(text[:start] + text[end:])
    return study


def test_slurm_draws_what_a_local_run_draws_also_if_a_job_is_killed(tmp_path, slurm):
    local = smaller(tmp_path / "local")
    assert local.reproduce().returncode == 0
    cluster = smaller(tmp_path / "cluster")
    cluster.edit("workflow/slurm/config.yaml", "latency-wait: 60\n", "latency-wait: 10\n" + HERE)
    cluster.edit("hdge/study/profiles.py", '"mem_mb": 4000', '"mem_mb": 2000')
    cluster.edit("Snakefile", "mem_mb=4000", "mem_mb=2000")
    process = cluster.begin(
        "-m", "hdge.cli", "reproduce", "smoke", "--workflow-profile", "workflow/slurm", "--jobs", "2"
    )
    second = cluster.folder / "papermill_runs" / "smoke" / "runs" / "hdge-seed1"
    wait_for(lambda: (second / "config.json").exists() or process.poll() is not None, 300, "no job began to train")
    jobs = said("squeue", "-h", "-o", "%i %k").splitlines()
    [killed] = [line.split()[0] for line in jobs if "train_hdge" in line]
    assert not (second / "record.json").exists()
    subprocess.run(["scontrol", "requeue", killed], check=True)
    told = process.communicate()[1]
    assert process.returncode == 0, told
    assert "Restarts=1" in said("scontrol", "show", "job", killed)
    tables = sorted((local.folder / "figures" / "smoke").glob("*.csv"))
    assert len(tables) > 15
    for table in tables:
        if not table.stem.endswith("_seconds"):  # measured time is no result
            assert (cluster.folder / "figures" / "smoke" / table.name).read_bytes() == table.read_bytes(), table.name
