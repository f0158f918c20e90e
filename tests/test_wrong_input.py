"""Every kind of wrong input: one clear line, the documented exit code, nothing half-written."""
import gzip
import re
import subprocess

import h5py
import numpy as np
import pytest
from program import (DOUBLE, ENVIRONMENT, FIGURES, FLOAT, one_rank_only, run, write_cifar10, write_dataset,
                     write_settings)


def train(tmp_path, *options, expect, words, ranks=None, settings=None, binary=FLOAT):
    """Run lamina train, expecting a failure whose message has all `words`."""
    settings = settings or write_settings(tmp_path)
    out = tmp_path / "run.h5"
    existed = out.exists()
    done = run("train", settings, "-o", out, *options, expect=expect, ranks=ranks, binary=binary)
    lines = [line for line in done.stderr.splitlines() if line.startswith("lamina: ")]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]
    assert out.exists() == existed
    return lines[0]


@pytest.mark.parametrize("option, words", [
    ("inference.stepz=1", ["inference", "stepz"]),
    ("inference.steps=abc", ["inference.steps", "abc"]),
    ("inference.steps=-3", ["inference.steps", "-3"]),
    ("training.batch=0", ["training.batch", "0"]),
    ("training.chunk=0", ["training.chunk"]),
    ("training.rate=-1", ["training.rate", "-1"]),
    ("training.rate=nan", ["training.rate"]),
    ("inference.rule=hebb", ["inference.rule", "hebb", "strict"]),
    ("network.loss=hinge", ["network.loss", "hinge", "mse"]),
    ("training.optimizer=lion", ["training.optimizer", "lion"]),
    ("network.layers[0].map[0].conv2d.kernel=-3", ["kernel", "-3"]),
    ("network.layers[0].map[0].conv2d.channels=0", ["channels", "0"]),
    ("network.layers[1].name=V1", ["V1", "name"]),
    ("network.layers[2].map[0].linear.units=0", ["units", "0"]),
    ("network.layers[2].name=a/b", ["--set network.layers[2].name=a/b: network.layers[2].name",
                                    "layer 3 is named 'a/b': expected letters"]),
    ("placement.ranks=[0, 0, 0]", ["placement.ranks", "3 ranks", "4 layers"]),
    ("data.format=jpeg", ["data.format", "jpeg", "idx or cifar10"]),
    ("training.momentum=0.9", ["training.momentum", "0.9", "sgd"]),
    ("inference.step=1e-60", ["inference.step", "1e-60"]),
    ("inference.step=1e39", ["inference.step", "1e+39"]),
    ("network.input=[9, 99999, 99999]", ["network.input", "89998200009 units"]),
    ("network.input=[1, 14, 14]", ["network.input", "1 x 14 x 14", "1 x 12 x 12"]),
    ("training.epochs=2147483647", ["training.epochs", "training steps: at most 1000000000"]),
    ("training.batch=5000", ["training.batch", "5000", "200"]),
    ("record.errors.inputs=61", ["record.errors.inputs", "61", "60"]),
])
def test_settings(tmp_path, option, words):
    train(tmp_path, "--set", option, expect=78, words=words)


def test_settings_of_a_file_name_the_line(tmp_path):
    settings = write_settings(tmp_path)
    settings.write_text(settings.read_text().replace("batch: 40", "batch: zero"))
    line = 1 + settings.read_text().splitlines().index(
        next(x for x in settings.read_text().splitlines() if "zero" in x))
    train(tmp_path, expect=78, words=[f"settings.yaml:{line}:", "training.batch", "zero"],
          settings=settings)


@pytest.mark.parametrize("layers, words", [
    ("[{name: a, inputs: [b], map: [relu: {}]}, {name: b, inputs: [a], map: [relu: {}]}]", ["cycle"]),
    ("[{name: a, inputs: [nobody], map: [relu: {}]}]", ["layer a", "nobody"]),
    ("[{name: a, map: [linear: {units: 3}]}]", ["layer a", "1 x 12 x 12"]),
    ("[{name: a, map: [conv2d: {channels: 2, kernel: 13}]}]", ["layer a", "13x13", "1 x 12 x 12"]),
    ("[{name: a, map: [spiking: {}]}]", ["spiking"]),
    ("[]", ["layers"]),
])
def test_networks(tmp_path, layers, words):
    train(tmp_path, "--set", f"network.layers={layers}", expect=78, words=words)


