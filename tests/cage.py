"""Processes that end when the test ends, whatever ends it: Linux namespaces.

A Cage has process ids, mounts and a network of its own. Its first process waits for a pipe of
this one to close, and the kernel ends every process of a cage with its first; its mounts and
networks then go by themselves."""
import contextlib
import os
import subprocess

import pytest

KINDS = ["--pid", "--mount", "--net"]
USER = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]


# Slurm wants an address that is no loopback.
INSIDE = """ip link set lo up && ip addr add 192.0.2.1/32 dev lo &&
mount -t tmpfs none /run && mount -t tmpfs none /dev/shm && echo ready && read -r"""


class Cage(contextlib.ExitStack):
    """Start processes with run and start; all end with the `with` block, or with this process.
    The test is skipped where namespaces are not allowed."""

    def __enter__(self):
        self.first = subprocess.Popen(
            ["unshare", *USER, *KINDS, "--fork", "--kill-child", "--mount-proc", "bash", "-c",
             INSIDE],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.callback(self.end)
        if self.first.stdout.readline() != "ready\n":
            pytest.skip(f"no leave to make namespaces: {self.first.communicate()[1].strip()}")
        inside = subprocess.run(["pgrep", "-P", str(self.first.pid)], capture_output=True, text=True)
        self.enter = ["nsenter", "--target", inside.stdout.strip(), "--wd=.",
                      *([] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]), *KINDS]
        return self

    def end(self):
        self.first.communicate()

    def start(self, command, **options):
        return subprocess.Popen([*self.enter, *map(str, command)], text=True, **options)

    def run(self, command, expect=0, **options):
        """Run a command to its end and return it; asserts the exit code."""
        done = subprocess.run([*self.enter, *map(str, command)], text=True, capture_output=True, **options)
        assert expect in (None, done.returncode), f"{command}\nexit {done.returncode}\n{done.stdout}{done.stderr}"
        return done
