"""Run files of every layout, read by analysis/lamina.py and drawn by analysis/figure.py."""
import contextlib
import io
import os
import struct
import subprocess
import sys
import warnings

import h5py
import matplotlib.pyplot as plt
import numpy as np
import pytest

from run_files import ANALYSIS, LAYERS, begin, settings, write_gradients, write_training
import command
import figure
import gradients_figure
import lamina
import magnitude_figure
import published


def run_figure(*arguments):
    """Run figure.py as a user does."""
    command = [sys.executable, "-B", os.path.join(ANALYSIS, "figure.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def call_figure(*arguments):
    """The same in this process, for mistakes: to start Python and Matplotlib takes a second."""
    out, errors, code = io.StringIO(), io.StringIO(), 0
    with (contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors),
          warnings.catch_warnings(record=True) as warned):
        try:
            figure.main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
    plt.close("all")
    said = errors.getvalue() + "".join(f"{warning}\n" for warning in warned)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), said)


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
    run = write_training(tmp_path / "run.h5", points=steps, recorded=recorded)
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
        file.attrs["complete"], file.attrs["steps_done"] = 0, 3
    assert "not finished (3 steps done)" in panels(run)[0].figure._suptitle.get_text()


@pytest.mark.parametrize("step_sizes", [(0.1,), (0.1, 0.2, 0.5, 1.0)])
@pytest.mark.parametrize("scales_in", ["", "gradients/"])
def test_gradients_figure(tmp_path, step_sizes, scales_in):
    run = write_gradients(tmp_path / "run.h5", step_sizes, scales_in)
    done = run_figure(run, "-o", tmp_path / "run.png")
    assert (done.returncode, done.stderr) == (0, "")
    width = round(150 * (2.6 + 2.4 * len(step_sizes)))
    assert png_size(tmp_path / "run.png") == (width, 780)


def test_title_of_gradients_says_what_trained_the_network(tmp_path):
    path = write_gradients(tmp_path / "run.h5", data="fashion-mnist")
    title = gradients_figure.title([lamina.open_run(path)])
    assert title.startswith("Fashion-MNIST") and "trained" not in title
    with h5py.File(path, "a") as file:
        file.attrs["settings"] += "gradients: {train: backprop}\n"
    assert "network trained with backprop" in gradients_figure.title([lamina.open_run(path)])
    with h5py.File(path, "a") as file:
        file.attrs["checkpoint_settings"] = "inference: {rule: strict}\n"
    assert "network trained with strict" in gradients_figure.title([lamina.open_run(path)])


def test_gradients_panels(tmp_path):
    axes = panels(write_gradients(tmp_path / "run.h5"))
    assert len(axes) == 4
    assert axes[0].get_title() == "$\\eta$ = 0.1" and axes[0].get_yscale() == "linear"
    assert axes[1].get_title() == "$\\eta$ = 1  (diverges)" and axes[1].get_yscale() == "log"
    assert [label.get_text() for label in axes[1].get_yticklabels()][0] == "0"
    zeros = axes[1].lines[-1].get_ydata()
    assert np.all(zeros == axes[1].get_yticks()[0]), "zeros stand at the tick named 0"
    assert np.all(zeros > axes[1].get_ylim()[0])


def test_networks_are_one_series(tmp_path):
    runs = [write_training(tmp_path / f"{seed}.h5", seed=seed, levels=[level, 0.5, 0.1, 0])
            for seed, level in enumerate((0.8, 0.9, 1.0))]
    backprop = write_training(tmp_path / "backprop.h5", "backprop", recorded=False)
    loss, accuracy, error, angle = panels(*runs, backprop)
    assert "3 networks" in loss.figure._suptitle.get_text()
    np.testing.assert_allclose(error.lines[0].get_ydata(), 0.9)
    band = error.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 0.8 and band[:, 1].max() == 1.0


def test_a_network_counts_once(tmp_path):
    run = write_training(tmp_path / "run.h5")
    again = write_training(tmp_path / "again.h5")
    done = call_figure(run, again, "-o", tmp_path / "run.png")
    assert_one_line(done, 65, "again.h5: the same network as in", "run.h5")