def spoil(name, change):
    """A data set with one file changed by `change` (bytes -> bytes, or None to remove it)."""
    def prepare(tmp_path):
        settings = write_settings(tmp_path)
        path = tmp_path / "data" / name
        if change is None:
            path.unlink()
        else:
            path.write_bytes(change(path.read_bytes()))
        return settings
    return prepare


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize("prepare, code, words", [
    (spoil(IMAGES, None), 66, [IMAGES]),
    (spoil(IMAGES, lambda b: b[:-100]), 65, [IMAGES]),
    (spoil(IMAGES, lambda b: b"\x00\x00\x0d" + b[3:]), 65, [IMAGES]),
    (spoil(IMAGES, lambda b: b + b"x"), 65, [IMAGES]),
    (spoil(IMAGES, lambda b: b""), 65, [IMAGES]),
    (spoil(IMAGES, lambda b: gzip.compress(b)[:-20]), 65, [IMAGES]),
    (spoil(LABELS, lambda b: b[:8] + b"\x0b" + b[9:]), 65, [LABELS, "11", "10"]),
    (spoil("t10k-labels-idx1-ubyte", lambda b: b[:4] + b"\0\0\0\x03" + b[8:11]), 65, ["t10k"]),
])
@pytest.mark.parametrize("ranks", [None, 3])
def test_data(tmp_path, prepare, code, words, ranks):
    train(tmp_path, expect=code, words=words, settings=prepare(tmp_path), ranks=ranks)


@pytest.mark.parametrize("name, change, code, words", [
    ("data_batch_3.bin", None, 66, ["data_batch_3.bin", "not there"]),
    ("data_batch_3.bin", lambda b: b[:-1], 65, ["data_batch_3.bin", "18437", "3073"]),
    ("data_batch_3.bin", gzip.compress, 65, ["data_batch_3.bin", "gzip"]),
    ("data_batch_5.bin", lambda b: b[:3073] + b"\x0c" + b[3074:], 65,
     ["data_batch_5.bin", "label 12", "record 1"]),
    ("test_batch.bin", lambda b: b"", 65, ["test_batch.bin", "0 bytes", "3073"]),
    ("test_batch.bin", lambda b: b"\xff" + b[1:], 65, ["test_batch.bin", "label 255", "record 0"]),
])
def test_cifar10(tmp_path, name, change, code, words):
    path = write_cifar10(tmp_path / "cifar10") / name
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    train(tmp_path, "--set", f"data.path={path.parent}", "--set", "training.batch=4", expect=code,
          words=words, settings=FIGURES / "fig5-cifar.yaml")


def test_missing_files(tmp_path):
    train(tmp_path, expect=66, words=["nowhere.yaml"], settings=tmp_path / "nowhere.yaml")
    train(tmp_path, "--set", "data.path=/no/such/folder", expect=66, words=["/no/such/folder"])


@one_rank_only
def test_too_many_ranks(tmp_path):
    train(tmp_path, expect=64, words=["5 ranks", "4 layers", "at most 4"], ranks=5)
    train(tmp_path, "--set", "placement.ranks=[0, 0, 1, 3]", expect=64, words=["placement", "rank"], ranks=3)
    train(tmp_path, "--set", "placement.replicas=2", expect=64, words=["3 ranks", "2 replicas"], ranks=3)


@pytest.mark.parametrize("ranks", [None, 3])
def test_unwritable_output(tmp_path, ranks):
    settings = write_settings(tmp_path)
    out = tmp_path / "no/such/folder/run.h5"
    done = run("train", settings, "-o", out, expect=73, ranks=ranks)
    assert str(out) in done.stderr
    (tmp_path / "file").write_text("")
    run("train", settings, "-o", tmp_path / "file/run.h5", expect=73, ranks=ranks)
    folder = tmp_path / "folder.h5"
    folder.mkdir()
    done = run("train", settings, "-o", folder, "--force", expect=73, ranks=ranks)
    assert "is a folder" in done.stderr


