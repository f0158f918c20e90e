"""lamina bench: what it measures is there, finite and in order; nothing here depends on how fast
anything is."""
import json

import h5py
import numpy as np
import program
import pytest
from program import CONV, DOUBLE, FLOAT, SANITIZED, SKIP, one_rank_only, run, write_settings

RULES = ["strict", "fixed-prediction", "exact", "backprop"]
TIMES = ["milliseconds", "gflops", "peak", "floor", "fraction", "load", "forward", "infer",
         "learn", "update"]
QUICK = ["--repeats", "2", "--steps", "1", "--threads", "1"]

# CONV of program.py, per input: multiplications and additions of its maps. V1 pads 12 x 12 by one,
# so that 2 of 36 taps in each direction fall on padding; V2 is 3 x 2 on 6 x 6.
V1, V2 = 2 * 4 * (3 * 12 - 2) ** 2, 2 * 3 * 4 * (3 * 4) * (2 * 5)
IT, OUT = 2 * (3 * 4 * 5) * 14, 2 * 14 * 10
ONCE = V1 + V2 + IT + OUT


def bench(settings, *options, **how):
    quick = QUICK if "--operators" not in options else QUICK[:2] + QUICK[4:]
    return run("bench", settings, *quick, *options, **how)


def measured(tmp_path, *options, **how):
    """The rows of a JSON file of a run on small settings, by name, and the whole file."""
    out = tmp_path / "bench.json"
    bench(write_settings(tmp_path), "-o", out, *options, **how)
    found = json.loads(out.read_text())
    assert not (tmp_path / "bench.json.partial").exists()
    return {row["name"]: row for row in found["rows"]}, found


def check_repeats(entry, repeats):
    """A measurement has its repeats, and their quantiles."""
    values = entry["repeats"]
    assert len(values) == repeats and np.all(np.isfinite(values)) and min(values) > 0
    wanted = np.quantile(values, [0, .25, .5, .75, 1])
    found = [entry["minimum"], *entry["quartiles"][:1], entry["median"], entry["quartiles"][1],
             entry["maximum"]]
    assert np.allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("ranks", [None, 3])
def test_every_rule_is_measured(tmp_path, ranks):
    rows, file = measured(tmp_path, ranks=ranks)
    assert list(rows) == RULES
    for row in rows.values():
        for name in TIMES:
            check_repeats(row[name], 2)
            assert file["columns"][name]["units"]
        whole = np.array(row["milliseconds"]["repeats"])
        parts = sum(np.array(row[p]["repeats"]) for p in TIMES[5:])
        assert np.all(parts <= whole * (1.001 if not ranks else 3))
        flops, peak = row["flops"], np.array(row["peak"]["repeats"])
        assert np.allclose(row["floor"]["repeats"], 1e-6 * flops / peak, rtol=1e-6)
        assert np.allclose(row["fraction"]["repeats"], row["floor"]["repeats"] / whole, rtol=1e-6)
        assert np.allclose(row["gflops"]["repeats"], 1e-6 * flops / whole, rtol=1e-6)
        assert ("distance" in row) == bool(ranks and not SANITIZED)
        if "distance" in row:
            check_repeats(row["distance"], 2)
    assert file["ranks"] == (ranks if ranks and not SANITIZED else 1) and file["threads"] == 1
    assert file["real"] == "float" and file["git_revision"] and file["mpi_version"]
    assert file["seconds"] > 0
    assert file["settings"].startswith("data:") and "bench" in file["command"]


