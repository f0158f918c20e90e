"""lamina surprise: magnitudes against NumPy, labels, placement, closed form, wrong input."""
import json
import shutil
import subprocess

import h5py
import numpy as np
import pytest
import reference
from run_files import ANALYSIS  # noqa: F401, where lamina is
import lamina
from program import (CONV, DOUBLE, ENVIRONMENT, FLOAT, SKIP, SOURCE, binomial_at_most, needs_mnist,
                     one_rank_only, run, same_bits, slow, write_dataset, write_idx, write_settings)

KINDS = ["true", "guess", "wrong"]


def train(folder, template=CONV, *options):
    """A trained network in `folder`. Returns its run file."""
    settings = write_settings(folder, template)
    run("train", settings, "-o", folder / "run.h5", "-q", "--set", "record.gradients=false",
        "--set", "checkpoint.every=4", *options)
    return folder / "run.h5"


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return train(tmp_path_factory.mktemp("network"), CONV, "--set", "training.epochs=10",
                 "--set", "training.rate=0.005", "--set", "checkpoint.every=25")


def read(path):
    """(datasets of /surprise, attributes of /, names of the layers)"""
    with h5py.File(path) as file:
        layers = [name.decode() for name in file["layer"][()]]
        return {name: data[()] for name, data in file["surprise"].items()}, dict(file.attrs), layers


def parameters_of(checkpoint):
    with h5py.File(checkpoint) as file:
        return (reference.read_settings(file.attrs["settings"]),
                {name: layer["parameters"][()].astype(float) for name, layer in file["layers"].items()})


def test_the_reader_knows_networks_and_what_was_measured(network, tmp_path):
    newest = sorted(network.parent.glob("run.checkpoint-*.h5"))[-1]
    found, wanted = lamina.parameters(newest), parameters_of(newest)[1]
    assert found.keys() == wanted.keys() and all(np.array_equal(found[k], wanted[k]) for k in wanted)
    with pytest.raises(ValueError, match="run.h5: not a checkpoint"):
        lamina.parameters(network)
    about = lamina.about_layers(lamina.open_run(network))
    assert list(about) == ["V1", "V2", "IT", "out"] and about["V1"]["parameters"] == 40
    assert about["out"]["shape"] == "10" and about["out"]["seconds"] > 0
    run("surprise", network, "-o", tmp_path / "s.h5", "-q")
    data = lamina.dataset(lamina.open_run(tmp_path / "s.h5"), "surprise")
    assert data["magnitude"].sel(layer="IT", imposed="wrong").shape == (60,)


