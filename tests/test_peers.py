"""The peers of lamina bench: how it speaks with them, what it says when they are missing, and that
ours in PyTorch does the same computation as Lamina. What needs PyTorch is skipped without it."""
import json
import sys
import textwrap

import h5py
import numpy as np
import program
import pytest
import reference
from program import CONV, DOUBLE, SOURCE, run, write_settings

QUICK = ["--repeats", "2", "--steps", "2", "--threads", "1", "--rules", "strict,backprop"]

# A peer that notes what it is told, and needs 0.5 s per step by its own account.
FAKE = """\
    #!/usr/bin/python3
    import os, sys
    notes = open({notes!r} + os.path.basename(sys.argv[2]), "w")
    print(sys.argv[1:], os.environ["OMP_NUM_THREADS"], file=notes)
    for line in sys.stdin:
        print(line, end="", file=notes, flush=True)
        if line == "...\\n":
            print({greeting!r}, flush=True)
        elif len(line.split()) == 4 and line.split()[0] in ("strict", "backprop"):
            print({answer}, flush=True)
    """


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Put a fake peer in the place of Python."""
    def make(greeting="ready Fake 1.0", answer="0.5 * int(line.split()[3])"):
        path = tmp_path / "fake"
        path.write_text(textwrap.dedent(FAKE).format(notes=str(tmp_path / "notes"),
                                                     greeting=greeting, answer=answer))
        path.chmod(0o755)
        monkeypatch.setitem(program.ENVIRONMENT, "LAMINA_PYTHON", str(path))
        return path
    return make


def bench(tmp_path, *options, **how):
    return run("bench", write_settings(tmp_path), *QUICK, *options, **how)


@pytest.mark.parametrize("ranks", [None, 3])
def test_ratios_are_taken_in_each_repeat(tmp_path, fake, ranks):
    fake()
    out = tmp_path / "bench.json"
    done = bench(tmp_path, "--peer", "torch", "--torch2pc", "DIR", "-o", out, ranks=ranks)
    found = json.loads(out.read_text())
    assert found["torch"] == found["torch2pc"] == "Fake 1.0" and "Fake 1.0" in done.stdout
    for row in found["rows"]:
        for peer in ("torch", "torch2pc"):
            assert row[peer]["repeats"] == [500, 500]
            ratio = np.array(row[peer]["repeats"]) / row["milliseconds"]["repeats"]
            assert np.allclose(row[f"{peer}_ratio"]["repeats"], ratio, rtol=1e-6)
    notes = (tmp_path / "notestorch2pc_peer.py").read_text()
    assert "torch2pc_peer.py', 'DIR'" in notes and "rule: strict" in notes
    assert notes.count("strict 0.1") == notes.count("backprop 1 1 ") == 4
    assert "8 2\n" in notes  # of strict 8 steps of inference, 2 training steps at a time


def test_peers_in_hdf5(tmp_path, fake):
    fake()
    out = tmp_path / "bench.h5"
    bench(tmp_path, "--peer", "torch", "-o", out)
    with h5py.File(out) as file:
        assert np.all(file["bench/torch"][:] == 500) and "torch2pc" not in file["bench"]
        assert file["bench"].attrs["torch"] == "Fake 1.0"


def test_peers_that_fail(tmp_path, fake):
    out = tmp_path / "bench.json"

    def fails(*words, ranks=None):
        done = bench(tmp_path, "--peer", "torch", "-o", out, expect=69, ranks=ranks)
        lines = [line for line in done.stderr.splitlines() if line.startswith("lamina: ")]
        assert len(lines) == 1 and "--peer torch" in lines[0] and not out.exists()
        for word in words:
            assert word in lines[0]
    fake(greeting="error no module named torch")
    fails("no module named torch", ranks=2)
    fake(greeting="good morning")
    fails("good morning", "ready")
    fake(answer="'soon'")
    fails("soon", "seconds")
    fake(answer="0")
    fails("'0'", "seconds")
    fake(answer="1 / 0")
    fails("ended", ranks=2)
    program.ENVIRONMENT["LAMINA_PYTHON"] = "/no/such/python"
    fails("/no/such/python", "cannot be started")


def test_unknown_peer(tmp_path):
    done = bench(tmp_path, "--peer", "abacus", expect=64)
    assert "abacus" in done.stderr and "torch" in done.stderr


def test_torch2pc_that_is_not_there(tmp_path):
    pytest.importorskip("torch")
    done = bench(tmp_path, "--torch2pc", tmp_path / "nowhere", expect=69)
    assert "TorchSeq2PC.py" in done.stderr and "nowhere" in done.stderr


# --- the PyTorch peer ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch():
    """PyTorch, and the peers on the path, in double precision."""
    module = pytest.importorskip("torch")
    sys.path.insert(0, str(SOURCE / "analysis/peers"))
    module.set_default_dtype(module.float64)
    yield module
    module.set_default_dtype(module.float32)
    sys.path.remove(str(SOURCE / "analysis/peers"))


def lamina_updates(folder, rule, *options):
    """Settings, parameters and updates of one batch of a small network in double."""
    out = folder / "gradients.h5"
    run("gradients", write_settings(folder, CONV, n_train=40, n_test=40), "-o", out, "--quiet",
        "--set", f"inference.rule={rule}", *options,
        "--set", "gradients={train: none, step: [0.15], steps: 7, updates: true}", binary=DOUBLE)
    with h5py.File(out) as file:
        settings = reference.read_settings(file.attrs["settings"])
        names = [layer["name"] for layer in settings["network"]["layers"]]
        return (settings, [file[f"parameters/{name}"][:] for name in names],
                [file[f"updates/0/{name}"][:] for name in names])


def set_parameters(torch, network, parameters):
    """Lamina keeps an operator's weights before its biases, in the order of PyTorch."""
    for layer, values in zip(network, parameters):
        torch.nn.utils.vector_to_parameters(torch.from_numpy(values), layer.parameters())