@pytest.mark.parametrize("presynaptic", ["value", "feedforward"])
def test_flops_by_hand(tmp_path, presynaptic):
    rows, _ = measured(tmp_path, "--set", f"inference.presynaptic={presynaptic}")
    # Of 8 steps: the error of V2 is there from step 2 on, of IT from 1, of out from 0. The last
    # feedback, and activities at the values it leads to, are for learning from these alone.
    strict = 2 * ONCE + 2 * (5 * V2 + 6 * IT + 7 * OUT)
    strict += 2 * (V2 + IT) + OUT if presynaptic == "value" else 0
    wanted = {"strict": strict, "fixed-prediction": 2 * ONCE + 17 * V2 + 18 * IT + OUT,
              "exact": 3 * ONCE - V1, "backprop": 3 * ONCE - V1}
    for name, flops in wanted.items():
        assert rows[name]["flops"] == 40 * flops, name
    found = {name: (row["step_size"], row["inference_steps"]) for name, row in rows.items()}
    assert found == {"strict": (0.1, 8), "fixed-prediction": (0.1, 20), "exact": (1, 4),
                     "backprop": (1, 1)}


def test_rules_are_chosen(tmp_path):
    rows, _ = measured(tmp_path, "--rules", "backprop,strict")
    assert list(rows) == ["strict", "backprop"]
    settings = tmp_path / "settings.yaml"
    for wrong in ("strict,hebb", "", "strict,strict", "stric"):
        done = bench(settings, "--rules", wrong, expect=64)
        assert "--rules" in done.stderr and "backprop" in done.stderr


def test_settings_for_fixed_prediction(tmp_path):
    options = ["--set", "inference={rule: fixed-prediction, step: 1, steps: 4}"]
    rows, _ = measured(tmp_path, *options)
    assert list(rows) == ["strict", "fixed-prediction", "backprop"]
    assert rows["fixed-prediction"]["flops"] == rows["backprop"]["flops"]
    assert rows["strict"]["inference_steps"] == 20


@pytest.mark.parametrize("ranks", [None, 2])
def test_hdf5_has_the_same_columns(tmp_path, ranks):
    out = tmp_path / "bench.h5"
    bench(write_settings(tmp_path, SKIP), "-o", out, ranks=ranks)
    with h5py.File(out) as file:
        assert file.attrs["format"] == "lamina bench" and file.attrs["complete"] == 1
        assert file.attrs["seconds"] > 0
        table = file["bench"]
        assert [name.decode() for name in table["row"][:]] == RULES
        for name in TIMES:
            assert table[name].shape == (4, 2) and np.all(table[name][:] > 0)
            assert table[name].attrs["units"] and table[name].attrs["long_name"]
            assert table[name].dims[0][0] == table["row"]
        assert np.all(table["flops"][:] > 0) and table["flops"].shape == (4,)
        assert np.all(file["traffic/messages"][:] >= 0)


def test_table_is_printed(tmp_path):
    done = bench(write_settings(tmp_path))
    for words in ("ms/step", "of peak", "strict", "fixed-prediction", "backprop", "1 rank x 1 thread"):
        assert words in done.stdout, done.stdout
    assert not done.stderr
    assert bench(tmp_path / "settings.yaml", "--quiet").stdout == ""


