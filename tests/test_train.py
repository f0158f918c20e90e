"""lamina train: placement, exactness, resume, locality, on files as users see them."""
import itertools
import os
import re
import shlex
import shutil
import subprocess
import textwrap

import h5py
import numpy as np
import pytest
import reference
import xarray
import yaml

from program import (CONV, DOUBLE, FIGURES, FLOAT, MNIST, SANITIZED, SKIP, SOURCE, checkpoint, needs_mnist,
                     one_rank_only, run, same_bits, slow, write_cifar10, write_dataset,
                     write_settings)


@one_rank_only
@pytest.mark.parametrize("template", [CONV, SKIP], ids=["conv", "skip"])
@pytest.mark.parametrize("rule", ["strict", "fixed-prediction", "backprop"])
def test_ranks_and_threads_change_no_bit(tmp_path, template, rule):
    settings = write_settings(tmp_path, template)
    options = ["--set", f"inference.rule={rule}", "--set", "checkpoint.every=5", "--quiet",
               "--set", "record.errors.inputs=50", "--set", "record.gradients=true"]
    first = tmp_path / "r1.h5"
    run("train", settings, "-o", first, "--threads", 1, *options, ranks=1)
    for ranks, threads in ((1, 2), (2, 1), (3, 2), (4, 1)):
        other = tmp_path / f"r{ranks}t{threads}.h5"
        run("train", settings, "-o", other, "--threads", threads, *options, ranks=ranks)
        assert same_bits(first, other, without=["traffic"]) == []
        assert same_bits(checkpoint(first, 10), checkpoint(other, 10), ["traffic"]) == []


@one_rank_only
@pytest.mark.parametrize("template", [CONV, SKIP], ids=["conv", "skip"])
def test_replicas_change_no_bit(tmp_path, template):
    settings = write_settings(tmp_path, template)
    options = ["--set", "checkpoint.every=5", "--quiet", "--set", "record.errors.inputs=50",
               "--set", "record.gradients=true", "--set", "record.gradients_every=3",
               "--set", "record.test_every=2"]
    first = tmp_path / "one.h5"
    run("train", settings, "-o", first, "--threads", 1, *options)
    with h5py.File(first) as file:
        compared = np.isfinite(file["training/relative_error"]).all(axis=0)
    assert list(np.flatnonzero(compared)) == [2, 5, 8]
    for replicas, ranks, threads in ((2, 2, 1), (2, 4, 2), (3, 3, 1), (5, 5, 1)):
        other = tmp_path / f"k{replicas}r{ranks}.h5"
        run("train", settings, "-o", other, "--threads", threads, *options,
            "--set", f"placement.replicas={replicas}", ranks=ranks)
        assert same_bits(first, other, without=["traffic"]) == []
        assert same_bits(checkpoint(first, 10), checkpoint(other, 10), ["traffic"]) == []


@one_rank_only
def test_resume_with_other_replicas(tmp_path):
    settings = write_settings(tmp_path)
    options = ["--quiet", "--set", "checkpoint.every=3", "--set", "record.gradients_every=4"]
    whole, parts = tmp_path / "whole.h5", tmp_path / "parts.h5"
    run("train", settings, "-o", whole, *options)
    run("train", settings, "-o", parts, *options, "--set", "placement.replicas=2", ranks=2)
    parts.unlink()
    for step in (9, 10):
        checkpoint(parts, step).unlink()
    run("train", settings, "-o", parts, "--resume", *options, "--set", "placement.replicas=3",
        ranks=6)
    assert same_bits(whole, parts, without=["traffic"]) == []
    assert same_bits(checkpoint(whole, 10), checkpoint(parts, 10), ["traffic"]) == []