@pytest.mark.parametrize("template", [CONV, SKIP], ids=["conv", "skip"])
@pytest.mark.parametrize("rule", ["strict", "fixed-prediction", "backprop"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_magnitudes_agree_with_numpy(tmp_path, template, rule, loss):
    net = train(tmp_path, template, "--set", f"network.loss={loss}", "--set", "training.steps=4")
    out = tmp_path / "out.h5"
    run("surprise", net, "-o", out, "-q", "--set", f"inference.rule={rule}", binary=DOUBLE)
    found, _, layers = read(out)
    settings, parameters = parameters_of(tmp_path / "run.checkpoint-000004.h5")
    eta, n = float(settings["inference"]["step"]), int(settings["inference"]["steps"])
    images = reference.read_images(tmp_path / "data/t10k-images-idx3-ubyte", range(60))
    for i in (0, 7, 59):
        for k in range(3):
            label = found["imposed_label"][k, i:i + 1]
            expected = reference.error_norms(settings, parameters, images[i:i + 1], label, rule, eta, n)
            norms = np.array([expected[name][0] for name in layers])
            assert np.all(np.abs(found["magnitude"][k, :, i] - norms) <= 1e-9 * norms), (k, i)
            assert np.all(norms > 0)
            wanted = reference.loss(settings, parameters, images[i:i + 1], label)
            assert abs(found["loss"][k, i] - wanted) <= 1e-9 * abs(wanted)


def test_labels_and_outcome(network, tmp_path):
    folder, out = network.parent, tmp_path / "out.h5"
    run("surprise", network, "-o", out, "-q", binary=DOUBLE)
    found, attributes, layers = read(out)
    settings, parameters = parameters_of(sorted(folder.glob("run.checkpoint-*"))[-1])
    images = reference.read_images(folder / "data/t10k-images-idx3-ubyte", range(60))
    outputs = reference.feedforward(settings, parameters, images)[0][layers[-1]]
    softmax = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    labels = reference.read_idx(folder / "data/t10k-labels-idx1-ubyte")
    guess = outputs.argmax(axis=1)
    assert [kind.decode() for kind in found["imposed"]] == KINDS
    assert np.array_equal(found["index"], np.arange(60))
    assert np.array_equal(found["label"], labels)
    assert np.array_equal(found["prediction"], guess)
    assert np.array_equal(found["correct"], guess == labels)
    assert np.allclose(found["confidence"], softmax.max(axis=1), rtol=1e-12, atol=0)
    assert np.array_equal(found["imposed_label"][0], labels)
    assert np.array_equal(found["imposed_label"][1], guess)
    wrong = found["imposed_label"][2]
    assert np.all((wrong != labels) & (wrong != guess) & (wrong >= 0) & (wrong < 10))
    assert 0 < np.mean(guess == labels) < 1
    assert attributes["complete"] == 1 and attributes["steps_done"] == 50
    assert attributes["seconds"] > 0
    assert attributes["split"] == "test" and attributes["data"] == str(folder / "data")
    assert attributes["checkpoint"] == str(folder / "run.checkpoint-000050.h5")


def test_wrong_labels_are_uniform_and_follow_the_seed(network, tmp_path):
    data = write_dataset(tmp_path / "data", n_test=6000, seed=5)
    drawn = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        run("surprise", network, "-o", tmp_path / name, "-q", "--data", data, "--labels", "wrong",
            "--set", f"training.seed={seed}", "--set", "inference.rule=backprop")
        found = read(tmp_path / name)[0]
        assert [kind.decode() for kind in found["imposed"]] == ["wrong"]
        drawn.append(found["imposed_label"][0])
    assert np.array_equal(drawn[0], drawn[1])
    assert 0.5 < np.mean(drawn[0] != drawn[2]) < 1
    # How often each of the labels left is taken: nine where the guess is right, else eight.
    label, guess = found["label"].astype(int), found["prediction"].astype(int)
    rest = np.ones((6000, 10))
    rest[np.arange(6000), label] = rest[np.arange(6000), guess] = 0
    expected = (rest / rest.sum(axis=1, keepdims=True)).sum(axis=0)
    counts = np.bincount(drawn[2], minlength=10)
    assert np.sum((counts - expected) ** 2 / expected) < 33.7  # chi-squared, 9 df: p = 1e-4


@one_rank_only
@pytest.mark.parametrize("rule", ["strict", "fixed-prediction", "backprop"])
def test_placement_changes_no_bit(network, tmp_path, rule):
    for name, ranks, threads, replicas in (("1", None, 1, 1), ("2", 2, 2, 1), ("4", 4, 1, 1),
                                           ("2x2", 4, 1, 2), ("3x1", 3, 1, 3)):
        run("surprise", network, "-o", tmp_path / name, "-q", "--threads", threads,
            "--set", f"inference.rule={rule}", "--set", f"placement.replicas={replicas}",
            ranks=ranks)
        assert not same_bits(tmp_path / "1", tmp_path / name, without=["traffic"])
    with h5py.File(tmp_path / "4") as file:
        messages = file["traffic/messages"][()]
    chunks, steps = 5, {"strict": (8, 8), "fixed-prediction": (0, 8), "backprop": (0, 1)}[rule]
    assert np.array_equal(messages, np.diag([chunks * (1 + 3 * steps[0])] * 3, 1) +
                          np.diag([chunks * 3 * steps[1]] * 3, -1))


def test_an_input_does_not_depend_on_its_batch(network, tmp_path):
    run("surprise", network, "-o", tmp_path / "a", "-q")
    run("surprise", network, "-o", tmp_path / "b", "-q", "--set", "training.batch=7",
        "--set", "training.chunk=3")
    a, b = read(tmp_path / "a")[0], read(tmp_path / "b")[0]
    assert np.array_equal(a["imposed_label"], b["imposed_label"])
    assert np.allclose(a["magnitude"], b["magnitude"], rtol=1e-4, atol=0)


def test_fixed_predictions_are_multiples_of_the_gradient(network, tmp_path):
    for rule in ("fixed-prediction", "backprop"):
        run("surprise", network, "-o", tmp_path / rule, "-q", "--set", f"inference.rule={rule}",
            binary=DOUBLE)
    fixed, exact = (read(tmp_path / rule)[0] for rule in ("fixed-prediction", "backprop"))
    for layer in range(4):
        factor = 1 - binomial_at_most(7, 0.1, 4 - layer - 2)
        assert np.allclose(fixed["magnitude"][:, layer], factor * exact["magnitude"][:, layer],
                           rtol=1e-12, atol=0)


def test_run_and_checkpoint_and_splits(network, tmp_path):
    folder = network.parent
    run("surprise", network, "-o", tmp_path / "run", "-q")
    run("surprise", folder / "run.checkpoint-000050.h5", "-o", tmp_path / "last", "-q")
    run("surprise", folder / "run.checkpoint-000025.h5", "-o", tmp_path / "early", "-q")
    assert not same_bits(tmp_path / "run", tmp_path / "last")
    assert "surprise/magnitude" in same_bits(tmp_path / "run", tmp_path / "early")
    assert read(tmp_path / "early")[1]["steps_done"] == 25
    run("surprise", network, "-o", tmp_path / "train", "-q", "--split", "train")
    assert len(read(tmp_path / "train")[0]["index"]) == 200
    done = run("surprise", network, "-o", tmp_path / "run", expect=73)
    assert "--force" in done.stderr and "--resume" not in done.stderr
    run("surprise", network, "-o", tmp_path / "run", "-q", "--force")


def test_every_dataset_says_what_it_is(network, tmp_path):
    xarray = pytest.importorskip("xarray")
    run("surprise", network, "-o", tmp_path / "out.h5", "-q")
    with h5py.File(tmp_path / "out.h5") as file:
        for item in file["surprise"].values():
            assert item.attrs["units"] and item.attrs["long_name"]
    with xarray.open_dataset(tmp_path / "out.h5", group="surprise", engine="h5netcdf") as data:
        assert data["magnitude"].dims == ("imposed", "layer", "input")


def fails(out, *arguments, expect, words, ranks=None):
    done = run("surprise", *arguments, "-o", out, expect=expect, ranks=ranks)
    lines = [line for line in done.stderr.splitlines() if line.startswith("lamina")]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]
    assert not out.exists()


@pytest.mark.parametrize("ranks", [None, 3])
def test_wrong_networks(network, tmp_path, ranks):
    out = tmp_path / "out.h5"
    fails(out, tmp_path / "no.h5", expect=66, words=["no.h5"], ranks=ranks)
    (tmp_path / "text.h5").write_text("this is not HDF5" * 100)
    fails(out, tmp_path / "text.h5", expect=65, words=["text.h5", "HDF5"], ranks=ranks)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    fails(out, tmp_path / "other.h5", expect=65, words=["other.h5", "format"], ranks=ranks)
    with h5py.File(tmp_path / "other.h5", "a") as file:
        file.attrs["format"] = "somebody else's"
    fails(out, tmp_path / "other.h5", expect=65, words=["somebody else's", "lamina run"], ranks=ranks)
    shutil.copy(network, tmp_path / "lonely.h5")
    fails(out, tmp_path / "lonely.h5", expect=66, words=["lonely.h5", "checkpoint"], ranks=ranks)


@pytest.mark.parametrize("ranks", [None, 3])
def test_wrong_data(network, tmp_path, ranks):
    out, data = tmp_path / "out.h5", write_dataset(tmp_path / "data", n_test=9)
    images, labels = data / "t10k-images-idx3-ubyte", data / "t10k-labels-idx1-ubyte"
    fails(out, network, "--data", tmp_path / "none", expect=66, words=["none"], ranks=ranks)
    write_idx(labels, [0, 1, 2, 10, 4, 5, 6, 7, 8])
    fails(out, network, "--data", data, expect=65, words=["label 10", "10 classes"], ranks=ranks)
    write_idx(labels, np.arange(9))
    write_idx(images, np.zeros((9, 12, 13)))
    fails(out, network, "--data", data, expect=65, words=["1 x 12 x 12", "1 x 12 x 13"], ranks=ranks)
    write_idx(images, np.zeros((0, 12, 12)))
    fails(out, network, "--data", data, expect=65, words=["extent 1 is 0"], ranks=ranks)


@pytest.mark.parametrize("options, code, words", [
    (["--labels", "true,best"], 64, ["--labels", "true,best", "wrong"]),
    (["--labels", ""], 64, ["--labels"]),
    (["--labels", "true,true"], 64, ["once"]),
    (["--set", "inference.rule=hebb"], 78, ["inference.rule", "hebb"]),
    (["--set", "network.layers[2].map[0].linear.units=15"], 78, ["units: 15 against 14"]),
])
def test_wrong_options(network, tmp_path, options, code, words):
    fails(tmp_path / "out.h5", network, *options, expect=code, words=words)


def test_wrong_command_lines(network, tmp_path):
    out = tmp_path / "out.h5"
    for arguments, word in ((["-o", out], "network file is missing"), ([network], "-o FILE"),
                            ([network, "-o", out, "--split", "both"], "both"),
                            ([network, network, "-o", out], "one too many")):
        assert word in run("surprise", *arguments, expect=64).stderr


def test_two_classes_leave_no_wrong_label(tmp_path):
    settings = write_settings(tmp_path)
    for name, n in (("train", 200), ("t10k", 60)):
        write_idx(tmp_path / f"data/{name}-labels-idx1-ubyte", np.arange(n) % 2)
    run("train", settings, "-o", tmp_path / "run.h5", "-q", "--set", "training.steps=2",
        "--set", "network.layers[3].map[0].linear.units=2")
    out = tmp_path / "out.h5"
    fails(out, tmp_path / "run.h5", expect=64, words=["3 classes", "2"])
    run("surprise", tmp_path / "run.h5", "-o", out, "-q", "--labels", "guess,true")
    assert [kind.decode() for kind in read(out)[0]["imposed"]] == ["true", "guess"]


def test_overflow_is_recorded(network, tmp_path):
    out = tmp_path / "out.h5"
    run("surprise", network, "-o", out, "-q", "--set", "inference.step=50",
        "--set", "inference.steps=200", binary=FLOAT)
    magnitude = read(out)[0]["magnitude"]
    assert not np.all(np.isfinite(magnitude[:, 0]))


@needs_mnist
@slow
def test_the_analysis_makes_anew_what_was_made_otherwise(tmp_path):
    """The program only writes down what it was started for."""
    program, folder = tmp_path / "lamina", tmp_path / "out"
    program.write_text(f"""#!/usr/bin/python3
import sys
command, *words = sys.argv[1:]
settings = "".join(f"{{value}}\\n" for key, value in zip(words, words[1:]) if key == "--set")
if command == "describe":
    print(settings, end="")
if command == "train":
    open("{tmp_path}/trained", "a").write(" ".join(words) + "\\n")
    import h5py
    h5py.File(words[words.index("-o") + 1], "w").attrs["settings"] = settings
if command == "surprise":
    open(words[words.index("-o") + 1], "w").write("no numbers")
""")
    program.chmod(0o755)

    def analyse(steps):
        (tmp_path / "trained").write_text("")
        done = subprocess.run([SOURCE / "experiments/rosenbaum2022/surprise", "--steps", steps, "--count",
                               "5", folder], env={**ENVIRONMENT, "LAMINA": str(program)},
                              capture_output=True, text=True)
        assert done.returncode == 65 and "not an HDF5 file" in done.stderr, done.stderr
        return (tmp_path / "trained").read_text().splitlines()

    def about(kind):
        return folder / "inputs" / kind / "inputs.json"

    for kind in ("test", "control", "noise", "patch", "rotation", "overlay", "other"):
        for data in ("mnist", "fashion-mnist"):
            about(f"{data}-{kind}").parent.mkdir(parents=True)
            about(f"{data}-{kind}").write_text('{"count": 5}')
    about("mnist-patch").write_text('{"count": 4}')
    trained = analyse("2")
    assert len(trained) == 6 and "training.steps=2" in trained[0]
    assert json.loads(about("mnist-patch").read_text())["kind"] == "patch"
    assert about("mnist-noise").read_text() == '{"count": 5}'
    assert analyse("2") == []
    trained = analyse("3")
    assert len(trained) == 6 and "training.steps=3" in trained[0]