def test_made_up_inputs(tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text(CONV.format(data="/no/such/folder"))
    bench(settings, expect=66)
    done = bench(settings, "--synthetic", "--rules", "exact", ranks=2)
    assert "made-up inputs" in done.stdout


@pytest.mark.parametrize("name, ranks", [("bench.json", 2), ("bench.h5", None)])
def test_outputs_are_not_overwritten(tmp_path, name, ranks):
    settings = write_settings(tmp_path)
    out = tmp_path / name
    out.write_text("precious")
    done = bench(settings, "-o", out, expect=73, ranks=ranks)
    assert str(out) in done.stderr and "--force" in done.stderr
    assert out.read_text() == "precious"
    bench(settings, "-o", out, "--force", "--rules", "exact", ranks=ranks)
    assert out.read_bytes() != b"precious"
    done = bench(settings, "-o", tmp_path / "no/folder" / name, expect=73, ranks=ranks)
    assert "no/folder" in done.stderr
    bench(settings, "-o", tmp_path, "--force", expect=73, ranks=ranks)


@one_rank_only
def test_more_ranks_than_processors(tmp_path):
    rows, file = measured(tmp_path, ranks=4)
    assert list(rows) == RULES and file["ranks"] == 4


def test_divergence_ends_the_run(tmp_path):
    out = tmp_path / "bench.json"
    done = bench(write_settings(tmp_path), "-o", out, "--steps", "3", "--set", "training.rate=1e30",
                 expect=3)
    assert "not finite" in done.stderr and not out.exists()


@pytest.mark.parametrize("arguments, words", [
    (["--repeats", "0"], ["repeats", "0"]), (["--steps", "x"], ["steps", "x"]),
    (["--resume"], ["resume"])])
def test_command_lines(tmp_path, arguments, words):
    done = run("bench", write_settings(tmp_path), *arguments, expect=64)
    for word in words:
        assert word in done.stderr


def test_operators(tmp_path):
    """Other means of doing them are checked against ours by the program itself."""
    out, settings = tmp_path / "bench.json", tmp_path / "settings.yaml"
    settings.write_text(SKIP.format(data="/no/such/folder"))  # no data are read
    done = bench(settings, "--operators", "-o", out)
    file = json.loads(out.read_text())
    rows = {row["name"]: row for row in file["rows"]}
    passes = ["forward", "difference", "pull_input", "pull_parameters"]
    assert [name for name in rows if name.startswith("a.")] == [
        *[f"a.1 conv2d {name}" for name in passes], *[f"a.2 sigmoid {name}" for name in passes[:3]]]
    assert "b.3 linear pull_parameters" in rows and "e.1 concat forward" in rows
    assert not any("flatten" in name for name in rows)
    others = [name for name in ("gemm", "dnnl") if name in file]
    assert "gemm" in others and "OpenBLAS" in file["gemm"]
    for name, row in rows.items():
        check_repeats(row["microseconds"], 2)
        counts = "conv2d" in name or "linear" in name
        assert (row["flops"] is not None) == counts
        if not counts:
            continue
        check_repeats(row["fraction"], 2)
        time = np.array(row["microseconds"]["repeats"])
        assert np.allclose(row["gflops"]["repeats"], 1e-3 * row["flops"] / time, rtol=1e-6)
        for other in others:
            if name.endswith("difference"):
                assert row[other]["median"] is None
            else:
                check_repeats(row[other], 2)
                assert np.allclose(row[f"{other}_ratio"]["repeats"],
                                   np.array(row[other]["repeats"]) / time, rtol=1e-6)
        assert name in done.stdout
    assert rows["a.1 conv2d forward"]["flops"] == 2 * 3 * 25 * 4 * 4  # 3 of 4 x 4, 5 x 5 taps each


@pytest.mark.parametrize("conv", ["channels: 3, kernel: 3x2, padding: 2x1", "channels: 5, kernel: 3, stride: 2",
                                  "channels: 2, kernel: 4x3, stride: 3x2, padding: 1x2"])
@pytest.mark.parametrize("binary", [FLOAT, DOUBLE])
def test_operators_agree_with_other_means(tmp_path, conv, binary):
    settings = tmp_path / "settings.yaml"
    settings.write_text(CONV.format(data="none").replace("channels: 4, kernel: 3, padding: 1", conv))
    bench(settings, "--operators", "--quiet", "--repeats", "1", "--set",
          "network.layers[1].map=[flatten: {}, linear: {units: 5}]", binary=binary)


@one_rank_only
def test_operators_are_for_one_rank(tmp_path):
    done = bench(write_settings(tmp_path), "--operators", expect=64, ranks=2)
    assert "one rank" in done.stderr


def test_slow_kernels_of_openblas_are_told(tmp_path, monkeypatch):
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        if "avx2" not in file.read().split():
            pytest.skip("no AVX2")
    for core, told in (("Prescott", True), ("Haswell", False)):
        monkeypatch.setitem(program.ENVIRONMENT, "OPENBLAS_CORETYPE", core)
        done = bench(write_settings(tmp_path), "--operators")
        assert ("OPENBLAS_CORETYPE" in done.stderr) == told, done.stderr