@one_rank_only
def test_traffic_of_replicas(tmp_path):
    settings = write_settings(tmp_path)
    out = tmp_path / "run.h5"
    done = run("train", settings, "-o", out, "--set", "training.steps=5",
               "--set", "record.gradients=false", "--set", "placement.replicas=2", ranks=8)
    assert "summed by the replicas" in done.stdout and "none elsewhere" in done.stdout
    with h5py.File(out) as file:
        between, within = file["traffic/messages"][:], file["traffic/within_messages"][:]
        assert file.attrs["replicas"] == 2 and file.attrs["ranks"] == 8
    steps, n = 5, 8
    blocks = [np.diag([steps * chunks * (n + 1)] * 3, 1) + np.diag([steps * chunks * n] * 3, -1)
              for chunks in (1, 2)]  # 3 chunks on 2 replicas
    nothing = np.zeros((4, 4), int)
    assert np.array_equal(between, np.block([[blocks[0], nothing], [nothing, blocks[1]]]))
    pairs = np.eye(8, k=4, dtype=bool) | np.eye(8, k=-4, dtype=bool)
    assert np.all(within[~pairs] == 0)
    assert np.all(within[:4][pairs[:4]] == 2 * steps)  # a part and a sum each, one message each


@needs_mnist
@one_rank_only
@pytest.mark.parametrize("state", ["deviation", "value"])
def test_mnist_network_has_the_same_bits_on_any_ranks(tmp_path, state):
    options = ["--set", f"data.path={MNIST}", "--set", "training.steps=12",
               "--set", f"inference.state={state}", "--set", "checkpoint.every=12",
               "--set", "record.errors.inputs=320", "--set", "record.errors.every=6", "--quiet"]
    for ranks in (1, 2, 3, 5):
        run("train", FIGURES / "fig1.yaml", "-o", tmp_path / f"{ranks}.h5", "--threads", 1, *options,
            ranks=ranks)
        assert same_bits(tmp_path / "1.h5", tmp_path / f"{ranks}.h5", without=["traffic"]) == []
        assert same_bits(checkpoint(tmp_path / "1.h5", 12),
                         checkpoint(tmp_path / f"{ranks}.h5", 12), ["traffic"]) == []


def test_cifar10_network_is_exact_on_any_ranks(tmp_path):
    data = write_cifar10(tmp_path / "cifar10")
    thin = [x for l in range(3) for x in ("--set", f"network.layers[{l}].map[0].conv2d.channels={l + 2}")]
    for ranks in (1, 3, 6):
        out = tmp_path / f"{ranks}.h5"
        run("train", FIGURES / "fig5-cifar.yaml", "-o", out, *thin, "--set", f"data.path={data}",
            "--set", "training.batch=4", "--set", "training.steps=9",
            "--set", "record.gradients_every=1", "--threads", 1, "--quiet", ranks=ranks)
        assert same_bits(tmp_path / "1.h5", out, without=["traffic"]) == []
    with h5py.File(tmp_path / "1.h5") as file:
        assert (file["training/relative_error"][:] == 0).all()
        assert abs(file["training/loss"][0] - np.log(10)) < 0.1


@pytest.mark.parametrize("figure", ["fig3-cifar", "fig5-cifar"])
def test_cifar10_network_is_that_of_the_paper(figure):
    said = run("describe", FIGURES / f"{figure}.yaml", "--ranks", 6).stdout
    assert "input 3 x 32 x 32, 6 layers, longest path 6, 4633738 parameters, loss cross_entropy" in said
    for layer in ("V1 64 x 32 x 32 65536 1792", "V2 128 x 16 x 16 32768 73856", "V4 16384 16384 295168",
                  "IT 256 256 4194560", "PFC 256 256 65792", "out 10 10 2570"):
        assert re.search(layer.replace(" ", " +"), said), said


