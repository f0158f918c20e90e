#!/usr/bin/env python3
"""A peer of `lamina bench`: Algorithms 1, 2 and 3 of Rosenbaum (2022) in plain PyTorch, each layer
a module, J^T eps by autograd. The graph of a layer's map is made once per step under strict
predictive coding, once per batch under fixed prediction. Speaks the protocol of peer.py."""
import peer
import torch


def run_layers(network, x):
    """The values of all layers, each from a leaf that holds those below. Returns the leaves and
    the values."""
    leaves, values = [], []
    for layer in network:
        leaves.append(x.detach().requires_grad_(len(leaves) > 0))
        values.append(layer(leaves[-1]))
        x = values[-1]
    return leaves, values


def output_error(loss, y, label):
    y = y.detach().requires_grad_()
    return torch.autograd.grad(loss(y, label), y)[0]


def move(values, errors, feedback, eta):
    """v += eta (eps - J^T eps of the layer above), of the hidden layers."""
    for l, down in enumerate(feedback):
        values[l] = values[l] + eta * (errors[l] - down)


def pull(leaves, predictions, errors, keep):
    """J^T eps for every layer but the input."""
    return [torch.autograd.grad(predictions[l], leaves[l], errors[l], retain_graph=keep)[0]
            for l in range(1, len(leaves))]


def strict_errors(network, loss, x, values, label, eta, steps):
    """The errors of the last step; `values` become those after it. Nothing below the first layer
    moves, so its prediction is made once."""
    first = values[0]
    for _ in range(steps):
        leaves, predictions = [None], [first]
        for l in range(1, len(network)):
            leaves.append(values[l - 1].detach().requires_grad_())
            predictions.append(network[l](leaves[l]))
        errors = [mu.detach() - v for mu, v in zip(predictions[:-1], values)]
        errors.append(output_error(loss, predictions[-1], label))
        move(values, errors, pull(leaves, predictions, errors, False), eta)
    return errors


def fixed_errors(leaves, predictions, error, eta, steps):
    hat = [v.detach() for v in predictions[:-1]]
    values = list(hat)
    for _ in range(steps):
        errors = [h - v for h, v in zip(hat, values)] + [error]
        move(values, errors, pull(leaves, predictions, errors, True), eta)
    return errors


def set_gradients(network, predictions, errors):
    for layer, mu, error in zip(network, predictions, errors):
        parameters = list(layer.parameters())
        if parameters:
            for p, g in zip(parameters, torch.autograd.grad(mu, parameters, error)):
                p.grad = g


def gradients(training, rule, step, steps):
    network, x, label = training.network, training.x, training.label
    if rule == "backprop":
        training.loss(network(x), label).backward()
        return
    leaves, predictions = run_layers(network, x)
    if rule == "fixed-prediction":
        error = output_error(training.loss, predictions[-1], label)
        errors = fixed_errors(leaves, predictions, error, step, steps)
    else:
        values = [v.detach() for v in predictions[:-1]]
        errors = strict_errors(network, training.loss, x, values, label, step, steps)
        if training.settings["inference"]["presynaptic"] == "value":
            predictions = [layer(v) for layer, v in zip(network, [x, *values])]
    set_gradients(network, predictions, errors)


if __name__ == "__main__":
    peer.serve(gradients, f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads")
