"""Runs that meet with faults: kills, full disks, refused memory, damaged and locked files."""
import os
import pathlib
import re
import signal
import subprocess

import h5py
import numpy as np
import pytest
from program import (ENVIRONMENT, FAULT, FLOAT, LONG_RUN, SOURCE, arrays, checkpoint, children,
                     needs_fault, one_rank_only, ranks_of, run, same_bits, start, wait_for,
                     write_settings)

FEW = ["--set", "training.steps=6", "--set", "checkpoint.every=2", "--set", "checkpoint.keep=2",
       "--set", "record.errors.every=4", "--threads", "1", "--quiet"]


def fault(rank, kind, number, text):
    """The environment of tests/fault.c."""
    return {"FAULT": f"{rank}:{kind}:{number}:{text}", "LD_PRELOAD": FAULT}


def run_with(environment, *arguments, ranks=None, seconds=20):
    """Run with a fault; returns (exit code, lines of ours, all of standard error). Ends within
    seconds, which is what is tested and no measurement."""
    process = start(*arguments, ranks=ranks, environment=environment)
    try:
        errors = process.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired:
        for pid in [*children(process.pid), process.pid]:
            os.kill(pid, signal.SIGKILL)
        raise
    return process.returncode, re.findall(r"^lamina: (?!warning)(.*)$", errors, re.M), errors


def changes(tmp_path, settings):
    """How often a whole run changes one of its files."""
    out = tmp_path / "counted.h5"
    errors = run_with(fault(0, "count", 0, "/counted."), "train", settings, "-o", out, *FEW)[2]
    return int(re.search(r"fault: (\d+) changes", errors)[1])


