"""What the NumPy reference itself is held against: loops, finite differences, closed forms."""
import gzip
import math
import os
import sys

import numpy as np
import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import reference  # noqa: E402

MLP = """
network:
  input: [1, 4, 4]
  layers:
    - {name: l1, map: [{flatten: {}}, {linear: {units: 9}}, {tanh: {}}]}
    - {name: l2, map: [{linear: {units: 8}}, {sigmoid: {}}]}
    - {name: l3, map: [{linear: {units: 7}}, {tanh: {}}]}
    - {name: l4, map: [{linear: {units: 3}}]}
  loss: mse
"""
CONV = """
network:
  input: [1, 11, 9]
  layers:
    - {name: V1, map: [{conv2d: {channels: 4, kernel: 3, padding: 0x1}}, relu,
                       {maxpool2d: {size: 2}}]}
    - {name: V2, map: [{conv2d: {channels: 3, kernel: 2x3, stride: 1x2, padding: 1}},
                       {relu: {}}, {avgpool2d: {size: 2, stride: 1}}, {flatten: {}}]}
    - {name: IT, map: [{linear: {units: 12}}, {relu: {}}]}
    - {name: PFC, map: [{linear: {units: 8}}, {relu: {}}]}
    - {name: out, map: [{linear: {units: 5}}]}
  loss: cross_entropy
"""
# Paths from a to out: a > out, a > c > out, a > b > c > out. The file's order is not the
# network's.
SKIP = """
network:
  input: [6]
  layers:
    - {name: a, map: [{linear: {units: 4}}, {tanh: {}}]}
    - {name: out, inputs: [c, a], map: [{concat: {}}, {linear: {units: 3}}]}
    - {name: c, inputs: [b, a], map: [{add: {}}, {linear: {units: 5}}, {tanh: {}}]}
    - {name: b, inputs: [a], map: [{linear: {units: 4}}, {tanh: {}}]}
  loss: cross_entropy
"""


def example(text, batch=6, seed=3):
    """Settings, parameters, images and labels of a small problem."""
    settings = reference.read_settings(text)
    rng = np.random.default_rng(seed)
    shape = [int(extent) for extent in settings["network"]["input"]]
    parameters = reference.random_parameters(settings, seed)
    images = rng.random([batch] + shape)
    values, _ = reference.feedforward(settings, parameters, images)
    outputs = values[list(reference.parents_of(settings))[-1]]
    return settings, parameters, images, rng.integers(outputs.shape[1], size=batch)


def at_least(k, n, eta):
    """P(Bin(n - 1, eta) >= k)."""
    return sum(math.comb(n - 1, i) * eta ** i * (1 - eta) ** (n - 1 - i)
               for i in range(k, n))


def numeric_gradient(function, x, h=1e-5):
    """Central differences of a scalar function at x; the shape of x."""
    gradient = np.empty_like(x)
    for i in np.ndindex(x.shape):
        there = []
        for sign in (1, -1):
            moved = x.copy()
            moved[i] += sign * h
            there.append(function(moved))
        gradient[i] = (there[0] - there[1]) / (2 * h)
    return gradient


def assert_close(value, expected, tolerance):
    """||value - expected|| <= tolerance ||expected||; NaN fails."""
    assert value.shape == expected.shape
    assert np.linalg.norm(value - expected) <= tolerance * np.linalg.norm(expected)


def assert_updates_close(value, expected, tolerance):
    assert value.keys() == expected.keys()
    for name in expected:
        assert_close(value[name], expected[name], tolerance)


# Operators ------------------------------------------------------------------------------

@pytest.mark.parametrize("kernel, stride, padding", [
    ((3, 3), (1, 1), (0, 0)), ((2, 3), (2, 1), (1, 2)), ((1, 1), (3, 2), (0, 1))])
def test_conv2d_is_the_sum_of_its_definition(kernel, stride, padding):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 7, 6))
    weights, biases = rng.normal(size=(4, 3) + kernel), rng.normal(size=4)
    options = {"channels": 4, "kernel": "%dx%d" % kernel, "stride": "%dx%d" % stride,
               "padding": "%dx%d" % padding}
    y, _ = reference.conv2d(options, np.concatenate([weights.ravel(), biases]), [x])
    rows, columns = ((x.shape[2 + i] + 2 * padding[i] - kernel[i]) // stride[i] + 1
                     for i in range(2))
    assert y.shape == (2, 4, rows, columns)
    for b, o, i, j in np.ndindex(y.shape):
        total = biases[o]
        for c, r, s in np.ndindex(weights.shape[1:]):
            row, column = i * stride[0] + r - padding[0], j * stride[1] + s - padding[1]
            if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                total += weights[o, c, r, s] * x[b, c, row, column]
        assert abs(y[b, o, i, j] - total) <= 1e-12