@needs_mnist
@slow
@pytest.mark.parametrize("rule, ranks", [("strict", None), ("backprop", 5)])
def test_the_paper_s_network_learns_mnist(tmp_path, rule, ranks):
    """Strict on one rank: five that share two cores take twice as long for the same bits."""
    out = tmp_path / "fig1.h5"
    run("train", FIGURES / "fig1.yaml", "-o", out, "--set", f"data.path={MNIST}",
        "--set", f"inference.rule={rule}", "--quiet", ranks=ranks, timeout=600)
    with h5py.File(out) as file:
        assert file.attrs["complete"] == 1 and file.attrs["steps_done"] == 400
        training = file["training"]
        assert abs(training["loss"][0] - 0.10) <= 0.015
        assert training["accuracy"][-50:].mean() >= 0.96
        assert training["test_accuracy"][-50:].mean() >= 0.96
        assert file["errors/000400/magnitude" if "000400" in file["errors"]
                    else "errors/400/magnitude"].shape == (5, 1000)
        relative_error = np.median(training["relative_error"], axis=1)
    published = [0.975, 0.913, 0.728, 0.288, 0.00037] if rule == "strict" else np.zeros(5)
    assert np.all(np.abs(relative_error - published) <= 0.05)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_fixed_prediction_with_step_1_is_backprop_to_the_bit(tmp_path, loss):
    settings = FIGURES / "fig5.yaml" if MNIST.is_dir() and not SANITIZED else write_settings(tmp_path)
    steps, layers = (50, 5) if MNIST.is_dir() and not SANITIZED else (10, 4)
    if layers == 5:
        data = ["--set", f"data.path={MNIST}"]
    else:
        data = []
    options = [*data, "--set", f"network.loss={loss}", "--set", f"training.steps={steps}",
               "--set", f"checkpoint.every={steps}", "--set", "record.errors.inputs=0",
               "--set", "record.gradients=false", "--set", "record.test_every=0", "--quiet"]
    run("train", settings, "-o", tmp_path / "fixed.h5", *options,
        "--set", "inference.rule=fixed-prediction", "--set", "inference.step=1",
        "--set", f"inference.steps={layers}")
    run("train", settings, "-o", tmp_path / "backprop.h5", *options,
        "--set", "inference.rule=backprop")
    assert same_bits(checkpoint(tmp_path / "fixed.h5", steps),
                     checkpoint(tmp_path / "backprop.h5", steps), without=["training", "traffic"]) == []


@pytest.mark.parametrize("rule", ["strict", "fixed-prediction"])
@pytest.mark.parametrize("ranks", [(1, 1), (3, 1), (1, 4)])
def test_resumed_runs_end_with_the_same_bits(tmp_path, rule, ranks):
    settings = write_settings(tmp_path)
    options = ["--set", f"inference.rule={rule}", "--quiet", "--set", "checkpoint.every=3"]
    whole, parts = tmp_path / "whole.h5", tmp_path / "parts.h5"
    run("train", settings, "-o", whole, *options, ranks=ranks[0])
    run("train", settings, "-o", parts, *options, ranks=ranks[0])
    parts.unlink()
    for step in (9, 10):
        checkpoint(parts, step).unlink()
    run("train", settings, "-o", parts, "--resume", *options, ranks=ranks[1])
    assert same_bits(whole, parts, without=["traffic"]) == []
    assert same_bits(checkpoint(whole, 10), checkpoint(parts, 10), ["traffic"]) == []


def test_resume_of_a_complete_run_changes_nothing(tmp_path):
    settings = write_settings(tmp_path)
    out = tmp_path / "run.h5"
    run("train", settings, "-o", out, "--quiet")
    before = out.read_bytes()
    assert "complete" in run("train", settings, "-o", out, "--resume").stderr
    assert out.read_bytes() == before


def test_resume_without_a_checkpoint_replaces_nothing(tmp_path):
    settings = write_settings(tmp_path)
    out, options = tmp_path / "run.h5", ["--quiet", "--set", "checkpoint.every=0"]
    run("train", settings, "-o", out, "--resume", *options)
    before = out.read_bytes()
    done = run("train", settings, "-o", out, "--resume", *options, "--set", "training.seed=9",
               expect=73)
    assert "run.h5 exists, and no checkpoint" in done.stderr and out.read_bytes() == before


