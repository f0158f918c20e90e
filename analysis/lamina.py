"""Read the run files that `lamina` writes into NumPy arrays.

    import lamina
    run = lamina.open_run("fig1.h5")
    run["layers"]                               # names, from the input to the output
    run["training"]["relative_error"][0]        # of the first layer, (step,)
    lamina.setting(run, "inference.step")       # 0.1
    lamina.errors(run, 0)["magnitude"]          # (layer, input)
    lamina.dataset(run)                         # as xarray.Dataset, where xarray is there

A missing or unreadable file raises OSError, a file with wrong content ValueError; the
message is one line that names the file.
"""
import functools
import os

import h5py
import numpy as np
import yaml

PER_STEP = ("loss", "accuracy", "test_loss", "test_accuracy")
PER_LAYER = ("relative_error", "angle", "energy")
# Dimensions of the arrays of a group, by their number.
AXES = {"training": {1: ("step",), 2: ("layer", "step")},
        "gradients": {3: ("step_size", "layer", "iteration")},
        "magnitudes": {1: ("input",), 2: ("step", "input"), 3: ("step", "layer", "input")},
        "surprise": {1: ("input",), 2: ("imposed", "input"), 3: ("imposed", "layer", "input")},
        "traffic": {2: ("sender", "receiver")}}


def open_run(path):
    """Read a run file into a dict.

    path          the file
    layers        names of the layers, a list
    settings      the YAML text of the settings, defaults filled in
    attributes    every root attribute (seed, ranks, git_revision, complete, ...)
    training      None, or a dict of float64 arrays: step (step); loss, accuracy, test_loss,
                  test_accuracy (step); relative_error, angle, energy (layer, step). Angles
                  in degrees; NaN where nothing was measured. Of a run that is not finished
                  the steps that are done
    gradients     None, or a dict: step_size (step_size), iteration (iteration);
                  relative_error, angle, energy (step_size, layer, iteration)
    error_steps   training steps at which errors of single inputs were recorded, a list
    traffic       None, or a dict: messages, bytes between layers and within_messages,
                  within_bytes between replicas of one (sender, receiver)
    """
    path = os.fspath(path)
    with _open(path) as file:
        attributes = {name: _plain(value) for name, value in file.attrs.items()}
        if "settings" not in attributes:
            raise ValueError(f"{path}: not a run file of lamina: no attribute 'settings'")
        if "layer" not in file:
            raise ValueError(f"{path}: not a run file of lamina: no dataset /layer")
        layers = [_plain(name) for name in _array(file, path, "layer")]
        done = int(attributes.get("steps_done", np.iinfo(np.int64).max))
        recorded = sorted(int(name) for name in file.get("errors", {}) if name.isdigit())
        return {
            "path": path,
            "layers": layers,
            "settings": attributes["settings"],
            "attributes": attributes,
            "training": _training(file, path, len(layers)),
            "gradients": _gradients(file, path, len(layers)),
            "error_steps": [step for step in recorded if step <= done],
            "traffic": _traffic(file, path),
        }


def errors(run, step):
    """What was recorded of single inputs after `step` training steps.

    A dict: index, label, prediction, loss (input); magnitude (layer, input), the norm of
    each layer's error for that input alone.
    """
    if step not in run["error_steps"]:
        there = ", ".join(map(str, run["error_steps"])) or "none"
        raise ValueError(f"{run['path']}: no errors were recorded at step {step} "
                         f"(recorded steps: {there})")
    with _open(run["path"]) as file:
        names = ("index", "label", "prediction", "loss", "magnitude")
        return {name: _array(file, run["path"], f"errors/{step}/{name}") for name in names}


def surprise(run):
    """What `lamina surprise` measured, a dict: imposed, the kinds of labels; index, label,
    prediction, correct, confidence (input); imposed_label, loss (imposed, input); magnitude
    (imposed, layer, input)."""
    names = ("imposed", "index", "label", "prediction", "correct", "confidence", "imposed_label",
             "loss", "magnitude")
    with _open(run["path"]) as file:
        found = {name: _array(file, run["path"], f"surprise/{name}") for name in names}
    found["imposed"] = [_plain(name) for name in found["imposed"]]
    return found


def magnitudes(run):
    """How the errors of the same inputs evolved while the network was trained.

    A dict: step (record), training steps done; index, label (input); prediction, loss
    (record, input); magnitude (record, layer, input).
    """
    records = [errors(run, step) for step in run["error_steps"]]
    if not records:
        raise ValueError(f"{run['path']}: no errors of single inputs were recorded")
    result = {"step": np.array(run["error_steps"])}
    for name in ("index", "label"):
        result[name] = records[0][name]
    for name in ("prediction", "loss", "magnitude"):
        result[name] = np.array([record[name] for record in records])
    return result


def about_layers(run):
    """What a run says of its layers: a dict from name to a dict of units, shape, map, parameters,
    rank and, of a run that has ended, seconds."""
    with _open(run["path"]) as file:
        return {name: {key: _plain(value) for key, value in file[f"layers/{name}"].attrs.items()}
                for name in run["layers"] if f"layers/{name}" in file}


def parameters(checkpoint):
    """The parameters in a checkpoint: a dict from layer to (parameter), weights (out, in, kernel
    rows, kernel columns) row-major and then biases, for each operator that has some in turn."""
    path = os.fspath(checkpoint)
    with _open(path) as file:
        names = list(file["layers"]) if "n_layers" in file.attrs else []
        if not names:
            raise ValueError(f"{path}: not a checkpoint of lamina")
        return {name: _array(file, path, f"layers/{name}/parameters") for name in names}


