"""Run files of every layout, read by analysis/lamina.py and drawn by analysis/figure.py."""
import os
import struct
import subprocess
import sys

import h5py
import numpy as np
import pytest

ANALYSIS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "analysis")
sys.path.insert(0, ANALYSIS)
import figure  # noqa: E402
import lamina  # noqa: E402

LAYERS = ["V1", "V2", "IT", "out"]
SETTINGS = """network: {loss: mse}
inference: {rule: %s, step: 0.1, steps: 20}
"""


def begin(path, rule="strict", layers=LAYERS):
    """A run file with what every run file has; open for writing."""
    file = h5py.File(path, "w")
    file.attrs["settings"] = SETTINGS % rule
    file.attrs["complete"] = np.int32(1)
    file.attrs["steps_done"] = np.int64(3)
    file.attrs["seed"] = np.array([7])
    file["layer"] = np.array(layers, dtype=h5py.string_dtype())
    file["layer"].make_scale("layer")
    return file


def write_training(path, rule="strict", steps=80, recorded=True):
    """A run file of `lamina train`; without `recorded` only loss and accuracy are there."""
    with begin(path, rule) as file:
        training = file.create_group("training")
        training["step"] = np.arange(steps)
        training["loss"] = np.exp(-np.arange(steps) / 20).astype(np.float32)
        training["accuracy"] = 1 - np.exp(-np.arange(steps) / 20)
        test_loss = np.full(steps, np.nan)
        layered = np.full((len(LAYERS), steps), np.nan)
        if recorded:
            test_loss[::10] = 0.5
            layered[:] = np.array([0.9, 0.5, 0.1, 0.0])[:, None]
        training["test_loss"] = training["test_accuracy"] = test_loss
        training["relative_error"] = layered
        if recorded:
            training["angle"] = 90 * layered
            training["energy"] = 2 * layered
        traffic = file.create_group("traffic")
        traffic["messages"] = traffic["bytes"] = np.ones((2, 2), dtype=np.int64)
        for step in (0, 100):
            group = file.create_group(f"errors/{step}")
            for name in ("index", "label", "prediction", "loss"):
                group[name] = np.arange(5)
            group["magnitude"] = np.full((len(LAYERS), 5), float(step))
        file["errors/input"] = np.arange(5)
    return str(path)


def write_gradients(path, step_sizes=(0.1, 1.0), scales_in=""):
    """A run file of `lamina gradients`: zeros, divergence and all."""
    n = 30
    with begin(path) as file:
        file.create_group("gradients")
        file[scales_in + "step_size"] = np.array(step_sizes)
        file[scales_in + "iteration"] = np.arange(1, n + 1)
        error = np.empty((len(step_sizes), len(LAYERS), n))
        error[:] = 0.9 ** np.arange(n)
        error[:, -1] = 0
        error[-1, 0] = np.where(np.arange(n) < 20, 10.0 ** np.arange(n), np.nan)
        file["gradients/relative_error"] = error
        file["gradients/angle"] = np.minimum(90, 90 * error)
    return str(path)


