#!/usr/bin/env python3
"""A peer of `lamina bench`: Torch2PC (github.com/RobertRosenbaum/Torch2PC), from a checkout named
by the argument; backprop is loss.backward() of PyTorch. Speaks the protocol of peer.py.

usage: torch2pc_peer.py DIR"""
import contextlib
import importlib
import io
import os
import subprocess
import sys

import peer
import torch


def load(folder):
    """The module of a checkout, which says something when it is imported, and its revision."""
    if not os.path.isfile(os.path.join(folder, "TorchSeq2PC.py")):
        print(f"error there is no TorchSeq2PC.py in {folder}: a checkout of Torch2PC is expected",
              flush=True)
        sys.exit(1)
    sys.path.insert(0, folder)
    with contextlib.redirect_stdout(io.StringIO()):
        module = importlib.import_module("TorchSeq2PC")
    git = subprocess.run(["git", "-C", folder, "rev-parse", "--short", "HEAD"], capture_output=True,
                         text=True)
    return module, git.stdout.strip() or "of unknown revision"


def make_gradients(torch2pc):
    names = {"strict": "Strict", "fixed-prediction": "FixedPred"}

    def gradients(training, rule, step, steps):
        if rule == "backprop":
            training.loss(training.network(training.x), training.label).backward()
        else:
            torch2pc.PCInfer(training.network, training.loss, training.x, training.label,
                             names[rule], step, steps)
    return gradients


if __name__ == "__main__":
    TORCH2PC, REVISION = load(sys.argv[1])
    peer.serve(make_gradients(TORCH2PC), f"Torch2PC {REVISION} on PyTorch {torch.__version__}, "
                                         f"{torch.get_num_threads()} threads")