def test_force_keeps_everything_of_a_run_until_the_new_one_has_begun(tmp_path):
    settings = write_settings(tmp_path)
    out = tmp_path / "run.h5"
    run("train", settings, "-o", out, "--quiet")
    before = sorted(tmp_path.iterdir())
    run("train", settings, "-o", out, "--force", "--set", "record.errors.inputs=61", expect=78)
    assert sorted(tmp_path.iterdir()) == before


def test_outputs_that_are_no_files_stay_what_they_are(tmp_path):
    settings = write_settings(tmp_path)
    pipe = tmp_path / "pipe.h5"
    os.mkfifo(pipe)
    for option in ([], ["--force"]):
        assert "no regular file" in run("train", settings, "-o", pipe, *option, expect=73).stderr
    assert pipe.is_fifo()


def test_quiet_is_quiet_when_there_is_nothing_to_do(tmp_path):
    settings = write_settings(tmp_path)
    for option in ([], ["--resume"]):
        done = run("train", settings, "-o", tmp_path / "run.h5", "--quiet", *option)
        assert done.stdout == "" and done.stderr == ""


def test_kept_checkpoints(tmp_path):
    settings = write_settings(tmp_path)
    run("train", settings, "-o", tmp_path / "run.h5", "--quiet", "--set", "checkpoint.keep=2")
    assert sorted(p.name for p in tmp_path.glob("run.checkpoint-*")) == [
        "run.checkpoint-000008.h5", "run.checkpoint-000010.h5"]


@one_rank_only
def test_traffic_stands_beside_the_diagonal_only(tmp_path):
    settings = write_settings(tmp_path)
    out = tmp_path / "run.h5"
    done = run("train", settings, "-o", out, "--set", "record.gradients=false",
               "--set", "training.steps=5", ranks=4)
    assert "8 values up and 8 feedback down" in done.stdout and "none elsewhere" in done.stdout
    assert "exact" not in done.stdout
    with h5py.File(out) as file:
        messages = file["traffic/messages"][:]
        sent = file["traffic/bytes"][:]
    chunks, steps, n = 3, 5, 8  # 40 inputs in chunks of 16
    expected = np.diag([steps * chunks * (n + 1)] * 3, 1) + np.diag([steps * chunks * n] * 3, -1)
    assert np.array_equal(messages, expected)
    assert np.array_equal(sent > 0, expected > 0)
    done = run("train", settings, "-o", out, "--force", "--set", "training.steps=5", ranks=4)
    assert "1 feedback down for each exact gradient recorded" in done.stdout
    with h5py.File(out) as file:
        more = file["traffic/messages"][:] - expected
    assert np.array_equal(more, np.diag([steps * chunks] * 3, -1))


def test_magnitudes_do_not_depend_on_the_batch(tmp_path):
    settings = write_settings(tmp_path)
    for batch in (40, 20):
        run("train", settings, "-o", tmp_path / f"{batch}.h5", "--quiet", "--set", "training.steps=1",
            "--set", f"training.batch={batch}", binary=DOUBLE)
    with h5py.File(tmp_path / "40.h5") as a, h5py.File(tmp_path / "20.h5") as b:
        first, second = a["errors/0"], b["errors/0"]
        assert np.allclose(first["magnitude"][:], second["magnitude"][:], rtol=1e-10, atol=0)
        assert np.all(first["magnitude"][1:] > 0)
        assert np.array_equal(first["label"][:], second["label"][:])
        assert np.array_equal(first["index"][:], np.arange(50))
        assert np.all(first["loss"][:] > 0)


