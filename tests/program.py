"""Run the program as a user does: what the pytest files of this folder share.

The binaries come from the environment: LAMINA (float) and LAMINA_DOUBLE, and LAMINA_SANITIZED=1
when they were built with sanitizers (then everything runs on one rank). LAMINA_MNIST names a
folder with MNIST; tests that need it are skipped without."""
import os
import pathlib
import struct
import subprocess
import time

import h5py
import numpy as np
import pytest

SOURCE = pathlib.Path(__file__).resolve().parent.parent
FLOAT = os.environ.get("LAMINA", str(SOURCE / "build/lamina"))
DOUBLE = os.environ.get("LAMINA_DOUBLE", str(SOURCE / "build/lamina_double"))
SANITIZED = bool(os.environ.get("LAMINA_SANITIZED"))
FIGURES = SOURCE / "experiments/rosenbaum2022"
MNIST = pathlib.Path(os.environ.get("LAMINA_MNIST", SOURCE / ".data/mnist"))

needs_mnist = pytest.mark.skipif(not MNIST.is_dir(), reason="no MNIST: experiments/get-data mnist")
FAULT = os.environ.get("LAMINA_FAULT", str(SOURCE / "build/tests/libfault.so"))
needs_fault = pytest.mark.skipif(SANITIZED, reason="sanitizers want to be loaded first")
one_rank_only = pytest.mark.skipif(SANITIZED, reason="sanitizers run on one rank")
slow = pytest.mark.skipif(SANITIZED, reason="too slow with sanitizers")

ENVIRONMENT = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "OMPI_MCA_rmaps_base_oversubscribe": "1",
               "OMPI_MCA_hwloc_base_binding_policy": "none", "OMPI_MCA_pml": "ob1",
               "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive",
               "ASAN_OPTIONS": "detect_leaks=0"}

# One process without mpirun: no daemon of Open MPI beside it, as it would start otherwise, nor the
# files of that. All three are needed where several programs start at the same time.
ALONE = {"OMPI_MCA_ess_singleton_isolated": "1", "OMPI_MCA_orte_create_session_dirs": "0",
         "OMPI_MCA_btl": "self"}

CONV = """
data: {{format: idx, path: {data}}}
network:
  input: [1, 12, 12]
  layers:
    - {{name: V1, map: [{{conv2d: {{channels: 4, kernel: 3, padding: 1}}}}, {{relu: {{}}}}, {{maxpool2d: {{size: 2}}}}]}}
    - {{name: V2, map: [{{conv2d: {{channels: 3, kernel: 3x2}}}}, {{tanh: {{}}}}, {{flatten: {{}}}}]}}
    - {{name: IT, map: [{{linear: {{units: 14}}}}, {{relu: {{}}}}]}}
    - {{name: out, map: [{{linear: {{units: 10}}}}]}}
  loss: mse
inference: {{rule: strict, step: 0.1, steps: 8}}
training: {{batch: 40, epochs: 2, seed: 3, chunk: 16}}
record: {{gradients: true, test_every: 1, errors: {{split: test, inputs: 50, every: 2}}}}
checkpoint: {{every: 2}}
"""

SKIP = """
data: {{format: idx, path: {data}}}
network:
  input: [1, 12, 12]
  layers:
    - {{name: a, map: [{{conv2d: {{channels: 3, kernel: 5, stride: 2}}}}, {{sigmoid: {{}}}}]}}
    - {{name: b, map: [{{avgpool2d: {{size: 2}}}}, {{flatten: {{}}}}, {{linear: {{units: 9}}}}, {{tanh: {{}}}}]}}
    - {{name: c, inputs: [a], map: [{{flatten: {{}}}}, {{linear: {{units: 9}}}}]}}
    - {{name: d, inputs: [b, c], map: [{{add: {{}}}}, {{linear: {{units: 7}}}}, {{relu: {{}}}}]}}
    - {{name: e, inputs: [d, b, c], map: [{{concat: {{}}}}, {{linear: {{units: 10}}}}]}}
  loss: cross_entropy
inference: {{rule: strict, step: 0.2, steps: 6}}
training: {{batch: 40, epochs: 2, seed: 4, chunk: 16}}
"""

