"""What the peers of `lamina bench` share. A peer is a program that trains the network of the
settings by other means and says how long that took:

    standard input   the settings (YAML, all defaults filled in), ended by a line `...`; then
                     requests `RULE STEP STEPS K`: train K steps from the initial parameters
    standard output  `ready WHO`, or `error WHY` and the end; then for each request the seconds

Processors and number of threads are set by whoever starts it (affinity, OMP_NUM_THREADS)."""
import os
import sys
import time

import yaml

try:
    import torch
    from torch import nn
except ImportError as missing:
    print("error", missing, flush=True)
    sys.exit(1)


def pair(text):
    """"3" or "3x5" as (rows, columns)."""
    sizes = [int(part) for part in text.split("x")]
    return (sizes * 2)[:2]


def make_module(kind, options, shape):
    """One operator for inputs of a shape."""
    if kind == "conv2d":
        return nn.Conv2d(shape[0], int(options["channels"]), pair(options["kernel"]),
                         pair(options.get("stride", "1")), pair(options.get("padding", "0")))
    if kind in ("maxpool2d", "avgpool2d"):
        pool = nn.MaxPool2d if kind == "maxpool2d" else nn.AvgPool2d
        return pool(pair(options["size"]), pair(options.get("stride", options["size"])))
    if kind == "linear":
        return nn.Linear(shape[0], int(options["units"]))
    plain = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "flatten": nn.Flatten}
    if kind in plain:
        return plain[kind]()
    raise ValueError(f"no operator '{kind}'")


def make_network(settings):
    """A Sequential of one Sequential per layer, whose parameters PyTorch draws as Lamina does."""
    shape, layers = [int(extent) for extent in settings["network"]["input"]], []
    for layer in settings["network"]["layers"]:
        if layer.get("inputs", []) not in ([], [previous] if layers else ["input"]):
            raise ValueError(f"layer {layer['name']} does not follow the one before: only a chain "
                             "of layers is known")
        previous = layer["name"]
        modules = []
        for operator in layer["map"]:
            (kind, options), = operator.items()
            modules.append(make_module(kind, options or {}, shape))
            with torch.no_grad():
                shape = list(modules[-1](torch.zeros(1, *shape)).shape[1:])
        layers.append(nn.Sequential(*modules))
    return nn.Sequential(*layers)


def make_loss(settings):
    """Of the outputs and the labels, a mean over the batch."""
    if settings["network"]["loss"] == "cross_entropy":
        return nn.functional.cross_entropy
    return lambda y, label: nn.functional.mse_loss(
        y, nn.functional.one_hot(label, y.shape[1]).to(y.dtype))


def make_optimizer(settings, network):
    training = settings["training"]
    rate, momentum = float(training["rate"]), float(training["momentum"])
    if training["optimizer"] == "adam":
        return torch.optim.Adam(network.parameters(), lr=rate)
    return torch.optim.SGD(network.parameters(), lr=rate, momentum=momentum)


class Training:
    """A network in training on one made-up batch. `gradients(training, rule, step, steps)` sets
    the gradients of its parameters by the settings' loss."""

    def __init__(self, settings, gradients):
        torch.manual_seed(int(settings["training"]["seed"]))
        self.settings, self.gradients = settings, gradients
        self.network, self.loss = make_network(settings), make_loss(settings)
        self.initial = {name: value.clone() for name, value in self.network.state_dict().items()}
        n = int(settings["training"]["batch"])
        self.x = torch.rand(n, *[int(extent) for extent in settings["network"]["input"]])
        with torch.no_grad():
            classes = self.network(self.x[:1]).shape[1]
        self.label = torch.randint(classes, (n,))

    def run(self, rule, step, steps, k):
        """Seconds of k training steps from the initial parameters."""
        self.network.load_state_dict(self.initial)
        optimizer = make_optimizer(self.settings, self.network)
        start = time.perf_counter()
        for _ in range(k):
            optimizer.zero_grad()
            self.gradients(self, rule, step, steps)
            optimizer.step()
        return time.perf_counter() - start


def read_settings(stream):
    """Scalars stay texts: "0x1" are rows x columns, no hexadecimal number."""
    lines = []
    for line in stream:
        if line == "...\n":
            break
        lines.append(line)
    return yaml.load("".join(lines), Loader=yaml.BaseLoader)


def serve(gradients, who):
    """Answer requests until the input ends."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.set_flush_denormal(True)
    try:
        training = Training(read_settings(sys.stdin), gradients)
    except ValueError as error:
        print("error", error, flush=True)
        sys.exit(1)
    print("ready", who, flush=True)
    for line in sys.stdin:
        rule, step, steps, k = line.split()
        print(training.run(rule, float(step), int(steps), int(k)), flush=True)