@needs_fault
def test_killed_before_any_change_of_a_file_all_can_be_read_and_resumed(tmp_path):
    settings = write_settings(tmp_path)
    n = changes(tmp_path, settings)
    out = tmp_path / "run.h5"
    moments = [*range(1, n, n // 12), *range(n - 12, n + 1, 3)]
    for moment in moments:
        for old in tmp_path.glob("run.*"):
            old.unlink()
        code = run_with(fault(0, "kill", moment, "/run."), "train", settings, "-o", out, *FEW)[0]
        assert code == -signal.SIGKILL, moment
        found = [p for p in tmp_path.glob("run.*") if p.suffix in (".h5", ".partial") and
                 not p.name.endswith(".h5.partial") or p.name == "run.h5.partial"]
        for path in found:
            arrays(path)
        if moment in moments[::4]:
            run("train", settings, "-o", out, "--resume", *FEW)
            assert same_bits(tmp_path / "counted.h5", out) == []


@needs_fault
def test_a_killed_run_can_be_read_up_to_its_last_flush(tmp_path):
    settings, out = write_settings(tmp_path), tmp_path / "run.h5"
    code = run_with(fault(0, "kill", 1, "/run.checkpoint-000055"), "train", settings, "-o", out, *FEW,
                    "--set", "training.epochs=12", "--set", "training.steps=60",
                    "--set", "checkpoint.every=55")[0]
    assert code == -signal.SIGKILL and not out.exists()
    with h5py.File(f"{out}.partial") as file:
        assert file.attrs["steps_done"] == 50
        assert np.all(np.isfinite(file["training/loss"][:50]))


@needs_fault
def test_what_the_disk_did_not_keep_does_not_get_its_name(tmp_path):
    settings, out = write_settings(tmp_path), tmp_path / "run.h5"
    run("train", settings, "-o", out, *FEW, "--set", "checkpoint.keep=0")
    kept = checkpoint(out, 4).read_bytes()
    checkpoint(out, 6).unlink()
    out.unlink()
    code, lines, errors = run_with(fault(0, "flip", 3000, "/run.checkpoint-000006"), "train",
                                   settings, "-o", out, "--resume", *FEW)
    assert code == 74 and len(lines) == 1 and "its CRC-32" in lines[0], errors
    assert checkpoint(out, 4).read_bytes() == kept and not checkpoint(out, 6).exists()


@needs_fault
def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path):
    settings, out = write_settings(tmp_path), tmp_path / "run.h5"
    errors = run_with(fault(0, "log", 0, str(tmp_path)), "train", settings, "-o", out, *FEW)[2]
    calls = re.findall(r"^fault: (\w+) (\S+)$", errors, re.M)
    new = f"{checkpoint(out, 2)}.new"
    ends = [i for i, call in enumerate(calls) if call == ("rename", new)]
    before = [name for name, path in calls[:ends[0]] if path == new]
    assert len(ends) == 1 and before[-2:] == ["fsync", "posix_fadvise"]
    assert "pwrite" in before[-3] or "ftruncate" in before[-3]
    assert calls[ends[0] + 1] == ("fsync", str(tmp_path))


def half_run(tmp_path):
    """The checkpoints after 2 and 4 of 6 steps of a run on three ranks."""
    settings = write_settings(tmp_path)
    out = tmp_path / "run.h5"
    run("train", settings, "-o", out, *FEW, "--set", "checkpoint.keep=3", ranks=3)
    for name in (out, checkpoint(out, 6)):
        name.unlink()
    return settings, out, checkpoint(out, 4)


@needs_fault
@one_rank_only
@pytest.mark.parametrize("rank, call", [(0, 1), (0, 90), (1, 1), (2, 8)])
def test_a_full_disk_ends_all_with_the_checkpoint_that_is_left(tmp_path, rank, call):
    settings, out, left = half_run(tmp_path)
    before = left.read_bytes()
    code, lines, errors = run_with(fault(rank, "enospc", call, tmp_path / "run.checkpoint-000006"),
                                   "train", settings, "-o", out, "--resume", *FEW, ranks=3)
    assert code == 74, errors
    assert len(lines) == 1 and str(left) in lines[0] and "No space left" in lines[0], errors
    assert left.read_bytes() == before and not checkpoint(out, 6).exists() and not out.exists()


@needs_fault
@one_rank_only
@pytest.mark.parametrize("rank, call", [(0, 5), (0, 38), (0, 80), (0, 110), (1, 10), (1, 30), (2, 35)])
def test_a_full_disk_for_the_run_file(tmp_path, rank, call):
    settings, out = write_settings(tmp_path), tmp_path / "run.h5"
    code, lines, errors = run_with(fault(rank, "enospc", call, "/run.h5."), "train", settings, "-o", out,
                                   *FEW, ranks=3)
    assert code == 74, errors
    assert len(lines) == 1 and re.search(f"{out}: cannot .*No space left", lines[0]), errors
    assert not out.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
@one_rank_only
def test_a_small_disk(tmp_path):
    """A disk of 300 KB: full after some checkpoints, and the last one is whole."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", disk]).returncode:
        pytest.skip("no leave to mount")
    try:
        out = disk / "run.h5"
        code, lines, errors = run_with({}, "train", write_settings(tmp_path), "-o", out, *FEW, "--set",
                                       "checkpoint.keep=0", "--set", "training.steps=10", ranks=3)
        assert code == 74 and len(lines) == 1, errors
        left = sorted(disk.glob("run.checkpoint-*.h5"))[-1]
        assert str(left) in lines[0] and "No space left" in lines[0]
        arrays(left)
    finally:
        subprocess.run(["umount", disk], check=True)


@one_rank_only
@pytest.mark.parametrize("victim", [0, 2])
def test_a_rank_that_is_killed_ends_all(tmp_path, victim):
    settings = write_settings(tmp_path)
    process = start("train", settings, "-o", tmp_path / "run.h5", *LONG_RUN, "--set",
                    "training.epochs=4000", ranks=3)
    wait_for(process, tmp_path, "run.checkpoint-*.h5")
    ranks = ranks_of(process)
    os.kill(ranks[victim], signal.SIGKILL)
    errors = process.communicate(timeout=20)[1]
    assert process.returncode == 128 + signal.SIGKILL
    assert re.search(r"rank \d+ .* exited on signal 9", errors), errors
    assert not any(pathlib.Path(f"/proc/{rank}/exe").exists() for rank in ranks)


@needs_fault
@one_rank_only
@pytest.mark.parametrize("rank, name", [(0, "train-images"), (2, "train-labels")])
def test_a_file_that_one_rank_cannot_read_ends_all(tmp_path, rank, name):
    settings = write_settings(tmp_path)
    code, lines, errors = run_with(fault(rank, "eio", 1, name), "train", settings, "-o",
                                   tmp_path / "run.h5", *FEW, ranks=3)
    assert code == 66 and len(lines) == 1, errors
    assert f"rank {rank}" in lines[0] and name in lines[0] and "Input/output error" in lines[0]


@one_rank_only
def test_a_rank_without_memory_ends_all(tmp_path):
    """All but one rank may take what they want."""
    settings = write_settings(tmp_path)
    out = tmp_path / "run.h5"
    arguments = [FLOAT, "train", settings, "-o", out, *FEW, "--set", "network.layers[2].map[0].linear.units=2000000"]
    limited = ["bash", "-c", 'ulimit -v 800000 && exec "$@"', "bash", *arguments]
    done = subprocess.run(["mpirun", "-n", "1", *arguments, ":", "-n", "1", *limited], env=ENVIRONMENT,
                          capture_output=True, text=True, timeout=60)
    lines = re.findall(r"^lamina: (.*)$", done.stderr, re.M)
    assert done.returncode == 71, done.stderr
    assert len(lines) == 1 and lines[0].startswith("rank 1: out of memory"), done.stderr


@needs_fault
@one_rank_only
@pytest.mark.parametrize("rank, block", [(0, 1), (1, 30), (2, 100), (0, 200), (1, 400), (2, 800)])
def test_a_block_that_one_rank_does_not_get_ends_all(tmp_path, rank, block):
    """From the settings to the last training steps."""
    settings, out, left = half_run(tmp_path)
    before = left.read_bytes()
    code, lines, errors = run_with(fault(rank, "memory", block, "-"), "train", settings, "-o", out, "--resume",
                                   *FEW, ranks=3)
    assert code == 71 and len(lines) == 1 and lines[0].startswith(f"rank {rank}: out of memory"), errors
    assert left.read_bytes() == before and not out.exists()


@one_rank_only
def test_ranks_that_diverge_together_are_heard_once(tmp_path):
    settings = write_settings(tmp_path)
    code, lines, errors = run_with({}, "train", settings, "-o", tmp_path / "run.h5", *FEW, "--set",
                                   "inference.step=1000", "--set", "inference.steps=400", ranks=3)
    assert code == 3 and len(lines) == 1, errors
    assert "not finite" in lines[0] and lines[0].endswith("no checkpoint was written")


def flip(path, dataset):
    """Change one bit of the last number of a dataset."""
    with h5py.File(path) as file:
        data = file[dataset]
        place = data.id.get_offset() + data.id.get_storage_size() - 1
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("ranks", [None, 3])
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_taken(tmp_path, ranks):
    settings, out, newest = half_run(tmp_path)
    whole = tmp_path / "whole.h5"
    run("train", settings, "-o", whole, *FEW)
    flip(newest, "layers/V2/first_moment")
    done = run("train", settings, "-o", out, "--resume", *FEW, ranks=ranks)
    assert f"warning: {newest}: /layers/V2/first_moment is damaged: its CRC-32" in done.stderr
    assert same_bits(whole, out, ["traffic"]) == []
    for path in tmp_path.glob("run.checkpoint-*.h5"):
        flip(path, "training/loss")
    out.unlink()
    done = run("train", settings, "-o", out, "--resume", *FEW, ranks=ranks, expect=65)
    assert f"{checkpoint(out, 6)}: /training/loss is damaged" in done.stderr and not out.exists()


@pytest.mark.parametrize("command", ["surprise", "gradients"])
def test_a_damaged_checkpoint_is_not_measured(tmp_path, command):
    settings, out, newest = half_run(tmp_path)
    flip(newest, "layers/V2/parameters")
    before = sorted(tmp_path.iterdir())
    arguments = [newest] if command == "surprise" else [settings, "--from", newest]
    done = run(command, *arguments, "-o", tmp_path / "measured.h5", expect=65)
    assert f"{newest}: /layers/V2/parameters is damaged" in done.stderr
    assert sorted(tmp_path.iterdir()) == before


@one_rank_only
def test_a_rank_with_another_command_line_ends_all(tmp_path):
    settings = write_settings(tmp_path)
    one = ["-n", "1", FLOAT, "train", str(settings), "-o", str(tmp_path / "run.h5")]
    done = subprocess.run(["mpirun", *one, ":", *one, "--wings"], env=ENVIRONMENT, timeout=60,
                          capture_output=True, text=True)
    assert done.returncode == 64 and "--wings" in done.stderr


@one_rank_only
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_rank_that_gets_no_threads_ends_all(tmp_path, ranks):
    settings = write_settings(tmp_path)
    limited = ["prlimit", "--as=3000000000", FLOAT, "train", str(settings), "-o",
               str(tmp_path / "run.h5"), "--threads", "400"]
    other = ["-n", "1", FLOAT, *limited[3:-1], "1"]
    done = subprocess.run(["mpirun", "-n", "1", *limited, *([":", *other] if ranks == 2 else [])],
                          env=ENVIRONMENT, timeout=60, capture_output=True, text=True)
    assert done.returncode == 71 and "a library has ended the program" in done.stderr


@one_rank_only
@pytest.mark.parametrize("files", [20, 23, 26])
def test_a_rank_that_may_not_open_more_files_ends_all(tmp_path, files):
    settings = write_settings(tmp_path)
    one = [FLOAT, "train", settings, "-o", tmp_path / "run.h5", *FEW]
    done = subprocess.run(["mpirun", "-n", "1", *one, ":", "-n", "1", "prlimit", f"--nofile={files}", *one],
                          env=ENVIRONMENT, timeout=60, capture_output=True, text=True)
    assert done.returncode == 73 and "Too many open files" in done.stderr, done.stderr


@one_rank_only
def test_a_limit_of_file_size_is_a_failed_write(tmp_path):
    settings = write_settings(tmp_path)
    done = subprocess.run(["prlimit", "--fsize=16000000", FLOAT, "train", settings, "-o",
                           tmp_path / "run.h5", "--quiet", "--set", "training.epochs=40000"],
                          env=ENVIRONMENT, timeout=60, capture_output=True, text=True)
    assert done.returncode == 74 and "run.h5: cannot" in done.stderr


@one_rank_only
def test_a_resumed_run_counts_the_traffic_of_all(tmp_path):
    settings, out, _ = half_run(tmp_path)
    whole = tmp_path / "whole.h5"
    run("train", settings, "-o", whole, *FEW, ranks=3)
    run("train", settings, "-o", out, "--resume", *FEW, ranks=3)
    assert same_bits(whole, out) == []
    out.unlink()
    checkpoint(out, 6).unlink()
    run("train", settings, "-o", out, "--resume", *FEW, ranks=2)
    with h5py.File(out) as file:
        assert file["traffic"].attrs["first_step"] == 4 and file["traffic/messages"].shape == (2, 2)


def test_two_runs_do_not_write_one_output(tmp_path):
    settings = write_settings(tmp_path)
    out = tmp_path / "run.h5"
    first = start("train", settings, "-o", out, *LONG_RUN, "--set", "training.epochs=4000", ranks=2)
    wait_for(first, tmp_path, "run.h5.partial")
    ranks = ranks_of(first)
    for rank in ranks:  # it has its lock still, and leaves its cores to other tests
        os.kill(rank, signal.SIGSTOP)
    others = [start("train", settings, "-o", out, *LONG_RUN, option, ranks=2)
              for option in ("--force", "--resume")]  # each waits some seconds for the first to end
    said = [other.communicate(timeout=60)[1] for other in others]
    for rank in ranks:
        os.kill(rank, signal.SIGCONT)
    for other, words in zip(others, said):
        assert other.returncode == 73 and "another run writes" in words and "process" in words
    first.send_signal(signal.SIGUSR1)
    assert first.wait(60) == 75
    assert not (tmp_path / "run.h5.lock").exists()
    run("train", settings, "-o", out, *FEW, "--force", ranks=2)


@one_rank_only
def test_a_few_random_kills():
    done = subprocess.run([SOURCE / "tests/soak", "3", "--binary", FLOAT], env=ENVIRONMENT,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "all with the same bits" in done.stdout, done.stdout + done.stderr