def test_each_state_and_data_set_has_a_row(tmp_path):
    runs = [write_training(tmp_path / f"{state}.h5", state=state) for state in ("value", "deviation")]
    runs.append(write_training(tmp_path / "cifar.h5", data="cifar10"))
    axes = panels(*runs)
    assert len(axes) == 12
    letters = [ax.get_title(loc="left").split("$")[1] for ax in axes]
    assert letters == [f"\\bf{{{text}}}" for text in
                       ("A", "B", "C", "D", "A'", "B'", "C'", "D'", "E", "F", "G", "H")]
    assert "values stored in float32" in axes[0].figure._suptitle.get_text()
    assert "CIFAR-10" in axes[8].figure._suptitle.get_text()


def test_networks_of_other_lengths_are_series_of_their_own(tmp_path):
    axes = panels(write_training(tmp_path / "long.h5", points=80, seed=0),
                  write_training(tmp_path / "short.h5", points=20, seed=1))
    assert len(axes) == 8


def test_runs_that_stand_for_backprop_say_so(tmp_path):
    run = lamina.open_run(write_training(tmp_path / "run.h5", "fixed-prediction"))
    equal = [lamina.open_run(write_training(tmp_path / f"{seed}.h5", "fixed-prediction", seed=seed,
                                            step=1)) for seed in (0, 1)]
    drawn = figure.draw([run], beside=equal)
    assert len(drawn.axes) == 4
    labels = drawn.axes[0].get_legend_handles_labels()[1]
    assert labels[2:] == [f"backprop (taken from Figure 5):\n{split} inputs"
                          for split in ("training", "test")]
    assert drawn.axes[0].collections, "the band of the two"
    assert "bit for bit" in drawn._supxlabel.get_text()
    backprop = lamina.open_run(write_training(tmp_path / "backprop.h5", "backprop"))
    drawn = figure.draw([run], beside=[backprop])
    assert drawn.axes[0].get_legend_handles_labels()[1][2] == "backprop:\ntraining inputs"
    assert "bit for bit" not in drawn._supxlabel.get_text()


def test_published_curves_are_thin_lines_behind(tmp_path):
    layers = ["V1", "V2", "IT", "PFC", "out"]
    run = lamina.open_run(write_training(tmp_path / "run.h5", layers=layers,
                                         levels=[0.9, 0.7, 0.5, 0.3, 0]))
    loss, _, error, _ = figure.draw([run], "fig1").axes
    old = published.curves("fig1")
    thin = [line for line in error.lines if line.get_linewidth() < 1]
    assert len(thin) == 5
    np.testing.assert_array_equal(thin[0].get_ydata(), old["relative_error"][0])
    assert all(line.get_zorder() < 2 for line in thin)
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), old["loss"]["PC_train"])
    done = call_figure(run["path"], "-o", tmp_path / "run.png", "--published", "fig7")
    assert_one_line(done, 64, "fig7")
    done = call_figure(run["path"], "-o", tmp_path / "run.png", "--published", "fig2")
    assert_one_line(done, 65, "run.h5", "fig2 was not published of files with /training")
    gradients = write_gradients(tmp_path / "gradients.h5")
    done = call_figure(gradients, "-o", tmp_path / "run.png", "--published", "fig1")
    assert_one_line(done, 65, "gradients.h5", "fig1 was not published of files with /gradients")
    fashion = write_training(tmp_path / "fashion.h5", data="fashion-mnist")
    done = call_figure(fashion, "-o", tmp_path / "run.png", "--published", "fig1")
    assert done.returncode == 0 and done.stderr == (
        "figure.py: of Fashion-MNIST nothing was published\n")