def updates(run, which="exact"):
    """Every parameter update that a gradients file kept (gradients.updates): a dict from
    layer to (parameter), for step size number `which` or of the exact gradient."""
    with _open(run["path"]) as file:
        return {name: _array(file, run["path"], f"updates/{which}/{name}")
                for name in run["layers"]}


def dataset(run, group="training"):
    """The numbers of "training", "gradients", "magnitudes", "surprise" or "traffic" as an
    xarray.Dataset, with layers named. Needs xarray."""
    import xarray
    if group not in AXES:
        raise ValueError(f"{run['path']}: no group {group}: {', '.join(AXES)} are known")
    read = {"magnitudes": magnitudes, "surprise": surprise}.get(group, lambda run: run[group])
    content = read(run)
    if content is None:
        raise ValueError(f"{run['path']}: no /{group}")
    axes = AXES[group]
    coordinates = {"layer": run["layers"]} if "layer" in axes[max(axes)] else {}
    variables = {}
    for name, array in content.items():
        if name in axes[max(axes)]:
            coordinates[name] = array
        else:
            variables[name] = (axes[np.ndim(array)], array)
    return xarray.Dataset(variables, coordinates, {"path": run["path"]})


def same_but_for_seed(run):
    """A text that runs share when they differ in seed, placement and records only."""
    settings = {group: content for group, content in _settings(run).items()
                if group not in ("record", "checkpoint", "placement")}
    training = settings.get("training") or {}
    settings["training"] = {key: training[key] for key in training if key != "seed"}
    settings["real"] = run["attributes"].get("real", "")
    return yaml.safe_dump(settings)


@functools.lru_cache(maxsize=None)
def _parsed(text):
    return yaml.safe_load(text) or {}


def _settings(run):
    """The settings of a run as a dict, or an error of one line."""
    try:
        return _parsed(run["settings"])
    except yaml.YAMLError as error:
        line = str(error).splitlines()[0]
        raise ValueError(f"{run['path']}: the settings are not YAML: {line}") from None


def setting(run, key, default=None):
    """The setting of a dotted key ("inference.step"), or `default` when it is absent."""
    value = _settings(run)
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return default
        value = value[part]
    return value


def trained_by(run):
    """The rule that trained the network of a file of `lamina gradients`: of its checkpoint, if it
    came from one. "none" if it is as initialised; None when nothing is said."""
    settings = run["attributes"].get("checkpoint_settings")
    if settings is None:
        return setting(run, "gradients.train")
    return setting({"path": run["path"], "settings": settings}, "inference.rule")


def _open(path):
    """The open HDF5 file, or an error of one line."""
    with open(path, "rb"):  # a missing or unreadable file, a folder: OSError names it
        pass
    try:
        return h5py.File(path, "r")
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: not an HDF5 file, or a damaged one ({reason})") from None


def _plain(value):
    """Text as str, single numbers as Python numbers, arrays as they are."""
    if isinstance(value, h5py.Empty):
        return ""
    if isinstance(value, np.ndarray) and value.shape == (1,):
        value = value[0]
    if isinstance(value, bytes):
        return value.decode("utf-8").rstrip("\0")
    return value.item() if isinstance(value, np.generic) else value


def _array(file, path, name, shape=None, dtype=None):
    """Dataset `name` as an array; ValueError when it is absent or not of `shape`."""
    if not isinstance(file.get(name), h5py.Dataset):
        raise ValueError(f"{path}: no dataset /{name}")
    try:
        array = np.asarray(file[name][()], dtype=dtype)
    except (OSError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: /{name} cannot be read ({reason})") from None
    if shape is not None and array.shape != shape:
        raise ValueError(f"{path}: /{name} has shape {array.shape}, expected {shape}")
    return array


def _measured(file, path, name, shape):
    """Dataset `name` in float64; NaN of `shape` when it was not recorded."""
    if name not in file:
        return np.full(shape, np.nan)
    return _array(file, path, name, shape, np.float64)


def _training(file, path, n_layers):
    if "training" not in file:
        return None
    step = _array(file, path, "training/step")
    training = {"step": step}
    for name in PER_STEP:
        training[name] = _measured(file, path, f"training/{name}", step.shape)
    for name in PER_LAYER:
        shape = (n_layers,) + step.shape
        training[name] = _measured(file, path, f"training/{name}", shape)
    done = int(file.attrs.get("steps_done", step.size))
    return {name: curve[..., :done] for name, curve in training.items()}


def _gradients(file, path, n_layers):
    if "gradients" not in file:
        return None
    scales = {}
    for name in ("step_size", "iteration"):
        where = name if name in file else f"gradients/{name}"
        scales[name] = _array(file, path, where)
    shape = scales["step_size"].shape + (n_layers,) + scales["iteration"].shape
    curves = {name: _array(file, path, f"gradients/{name}", shape, np.float64)
              for name in ("relative_error", "angle")}
    return {**scales, **curves, "energy": _measured(file, path, "gradients/energy", shape)}


def _traffic(file, path):
    if "traffic" not in file:
        return None
    return {name: _array(file, path, f"traffic/{name}")
            for name in ("messages", "bytes", "within_messages", "within_bytes")
            if name in file["traffic"]}
