"""The memory of a long run: what it has taken by its first steps is all that it takes."""
import re
import subprocess

from program import ENVIRONMENT, FLOAT, slow, write_settings

TINY = ["--set", "training.batch=10", "--set", "inference.steps=2", "--set", "record.errors.inputs=10", "--set",
        "record.errors.every=1000", "--set", "record.test_every=100", "--threads", "1", "--quiet", "--force"]
# Runs a command and prints the largest resident set it had, in KiB.
PEAK = """import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""


def peak(settings, steps, every):
    """The largest resident set of a run with checkpoints every so many steps, in KiB."""
    options = ["--set", f"training.steps={steps}", "--set", "training.epochs=500", "--set", f"checkpoint.every={every}"]
    done = subprocess.run(["/usr/bin/python3", "-c", PEAK, FLOAT, "train", settings, "-o", settings.parent / "run.h5",
                           *TINY, *options], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return int(re.search(r"peak (\d+)", done.stdout)[1])


@slow
def test_ten_times_the_steps_take_no_more_but_their_curves(tmp_path):
    """Curves have 16 numbers of 8 bytes per step here: 4 of the network, 3 of each of 4 layers. The
    rest may differ by 500 KiB, what the C library and Open MPI may do: 57 bytes per step."""
    settings = write_settings(tmp_path)
    few, many = peak(settings, 1000, 0), peak(settings, 10000, 0)
    assert many - few < 9000 * 16 * 8 / 1024 + 500, (few, many)


@slow
def test_many_checkpoints_take_no_more_than_few(tmp_path):
    """A checkpoint has 170 KB here. What 90 more of them take was 1100 KiB, and is no more for 190:
    room that HDF5 keeps for the next."""
    settings = write_settings(tmp_path)
    few, many = peak(settings, 1000, 100), peak(settings, 1000, 10)
    assert many - few < 2500, (few, many)