def test_published_curves_stand_behind_their_data_only(tmp_path):
    layers = ["V1", "V2", "IT", "PFC", "out"]
    runs = [lamina.open_run(write_gradients(tmp_path / f"{data}.h5", layers=layers, data=data))
            for data in ("mnist", "fashion-mnist")]
    axes = figure.draw(runs, "fig2").axes
    thin = [sum(line.get_linewidth() < 1 for line in ax.lines) for ax in axes]
    assert thin[0] == 5 and sum(thin[len(thin) // 2:]) == 0


def test_losses_far_above_every_published_one_leave_the_panel(tmp_path):
    path = write_training(tmp_path / "run.h5", "fixed-prediction", points=400)
    with h5py.File(path, "a") as file:
        file["training/loss"][1] = 66
    run = lamina.open_run(path)
    highest = [figure.draw([run], name).axes[0].get_ylim()[1] for name in ("fig3", None)]
    assert 2.3 < highest[0] < 3 and highest[1] > 5


def test_closed_form_is_drawn_under_fixed_predictions_only(tmp_path):
    def levels(path):
        error = panels(path)[2]
        return [line.get_ydata()[0] for line in error.lines if line.get_color() == "0.25"]
    fixed = write_training(tmp_path / "fixed.h5", "fixed-prediction", step=1, steps=2)
    assert levels(fixed) == [1, 1, 0, 0]
    assert levels(write_training(tmp_path / "strict.h5")) == []


def test_networks_that_diverge_do_not_hide_the_others(tmp_path):
    good = np.full((1, 4, 30), 0.5)
    bad = np.where(np.arange(30) < 10, 0.5, np.nan) * np.ones((1, 4, 1))
    runs = [write_gradients(tmp_path / f"{seed}.h5", (0.2,), errors=errors, seed=seed)
            for seed, errors in enumerate((good, bad, bad))]
    top, bottom = panels(*runs)
    assert top.get_title().endswith("(2 of 3 diverge)")
    np.testing.assert_allclose(top.lines[0].get_ydata(), 0.5)
    np.testing.assert_allclose(bottom.lines[0].get_ydata(), 45)
    assert gradients_figure.diverged(np.array([1, 101, 1, np.nan])).tolist() == [
        False, True, True, True]


def test_magnitudes(tmp_path):
    run = write_training(tmp_path / "run.h5")
    done = run_figure(run, run, "--magnitudes", "-o", tmp_path / "run.png")
    assert (done.returncode, done.stderr) == (0, "")
    axes = magnitude_figure.draw([lamina.open_run(run)]).axes
    assert axes[0].lines[0].get_ydata().tolist() == [0, 80]
    assert "(dimensionless)" in axes[0].get_ylabel() and axes[0].get_xlabel()


def test_magnitudes_of_runs_that_do_not_go_together(tmp_path):
    run, output = write_training(tmp_path / "run.h5"), tmp_path / "run.png"
    other = write_training(tmp_path / "other.h5", layers=["V1", "out"])
    assert_one_line(call_figure(run, other, "--magnitudes", "-o", output), 65, "other.h5",
                    "other layers")
    other = write_training(tmp_path / "other.h5", data="fashion-mnist")
    assert_one_line(call_figure(run, other, "--magnitudes", "-o", output), 65, "other data")
    with h5py.File(write_training(tmp_path / "other.h5"), "a") as file:
        file["errors/0/index"][0] = 7
    assert_one_line(call_figure(run, other, "--magnitudes", "-o", output), 65, "recorded inputs")


def test_reader(tmp_path):
    run = lamina.open_run(write_training(tmp_path / "run.h5"))
    assert run["layers"] == LAYERS
    assert run["settings"] == settings()
    assert run["attributes"]["seed"] == 7
    assert lamina.setting(run, "inference.step") == 0.1
    assert lamina.setting(run, "inference.absent", 3) == 3
    assert run["training"]["loss"].dtype == np.float64
    assert run["training"]["energy"].shape == (4, 80)
    assert run["gradients"] is None
    assert run["traffic"]["bytes"].shape == (2, 2)
    assert run["error_steps"] == [0, 80]
    assert np.all(lamina.errors(run, 80)["magnitude"] == np.full((4, 5), 80.0))
    with pytest.raises(ValueError, match="no errors were recorded at step 7 .*0, 80"):
        lamina.errors(run, 7)


def test_reader_of_a_run_under_way(tmp_path):
    """Its file has room for what is not recorded as yet."""
    path = write_training(tmp_path / "run.h5.partial")
    with h5py.File(path, "a") as file:
        file.attrs["steps_done"], file.attrs["complete"] = 79, 0
    run = lamina.open_run(path)
    assert run["error_steps"] == [0] and run["training"]["loss"].shape == (79,)
    assert lamina.magnitudes(run)["step"].tolist() == [0]


def test_a_failure_without_a_name_gets_one(tmp_path):
    with pytest.raises(OSError) as failure, command.naming("run.png"):
        raise OSError(28, "No space left on device")
    assert failure.value.filename == "run.png"
    with pytest.raises(OSError) as failure, command.naming("run.png"):
        open(tmp_path / "absent")
    assert failure.value.filename == str(tmp_path / "absent")


def test_reader_fills_what_is_absent_with_nan(tmp_path):
    run = lamina.open_run(write_training(tmp_path / "run.h5", recorded=False))
    assert run["training"]["angle"].shape == (4, 80)
    assert np.all(np.isnan(run["training"]["angle"]))


def test_magnitudes_of_all_records(tmp_path):
    record = lamina.magnitudes(lamina.open_run(write_training(tmp_path / "run.h5")))
    assert record["step"].tolist() == [0, 80]
    assert record["magnitude"].shape == (2, 4, 5) and record["loss"].shape == (2, 5)
    assert record["label"].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="no errors of single inputs"):
        lamina.magnitudes(lamina.open_run(write_gradients(tmp_path / "other.h5")))


def test_xarray(tmp_path):
    pytest.importorskip("xarray")
    run = lamina.open_run(write_training(tmp_path / "run.h5"))
    training = lamina.dataset(run)
    assert training["relative_error"].sel(layer="V2", step=3) == 0.5
    assert training["loss"].dims == ("step",)
    assert lamina.dataset(run, "magnitudes")["magnitude"].dims == ("step", "layer", "input")
    assert lamina.dataset(run, "traffic")["bytes"].dims == ("sender", "receiver")
    run = lamina.open_run(write_gradients(tmp_path / "gradients.h5"))
    assert lamina.dataset(run, "gradients")["angle"].sel(layer="out", iteration=1, step_size=1) == 0
    with pytest.raises(ValueError, match="no /training"):
        lamina.dataset(run)
    with pytest.raises(ValueError, match="no group errors: training, gradients"):
        lamina.dataset(run, "errors")


def test_missing_file(tmp_path):
    done = run_figure(tmp_path / "absent.h5", "-o", tmp_path / "run.png")
    assert_one_line(done, 66, "absent.h5", "No such file")
    assert_one_line(call_figure(tmp_path, "-o", tmp_path / "run.png"), 66, "directory")


def test_file_that_is_not_hdf5(tmp_path):
    path = tmp_path / "notes.h5"
    path.write_text("not HDF5")
    assert_one_line(call_figure(path, "-o", tmp_path / "run.png"), 65, "notes.h5", "HDF5")


def test_truncated_file(tmp_path):
    path = write_training(tmp_path / "run.h5")
    os.truncate(path, os.path.getsize(path) // 2)
    assert_one_line(call_figure(path, "-o", tmp_path / "run.png"), 65, "run.h5", "damaged")


def test_other_hdf5_files(tmp_path):
    path = tmp_path / "other.h5"
    h5py.File(path, "w").close()
    assert_one_line(call_figure(path, "-o", tmp_path / "run.png"), 65, "settings")
    begin(path).close()
    assert_one_line(call_figure(path, "-o", tmp_path / "run.png"), 65, "/training")


def test_wrong_shape(tmp_path):
    path = write_training(tmp_path / "run.h5")
    with h5py.File(path, "r+") as file:
        del file["training/angle"]
        file["training/angle"] = np.zeros((3, 80))
    done = call_figure(path, "-o", tmp_path / "run.png")
    assert_one_line(done, 65, "/training/angle", "(3, 80)", "(4, 80)")


def test_broken_settings(tmp_path):
    path = write_training(tmp_path / "run.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["settings"] = "network: {loss"
    assert_one_line(call_figure(path, "-o", tmp_path / "run.png"), 65, "YAML")


def test_files_that_do_not_go_together(tmp_path):
    training = write_training(tmp_path / "training.h5")
    gradients = write_gradients(tmp_path / "gradients.h5")
    output = tmp_path / "run.png"
    assert_one_line(call_figure(training, gradients, "-o", output), 65, "gradients.h5")
    assert_one_line(call_figure(gradients, training, "-o", output), 65, "training.h5")
    assert not output.exists()


def test_command_line(tmp_path):
    run = write_training(tmp_path / "run.h5")
    assert_one_line(call_figure(run), 64, "--output")
    assert_one_line(call_figure(run, "-o", "run.doc"), 64, ".png or .pdf")


def test_output_that_cannot_be_written_keeps_what_was_there(tmp_path):
    run = write_training(tmp_path / "run.h5")
    assert_one_line(call_figure(run, "-o", tmp_path / "absent" / "run.png"), 73, "absent")
    output = tmp_path / "run.png"
    output.write_text("an older figure")
    (tmp_path / "run.png.partial").mkdir()
    assert_one_line(call_figure(run, "-o", output), 73)
    assert output.read_text() == "an older figure"