@pytest.mark.parametrize("rule", ["strict", "fixed-prediction", "backprop"])
@pytest.mark.parametrize("presynaptic", ["value", "feedforward"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_torch_peer_computes_the_same(tmp_path, torch, rule, presynaptic, loss):
    import peer
    import torch_peer
    settings, parameters, updates = lamina_updates(
        tmp_path, rule, "--set", f"network.loss={loss}",
        "--set", f"inference.presynaptic={presynaptic}")
    training = peer.Training(settings, torch_peer.gradients)
    set_parameters(torch, training.network, parameters)
    images = reference.read_images(tmp_path / "data/train-images-idx3-ubyte", range(40))
    training.x = torch.from_numpy(images).reshape(40, 1, 12, 12).double()
    training.label = torch.from_numpy(
        reference.read_idx(tmp_path / "data/train-labels-idx1-ubyte").astype(np.int64))
    torch_peer.gradients(training, rule, 0.15, 7)
    for layer, update in zip(training.network, updates):
        found = np.concatenate([p.grad.numpy().ravel() for p in layer.parameters()])
        assert np.linalg.norm(found - update) <= 1e-9 * np.linalg.norm(update)


def test_torch_peer_trains_the_same_steps_again(tmp_path, torch):
    import peer
    import torch_peer
    settings, _, _ = lamina_updates(tmp_path, "strict")
    training = peer.Training(settings, torch_peer.gradients)
    ends = []
    for _ in range(2):
        assert training.run("strict", 0.1, 5, 2) > 0
        ends.append(torch.nn.utils.parameters_to_vector(training.network.parameters()).clone())
    assert torch.equal(*ends)
    moved = max((training.network.state_dict()[name] - value).abs().max()
                for name, value in training.initial.items())
    assert moved > 0.001  # two steps of Adam at a rate of 0.002


@pytest.mark.parametrize("layers, words", [
    ("[{name: a, map: [{warp: {}}]}]", "warp"),
    ("[{name: a, map: [{flatten: {}}]}, {name: b, map: [{linear: {units: 2}}]}, "
     "{name: c, inputs: [a], map: [{linear: {units: 2}}]}]", "chain")])
def test_networks_the_peer_does_not_know(torch, layers, words):
    import peer
    import yaml
    with pytest.raises(ValueError, match=words):
        peer.make_network({"network": {"input": [1, 4, 4], "layers": yaml.load(layers, yaml.BaseLoader)}})