def test_training_and_its_curves_agree_with_numpy(tmp_path):
    """Two steps of gradient descent with momentum on all inputs, whose order then does not count."""
    settings, out = write_settings(tmp_path, n_train=60, n_test=60), tmp_path / "run.h5"
    rate, momentum = 0.05, 0.9
    run("train", settings, "-o", out, "--quiet", "--set", "inference.rule=backprop", "--set",
        f"training={{optimizer: sgd, rate: {rate}, momentum: {momentum}, batch: 60, epochs: 2}}",
        "--set", "checkpoint.every=1", "--set", "record.errors.split=train", binary=DOUBLE)

    def layers(step, name):
        with h5py.File(checkpoint(out, step)) as file:
            return {layer: group[name][:] for layer, group in file["layers"].items()}

    data = {split: (reference.read_images(tmp_path / f"data/{split}-images-idx3-ubyte", range(60)),
                    reference.read_idx(tmp_path / f"data/{split}-labels-idx1-ubyte"))
            for split in ("train", "t10k")}
    with h5py.File(out) as file:
        parsed, curves = reference.read_settings(file.attrs["settings"]), dict(file["training"])
        curves = {name: curve[:] for name, curve in curves.items()}
        assert np.array_equal(file["errors/0/label"][:], data["train"][1][:50])
    first = layers(1, "parameters")
    start = {name: theta + rate * layers(1, "momentum")[name] for name, theta in first.items()}
    before = reference.updates(parsed, start, *data["train"], "backprop")
    after = reference.updates(parsed, first, *data["train"], "backprop")
    for name, theta in layers(2, "parameters").items():
        assert np.allclose(first[name], start[name] - rate * before[name], rtol=0, atol=1e-12)
        assert np.allclose(theta, first[name] - rate * (momentum * before[name] + after[name]),
                           rtol=0, atol=1e-12)
    losses = [reference.loss(parsed, theta, *data["train"]) for theta in (start, first)]
    assert np.allclose(curves["loss"], losses, rtol=1e-10)
    assert np.allclose(curves["energy"][-1], losses, rtol=1e-10)
    norms = reference.error_norms(parsed, start, *data["train"], "backprop")
    assert np.isclose(curves["energy"][2, 0], (norms["IT"] ** 2).sum() / 2, rtol=1e-10)
    assert np.isclose(curves["test_loss"][0], reference.loss(parsed, first, *data["t10k"]), rtol=1e-10)


def test_progress_lines_and_quiet(tmp_path):
    settings = write_settings(tmp_path)
    loud = run("train", settings, "-o", tmp_path / "a.h5")
    assert re.search(r"strict\s+100 %\s+step 10/10 .* loss \S+\s+accuracy \S+", loud.stderr)
    assert loud.stdout.splitlines()[-2:] == [str(tmp_path / "a.h5"), str(checkpoint(tmp_path / "a.h5", 10))]
    quiet = run("train", settings, "-o", tmp_path / "b.h5", "--quiet")
    assert quiet.stdout == "" and quiet.stderr == ""
    kept_not = run("train", settings, "-o", tmp_path / "c.h5", "--set", "checkpoint.every=0")
    assert kept_not.stdout.splitlines()[-1] == str(tmp_path / "c.h5")
    assert kept_not.stderr.splitlines()[-1].startswith("the trained network was not kept")


def test_divergence_stops_with_layer_and_step(tmp_path):
    settings = write_settings(tmp_path)
    out = tmp_path / "run.h5"
    done = run("train", settings, "-o", out, "--set", "inference.step=1000",
               "--set", "inference.steps=400", expect=3)
    assert re.search(r"layer \S+ is not finite at training step 0", done.stderr)
    assert not out.exists()


def test_parameters_that_are_lost_in_the_last_step_are_not_kept(tmp_path):
    settings = write_settings(tmp_path)
    out = tmp_path / "run.h5"
    done = run("train", settings, "-o", out, "--set", "training.rate=1e300",
               "--set", "training.steps=1", "--set", "checkpoint.every=1", expect=3)
    assert re.search(r"parameters of layer \S+ are not finite after 1 training step", done.stderr)
    assert not out.exists() and not checkpoint(out, 1).exists()


