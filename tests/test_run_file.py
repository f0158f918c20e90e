"""Run files open in h5py and xarray, with names, coordinates and units.

The files are made by the program of tests/test_run_file.c, named by the environment variable
LAMINA_TEST_RUN_FILE.
"""

import os
import subprocess

import h5py
import numpy as np
import pytest
import xarray

ENGINES = ("netcdf4", "h5netcdf")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("examples")
    program = os.environ["LAMINA_TEST_RUN_FILE"]
    subprocess.run([program, "--example", path], check=True, timeout=60,
                   env={**os.environ, "CK_FORK": "no"})
    return path


def opened(folder, engine, group, name="run.h5"):
    with xarray.open_dataset(folder / name, engine=engine, group=group) as data:
        return data.load()


def test_attributes_are_plain(folder):
    with h5py.File(folder / "run.h5") as file:
        attributes = dict(file.attrs)
        assert attributes["format"] == "lamina run"
        assert attributes["settings"] == "training:\n  seed: 7\n  note: \u00e9\n"
        assert attributes["seed"] == 7
        assert attributes["steps_done"] == 5 and attributes["complete"] == 0
        np.datetime64(attributes["created"].rstrip("Z"))
        for name in ("command", "placement", "real", "lamina_version", "git_revision", "flags",
                     "mpi_version", "hdf5_version", "openblas_version"):
            assert isinstance(attributes[name], str) and attributes[name]
        assert dict(file["layers/V1"].attrs) == {
            "units": 20, "shape": "5 x 2 x 2", "map": "conv2d > relu", "parameters": 5, "rank": 0}


@pytest.mark.parametrize("name", ["run.h5", "gradients.h5"])
def test_every_dataset_says_what_it_is(folder, name):
    found, units, names = [], {}, set()

    def visit(path, item):
        if not isinstance(item, h5py.Dataset):
            return
        found.append(path)
        if item.attrs["units"] != "1":
            units[path] = item.attrs["units"]
        group, long_name = item.parent.name, item.attrs["long_name"]
        assert long_name and (group.startswith(("/updates", "/parameters")) or item.parent.name == "/"
                              or (group, long_name) not in names), path
        names.add((group, long_name))
        if item.attrs.get("CLASS") != b"DIMENSION_SCALE":
            assert all(len(dimension) == 1 for dimension in item.dims), path

    with h5py.File(folder / name) as file:
        file.visititems(visit)
    assert len(found) > 10
    angle = "training/angle" if name == "run.h5" else "gradients/angle"
    assert units == {angle: "degrees", "traffic/bytes": "bytes", "traffic/within_bytes": "bytes"}


@pytest.mark.parametrize("engine", ENGINES)
def test_layers_have_names(folder, engine):
    assert list(opened(folder, engine, "/").layer.values) == ["V1", "IT", "out"]


@pytest.mark.parametrize("engine", ENGINES)
def test_training_curves(folder, engine):
    data = opened(folder, engine, "/training")
    assert data.angle.dims == ("layer", "step") and data.loss.dims == ("step",)
    assert data.angle.attrs["units"] == "degrees"
    assert list(data.step.values) == [0, 1, 2, 3, 4, 5]
    assert data.loss.sel(step=3) == 0.25 and data.angle.sel(step=4)[2] == 24
    assert np.isnan(data.loss.sel(step=5)) and np.isnan(data.test_loss).all()
    assert set(data.data_vars) == {"loss", "accuracy", "test_loss", "test_accuracy",
                                   "relative_error", "angle", "energy"}


@pytest.mark.parametrize("engine", ENGINES)
def test_error_records(folder, engine):
    assert list(opened(folder, engine, "/errors").input.values) == [0, 1]
    data = opened(folder, engine, "/errors/4")
    assert data.attrs["step"] == 4
    assert data.magnitude.dims == ("layer", "input") and data.label.dims == ("input",)
    assert data.label.dtype == np.int64 and list(data.label.values) == [100, 101]
    assert data.magnitude.values[2, 1] == 121
    assert (opened(folder, engine, "/errors/6").label == -1).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_traffic(folder, engine):
    data = opened(folder, engine, "/traffic")
    for name in ("messages", "bytes", "within_messages", "within_bytes"):
        assert data[name].dims == ("sender", "receiver")
    assert data.bytes.attrs["units"] == "bytes" and data.attrs["phase"] == "inference"
    assert list(data.sender.values) == list(data.receiver.values) == [0]


@pytest.mark.parametrize("engine", ENGINES)
def test_gradients(folder, engine):
    data = opened(folder, engine, "/gradients", "gradients.h5")
    assert data.angle.dims == ("step_size", "layer", "iteration")
    assert list(data.step_size.values) == [0.1, 0.5]
    assert list(data.iteration.values) == [1, 2, 3, 4]
    assert data.angle.sel(step_size=0.5, iteration=4)[2] == 123
    update = opened(folder, engine, "/updates/1", "gradients.h5")
    assert update.attrs["step_size"] == 0.5 and update.out.dims == ("parameter_out",)
    np.testing.assert_allclose(update.out.values, 3 + np.arange(7) / 10, rtol=1e-6)
    assert list(opened(folder, engine, "/parameters", "gradients.h5").V1.values) == [0, 1, 2, 3, 4]
