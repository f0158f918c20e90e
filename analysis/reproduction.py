"""The runs that experiments/rosenbaum2022/reproduce leaves in its folder, by name.

    runs/FIGURE-STATE-SEED.h5     fig1-value-0: Figure 1, `inference.state: value`, seed 0;
                                  fig5-cifar-deviation-0: the same of Figure 5 on CIFAR-10
    runs/FIGURE-backprop-SEED.h5  the networks trained by backprop beside fig1 and fig3; and for
                                  one epoch those that fig2 measures
    runs/FIGURE-float64.h5        seed 0 of state `value`, calculated in double precision
    runs/FIGURE-rounding-*.h5     updates after 20 steps: value, deviation, float64
    runs/time-RULE.h5             runs of which only the time counts
    surprise/*.h5                 what `lamina surprise` wrote
"""
import glob
import os

import numpy as np

import lamina

STATES = ("value", "deviation")
DIVERGED = 100  # relative errors above this have diverged
LAST = 50  # training steps that a final loss or accuracy is the mean of
# Fixed predictions with step size 1 and as many steps as layers give backprop's parameters.
LIKE_BACKPROP = "fig5-cifar-deviation"
LIKE_BACKPROP_NOTE = ("Backprop on CIFAR-10 is taken from Figure 5, whose networks get the same "
                      "parameters, bit for bit.")


def open_runs(folder):
    """Every run of the folder, as far as it has come: a dict from name to run, in order.
    ValueError when one that is named after double precision was calculated in single."""
    paths = {}
    for ending in (".h5.partial", ".h5"):
        for path in glob.glob(os.path.join(folder, "runs", "*" + ending)):
            if ".checkpoint-" not in path:
                paths[os.path.basename(path)[:-len(ending)]] = path
    runs = {name: lamina.open_run(paths[name]) for name in sorted(paths)}
    for name, run in runs.items():
        if name.endswith("-float64") and run["attributes"].get("real") != "double":
            raise ValueError(f"{run['path']}: calculated in {run['attributes'].get('real')}, "
                             "expected double")
    return runs


def networks(runs, prefix):
    """The runs PREFIX-0, PREFIX-1, ... in the order of their seeds."""
    found = [name for name in runs if name.rpartition("-")[0] == prefix
             and name.rpartition("-")[2].isdigit()]
    return [runs[name] for name in sorted(found, key=lambda n: int(n.rpartition("-")[2]))]


def whole(runs, prefix, steps):
    """The runs PREFIX-0, PREFIX-1, ... of at least so many training steps."""
    return [run for run in networks(runs, prefix)
            if run["attributes"].get("steps_done", 0) >= steps]


def prefix_of(figure, data="mnist"):
    """What the names of the runs of a figure and data set begin with."""
    return figure if data == "mnist" else f"{figure}-cifar"


def backprop(runs, figure, data="mnist"):
    """The prefix of the runs that a figure of training compares with as backprop's: trained by
    backprop or, where there are none on CIFAR-10, by a rule that gives its parameters."""
    prefix = prefix_of("fig1" if figure == "fig1" else "fig3", data) + "-backprop"
    return LIKE_BACKPROP if data == "cifar10" and not networks(runs, prefix) else prefix


def last_mean(curve):
    """Mean of the last points of a curve, of those that were measured."""
    tail = np.asarray(curve)[-LAST:]
    tail = tail[np.isfinite(tail)]
    return float(tail.mean()) if len(tail) else np.nan


def finals(group, name):
    """Final value of curve `name` of each run: (run)."""
    return np.array([last_mean(run["training"][name]) for run in group])


def medians(group, name):
    """Median of curve `name` over the training steps: (run, layer)."""
    return np.array([median(run["training"][name]) for run in group])


def median(curves):
    """Median over the last axis, without what was not measured."""
    known = [np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan
             for row in np.atleast_2d(curves)]
    return np.array(known)


def at(group, name, step_size, n):
    """Curve `name` of gradients files for one step size after n steps: (run, layer)."""
    place = min(n, len(group[0]["gradients"]["iteration"])) - 1
    return np.array([run["gradients"][name][column(run, step_size), :, place] for run in group])


def column(run, step_size):
    """Which of a gradients file's step sizes this is; ValueError when it is none."""
    found = np.flatnonzero(np.isclose(run["gradients"]["step_size"], step_size))
    if len(found) == 0:
        raise ValueError(f"{run.get('path', 'published curves')}: no step size {step_size}")
    return found[0]


def update_errors(runs, figure, state):
    """How far each layer's update after 20 steps is from the one in double precision,
    relative to that: (layer); None when the runs are not there."""
    names = [f"{figure}-rounding-{which}" for which in (state, "float64")]
    if any(name not in runs for name in names):
        return None
    ours, exact = (lamina.updates(runs[name], 0) for name in names)
    return np.array([np.linalg.norm(ours[layer] - exact[layer])
                     / np.linalg.norm(exact[layer]) for layer in exact])