@pytest.mark.parametrize("ranks", [None, 3])
def test_resume_from_what_is_no_checkpoint(tmp_path, ranks):
    checkpoint = tmp_path / "run.checkpoint-000004.h5"
    checkpoint.write_bytes(b"this is not HDF5" * 100)
    train(tmp_path, "--resume", expect=65, words=[checkpoint.name, "HDF5"], ranks=ranks)
    with h5py.File(checkpoint, "w") as file:
        file["x"] = 1
    train(tmp_path, "--resume", expect=65, words=[checkpoint.name], ranks=ranks)
    assert checkpoint.exists()


def half_run(tmp_path):
    """A run stopped after 4 steps: its checkpoint is left. Returns the checkpoint."""
    settings = write_settings(tmp_path)
    run("train", settings, "-o", tmp_path / "run.h5", "--quiet", "--set", "checkpoint.keep=0")
    (tmp_path / "run.h5").unlink()
    for path in tmp_path.glob("run.checkpoint-*"):
        if "000004" not in path.name:
            path.unlink()
    return tmp_path / "run.checkpoint-000004.h5"


def test_resume_with_other_settings(tmp_path):
    half_run(tmp_path)
    train(tmp_path, "--resume", "--set", "training.rate=0.5", expect=78,
          words=["training.rate", "0.5", "0.002", "checkpoint"])
    train(tmp_path, "--resume", "--set", "network.layers[2].map[0].linear.units=15", expect=78,
          words=["units", "15", "14"])


def test_resume_with_other_data_or_numbers(tmp_path):
    checkpoint = half_run(tmp_path)
    other = write_dataset(tmp_path / "other", seed=1)
    train(tmp_path, "--resume", "--set", f"data.path={other}", expect=65,
          words=[checkpoint.name, "other data", "training labels", "CRC-32"])
    train(tmp_path, "--resume", expect=65, words=[checkpoint.name, "numbers in float", "double"], binary=DOUBLE)


