"""What fixed-prediction inference gives on a chain, whatever the network, data and loss."""
from math import comb

import numpy as np

import lamina


def binomial_at_most(n, p, k):
    """P(Bin(n, p) <= k)."""
    return sum(comb(n, i) * p ** i * (1 - p) ** (n - i) for i in range(min(k, n) + 1))


def relative_error(n, step_size, layers):
    """Relative error of each of `layers` layers after n steps, first layer first."""
    return np.array([binomial_at_most(n - 1, step_size, layers - layer - 1)
                     for layer in range(1, layers + 1)])


def relative_errors(iterations, step_size, layers):
    """The same against iterations 1 .. N: (layer, iteration)."""
    return np.array([relative_error(int(n), step_size, layers) for n in iterations]).T


def applies(run):
    """Whether a run follows it: fixed predictions on a chain of layers."""
    layers = lamina.setting(run, "network.layers", [])
    return (lamina.setting(run, "inference.rule") == "fixed-prediction" and bool(layers)
            and not any("inputs" in layer for layer in layers))
