"""The learning rules once more, in NumPy and float64, written from the papers' equations.

This is what the program is held against; it shares no code with it and takes another way
where there is one: arrays are inputs first (B, ...), the whole batch at once, and beliefs
are stored as they are. Only fixed prediction is carried in the deviation from the feedforward
value, because its errors are known to 1e-15 that way.

A network is the `network` part of the settings. Parameters and updates are dicts from a
layer's name to a 1-D array: for each of its operators the weights row-major (out, in, kernel
rows, kernel columns), then the biases. An update is the gradient that the optimiser gets.

An operator is a function (options, parameters, xs) -> (y, pull), with xs the values of the
parents, each (B, shape), and pull(e) -> (errors of the parents, gradient of the parameters).
"""
import gzip
import math

import numpy as np
import yaml

INPUT = "input"  # the parent that is the network's input


# Operators ------------------------------------------------------------------------------

def pair(text):
    """(rows, columns) of an option: 3, "3" or "3x5"."""
    numbers = [int(part) for part in str(text).split("x")]
    return (numbers[0], numbers[-1])


def windows(x, size, stride):
    """All windows over the last two axes: x (B, C, H, W) -> (B, C, rows, columns) + size."""
    view = np.lib.stride_tricks.sliding_window_view(x, size, axis=(2, 3))
    return view[:, :, ::stride[0], ::stride[1]]


def add_windows(pieces, stride, x):
    """The transpose of `windows`: add pieces (B, C, rows, columns, r, c) to x (B, C, H, W)."""
    rows, columns, height, width = pieces.shape[2:]
    for r in range(height):
        for c in range(width):
            x[:, :, r:r + stride[0] * rows:stride[0],
              c:c + stride[1] * columns:stride[1]] += pieces[..., r, c]
    return x


