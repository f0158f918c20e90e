"""The published curves that ours are compared with, from analysis/published/.

    import published
    published.curves("fig1", "mnist")["relative_error"][0]     # of the first layer, (step,)

Figures are named like the settings of the experiments: fig1 ... fig5 of Rosenbaum (2022).
"""
import csv
import os

import numpy as np

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "published",
                      "rosenbaum2022")
TRAINING = {("fig1", "mnist"): ("PCMNIST", "ABCD"),
            ("fig3", "mnist"): ("FixedPredPCMNIST", "ABCD"),
            ("fig3", "cifar10"): ("FixedPredPCCIFAR", "EFGH"),
            ("fig5", "mnist"): ("FixedPredPCMNISTeta1", "ABCD"),
            ("fig5", "cifar10"): ("FixedPredPCCIFAReta1", "EFGH")}
GRADIENTS = {("fig2", "mnist"): "PCMNISTErrsVsIts",
             ("fig4", "mnist"): "FixedPredPCMNISTErrsVsIts"}
ZERO = 1e-6  # what is smaller was drawn at zero
STEP_SIZES = ("0.1", "0.2", "0.5", "1")
FIGURES = sorted({figure for figure, _ in (*TRAINING, *GRADIENTS)})

# Seconds of 2 epochs on MNIST, mean squared error, nothing measured, on a Colab GPU.
SECONDS = {"strict": 30.86, "fixed-0.1": 27.36, "fixed-1": 12.99, "backprop": 7.54}


def is_of_gradients(figure):
    """Whether a figure is of updates against the steps of inference."""
    return any(name == figure for name, _ in GRADIENTS)


def curves(figure, data="mnist"):
    """The curves of one figure and data set, or None when nothing was published for them.

    Of a training figure a dict: step (step); loss, accuracy: dicts PC_train, BP_train,
    PC_test, BP_test (step); relative_error, angle (layer, step).
    Of a figure against the steps of inference: step_size, iteration; relative_error,
    angle (step_size, layer, iteration). Angles in degrees. NaN where the page ends.
    """
    if (figure, data) in TRAINING:
        return _training(*TRAINING[figure, data])
    if (figure, data) in GRADIENTS:
        return _gradients(GRADIENTS[figure, data])
    return None


def _table(name):
    """Column names and the numbers (row, column) of a file; NaN where a cell is empty."""
    with open(os.path.join(FOLDER, f"{name}.csv"), newline="", encoding="ascii") as file:
        rows = list(csv.reader(file))
    numbers = [[float(cell) if cell else np.nan for cell in row] for row in rows[1:]]
    numbers = np.array(numbers)
    return rows[0], np.where(abs(numbers) < ZERO, 0, numbers)


def _training(name, letters):
    result = {}
    for letter, panel in zip(letters, ("loss", "accuracy", "relerr", "angle_deg")):
        columns, numbers = _table(f"{name}_{letter}_{panel}")
        result["step"] = numbers[:, 0].astype(int)
        if panel in ("loss", "accuracy"):
            result[panel] = dict(zip(columns[1:], numbers[:, 1:].T))
        else:
            key = "relative_error" if panel == "relerr" else "angle"
            result[key] = numbers[:, 1:].T
    return result


def _drop_unresolved(errors):
    """A panel that reaches up to 100 shows a smooth curve to 0.1 at best."""
    for panel in errors:
        if np.nanmax(panel) > 50:
            panel[-1][panel[-1] < 0.1] = np.nan


def _gradients(name):
    tables = {panel: [_table(f"{name}_{panel}_eta{eta}")[1] for eta in STEP_SIZES]
              for panel in ("relerr", "angle_deg")}
    last = max(len(table) for tables_ in tables.values() for table in tables_)
    result = {"step_size": np.array([float(eta) for eta in STEP_SIZES]),
              "iteration": np.arange(1, last + 1)}
    for panel, key in (("relerr", "relative_error"), ("angle_deg", "angle")):
        layers = tables[panel][0].shape[1] - 1
        values = np.full((len(STEP_SIZES), layers, last), np.nan)
        for s, table in enumerate(tables[panel]):
            values[s, :, :len(table)] = table[:, 1:].T
        if panel == "relerr":
            _drop_unresolved(values)
        result[key] = values
    return result
