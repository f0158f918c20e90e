"""The published curves and the theory that ours are held against."""
import numpy as np
import pytest

import run_files
import lamina
import published
import theory


@pytest.mark.parametrize("figure, data", published.TRAINING)
def test_training_figures(figure, data):
    layers, steps = (5, 400) if data == "mnist" else (6, 975)
    old = published.curves(figure, data)
    assert old["step"].tolist() == list(range(steps))
    assert old["relative_error"].shape == old["angle"].shape == (layers, steps)
    assert set(old["loss"]) == set(old["accuracy"]) == {"PC_train", "BP_train", "PC_test",
                                                        "BP_test"}
    assert np.nanmax(old["accuracy"]["PC_train"]) <= 1


def test_losses_are_those_that_the_notebook_prints():
    loss = published.curves("fig1")["loss"]
    np.testing.assert_allclose(loss["PC_train"][[0, 50, 100]], [0.0991828, 0.0386814, 0.0214564],
                               rtol=1e-5)
    np.testing.assert_allclose(loss["BP_train"][[0, 50]], [0.0991828, 0.0379177], rtol=1e-5)


def test_gradients_figures():
    old = published.curves("fig2")
    assert old["step_size"].tolist() == [0.1, 0.2, 0.5, 1]
    assert old["relative_error"].shape == old["angle"].shape == (4, 5, 400)
    assert abs(old["relative_error"][0, 0, 399] - 0.651) < 1e-3
    assert np.isnan(old["relative_error"][3, 0, 60])
    assert old["angle"][0, -1, 0] == old["relative_error"][0, -1, 0] == 0
    assert published.curves("fig4")["relative_error"].shape == (4, 5, 200)
    assert published.curves("fig4", "cifar10") is None


def test_what_the_page_cannot_show_is_left_out():
    last = published.curves("fig2")["relative_error"][2:, -1]
    assert np.nanmin(last) >= 0.1


def test_closed_form():
    np.testing.assert_allclose(theory.relative_error(20, 0.1, 5),
                               [0.88500, 0.70544, 0.42026, 0.13509, 0], atol=5e-6)
    for n in range(1, 8):
        exact = [0 if n >= 5 - layer + 1 else 1 for layer in range(1, 6)]
        assert theory.relative_error(n, 1, 5).tolist() == exact
    curves = theory.relative_errors(np.arange(1, 4), 0.5, 2)
    np.testing.assert_allclose(curves, [[1, 0.5, 0.25], [0, 0, 0]])


def test_closed_form_applies_to_fixed_predictions_on_chains(tmp_path):
    def applies(path, change=("", "")):
        run = lamina.open_run(path)
        return theory.applies({**run, "settings": run["settings"].replace(*change)})
    fixed = run_files.write_training(tmp_path / "fixed.h5", "fixed-prediction")
    assert applies(fixed)
    assert not applies(fixed, ("{name: IT}", "{name: IT, inputs: [V1]}"))
    assert not applies(run_files.write_training(tmp_path / "strict.h5"))