def conv2d(options, parameters, xs):
    """x (B, C, H, W) -> y (B, O, rows, columns): biases plus correlation with kernels."""
    kernel = pair(options["kernel"])
    stride, padding = pair(options.get("stride", 1)), pair(options.get("padding", 0))
    rows, columns = xs[0].shape[2:]
    x = np.pad(xs[0], [(0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2])
    shape = (int(options["channels"]), x.shape[1]) + kernel
    weights = parameters[:math.prod(shape)].reshape(shape)
    biases = parameters[weights.size:]
    seen = windows(x, kernel, stride)
    y = np.moveaxis(np.tensordot(seen, weights, ([1, 4, 5], [1, 2, 3])), -1, 1)

    def pull(e):
        pieces = np.moveaxis(np.tensordot(e, weights, (1, 0)), 3, 1)
        whole = add_windows(pieces, stride, np.zeros_like(x))
        ex = whole[:, :, padding[0]:padding[0] + rows, padding[1]:padding[1] + columns]
        gradient = np.tensordot(e, seen, ([0, 2, 3], [0, 2, 3]))
        return [ex], np.concatenate([gradient.ravel(), e.sum(axis=(0, 2, 3))])

    return y + biases[:, None, None], pull


def linear(options, parameters, xs):
    """x (B, in) -> y (B, out) = x W^T + b."""
    x = xs[0]
    units = int(options["units"])
    weights = parameters[:units * x.shape[1]].reshape(units, x.shape[1])

    def pull(e):
        return [e @ weights], np.concatenate([(e.T @ x).ravel(), e.sum(axis=0)])

    return x @ weights.T + parameters[weights.size:], pull


def relu(_options, _parameters, xs):
    """max(x, 0), slope 0 at 0."""
    return np.maximum(xs[0], 0), lambda e: ([e * (xs[0] > 0)], np.empty(0))


def tanh(_options, _parameters, xs):
    """Hyperbolic tangent."""
    y = np.tanh(xs[0])
    return y, lambda e: ([e * (1 - y * y)], np.empty(0))


def sigmoid(_options, _parameters, xs):
    """1 / (1 + exp(-x))."""
    y = 0.5 + 0.5 * np.tanh(0.5 * xs[0])
    return y, lambda e: ([e * y * (1 - y)], np.empty(0))


def maxpool2d(options, _parameters, xs):
    """Largest unit of every window, the first (row-major) of equals."""
    size = pair(options["size"])
    stride = pair(options.get("stride", options["size"]))
    seen = windows(xs[0], size, stride)
    flat = seen.reshape(seen.shape[:4] + (-1,))
    winner = flat.argmax(axis=-1)[..., None]

    def pull(e):
        pieces = np.zeros_like(flat)
        np.put_along_axis(pieces, winner, e[..., None], axis=-1)
        return [add_windows(pieces.reshape(seen.shape), stride,
                            np.zeros_like(xs[0]))], np.empty(0)

    return np.take_along_axis(flat, winner, axis=-1)[..., 0], pull


def avgpool2d(options, _parameters, xs):
    """Mean of every window."""
    size = pair(options["size"])
    stride = pair(options.get("stride", options["size"]))
    seen = windows(xs[0], size, stride)

    def pull(e):
        pieces = np.broadcast_to((e / math.prod(size))[..., None, None], seen.shape)
        return [add_windows(pieces, stride, np.zeros_like(xs[0]))], np.empty(0)

    return seen.mean(axis=(4, 5)), pull


def flatten(_options, _parameters, xs):
    """(B, C, H, W) -> (B, C H W)."""
    return (xs[0].reshape(len(xs[0]), -1),
            lambda e: ([e.reshape(xs[0].shape)], np.empty(0)))


def add(_options, _parameters, xs):
    """Sum of the parents, which have one shape."""
    return sum(xs), lambda e: ([e] * len(xs), np.empty(0))


def concat(_options, _parameters, xs):
    """Channels (or units) of the parents one after another."""
    cuts = np.cumsum([x.shape[1] for x in xs])[:-1]
    return (np.concatenate(xs, axis=1),
            lambda e: (np.split(e, cuts, axis=1), np.empty(0)))


OPERATORS = {"conv2d": conv2d, "linear": linear, "relu": relu, "tanh": tanh,
             "sigmoid": sigmoid, "maxpool2d": maxpool2d, "avgpool2d": avgpool2d,
             "flatten": flatten, "add": add, "concat": concat}


# Layers and networks ---------------------------------------------------------------------

def operators_of(layer):
    """[(name, options)] of a layer's map; `{relu: {}}` and `relu` mean the same."""
    chain = []
    for item in layer["map"]:
        name, options = (item, None) if isinstance(item, str) else next(iter(item.items()))
        chain.append((name, options or {}))
    return chain


def count(name, options, shape):
    """(weights, biases, fan in) of an operator whose input has `shape`, batch excluded."""
    if name == "linear":
        units, fan_in = int(options["units"]), shape[0]
    elif name == "conv2d":
        units, fan_in = int(options["channels"]), shape[0] * math.prod(pair(options["kernel"]))
    else:
        return 0, 0, 1
    return units * fan_in, units, fan_in


def apply_map(layer, parameters, xs):
    """A layer's map at the values xs of its parents: (mu, pull), as for one operator."""
    pulls, offset = [], 0
    for name, options in operators_of(layer):
        weights, biases, _ = count(name, options, xs[0].shape[1:])
        own = parameters[offset:offset + weights + biases]
        if len(own) < weights + biases:
            raise ValueError(f"layer {layer['name']}: too few parameters for {name}")
        offset += len(own)
        y, pull = OPERATORS[name](options, own, xs)
        pulls.append(pull)
        xs = [y]
    if offset < len(parameters):
        raise ValueError(f"layer {layer['name']}: {len(parameters) - offset} parameters "
                         "too many")

    def pull_all(e):
        errors, gradients = [e], []
        for pull in reversed(pulls):
            errors, gradient = pull(errors[0])
            gradients.insert(0, gradient)
        return errors, np.concatenate(gradients)

    return xs[0], pull_all


def parents_of(settings):
    """Name of each layer -> names of its parents, in topological order; the last layer of
    the order is the output."""
    wanted, before = {}, INPUT
    for layer in settings["network"]["layers"]:
        wanted[layer["name"]] = list(layer.get("inputs") or [before])
        before = layer["name"]
    order = {}
    while len(order) < len(wanted):
        ready = [name for name in wanted if name not in order
                 and all(parent == INPUT or parent in order for parent in wanted[name])]
        if not ready:
            raise ValueError("the layers form a cycle, or a parent is unknown")
        order[ready[0]] = wanted[ready[0]]
    used = {parent for parents in order.values() for parent in parents}
    outputs = [name for name in order if name not in used]
    if len(outputs) != 1:
        raise ValueError(f"one output layer is expected, found {outputs}")
    order[outputs[0]] = order.pop(outputs[0])
    return order


def layers_of(settings):
    """Name of each layer -> its entry in the settings."""
    return {layer["name"]: layer for layer in settings["network"]["layers"]}


def shaped(settings, images):
    """Images as float64 (B,) + the network's input shape."""
    shape = [int(extent) for extent in settings["network"]["input"]]
    return np.asarray(images, dtype=np.float64).reshape([len(images)] + shape)


def predict(settings, parameters, values, name):
    """(mu, pull) of one layer at `values`, a dict that also holds the input."""
    xs = [values[parent] for parent in parents_of(settings)[name]]
    return apply_map(layers_of(settings)[name], parameters[name], xs)


def feedforward(settings, parameters, images):
    """Values of all layers and of the input, and the pulls of all maps at them."""
    values, pulls = {INPUT: shaped(settings, images)}, {}
    for name in parents_of(settings):
        values[name], pulls[name] = predict(settings, parameters, values, name)
    return values, pulls


def random_parameters(settings, seed=0):
    """Parameters uniform in +-1/sqrt(fan in), weights and biases alike."""
    rng = np.random.default_rng(seed)
    values, parameters = {INPUT: shaped(settings, np.zeros(
        [1] + [int(extent) for extent in settings["network"]["input"]]))}, {}
    for name, parents in parents_of(settings).items():
        layer, xs, parts = layers_of(settings)[name], [values[p] for p in parents], []
        for kind, options in operators_of(layer):
            weights, biases, fan_in = count(kind, options, xs[0].shape[1:])
            parts.append(rng.uniform(-1, 1, weights + biases) / math.sqrt(fan_in))
            xs = [OPERATORS[kind](options, parts[-1], xs)[0]]
        parameters[name], values[name] = np.concatenate(parts), xs[0]
    return parameters


# Losses ------------------------------------------------------------------------------------

def loss_of(kind, outputs, labels):
    """(loss, its gradient) at outputs (B, units): a mean over the batch, for mse over the
    outputs too."""
    batch, units = outputs.shape
    target = np.eye(units)[np.asarray(labels, dtype=int)]
    if kind == "mse":
        return np.mean((outputs - target) ** 2), 2 * (outputs - target) / outputs.size
    if kind == "cross_entropy":
        shifted = outputs - outputs.max(axis=1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return -np.sum(target * logs) / batch, (np.exp(logs) - target) / batch
    raise ValueError(f"unknown loss {kind}")


def loss(settings, parameters, images, labels):
    """Loss of the feedforward pass."""
    values, _ = feedforward(settings, parameters, images)
    outputs = values[list(parents_of(settings))[-1]]
    return loss_of(settings["network"]["loss"], outputs, labels)[0]


# Rules -------------------------------------------------------------------------------------

def pull_down(parents, pulls, errors):
    """(feedback, gradients): for each layer the sum over its children of J^T e, and the
    gradient of its own parameters."""
    feedback, gradients = {name: 0.0 for name in parents}, {}
    for name in parents:
        down, gradients[name] = pulls[name](errors[name])
        for parent, e in zip(parents[name], down):
            if parent != INPUT:
                feedback[parent] = feedback[parent] + e
    return feedback, gradients


def backprop(settings, parameters, images, labels):
    """Exact gradients (Algorithm 1), and the errors."""
    parents = parents_of(settings)
    values, pulls = feedforward(settings, parameters, images)
    output = list(parents)[-1]
    errors = {name: 0.0 for name in parents}
    errors[output] = loss_of(settings["network"]["loss"], values[output], labels)[1]
    gradients = {}
    for name in reversed(list(parents)):
        down, gradients[name] = pulls[name](errors[name])
        for parent, e in zip(parents[name], down):
            if parent != INPUT:
                errors[parent] = errors[parent] + e
    return gradients, errors


def strict(settings, parameters, images, labels, eta, n, presynaptic):
    """Algorithm 2: n sweeps v <- v + eta (eps - feedback), all layers at once, with
    eps = f(v of the parents) - v, at the output dLoss/df.

    The update takes the errors of the last sweep, which are those before its move of v,
    and the parents' values after it (presynaptic "value") or feedforward.
    """
    parents = parents_of(settings)
    output = list(parents)[-1]
    start, _ = feedforward(settings, parameters, images)
    values = dict(start)
    for _ in range(n):
        mu, pulls, errors = {}, {}, {}
        for name in parents:
            mu[name], pulls[name] = predict(settings, parameters, values, name)
            errors[name] = mu[name] - values[name]
        errors[output] = loss_of(settings["network"]["loss"], mu[output], labels)[1]
        feedback, _ = pull_down(parents, pulls, errors)
        for name in parents:
            if name != output:
                values[name] = values[name] + eta * (errors[name] - feedback[name])
    seen = values if presynaptic == "value" else start
    return {name: predict(settings, parameters, seen, name)[1](errors[name])[1]
            for name in parents}, errors


def fixed_prediction(settings, parameters, images, labels, eta, n):
    """Algorithm 3: as strict, with mu and the Jacobians frozen at the feedforward values.
    The state is u = v - mu, so eps = -u."""
    parents = parents_of(settings)
    values, pulls = feedforward(settings, parameters, images)
    output = list(parents)[-1]
    moved = {name: np.zeros_like(values[name]) for name in parents}
    top = loss_of(settings["network"]["loss"], values[output], labels)[1]
    for _ in range(n):
        errors = {name: -u for name, u in moved.items()}
        errors[output] = top
        feedback, gradients = pull_down(parents, pulls, errors)
        for name in parents:
            if name != output:
                moved[name] = moved[name] + eta * (errors[name] - feedback[name])
    return gradients, errors


def updates(*arguments, **named):
    """The update of every layer's parameters: `inferred` without the errors."""
    return inferred(*arguments, **named)[0]


def error_norms(*arguments, **named):
    """Euclidean norm of every layer's error: layer -> (B)."""
    errors = inferred(*arguments, **named)[1]
    return {name: np.sqrt((e.reshape(len(e), -1) ** 2).sum(axis=1)) for name, e in errors.items()}


def inferred(settings, parameters, images, labels, rule, eta=None, n=None,
             presynaptic="value"):
    """What `rule` makes of one batch: the update of every layer's parameters, and every
    layer's errors, those that the update was made of.

    settings      as a dict (read_settings, or yaml.safe_load of a run's settings)
    parameters    layer -> 1-D array
    images        (B, C, H, W) in [0, 1]
    labels        (B)
    rule          "backprop", "strict" or "fixed-prediction"
    eta, n        step size and number of sweeps, n at least 1; not used by backprop
    presynaptic   "value" or "feedforward"; used by strict only
    Returns layer -> 1-D array, layer -> (B, shape).
    """
    parameters = {name: np.asarray(p, dtype=np.float64) for name, p in parameters.items()}
    if rule == "backprop":
        return backprop(settings, parameters, images, labels)
    if n < 1:
        raise ValueError(f"n = {n}: at least 1 is expected")
    if presynaptic not in ("value", "feedforward"):
        raise ValueError(f"unknown presynaptic {presynaptic}")
    if rule == "strict":
        return strict(settings, parameters, images, labels, eta, n, presynaptic)
    if rule == "fixed-prediction":
        return fixed_prediction(settings, parameters, images, labels, eta, n)
    raise ValueError(f"unknown rule {rule}")


def difference(update, exact):
    """(relative error, angle in degrees) between two 1-D updates, exact not zero. An update
    of zero stands at 90 degrees. Half angles, because acos loses small ones."""
    norm = np.linalg.norm
    error = norm(update - exact) / norm(exact)
    if not np.any(update):
        return error, 90.0
    a, b = update / norm(update), exact / norm(exact)
    return error, math.degrees(2 * math.atan2(norm(a - b), norm(a + b)))


# Files -------------------------------------------------------------------------------------

def read_settings(text):
    """The settings of a YAML text. Scalars stay text, so that "0x1" (rows x columns) is not
    taken for a hexadecimal number; the functions above convert what they use."""
    return yaml.load(text, Loader=yaml.BaseLoader)


def read_idx(path):
    """The array of an IDX file of bytes, plain or gzipped; uint8 with the file's shape."""
    with open(path, "rb") as file:
        content = file.read()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"{path}: not an IDX file of bytes")
    rank = content[3]
    shape = np.frombuffer(content, ">u4", rank, 4).astype(int)
    data = np.frombuffer(content, np.uint8, offset=4 + 4 * rank)
    if data.size != math.prod(shape):
        raise ValueError(f"{path}: {data.size} bytes of data, expected {math.prod(shape)}")
    return data.reshape(shape)


def read_images(path, index):
    """Images number `index` (B) of an IDX file as (B, 1, rows, columns) in [0, 1]."""
    return read_idx(path)[np.asarray(index)][:, None] / 255.0