def run_figure(*arguments):
    """Run figure.py as a user does."""
    command = [sys.executable, "-B", os.path.join(ANALYSIS, "figure.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def png_size(path):
    """(width, height) in pixels of a PNG file, from its first chunk."""
    with open(path, "rb") as file:
        head = file.read(24)
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


def assert_one_line(done, code, *words):
    """The program ended with `code` and one line that holds all words."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("steps", [1, 80])
def test_training_figure(tmp_path, recorded, steps):
    run = write_training(tmp_path / "run.h5", steps=steps, recorded=recorded)
    done = run_figure(run, "-o", tmp_path / "run.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/run.png\n"
    assert png_size(tmp_path / "run.png") == (1500, 960)
    assert sorted(os.listdir(tmp_path)) == ["run.h5", "run.png"]


def test_training_figure_beside_backprop_as_pdf(tmp_path):
    run = write_training(tmp_path / "run.h5")
    backprop = write_training(tmp_path / "backprop.h5", "backprop", recorded=False)
    done = run_figure(run, backprop, "-o", tmp_path / "run.pdf")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "run.pdf").read_bytes()[:5] == b"%PDF-"


def panels(*paths):
    """The axes of the figure of some run files."""
    return figure.draw([lamina.open_run(path) for path in paths]).axes


def words(ax):
    return [text.get_text() for text in ax.texts]


def test_panels_hold_the_curves(tmp_path):
    run = write_training(tmp_path / "run.h5")
    backprop = write_training(tmp_path / "backprop.h5", "backprop", recorded=False)
    loss, accuracy, error, angle = panels(run, backprop)
    assert len(loss.get_legend_handles_labels()[0]) == 3  # no test curve of the second file
    assert accuracy.get_legend() is not None and angle.get_legend() is not None
    assert error.get_legend_handles_labels()[1] == LAYERS
    for ax in (loss, accuracy, error, angle):
        assert words(ax) == [] and ax.get_xlabel() and "(" in ax.get_ylabel()
    assert "strict" in loss.figure._suptitle.get_text()
    np.testing.assert_allclose(angle.lines[1].get_ydata(), 81)


def test_panels_say_what_was_not_recorded(tmp_path):
    loss, accuracy, error, angle = panels(
        write_training(tmp_path / "run.h5", recorded=False))
    assert words(loss) == words(accuracy) == []
    assert words(error) == words(angle) == ["not recorded"]


def test_unfinished_run_says_so(tmp_path):
    run = write_training(tmp_path / "run.h5")
    with h5py.File(run, "r+") as file:
        file.attrs["complete"] = 0
    assert "not finished (3 steps done)" in panels(run)[0].figure._suptitle.get_text()


@pytest.mark.parametrize("step_sizes", [(0.1,), (0.1, 0.2, 0.5, 1.0)])
@pytest.mark.parametrize("scales_in", ["", "gradients/"])
def test_gradients_figure(tmp_path, step_sizes, scales_in):
    run = write_gradients(tmp_path / "run.h5", step_sizes, scales_in)
    done = run_figure(run, "-o", tmp_path / "run.png")
    assert (done.returncode, done.stderr) == (0, "")
    width = round(150 * (2.6 + 2.4 * len(step_sizes)))
    assert png_size(tmp_path / "run.png") == (width, 780)


def test_gradients_panels(tmp_path):
    axes = panels(write_gradients(tmp_path / "run.h5"))
    assert len(axes) == 4 and axes[0].get_yscale() == "log"
    assert axes[0].get_title() == "$\\eta$ = 0.1"
    assert axes[1].get_title() == "$\\eta$ = 1 (diverges)"
    assert [label.get_text() for label in axes[0].get_yticklabels()][0] == "0"
    zeros = axes[0].lines[-1].get_ydata()
    assert np.all(zeros == axes[0].get_yticks()[0]), "zeros stand at the tick named 0"
    assert np.all(zeros > axes[0].get_ylim()[0])


def test_deep_network_has_a_style_for_each_layer():
    styles = figure.layer_styles([f"layer {i}" for i in range(19)])
    looks = {(tuple(s["color"]), s["linestyle"], s["marker"]) for s in styles}
    assert len(looks) == 19


def test_moving_average():
    line = np.arange(9.0)
    np.testing.assert_allclose(figure.moving_average(line, 1), line)
    np.testing.assert_allclose(figure.moving_average(line, 3),
                               [0.5, 1, 2, 3, 4, 5, 6, 7, 7.5])
    assert figure.smoothing_window(20) == 1
    assert figure.smoothing_window(400) == 11


def test_reader(tmp_path):
    run = lamina.open_run(write_training(tmp_path / "run.h5"))
    assert run["layers"] == LAYERS
    assert run["settings"] == SETTINGS % "strict"
    assert run["attributes"]["seed"] == 7
    assert lamina.setting(run, "inference.step") == 0.1
    assert lamina.setting(run, "inference.absent", 3) == 3
    assert run["training"]["loss"].dtype == np.float64
    assert run["training"]["energy"].shape == (4, 80)
    assert run["gradients"] is None
    assert run["traffic"]["bytes"].shape == (2, 2)
    assert run["error_steps"] == [0, 100]
    assert np.all(lamina.errors(run, 100)["magnitude"] == np.full((4, 5), 100.0))
    with pytest.raises(ValueError, match="no errors were recorded at step 7 .*0, 100"):
        lamina.errors(run, 7)


def test_reader_fills_what_is_absent_with_nan(tmp_path):
    run = lamina.open_run(write_training(tmp_path / "run.h5", recorded=False))
    assert run["training"]["angle"].shape == (4, 80)
    assert np.all(np.isnan(run["training"]["angle"]))


def test_missing_file(tmp_path):
    done = run_figure(tmp_path / "absent.h5", "-o", tmp_path / "run.png")
    assert_one_line(done, 66, "absent.h5", "No such file")
    assert_one_line(run_figure(tmp_path, "-o", tmp_path / "run.png"), 66, "directory")


def test_file_that_is_not_hdf5(tmp_path):
    path = tmp_path / "notes.h5"
    path.write_text("not HDF5")
    assert_one_line(run_figure(path, "-o", tmp_path / "run.png"), 65, "notes.h5", "HDF5")


def test_truncated_file(tmp_path):
    path = write_training(tmp_path / "run.h5")
    os.truncate(path, os.path.getsize(path) // 2)
    assert_one_line(run_figure(path, "-o", tmp_path / "run.png"), 65, "run.h5", "damaged")


def test_other_hdf5_files(tmp_path):
    path = tmp_path / "other.h5"
    h5py.File(path, "w").close()
    assert_one_line(run_figure(path, "-o", tmp_path / "run.png"), 65, "settings")
    begin(path).close()
    assert_one_line(run_figure(path, "-o", tmp_path / "run.png"), 65, "/training")


def test_wrong_shape(tmp_path):
    path = write_training(tmp_path / "run.h5")
    with h5py.File(path, "r+") as file:
        del file["training/angle"]
        file["training/angle"] = np.zeros((3, 80))
    done = run_figure(path, "-o", tmp_path / "run.png")
    assert_one_line(done, 65, "/training/angle", "(3, 80)", "(4, 80)")


def test_broken_settings(tmp_path):
    path = write_training(tmp_path / "run.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["settings"] = "network: {loss"
    assert_one_line(run_figure(path, "-o", tmp_path / "run.png"), 65, "YAML")


def test_files_that_do_not_go_together(tmp_path):
    training = write_training(tmp_path / "training.h5")
    gradients = write_gradients(tmp_path / "gradients.h5")
    output = tmp_path / "run.png"
    assert_one_line(run_figure(training, gradients, "-o", output), 65, "gradients.h5")
    assert_one_line(run_figure(gradients, training, "-o", output), 65, "training.h5")
    assert not output.exists()


def test_command_line(tmp_path):
    run = write_training(tmp_path / "run.h5")
    assert_one_line(run_figure(run), 64, "--output")
    assert_one_line(run_figure(run, "-o", "run.doc"), 64, ".png or .pdf")


def test_output_that_cannot_be_written_keeps_what_was_there(tmp_path):
    run = write_training(tmp_path / "run.h5")
    assert_one_line(run_figure(run, "-o", tmp_path / "absent" / "run.png"), 73, "absent")
    output = tmp_path / "run.png"
    output.write_text("an older figure")
    (tmp_path / "run.png.partial").mkdir()
    assert_one_line(run_figure(run, "-o", output), 73)
    assert output.read_text() == "an older figure"
