"""The job scripts of experiments/slurm, in a Slurm of one node that is started here."""
import os
import re
import shutil
import subprocess
import time

import pytest
from cage import Cage
from program import FLOAT, SANITIZED, SOURCE, checkpoint, run, same_bits, write_settings

SCRIPTS = SOURCE / "experiments/slurm"
DAEMONS = ["munged", "slurmctld", "slurmd"]
PATH = f"{os.environ['PATH']}:/usr/sbin"
ENDLESS = ["--set", "training.epochs=100000", "--set", "record.errors.inputs=0", "--set", "checkpoint.every=500"]

# Four processors, whatever this machine has. A job that is put back may start again after five
# seconds (cred_expire), instead of two minutes.
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
TmpFS={folder}/temporary
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 Boards=1 SocketsPerBoard=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=100 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES State=UP PriorityTier=1 GraceTime=20
PartitionName=high Nodes=ALL State=UP PriorityTier=10 PreemptMode=OFF
"""


class Cluster:
    """A Slurm of one node in a cage, with what its daemons write in a folder."""

    def __init__(self, cage, folder):
        self.cage, self.folder = cage, folder
        host, user = (subprocess.check_output(command, text=True).strip()
                      for command in (["hostname", "-s"], ["id", "-un"]))
        for name in ("state", "spool", "temporary"):
            (folder / name).mkdir()
        (folder / "slurm.conf").write_text(CONFIGURATION.format(host=host, user=user, folder=folder))
        self.environment = {**os.environ, "PATH": PATH, "SLURM_CONF": str(folder / "slurm.conf"), "LAMINA": FLOAT,
                            "OMPI_MCA_hwloc_base_binding_policy": "none", "OMP_WAIT_POLICY": "passive"}
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        self.start("munged", "--foreground", "--force", *(
            f"--{option}={folder}/munge.{end}" for option, end in
            [("socket", "socket"), ("key-file", "key"), ("pid-file", "pid"), ("seed-file", "seed"), ("log-file", "log")]))
        self.wait(lambda: (folder / "munge.socket").exists())
        self.start("slurmctld", "-D")
        self.start("slurmd", "-D")
        self.wait(lambda: "idle" in self.cage.run(["sinfo", "-h", "-o", "%T"], expect=None, env=self.environment).stdout)

    def start(self, *command):
        with open(self.folder / "daemons.log", "a") as log:
            self.cage.start(command, env=self.environment, stdout=log, stderr=log)

    def wait(self, condition, seconds=60):
        """Wait until something is so; what the daemons said explains it if it never is."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError("".join(path.read_text()[-3000:] for path in self.folder.glob("*.log")))
            time.sleep(0.05)

    def submit(self, *arguments):
        """Submit a job, which says all it says in NAME.out; returns its number."""
        command = ["sbatch", "--parsable", f"--output={self.folder}/%x.out", *arguments]
        return self.cage.run(command, env=self.environment, cwd=SOURCE).stdout.strip()

    def about(self, job):
        """What Slurm knows of a job, name -> text."""
        shown = self.cage.run(["scontrol", "-o", "show", "job", job], env=self.environment).stdout
        return dict(re.findall(r"(\w+)=(\S*)", shown))

    def states(self, job):
        """The states of a job, or of all tasks of an array."""
        return self.cage.run(["squeue", "-h", "-t", "all", "-r", "-j", job, "-o", "%T"],
                             env=self.environment).stdout.split()

    def wait_completed(self, job):
        self.wait(lambda: set(self.states(job)) <= {"COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL"})
        assert set(self.states(job)) == {"COMPLETED"}, self.about(job)


