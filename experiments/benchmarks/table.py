#!/usr/bin/env python3
"""Make the table of benchmarks of the README, in Markdown, from runs of `lamina bench`.

usage: experiments/benchmarks/table.py [--torch] [--torch2pc DIR] [--rounds N] [--repeats N] [-o TABLE.md]

Two placements are compared by running one and the other in turn, `rounds` times; of the rounds'
ratios the median is told. Everything else is compared within each repeat by lamina itself.
Wants mpirun, two processors and nobody else at work; PyTorch, Torch2PC and oneDNN as far as they
are there."""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FIGURES = HERE.parent / "rosenbaum2022"
MNIST, CIFAR, MLP = FIGURES / "fig1.yaml", FIGURES / "fig5-cifar.yaml", HERE / "mlp8.yaml"


def openblas():
    """Which kernels OpenBLAS shall take if nobody says so: it does not know the newest
    processors, and takes some without AVX for them, for which PyTorch and sgemm would pay."""
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    except OSError:
        flags = []
    known = [name for flag, name in (("avx512f", "SkylakeX"), ("avx2", "Haswell")) if flag in flags]
    return {"OPENBLAS_CORETYPE": known[0]} if known else {}


ENVIRONMENT = {**openblas(), **os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
LABELS = {"strict": "strict", "fixed-prediction": "fixed prediction",
          "exact": "fixed prediction, exact", "backprop": "backprop"}


def bench(arguments, settings, *options, ranks=None):
    """The rows of one run, by name."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "bench.json")
        command = [arguments.lamina, "bench", str(settings), "--synthetic", "--quiet", "-o", out,
                   "--repeats", str(arguments.repeats), *options]
        if ranks:
            command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), *command]
        print(" ".join(command), file=sys.stderr, flush=True)
        try:
            done = subprocess.run(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
        except OSError as error:
            sys.exit(f"{command[0]}: {error.strerror}")
        if done.returncode:
            sys.exit(done.stderr.strip() or f"{command[0]} ended with {done.returncode}")
        with open(out) as file:
            return {row["name"]: row for row in json.load(file)["rows"]}


def method(row):
    """Of a rule's row: its name, step size and steps."""
    name = LABELS[row["name"]]
    return name if row["name"] == "backprop" else (
        f"{name}, η {row['step_size']:g}, n {row['inference_steps']:g}")


def peer_lines(rows, setting):
    """Milliseconds, against PyTorch and Torch2PC, where they were measured, and against the floor."""
    for row in rows.values():
        peers = [f"{row[column]['median']:.1f} × {peer}"
                 for column, peer in (("torch2pc_ratio", "Torch2PC"), ("torch_ratio", "PyTorch"))
                 if column in row]
        yield setting, method(row), ", ".join([
            f"{row['milliseconds']['median']:.1f} ms", *peers,
            f"{row['fraction']['median']:.2f} of the floor's speed"]) + apart([row])


def apart(rows):
    """How far apart the processors were, where that was measured."""
    distances = [row["distance"]["median"] for row in rows if "distance" in row]
    return f"; processors {statistics.median(distances):.0f} ns apart" if distances else ""


def speedup(slow, fast, row="strict"):
    """Median over rounds of how many times as fast the second of each pair is."""
    return statistics.median(a[row]["milliseconds"]["median"] / b[row]["milliseconds"]["median"]
                             for a, b in zip(slow, fast))


def placement_lines(arguments):
    replicas = ["--set", "placement={replicas: 2}"]
    for name, settings, ranks, more in (("MNIST net", MNIST, 2, []), ("MNIST net, replicas", MNIST, 2, replicas),
                                        ("MLP 8 × 1024", MLP, 2, []), ("MLP 8 × 1024", MLP, 8, [])):
        options = ["--rules", "strict", "-t", "1"]
        slow, fast = [], []
        for _ in range(arguments.rounds):
            slow.append(bench(arguments, settings, *options, ranks=1))
            fast.append(bench(arguments, settings, *options, *more, ranks=ranks))
        yield (f"{name}, {ranks} ranks", method(slow[0]["strict"]),
               f"{speedup(slow, fast):.2f} × one rank, one thread"
               + apart(rows["strict"] for rows in fast))


def operator_lines(rows):
    """Of the convolutions but the first."""
    for name, row in rows.items():
        if "conv2d" not in name or name.startswith("V1.") or name.endswith("difference"):
            continue
        others = [f"{row[column]['median']:.2f} × {other}"
                  for column, other in (("gemm_ratio", "im2col + sgemm"), ("dnnl_ratio", "oneDNN"))
                  if column in row]
        yield "CIFAR-10 net, one thread", name, ", ".join(others)


def all_lines(arguments):
    torch2pc = ["--torch2pc", arguments.torch2pc] if arguments.torch2pc else []
    torch = ["--peer", "torch"] if arguments.torch else []
    yield from peer_lines(bench(arguments, MNIST, "-t", "2", *torch, *torch2pc), "MNIST net, 2 threads")
    yield from peer_lines(bench(arguments, MNIST, "-t", "1", "--rules", "strict", *torch2pc, ranks=5),
                          "MNIST net, 5 ranks")
    yield from placement_lines(arguments)
    yield from operator_lines(bench(arguments, CIFAR, "--operators"))
    yield from peer_lines(bench(arguments, CIFAR, "-t", "2", "--rules", "fixed-prediction"),
                          "CIFAR-10 net, 2 threads")


def main():
    parser = argparse.ArgumentParser(description="Make the table of benchmarks in Markdown.")
    parser.add_argument("--lamina", default=str(ROOT / "build/lamina"), help="the program")
    parser.add_argument("--torch", action="store_true", help="compare with PyTorch")
    parser.add_argument("--torch2pc", metavar="DIR", help="compare with Torch2PC, checked out in DIR")
    parser.add_argument("--rounds", type=int, default=5, help="turns of two placements")
    parser.add_argument("--repeats", type=int, default=11, help="repeats within a run")
    parser.add_argument("-o", "--output", help="the file to write (default: standard output)")
    arguments = parser.parse_args()
    text = "| network | what | speed |\n|---|---|---|\n" + "".join(
        f"| {' | '.join(line)} |\n" for line in all_lines(arguments))
    if arguments.output:
        pathlib.Path(arguments.output).write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
