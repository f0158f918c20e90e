"""Runs that are stopped by signals, which all ranks heed together and leave with a checkpoint. They are
tested on their own, since mpirun kills ranks that have not ended two seconds after SIGTERM."""
import os
import re
import signal

import pytest
from program import (LONG_RUN, LONG_STEPS, checkpoint, one_rank_only, ranks_of, run, same_bits,
                     start, wait_for, write_settings)


def interrupt(tmp_path, act, ranks, *options):
    """Start a run, call act(process) when its first checkpoint is there, and return (exit code,
    standard error). A run that is through before that is started again."""
    out = tmp_path / "run.h5"
    for _ in range(5):
        for old in tmp_path.glob("run.*"):
            old.unlink()
        process = start("train", tmp_path / "settings.yaml", "-o", out, *LONG_RUN, *options, ranks=ranks)
        wait_for(process, tmp_path, "run.checkpoint-*.h5")
        if process.poll() is None:
            act(process)
        errors = process.communicate(timeout=60)[1]
        if process.returncode != 0:
            return process.returncode, errors
    raise AssertionError("the run is too short")


def to_all(number):
    return lambda process: [os.kill(rank, number) for rank in ranks_of(process)]


def to_one(number):
    return lambda process: os.kill(ranks_of(process)[-1], number)


def to_job(number):
    return lambda process: process.send_signal(number)


@pytest.fixture(scope="module", name="whole")
def undisturbed(tmp_path_factory):
    """The run file of a run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    out = folder / "run.h5"
    run("train", write_settings(folder), "-o", out, *LONG_RUN, ranks=1)
    return out


@pytest.mark.parametrize("act, ranks, resume_ranks", [
    (to_job(signal.SIGUSR1), 3, 2),  # mpirun passes it on
    (to_one(signal.SIGTERM), 3, 1),
    (to_one(signal.SIGUSR1), 2, 3),
    (to_all(signal.SIGTERM), 2, 2),
    (to_one(signal.SIGINT), None, 1),
], ids=["mpirun-usr1", "one-term", "one-usr1", "all-term", "alone-int"])
def test_a_signal_ends_all_ranks_with_a_checkpoint(tmp_path, whole, act, ranks, resume_ranks):
    settings = write_settings(tmp_path)
    out = tmp_path / "run.h5"
    code, errors = interrupt(tmp_path, act, ranks)
    assert code == 75, errors
    said = re.findall(r"^lamina: stopped by SIG\w+ when (\d+) steps were done; --resume goes on from (.*)$",
                      errors, re.M)
    assert len(said) == 1 and errors.count("lamina: ") == 1, errors
    step = int(said[0][0])
    assert 8 <= step < LONG_STEPS and said[0][1] == str(checkpoint(out, step))
    assert checkpoint(out, step).exists() and not out.exists()
    run("train", settings, "-o", out, "--resume", *LONG_RUN, ranks=resume_ranks)
    assert same_bits(whole, out, without=["traffic"]) == []
    assert same_bits(checkpoint(whole, LONG_STEPS), checkpoint(out, LONG_STEPS), ["traffic"]) == []


def test_a_signal_before_training_is_heeded_too(tmp_path):
    """The settings come through a pipe, so that the program is surely there and not yet training."""
    settings = write_settings(tmp_path).read_bytes()
    pipe, out = tmp_path / "pipe.yaml", tmp_path / "run.h5"
    os.mkfifo(pipe)
    process = start("train", pipe, "-o", out, *LONG_RUN)
    with open(pipe, "wb") as stream:
        process.send_signal(signal.SIGUSR1)
        stream.write(settings)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 75 and "stopped by SIGUSR1" in errors, errors
    assert len(list(tmp_path.glob("run.checkpoint-*.h5"))) == 1


@one_rank_only
def test_mpirun_gives_the_ranks_time_for_a_checkpoint(tmp_path):
    write_settings(tmp_path)
    for _ in range(5):  # it is a second, which other programs may take, after another one
        code, errors = interrupt(tmp_path, to_job(signal.SIGTERM), 3, "--set", "training.epochs=4000")
        assert code != 0  # mpirun's own
        said = re.search(r"stopped by SIGTERM when (\d+) steps were done", errors)
        if said:
            break
    assert said, errors
    assert checkpoint(tmp_path / "run.h5", int(said[1])).exists()


def test_a_signal_without_periodic_checkpoints_leaves_one(tmp_path):
    """Before the first checkpoint there may be nothing to keep; after a step there is."""
    settings = write_settings(tmp_path)
    out = tmp_path / "run.h5"
    process = start("train", settings, "-o", out, "--force", *LONG_RUN, "--set", "checkpoint.every=0",
                    "--set", "training.epochs=4000", ranks=2)
    wait_for(process, tmp_path, "run.h5.partial")
    process.send_signal(signal.SIGUSR1)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 75, errors
    step = int(re.search(r"stopped by SIGUSR1 when (\d+) steps were done", errors)[1])
    assert step == 0 or checkpoint(out, step).exists()