@pytest.fixture(scope="module", name="cluster")
def started(tmp_path_factory):
    if SANITIZED:
        pytest.skip("sanitizers run without Slurm")
    missing = [name for name in DAEMONS if not shutil.which(name, path=PATH)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not found: experiments/install-packages tests")
    with Cage() as cage:
        yield Cluster(cage, tmp_path_factory.mktemp("slurm"))


@pytest.fixture(scope="module", name="limited")
def nearly_over(cluster, tmp_path_factory):
    """A job without end, and its run file: its minute is nearly over when it starts. Slurm looks
    at the clock twice a minute, so that it is submitted before the other tests."""
    out = tmp_path_factory.mktemp("limited") / "run.h5"
    return out, cluster.submit("-J", "limited", "-n", 1, "--time=1", "--signal=USR1@55", SCRIPTS / "one-node",
                               write_settings(out.parent), out, *ENDLESS)


def wait_for_checkpoint(cluster, out):
    cluster.wait(lambda: list(out.parent.glob(f"{out.stem}.checkpoint-*.h5")))


def give_way(cluster, folder, options):
    """A job on three ranks whose place is taken by another after its first checkpoint: its number."""
    out = folder / "run.h5"
    job = cluster.submit("-J", folder.name, "-n", 3, SCRIPTS / "one-node", write_settings(folder), out, *options)
    wait_for_checkpoint(cluster, out)
    cluster.wait_completed(cluster.submit("-p", "high", "-n", 3, "--wrap", "sleep 1"))
    return job


def test_a_job_that_must_give_way_comes_back_and_ends_with_the_same_bits(cluster, limited, tmp_path):
    """The shortest run that is not over before the other job has its place."""
    for epochs in (50, 250, 1250):
        folder = tmp_path / f"preempted-{epochs}"
        folder.mkdir()
        options = ["--set", f"training.epochs={epochs}", "--set", "checkpoint.every=10", "--set", "record.errors.every=100"]
        job = give_way(cluster, folder, options)
        if not (folder / "run.h5").exists():
            break
    run("train", folder / "settings.yaml", "-o", folder / "whole.h5", *options, "--threads", 1, ranks=3)
    cluster.wait_completed(job)
    said = (cluster.folder / f"{folder.name}.out").read_text()
    assert len(re.findall("stopped by SIG(TERM|USR1) when", said)) == 1, said
    assert cluster.about(job)["Restarts"] == "1"
    assert same_bits(folder / "whole.h5", folder / "run.h5") == []


def test_an_array_trains_one_network_per_seed(cluster, limited, tmp_path):
    settings = write_settings(tmp_path)
    job = cluster.submit("-J", "array", "-N", 1, "-c", 1, "--array=3-4", SCRIPTS / "several-nodes", settings, tmp_path / "run.h5")
    run("train", settings, "-o", tmp_path / "whole-seed3.h5", ranks=1)  # the seed of these settings
    run("train", settings, "-o", tmp_path / "whole-seed4.h5", "--set", "training.seed=4", ranks=1)
    cluster.wait_completed(job)
    for seed in (3, 4):
        assert same_bits(tmp_path / f"whole-seed{seed}.h5", tmp_path / f"run-seed{seed}.h5") == []


def test_a_run_that_fails_is_not_put_back(cluster, limited, tmp_path):
    job = cluster.submit("-J", "wrong", "-n", 3, SCRIPTS / "one-node", write_settings(tmp_path), tmp_path / "run.h5",
                         "--set", "inference.stepp=1")
    cluster.wait(lambda: cluster.states(job) == ["FAILED"])
    assert cluster.about(job)["ExitCode"] == "78:0" and cluster.about(job)["Restarts"] == "0"


def test_a_killed_rank_ends_the_job(cluster, limited, tmp_path):
    out = tmp_path / "run.h5"
    job = cluster.submit("-J", "killed", "-n", 3, SCRIPTS / "one-node", write_settings(tmp_path), out, *ENDLESS)
    wait_for_checkpoint(cluster, out)
    rank = cluster.cage.run(["pgrep", "-n", "-f", out]).stdout.split()
    cluster.cage.run(["kill", "-9", *rank])
    cluster.wait(lambda: cluster.states(job) == ["FAILED"])
    assert cluster.about(job)["ExitCode"] in ("137:0", "0:9")


def test_a_job_whose_time_is_over_goes_on_in_another(cluster, limited):
    out, job = limited
    said, again = cluster.folder / "limited.out", r"stopped by SIGUSR1 when (\d+) steps were done(?s:.*?)\nresuming from (\S+)"
    cluster.wait(lambda: re.search(again, said.read_text()))
    step, newest = re.search(again, said.read_text()).groups()
    assert newest == str(checkpoint(out, int(step)))
    cluster.cage.run(["scancel", job], env=cluster.environment)
