"""The table of benchmarks: what it takes from the files of lamina bench, and its settings."""
import importlib.util

import pytest
from program import FIGURES, SOURCE, run

FOLDER = SOURCE / "experiments/benchmarks"


@pytest.fixture(scope="module")
def table():
    spec = importlib.util.spec_from_file_location("table", FOLDER / "table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(name, **medians):
    return {"name": name, "step_size": 0.1, "inference_steps": 20,
            **{column: {"median": value} for column, value in medians.items()}}


def test_ratios_are_taken_round_by_round(table):
    slow = [{"strict": row("strict", milliseconds=x)} for x in (10, 40, 9)]
    fast = [{"strict": row("strict", milliseconds=x)} for x in (5, 10, 6)]
    assert table.speedup(slow, fast) == 2


def test_lines_of_rules(table):
    rows = {"strict": row("strict", milliseconds=20.04, torch2pc_ratio=55.04, torch_ratio=9, fraction=0.614),
            "backprop": row("backprop", milliseconds=4, torch_ratio=17.2, fraction=0.5)}
    assert list(table.peer_lines(rows, "net")) == [
        ("net", "strict, η 0.1, n 20", "20.0 ms, 55.0 × Torch2PC, 9.0 × PyTorch, 0.61 of the floor's speed"),
        ("net", "backprop", "4.0 ms, 17.2 × PyTorch, 0.50 of the floor's speed")]


def test_distances_are_told(table):
    near, far = row("strict", milliseconds=4, fraction=0.5, distance=99.6), row("strict", distance=480)
    (_, _, words), = table.peer_lines({"strict": near}, "net")
    assert words == "4.0 ms, 0.50 of the floor's speed; processors 100 ns apart"
    assert table.apart([far, near, far]) == "; processors 480 ns apart"
    assert table.apart([row("strict")]) == ""


def test_lines_of_operators(table):
    rows = {name: row(name, gemm_ratio=1.5, dnnl_ratio=0.9) for name in
            ("V1.1 conv2d forward", "V2.1 conv2d forward", "V2.1 conv2d difference", "IT.1 linear forward")}
    assert [line[1:] for line in table.operator_lines(rows)] == [
        ("V2.1 conv2d forward", "1.50 × im2col + sgemm, 0.90 × oneDNN")]


@pytest.mark.parametrize("layers", [8, 64])
def test_settings(layers):
    done = run("describe", FOLDER / f"mlp{layers}.yaml", "--ranks", "8")
    assert f"{layers + 1} layers" in done.stdout


def test_wide_chunks_are_advised_for_large_weights():
    def advises(settings, *choice):
        return "training.chunk=64 may be faster" in run("describe", settings, *choice).stdout
    narrow = ["--set", "training.chunk=32"]
    assert advises(FOLDER / "mlp8.yaml", *narrow)
    assert not advises(FOLDER / "mlp8.yaml")
    assert not advises(FOLDER / "mlp8.yaml", *narrow, "--set", "training.batch=64")
    assert not advises(FIGURES / "fig1.yaml")
    assert not advises(FIGURES / "fig5-cifar.yaml")  # most of its weights are used many times per input


@pytest.mark.parametrize("flags, cores", [
    ("fpu sse2 avx avx2 avx512f", ["SkylakeX"]), ("fpu avx2", ["Haswell"]), ("fpu sse2", [])])
def test_openblas_takes_what_the_processor_can_do(table, monkeypatch, flags, cores):
    monkeypatch.setattr(table.pathlib.Path, "read_text", lambda path: f"processor : 0\nflags : {flags}\n")
    assert list(table.openblas().values()) == cores