# A run of LONG_STEPS training steps: long enough to be caught under way.
LONG_RUN = ["--set", "training.epochs=40", "--set", "checkpoint.every=8", "--set",
            "checkpoint.keep=2", "--set", "record.errors.every=50", "--threads", "1", "--quiet"]
LONG_STEPS = 200


def write_idx(path, array):
    """An IDX file of bytes from an array of whole numbers 0 .. 255."""
    array = np.asarray(array, np.uint8)
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    pathlib.Path(path).write_bytes(header + array.tobytes())


def write_dataset(folder, n_train=200, n_test=60, size=12, seed=0):
    """A small data set: noise around one pattern per class. Returns its folder."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    patterns = rng.integers(0, 200, (10, size, size))
    for name, n in (("train", n_train), ("t10k", n_test)):
        labels = rng.integers(0, 10, n)
        images = patterns[labels] + rng.integers(0, 56, (n, size, size))
        write_idx(folder / f"{name}-images-idx3-ubyte", images)
        write_idx(folder / f"{name}-labels-idx1-ubyte", labels)
    return folder


def write_cifar10(folder, per_file=6, seed=0):
    """A small data set in the binary format of CIFAR-10: noise. Returns its folder."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for name in [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]:
        records = rng.integers(0, 256, (per_file, 1 + 3 * 32 * 32), np.uint8)
        records[:, 0] %= 10
        (folder / name).write_bytes(records.tobytes())
    return folder


def write_settings(folder, template=CONV, **data):
    """A settings file over a small data set in `folder`. Returns its path."""
    folder = pathlib.Path(folder)
    path = folder / "settings.yaml"
    path.write_text(template.format(data=write_dataset(folder / "data", **data)))
    return path


def command_line(arguments, ranks, binary=FLOAT):
    """lamina with arguments, under mpirun if `ranks` is given."""
    command = [binary, *map(str, arguments)]
    return ["mpirun", "-n", str(ranks), *command] if ranks and not SANITIZED else command


def start(*arguments, ranks=None, environment=None):
    """Start lamina, its ranks in some environment, and return its Popen; what it says is kept."""
    command, environment = command_line(arguments, ranks), environment or {}
    if command[0] == "mpirun":
        command[3:3] = [word for name, value in environment.items() for word in ("-x", f"{name}={value}")]
        environment = {}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**ENVIRONMENT, **environment})


def children(pid):
    """Process ids of the children of a process."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


def wait_for(process, folder, pattern):
    """Wait until a file is there, or the process has ended."""
    while process.poll() is None and not list(folder.glob(pattern)):
        time.sleep(0.002)


def ranks_of(process):
    """Process ids of the ranks of a job."""
    return children(process.pid) if process.args[0] == "mpirun" else [process.pid]


def run(*arguments, ranks=None, binary=FLOAT, expect=0, timeout=300):
    """Run lamina (under mpirun if `ranks` is given); asserts the exit code."""
    command = command_line(arguments, ranks, binary)
    environment = ENVIRONMENT if command[0] == "mpirun" else {**ENVIRONMENT, **ALONE}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout)
    assert done.returncode == expect, f"{command}\nexit {done.returncode}\n{done.stderr[-3000:]}"
    return done


def checkpoint(path, step):
    """Path of the checkpoint of a run file."""
    path = pathlib.Path(path)
    return path.with_name(f"{path.stem}.checkpoint-{step:06d}.h5")


def arrays(path):
    """All datasets of an HDF5 file, name -> array."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.__setitem__(name, item[()])
                        if isinstance(item, h5py.Dataset) else None)
    return found


def bits(array):
    """What two equal arrays have in common; h5py gives texts as objects."""
    return array.tolist() if array.dtype == object else array.tobytes()


def same_bits(a, b, without=()):
    """Names of the datasets of two files that do not have the same bits."""
    a, b = arrays(a), arrays(b)
    assert a.keys() == b.keys()
    return [name for name in a if not name.startswith(tuple(without)) and
            (a[name].shape != b[name].shape or bits(a[name]) != bits(b[name]))]


def binomial_at_most(n, p, k):
    """P(Bin(n, p) <= k)."""
    from math import comb
    return sum(comb(n, i) * p ** i * (1 - p) ** (n - i) for i in range(min(k, n) + 1))