@one_rank_only
def test_ranks_that_see_other_data(tmp_path):
    settings = write_settings(tmp_path)
    folders = [write_dataset(tmp_path / name / "set", seed=seed, n_test=n_test)
               for name, seed, n_test in (("a", 0, 60), ("b", 1, 60), ("c", 0, 50))]
    for other, words in ((folders[1], "training labels"), (folders[2], "50 test inputs: 60 are expected")):
        command = ["mpirun"]
        for n, folder in ((1, folders[0]), (2, other)):
            command += ["-n", str(n), "-x", f"LAMINA_DATA={folder.parent}", FLOAT, "train", settings, "-o",
                        tmp_path / "run.h5", "--set", "data.path=set", ":"]
        done = subprocess.run(command[:-1], capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
        assert done.returncode == 65 and f"{other}" in done.stderr and words in done.stderr, done.stderr
        assert not (tmp_path / "run.h5").exists()


def test_resume_from_a_truncated_checkpoint(tmp_path):
    checkpoint = half_run(tmp_path)
    checkpoint.write_bytes(checkpoint.read_bytes()[:3000])
    train(tmp_path, "--resume", expect=65, words=[checkpoint.name])


def test_resume_from_a_checkpoint_with_a_hole(tmp_path):
    checkpoint = half_run(tmp_path)
    with h5py.File(checkpoint, "a") as file:
        del file["layers/V2/parameters"]
    train(tmp_path, "--resume", expect=65, words=[checkpoint.name, "V2"])


@pytest.mark.parametrize("name, value, words", [
    ("n_layers", np.full((40, 50), 4), ["n_layers", "whole number"]),
    ("n_layers", np.array([], np.int64), ["n_layers", "whole number"]),
    ("n_layers", 4.0, ["n_layers", "whole number"]),
    ("n_layers", 2 ** 40, ["1099511627776 layers", "4 expected"]),
    ("steps_done", -1, ["-1 training steps"]),
    ("steps_done", 11, ["11 training steps", "at most 10"]),
    ("settings", ["a text"] * 500, ["settings", "text"]),
    ("settings", h5py.Empty("S1"), ["settings", "text"]),
    ("format", "a\x1b[2Jb\nc", ["'a [2Jb c'"]),
    ("format", np.bytes_(b"lamina checkpoint"), ["is not a lamina checkpoint"]),
])
def test_resume_from_a_checkpoint_with_strange_attributes(tmp_path, name, value, words):
    checkpoint = half_run(tmp_path)
    with h5py.File(checkpoint, "a") as file:
        del file.attrs[name]
        file.attrs[name] = value
    train(tmp_path, "--resume", expect=65, words=[checkpoint.name, *words])


def test_from_another_network(tmp_path):
    checkpoint = half_run(tmp_path)
    out = tmp_path / "gradients.h5"
    settings = tmp_path / "settings.yaml"
    done = run("gradients", settings, "-o", out, "--from", checkpoint,
               "--set", "network.layers[2].map[0].linear.units=15", expect=78)
    assert "network.layers[2].map[0].linear.units: 15 against 14" in done.stderr and not out.exists()
    done = run("gradients", settings, "-o", out, "--from", checkpoint,
               "--set", "network.layers[2].map[1]={tanh: {}}", expect=78)
    assert "network.layers[2].map[1]" in done.stderr and not out.exists()
    run("gradients", settings, "-o", out, "--from", tmp_path / "none.h5", expect=66)


@pytest.mark.parametrize("arguments, code, words", [
    ([], 64, ["Usage"]),
    (["dance"], 64, ["dance"]),
    (["train"], 64, ["settings file is missing"]),
    (["train", FIGURES / "fig1.yaml"], 64, ["-o FILE"]),
    (["train", FIGURES / "fig1.yaml", "-o", "x.h5", "--threads", "0"], 64, ["threads", "0"]),
    (["train", FIGURES / "fig1.yaml", "-o", "x.h5", "--wings"], 64, ["wings"]),
    (["train", FIGURES / "fig1.yaml", "-o", "x.h5", "--resume", "--force"], 64, ["exclude"]),
    (["describe", FIGURES / "fig1.yaml", "--ranks", "9", "--set", "placement.replicas=2"], 64,
     ["9 ranks", "2 replicas"]),
    (["describe", FIGURES / "fig1.yaml", "--set", "nonsense"], 78, ["nonsense"]),
    (["describe", FIGURES / "fig1.yaml", "--ranks", "2000000"], 64, ["ranks", "1 to 1048576"]),
    (["describe", FIGURES / "fig1.yaml", "--set", "placement.replicas=2"], 64,
     ["placement.replicas", "1 rank", "2 replicas"]),
    (["train", FIGURES / "fig1.yaml", "-o", "run"], 64, ["'run'", ".h5"]),
    (["train", FIGURES / "fig1.yaml", "-o", "folder/.h5"], 64, ["'folder/.h5'", ".h5"]),
    (["bench", FIGURES / "fig1.yaml", "-o", ""], 64, ["-o ''"]),
    (["bench", FIGURES / "fig1.yaml", "--operators", "--rules", "strict"], 64, ["--operators"]),
])
def test_command_lines(arguments, code, words):
    done = run(*arguments, expect=code)
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["gradients", "--help"],
                                       ["surprise", "--help"], ["describe", "--help"],
                                       ["--version"]])
def test_help(arguments):
    done = run(*arguments)
    if "describe" in arguments:
        assert "idx: the files of MNIST" in done.stdout
        assert re.search(r"conv2d \{channels, kernel, stride, padding\}: convolution", done.stdout)
    assert done.stdout and not done.stderr
    if "--help" in arguments:
        assert "Exit codes" in done.stdout


def test_settings_that_nobody_has_written_are_called_defaults(tmp_path):
    settings = write_settings(tmp_path)
    settings.write_text(settings.read_text().replace("batch: 40, ", ""))
    train(tmp_path, expect=78, words=["settings.yaml, by default: training.batch", "300", "200"],
          settings=settings)


def test_what_cannot_be_printed():
    with open("/dev/full", "w") as full:
        done = subprocess.run([FLOAT, "describe", FIGURES / "fig1.yaml"], stdout=full,
                              stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert done.returncode == 74 and "cannot print" in done.stderr


def test_output_on_a_file_system_that_takes_nothing(tmp_path):
    done = run("train", write_settings(tmp_path), "-o", "/proc/run.h5", expect=73)
    assert "/proc/run.h5" in done.stderr


@one_rank_only
@pytest.mark.parametrize("variable, choice", [("LAMINA_LINKS", "shared"), ("LAMINA_BIND", "share")])
def test_environment(tmp_path, monkeypatch, variable, choice):
    monkeypatch.setitem(ENVIRONMENT, variable, "perhaps")
    train(tmp_path, expect=64, words=[variable, "perhaps", choice], ranks=2)
