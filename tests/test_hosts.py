"""Runs over three hosts: network namespaces on one machine, joined by a bridge."""
import os
import re
import shlex
import shutil
import subprocess
import time

import pytest
from cage import Cage
from program import ENVIRONMENT, FLOAT, SANITIZED, SKIP, SOURCE, checkpoint, run, same_bits, write_settings

AGENT = SOURCE / "tests/enter-host"
RANKS = {1: 2, 2: 2, 3: 1}  # of each host
# As in the README.
KEEPALIVE = {"time": "2", "intvl": "1", "probes": "3"}
OPTIONS = ["--set", "record.gradients=true", "--set", "record.errors.inputs=50", "--set", "record.errors.every=50",
           "--set", "checkpoint.every=5", "--quiet"]


@pytest.fixture(name="cage")
def three_hosts():
    """A cage in which 10.0.0.N is hostN, for N = 1, 2, 3."""
    if SANITIZED:
        pytest.skip("sanitizers run on one host")
    if not shutil.which("ip"):
        pytest.skip("no iproute2: experiments/install-packages tests")
    with Cage() as cage:
        cage.run(["bash", "-ec", """
            ip link add name bridge type bridge
            ip link set bridge up
            for n in 1 2 3; do
                ip netns add host$n
                ip link add name port$n type veth peer name eth0 netns host$n
                ip link set port$n master bridge up
                ip -n host$n addr add 10.0.0.$n/24 dev eth0
                ip -n host$n link set eth0 up
                ip -n host$n link set lo up
            done"""])
        yield cage


def start_on_hosts(cage, *arguments):
    """mpirun on host 1, with ranks on all three. More threads than processors on every host make
    waiting ranks sleep, since the hosts share theirs."""
    hosts = ",".join(f"10.0.0.{n}:{ranks}" for n, ranks in RANKS.items())
    parameters = [word for name, value in KEEPALIVE.items() for word in ("--mca", f"oob_tcp_keepalive_{name}", value)]
    command = ["mpirun", "--mca", "plm_rsh_agent", AGENT, *parameters, "--host", hosts, "-n", sum(RANKS.values()),
               FLOAT, *arguments, "--threads", 1 + os.cpu_count()]
    return cage.start([AGENT, "10.0.0.1", shlex.join(map(str, command))], env=ENVIRONMENT,
                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_three_hosts_give_the_bits_of_one(cage, tmp_path):
    settings, one, three = write_settings(tmp_path, SKIP), tmp_path / "one.h5", tmp_path / "three.h5"
    job = start_on_hosts(cage, "train", settings, "-o", three, *OPTIONS)
    errors = job.communicate(timeout=100)[1]
    assert job.returncode == 0, errors
    run("train", settings, "-o", one, *OPTIONS, "--threads", 1, ranks=sum(RANKS.values()))
    assert same_bits(one, three) == []
    assert same_bits(checkpoint(one, 10), checkpoint(three, 10)) == []


def lose_power(cage, host):
    cage.run(["kill", "-9", *processes(cage, host)])


def lose_link(cage, host):
    cage.run(["ip", "-n", host, "link", "set", "eth0", "down"])


def processes(cage, host):
    return cage.run(["ip", "netns", "pids", host]).stdout.split()


@pytest.mark.parametrize("lose", [lose_power, lose_link])
def test_a_lost_host_ends_all_and_one_host_goes_on(cage, tmp_path, lose):
    settings, out = write_settings(tmp_path, SKIP), tmp_path / "run.h5"
    options = [*OPTIONS, "--set", "training.epochs=80"]
    job = start_on_hosts(cage, "train", settings, "-o", out, *options)
    while job.poll() is None and not list(tmp_path.glob("run.checkpoint-*.h5")):
        time.sleep(0.01)
    lose(cage, "host2")
    errors = job.communicate(timeout=30)[1]
    assert job.returncode != 0 and re.search("(?s)lost communication.*10.0.0.2", errors), errors
    assert not out.exists(), "the run is too short"
    end = time.monotonic() + 30
    while any(processes(cage, f"host{n}") for n in RANKS):
        assert time.monotonic() < end, "ranks live on"
        time.sleep(0.1)
    alone = [*options, "--threads", 1, "--set", "checkpoint.every=0"]
    run("train", settings, "-o", tmp_path / "whole.h5", *alone)
    run("train", settings, "-o", out, *alone, "--resume")
    assert same_bits(tmp_path / "whole.h5", out, ["traffic"]) == []