@pytest.mark.parametrize("name, of", [("maxpool2d", np.max), ("avgpool2d", np.mean)])
@pytest.mark.parametrize("size, stride", [((2, 2), (2, 2)), ((3, 2), (1, 3))])
def test_pooling_is_what_its_name_says(name, of, size, stride):
    x = np.random.default_rng(0).normal(size=(2, 3, 7, 8))
    options = {"size": "%dx%d" % size, "stride": "%dx%d" % stride}
    y, _ = reference.OPERATORS[name](options, np.empty(0), [x])
    assert y.shape[2:] == tuple((x.shape[2 + i] - size[i]) // stride[i] + 1 for i in range(2))
    for b, c, i, j in np.ndindex(y.shape):
        top, left = i * stride[0], j * stride[1]
        window = x[b, c, top:top + size[0], left:left + size[1]]
        assert abs(y[b, c, i, j] - of(window)) <= 1e-15


def test_maxpool_ties_go_to_the_first():
    _, pull = reference.maxpool2d({"size": 2}, np.empty(0), [np.ones((1, 1, 2, 2))])
    assert pull(np.ones((1, 1, 1, 1)))[0][0].ravel().tolist() == [1, 0, 0, 0]


def test_relu_has_no_slope_at_zero():
    _, pull = reference.relu({}, np.empty(0), [np.array([[-1.0, 0.0, 2.0]])])
    assert pull(np.ones((1, 3)))[0][0].tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("name, options, shapes", [
    ("conv2d", {"channels": 2, "kernel": 3}, [(2, 2, 5, 6)]),
    ("conv2d", {"channels": 3, "kernel": "2x3", "stride": "2x1", "padding": "1x2"},
     [(2, 2, 5, 4)]),
    ("linear", {"units": 4}, [(3, 5)]),
    ("relu", {}, [(2, 6)]), ("tanh", {}, [(2, 6)]), ("sigmoid", {}, [(2, 6)]),
    ("maxpool2d", {"size": 2}, [(2, 2, 5, 4)]),
    ("maxpool2d", {"size": 3, "stride": 1}, [(2, 2, 5, 4)]),
    ("avgpool2d", {"size": "2x3", "stride": "2x1"}, [(2, 2, 5, 4)]),
    ("flatten", {}, [(2, 2, 3, 2)]),
    ("add", {}, [(2, 5)] * 3), ("concat", {}, [(2, 1, 3, 2), (2, 4, 3, 2)])])
def test_pulls_are_the_transposed_jacobians(name, options, shapes):
    rng = np.random.default_rng(1)
    xs = [rng.normal(size=shape) for shape in shapes]
    weights, biases, _ = reference.count(name, options, shapes[0][1:])
    parameters = rng.normal(size=weights + biases)
    operator = reference.OPERATORS[name]
    y, pull = operator(options, parameters, xs)
    e = rng.normal(size=y.shape)
    errors, gradient = pull(e)
    assert len(errors) == len(xs)
    for k, error in enumerate(errors):
        def of_input(x, k=k):
            return np.sum(e * operator(options, parameters, xs[:k] + [x] + xs[k + 1:])[0])
        np.testing.assert_allclose(error, numeric_gradient(of_input, xs[k]), atol=1e-8)

    def of_parameters(p):
        return np.sum(e * operator(options, p, xs)[0])
    np.testing.assert_allclose(gradient, numeric_gradient(of_parameters, parameters), atol=1e-8)


# Losses and exact gradients -----------------------------------------------------------------

@pytest.mark.parametrize("kind", ["mse", "cross_entropy"])
def test_loss_gradient(kind):
    outputs = np.random.default_rng(2).normal(size=(4, 5))
    labels = [0, 4, 2, 2]
    _, gradient = reference.loss_of(kind, outputs, labels)
    numeric = numeric_gradient(lambda y: reference.loss_of(kind, y, labels)[0], outputs)
    np.testing.assert_allclose(gradient, numeric, atol=1e-10)


def test_loss_values():
    outputs = np.zeros((3, 10))
    assert abs(reference.loss_of("mse", outputs, [0, 1, 2])[0] - 0.1) <= 1e-15
    entropy, _ = reference.loss_of("cross_entropy", outputs + 1000, [0, 1, 2])
    assert abs(entropy - math.log(10)) <= 1e-12


@pytest.mark.parametrize("text", [MLP, CONV, SKIP])
def test_backprop_is_the_gradient_of_the_loss(text):
    settings, parameters, images, labels = example(text, batch=3)
    exact = reference.updates(settings, parameters, images, labels, "backprop")
    for name in parameters:
        def of_layer(p, name=name):
            return reference.loss(settings, {**parameters, name: p}, images, labels)
        assert_close(exact[name], numeric_gradient(of_layer, parameters[name]), 1e-7)


# Fixed prediction ---------------------------------------------------------------------------

@pytest.mark.parametrize("text", [MLP, CONV])
@pytest.mark.parametrize("eta, n", [(0.1, 20), (0.5, 7), (0.02, 3), (1.0, 3), (0.3, 1)])
def test_fixed_prediction_closed_form(text, eta, n):
    settings, parameters, images, labels = example(text)
    exact = reference.updates(settings, parameters, images, labels, "backprop")
    made = reference.updates(settings, parameters, images, labels, "fixed-prediction", eta, n)
    depth = len(parameters)
    for i, name in enumerate(reference.parents_of(settings)):
        missing = 1 - at_least(depth - 1 - i, n, eta)
        error, _ = reference.difference(made[name], exact[name])
        assert abs(error - missing) <= 1e-12
        assert_close(made[name] + missing * exact[name], exact[name], 1e-12)


def test_difference():
    exact = np.array([3.0, 4.0])
    for update, error, angle in (([0, 0], 1, 90), ([1.5, 2], 0.5, 0), ([-3, -4], 2, 180),
                                 ([-4, 3], math.sqrt(2), 90)):
        np.testing.assert_allclose(reference.difference(np.array(update), exact),
                                   (error, angle), atol=1e-13)


def test_closed_form_numbers():
    missing = [1 - at_least(5 - layer, 20, 0.1) for layer in range(1, 6)]
    np.testing.assert_allclose(missing, [0.88500, 0.70544, 0.42026, 0.13509, 0], atol=5e-6)


@pytest.mark.parametrize("text, depth", [(MLP, 4), (CONV, 5), (SKIP, 4)])
def test_fixed_prediction_with_full_steps_is_backprop(text, depth):
    settings, parameters, images, labels = example(text)
    exact = reference.updates(settings, parameters, images, labels, "backprop")
    for n in (depth, depth + 3):
        made = reference.updates(settings, parameters, images, labels, "fixed-prediction",
                                 1.0, n)
        assert_updates_close(made, exact, 1e-14)
    early = reference.updates(settings, parameters, images, labels, "fixed-prediction",
                              1.0, depth - 1)
    first = next(iter(parameters))
    assert reference.difference(early[first], exact[first])[0] > 1e-3


@pytest.mark.parametrize("eta, n", [(0.1, 20), (0.4, 4), (1.0, 3)])
def test_every_path_of_a_graph_counts_with_its_length(eta, n):
    settings, parameters, x, labels = example(SKIP)
    weights, biases = {}, {}
    for name, (out, into) in {"a": (4, 6), "b": (4, 4), "c": (5, 4), "out": (3, 9)}.items():
        weights[name] = parameters[name][:out * into].reshape(out, into)
        biases[name] = parameters[name][out * into:]
    a = np.tanh(x @ weights["a"].T + biases["a"])
    b = np.tanh(a @ weights["b"].T + biases["b"])
    c = np.tanh((a + b) @ weights["c"].T + biases["c"])
    top = np.concatenate([c, a], axis=1)
    g = reference.loss_of("cross_entropy", top @ weights["out"].T + biases["out"], labels)[1]
    to_c, to_a = g @ weights["out"][:, :5], g @ weights["out"][:, 5:]
    through_c = (to_c * (1 - c * c)) @ weights["c"]
    through_b = (through_c * (1 - b * b)) @ weights["b"]
    share = [at_least(k, n, eta) for k in range(4)]
    before_slope = {"a": share[1] * to_a + share[2] * through_c + share[3] * through_b,
                    "b": share[2] * through_c, "c": share[1] * to_c}
    errors = {"a": before_slope["a"] * (1 - a * a), "b": before_slope["b"] * (1 - b * b),
              "c": before_slope["c"] * (1 - c * c), "out": g}
    seen = {"a": x, "b": a, "c": a + b, "out": top}
    made = reference.updates(settings, parameters, x, labels, "fixed-prediction", eta, n)
    for name, e in errors.items():
        assert_close(made[name], np.concatenate([(e.T @ seen[name]).ravel(), e.sum(axis=0)]),
                     1e-12)


# Strict -------------------------------------------------------------------------------------

LINEAR = """
network:
  input: [4]
  layers:
    - {name: l1, map: [{linear: {units: 3}}]}
    - {name: l2, map: [{linear: {units: 5}}]}
    - {name: l3, map: [{linear: {units: 2}}]}
  loss: mse
"""


@pytest.mark.parametrize("eta, n", [(0.1, 20), (0.3, 2), (1e-3, 50), (0.2, 1)])
@pytest.mark.parametrize("presynaptic", ["value", "feedforward"])
def test_strict_solves_the_quadratic_problem_of_a_linear_network(eta, n, presynaptic):
    """The energy is quadratic in the deviations u of the hidden layers, with Hessian H, so
    that u after k sweeps is -(1 - (1 - eta H)^k) H^-1 b."""
    settings, parameters, x, labels = example(LINEAR, batch=4)
    j = [parameters["l1"][:12].reshape(3, 4), parameters["l2"][:15].reshape(5, 3),
         parameters["l3"][:10].reshape(2, 5)]
    b = [parameters["l1"][12:], parameters["l2"][15:], parameters["l3"][10:]]
    values = [x]
    for weights, bias in zip(j, b):
        values.append(values[-1] @ weights.T + bias)
    g = reference.loss_of("mse", values[3], labels)[1]
    curvature = 2 / values[3].size
    a = np.block([[-np.eye(3), np.zeros((3, 5))], [j[1], -np.eye(5)]])  # eps = a u
    hessian = a.T @ a
    hessian[3:, 3:] += curvature * j[2].T @ j[2]
    pull = np.concatenate([np.zeros((len(x), 3)), g @ j[2]], axis=1)
    fixed_point = -np.linalg.solve(hessian, pull.T)

    def deviation(k):
        power = np.linalg.matrix_power(np.eye(8) - eta * hessian, k)
        return ((np.eye(8) - power) @ fixed_point).T

    last, final = deviation(n - 1), deviation(n)
    hidden = last @ a.T
    errors = [hidden[:, :3], hidden[:, 3:], g + curvature * last[:, 3:] @ j[2].T]
    if presynaptic == "feedforward":
        final = np.zeros_like(final)
    seen = [x, values[1] + final[:, :3], values[2] + final[:, 3:]]
    made = reference.updates(settings, parameters, x, labels, "strict", eta, n, presynaptic)
    for name, e, v in zip(("l1", "l2", "l3"), errors, seen):
        expected = np.concatenate([(e.T @ v).ravel(), e.sum(axis=0)])
        assert np.max(np.abs(made[name] - expected)) <= 1e-14


def test_strict_with_small_steps_grows_as_a_power_of_the_step():
    """To lowest order, eps_l = C(n - 1, L - l) eta^(L - l) delta_l."""
    settings, parameters, images, labels = example(MLP)
    exact = reference.updates(settings, parameters, images, labels, "backprop")
    eta, n, depth = 1e-4, 6, 4
    made = reference.updates(settings, parameters, images, labels, "strict", eta, n)
    for i, name in list(enumerate(parameters))[1:]:
        k = depth - 1 - i
        assert_close(made[name], math.comb(n - 1, k) * eta ** k * exact[name], 50 * eta)


@pytest.mark.parametrize("text", [MLP, CONV])
def test_strict_with_full_steps_passes_through_backprop(text):
    """With eta = 1 the error of layer l is exact at sweep L - l + 1 (the Z-IL schedule)."""
    settings, parameters, images, labels = example(text)
    exact = reference.updates(settings, parameters, images, labels, "backprop")
    for n, name in enumerate(reversed(list(parameters)), start=1):
        made = reference.updates(settings, parameters, images, labels, "strict", 1.0, n,
                                 "feedforward")
        assert_close(made[name], exact[name], 1e-11)


def test_first_sweep_moves_only_the_output_layer():
    settings, parameters, images, labels = example(CONV)
    exact = reference.updates(settings, parameters, images, labels, "backprop")
    for rule in ("strict", "fixed-prediction"):
        made = reference.updates(settings, parameters, images, labels, rule, 0.1, 1,
                                 "feedforward")
        assert_close(made.pop("out"), exact["out"], 1e-15)
        assert all(np.all(update == 0) for update in made.values())


def strict_by_differences(settings, parameters, images, labels, eta, n):
    """Strict predictive coding from its energy alone: every derivative is numeric."""
    names = list(reference.parents_of(settings))
    output = names[-1]
    values, _ = reference.feedforward(settings, parameters, images)

    def error(name, values):
        return reference.predict(settings, parameters, values, name)[0] - values[name]

    def energy(values):
        outputs, _ = reference.predict(settings, parameters, values, output)
        return (reference.loss_of(settings["network"]["loss"], outputs, labels)[0]
                + sum(0.5 * np.sum(error(name, values) ** 2) for name in names[:-1]))

    for _ in range(n):
        before = dict(values)
        for name in names[:-1]:
            slope = numeric_gradient(lambda v, name=name: energy({**before, name: v}),
                                     before[name])
            values[name] = before[name] - eta * slope
    errors = {name: error(name, before) for name in names}
    outputs, _ = reference.predict(settings, parameters, before, output)
    errors[output] = reference.loss_of(settings["network"]["loss"], outputs, labels)[1]

    def pulled(name, p):
        made, _ = reference.predict(settings, {**parameters, name: p}, values, name)
        return np.sum(errors[name] * made)

    return {name: numeric_gradient(lambda p, name=name: pulled(name, p), parameters[name])
            for name in names}


@pytest.mark.parametrize("text", [MLP, SKIP])
def test_strict_descends_its_energy(text):
    settings, parameters, images, labels = example(text, batch=2)
    made = reference.updates(settings, parameters, images, labels, "strict", 0.5, 5)
    numeric = strict_by_differences(settings, parameters, images, labels, 0.5, 5)
    assert_updates_close(made, numeric, 1e-6)


# Settings and files -------------------------------------------------------------------------

def test_pairs_are_not_hexadecimal_numbers():
    settings = reference.read_settings("padding: 0x1")
    assert reference.pair(settings["padding"]) == (0, 1)
    assert reference.pair(3) == reference.pair("3") == (3, 3)


def test_order_of_layers():
    settings = reference.read_settings(SKIP)
    assert list(reference.parents_of(settings)) == ["a", "b", "c", "out"]
    settings["network"]["layers"][0]["inputs"] = ["c"]
    with pytest.raises(ValueError, match="cycle"):
        reference.parents_of(settings)
    settings = reference.read_settings(SKIP)
    settings["network"]["layers"][1]["inputs"] = ["a", "a"]
    with pytest.raises(ValueError, match="one output"):
        reference.parents_of(settings)


def test_wrong_arguments():
    settings, parameters, images, labels = example(MLP)
    for rule, n, presynaptic in (("other", 1, "value"), ("strict", 0, "value"),
                                 ("strict", 1, "other")):
        with pytest.raises(ValueError):
            reference.updates(settings, parameters, images, labels, rule, 0.1, n, presynaptic)
    for wrong in (parameters["l2"][:-1], np.append(parameters["l2"], 0)):
        with pytest.raises(ValueError, match="layer l2"):
            reference.updates(settings, {**parameters, "l2": wrong}, images, labels,
                              "backprop")


def test_idx_files(tmp_path):
    content = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + bytes(range(12))
    for name, wrap in (("plain", bytes), ("packed.gz", gzip.compress)):
        (tmp_path / name).write_bytes(wrap(content))
        array = reference.read_idx(tmp_path / name)
        assert array.shape == (2, 2, 3) and array.ravel().tolist() == list(range(12))
    images = reference.read_images(tmp_path / "plain", [1, 0, 1])
    assert images.shape == (3, 1, 2, 3) and abs(images[0, 0, 0, 0] - 6 / 255) <= 1e-16
    for broken in (content[:-1], content + b"\0", b"\0\0\x0d" + content[3:]):
        (tmp_path / "broken").write_bytes(broken)
        with pytest.raises(ValueError, match="broken"):
            reference.read_idx(tmp_path / "broken")