def test_force_replaces_and_nothing_else_does(tmp_path):
    settings = write_settings(tmp_path)
    out = tmp_path / "run.h5"
    run("train", settings, "-o", out, "--quiet")
    before = out.read_bytes()
    assert "exists" in run("train", settings, "-o", out, expect=73).stderr
    assert out.read_bytes() == before
    run("train", settings, "-o", out, "--force", "--quiet", "--set", "training.steps=3")
    with h5py.File(out) as file:
        assert file["training/loss"].shape == (3,)
    assert not checkpoint(out, 10).exists()


def test_the_run_file_says_how_it_was_made(tmp_path):
    settings = write_settings(tmp_path)
    out = tmp_path / "run.h5"
    arguments = ["train", settings, "-o", out, "--quiet", "--threads", 2, "--set", "training.steps=2",
                 "--set", "placement.costs=[1, 2, 3,\t4]", "--set", "data.format='idx'"]
    run(*arguments, ranks=2)
    with h5py.File(out) as file:
        attributes = dict(file.attrs)
        for name in ("created", "command", "settings", "seed", "ranks", "threads", "placement",
                     "git_revision", "mpi_version", "hdf5_version", "openblas_version", "seconds"):
            assert name in attributes, name
        assert 0 < attributes["seconds"] < 300
        assert attributes["seed"] == 3 and attributes["ranks"] == (1 if SANITIZED else 2)
        assert attributes["threads"] == 2
        assert attributes["placement"].split()[-1] == ("out:0" if SANITIZED else "out:1")
        assert shlex.split(attributes["command"]) == ["lamina", *map(str, arguments)]
        assert "momentum" in attributes["settings"]
        assert dict(file["layers/V1"].attrs)["parameters"] == 40
    shutil.copy(out, tmp_path / "copy.h5")
    again = tmp_path / "again.yaml"
    again.write_text(attributes["settings"])
    run("train", again, "-o", tmp_path / "again.h5", "--quiet")
    assert same_bits(out, tmp_path / "again.h5", without=["traffic"]) == []


@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf"])
def test_other_programs_open_the_run_file(tmp_path, engine):
    out = tmp_path / "run.h5"
    run("train", write_settings(tmp_path), "-o", out, "--quiet", ranks=2)
    training = xarray.open_dataset(out, group="training", engine=engine)
    assert training["relative_error"].dims == ("layer", "step")
    assert training["loss"].attrs["units"] and training["loss"].attrs["long_name"]
    errors = xarray.open_dataset(out, group="errors/4", engine=engine)
    assert errors["magnitude"].shape == (4, 50)
    shown = subprocess.run(["h5dump", "-H", "-d", "/traffic/messages", out], capture_output=True,
                           text=True)
    assert shown.returncode == 0 and "DATASPACE" in shown.stdout


def test_describe():
    done = run("describe", FIGURES / "fig1.yaml", "--ranks", 3, binary=FLOAT)
    assert "32695 parameters" in done.stdout and "10 x 13 x 13" in done.stdout
    assert "placement on 3 ranks" in done.stdout
    assert "MiB/thread" in done.stdout
    many = run("describe", FIGURES / "fig1.yaml", "--ranks", 10, binary=FLOAT).stdout
    rows = re.findall(r"^ +(10|5|2) +(1|2|5) +([0-9.]+) ", many, re.M)
    assert sorted(int(k) * int(ranks) for k, ranks, _ in rows) == [10, 10, 10]
    speed_ups = [float(speed_up) for _, _, speed_up in rows]
    assert speed_ups == sorted(speed_ups, reverse=True) and speed_ups[0] <= 10
    assert f"placement.replicas={rows[0][0]} takes the first" in many


