"""Small run files, as `lamina` writes them, for the tests of analysis/."""
import os
import sys

import h5py
import numpy as np

ANALYSIS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "analysis")
sys.path.insert(0, ANALYSIS)

LAYERS = ["V1", "V2", "IT", "out"]
SETTINGS = """data: {format: idx, path: %(data)s}
network: {loss: %(loss)s, layers: [%(layers)s]}
inference: {rule: %(rule)s, step: %(step)s, steps: %(steps)s, state: %(state)s}
training: {seed: %(seed)s}
record: {gradients_every: %(every)s, errors: {split: test}}
"""
USUAL = {"data": "mnist", "loss": "mse", "rule": "strict", "step": 0.1, "steps": 20,
         "state": "deviation", "seed": 7, "every": 1}


def settings(layers=LAYERS, **changes):
    """The settings text of a file below."""
    names = ", ".join("{name: %s}" % name for name in layers)
    return SETTINGS % {**USUAL, **changes, "layers": names}


def begin(path, layers=LAYERS, **changes):
    """A run file with what every run file has; open for writing."""
    file = h5py.File(path, "w")
    file.attrs["settings"] = settings(layers, **changes)
    file.attrs["complete"] = np.int32(1)
    file.attrs["steps_done"] = np.int64(3)
    file.attrs["seed"] = np.array([changes.get("seed", 7)])
    file.attrs["ranks"], file.attrs["threads"] = 1, 2
    file.attrs["command"] = f"lamina train <{os.path.basename(path)}>"
    double = str(path).endswith("-float64.h5")
    file.attrs["real"], file.attrs["seconds"] = "double" if double else "float", 2.5
    file.attrs["git_revision"] = "abc123"
    file["layer"] = np.array(layers, dtype=h5py.string_dtype())
    file["layer"].make_scale("layer")
    return file


def write_training(path, rule="strict", points=80, recorded=True, layers=LAYERS, levels=None,
                   angles=None, **changes):
    """A run file of `lamina train`, with constant relative errors `levels` (layer) and
    `angles`, 90 times those; without `recorded` only loss and accuracy are there."""
    with begin(path, layers, rule=rule, **changes) as file:
        file.attrs["steps_done"] = np.int64(points)
        training = file.create_group("training")
        training["step"] = np.arange(points)
        training["loss"] = np.exp(-np.arange(points) / 20).astype(np.float32)
        training["accuracy"] = 1 - np.exp(-np.arange(points) / 20)
        test_loss = np.full(points, np.nan)
        layered = np.full((len(layers), points), np.nan)
        if recorded:
            test_loss[::10] = 0.5
            levels = [0.9, 0.5, 0.1, 0.0] if levels is None else levels
            layered[:] = np.resize(levels, len(layers))[:, None]
        training["test_loss"] = training["test_accuracy"] = test_loss
        training["relative_error"] = layered
        if recorded:
            training["angle"] = (90 * layered if angles is None
                                 else layered * 0 + np.array(angles)[:, None])
            training["energy"] = 2 * layered
        traffic = file.create_group("traffic")
        traffic["messages"] = traffic["bytes"] = np.ones((2, 2), dtype=np.int64)
        for step in (0, points):
            group = file.create_group(f"errors/{step}")
            for name in ("index", "label", "prediction", "loss"):
                group[name] = np.arange(5)
            group["magnitude"] = np.full((len(layers), 5), float(step))
        file["errors/input"] = np.arange(5)
    return str(path)


def write_gradients(path, step_sizes=(0.1, 1.0), scales_in="", n=30, layers=LAYERS, errors=None,
                    updates=None, **changes):
    """A run file of `lamina gradients` with relative errors `errors` (step size, layer, n): by
    default zeros, divergence and all. `updates`, a number per layer, are kept for the first
    step size."""
    with begin(path, layers, **changes) as file:
        file.create_group("gradients")
        file[scales_in + "step_size"] = np.array(step_sizes)
        file[scales_in + "iteration"] = np.arange(1, n + 1)
        if errors is None:
            errors = np.empty((len(step_sizes), len(layers), n))
            errors[:] = 0.9 ** np.arange(n)
            errors[:, -1] = 0
            errors[-1, 0] = np.where(np.arange(n) < 20, 10.0 ** np.arange(n), np.nan)
        file["gradients/relative_error"] = errors
        file["gradients/angle"] = np.minimum(90, 90 * errors)
        for layer, update in zip(layers, updates or []):
            file[f"updates/0/{layer}"] = np.full(3, update)
    return str(path)