def test_describe_counts_transposed_weights():
    """One array more of 1024 x 1024 weights where errors are pulled back often: in MiB, 4."""
    def mebibytes(*options):
        done = run("describe", SOURCE / "experiments/benchmarks/mlp8.yaml", *options, binary=FLOAT)
        return {name: float(re.search(rf"^{name} +1024 +1024 +[0-9]+ +[0-9.]+ +[0-9.]+ +([0-9.]+) ", done.stdout, re.M)[1])
                for name in ("l0", "l1")}
    often, once = mebibytes(), mebibytes("--set", "inference.rule=backprop")
    assert often["l0"] == once["l0"]
    assert abs(often["l1"] - once["l1"] - 4) < 0.11, (often, once)


@one_rank_only
def test_measured_costs_place_layers_and_change_no_bit(tmp_path):
    settings = write_settings(tmp_path)
    run("train", settings, "-o", tmp_path / "one.h5", "--quiet", ranks=2)
    with h5py.File(tmp_path / "one.h5") as file:
        seconds = {name: layer.attrs["seconds"] for name, layer in file["layers"].items()}
        assert set(seconds) == {"V1", "V2", "IT", "out"} and min(seconds.values()) > 0
        assert [file["layers"][name].attrs["rank"] for name in ("V1", "V2", "IT", "out")] == [0, 0, 1, 1]
    run("train", settings, "-o", tmp_path / "other.h5", "--quiet", "--set", "placement.costs=[1, 1, 1, 9]", ranks=2)
    assert same_bits(tmp_path / "one.h5", tmp_path / "other.h5", without=["traffic"]) == []
    with h5py.File(tmp_path / "other.h5") as file:
        assert [file["layers"][name].attrs["rank"] for name in ("V1", "V2", "IT", "out")] == [0, 0, 0, 1]


def test_the_network_of_the_readme(tmp_path):
    text = (SOURCE / "README.md").read_text().partition("## A network of one's own\n")[2]
    settings = tmp_path / "own.yaml"
    settings.write_text(textwrap.dedent(text[:text.index("\n| setting")]))
    data = write_dataset(tmp_path / "data", n_train=400, n_test=300, size=28)
    run("train", settings, "-o", tmp_path / "own.h5", "-q", "--set", f"data.path={data}",
        "--set", "record.errors.inputs=300")
    assert "add > linear units=10  <- IT side" in run("describe", settings).stdout


def names_of(settings, prefix=""):
    """Every key path of settings, with its value."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from names_of(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def test_the_readme_explains_all_settings(tmp_path):
    own = {"data.path", "network.input", "network.layers"}  # without a default
    text = (SOURCE / "README.md").read_text().partition("| setting | default |")[2].partition("\n\n")[0]
    explained = {}
    for row in text.splitlines()[2:]:
        names, defaults = (re.split(r", (?![^\[]*\])", cell.strip().replace("`", "")) for cell in row.split("|")[1:3])
        section = names[0].rpartition(".")[0]
        names = [section + name if name.startswith(".") else name for name in names]
        explained.update(itertools.zip_longest(names, defaults))
    settings = tmp_path / "few.yaml"
    settings.write_text("data: {path: mnist}\nnetwork: {input: [4], layers: [{name: out, map: [{linear: {units: 2}}]}]}\n")
    there = dict(names_of(yaml.safe_load(run("describe", settings, "--settings").stdout)))
    assert set(explained) == set(there)
    for name in set(there) - own:
        assert yaml.safe_load(explained[name]) == there[name], name


def test_describe_prints_the_settings_that_a_run_file_holds(tmp_path):
    settings, choice = write_settings(tmp_path), ["--set", "training.steps=1"]
    done = run("describe", settings, "--settings", *choice, binary=FLOAT)
    run("train", settings, "-o", tmp_path / "run.h5", "--quiet", *choice)
    with h5py.File(tmp_path / "run.h5") as file:
        assert done.stdout == file.attrs["settings"]
