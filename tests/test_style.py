"""Colours that stay apart for everybody, and the smoothing of curves (analysis/style.py)."""
import itertools

import numpy as np
import pytest

import run_files  # noqa: F401, finds analysis/
import style

# Linear RGB as full protanopia and deuteranopia see it: Machado, Oliveira, Fernandes, "A
# physiologically-based model for simulation of color vision deficiency", IEEE TVCG 15 (2009).
VISION = {
    "usual": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                            [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                              [-0.011820, 0.042940, 0.968881]])}
TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                   [0.0193339, 0.1191920, 0.9503041]])


def seen(colour, vision):
    """CIE L*a*b* of a colour "#rrggbb" under a kind of vision."""
    rgb = np.array([int(colour[i:i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(VISION[vision] @ linear, 0, 1) / TO_XYZ.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def smallest_distance(colours, vision):
    """Between any two of some colours; 2.3 is just noticeable."""
    return min(np.linalg.norm(seen(a, vision) - seen(b, vision))
               for a, b in itertools.combinations(colours, 2))


@pytest.mark.parametrize("vision", VISION)
def test_colours_stay_apart(vision):
    assert smallest_distance(style.COLOURS[:5], vision) > 24
    assert smallest_distance(style.COLOURS, vision) > 15
    assert smallest_distance(style.SERIES, vision) > 24
    assert all(smallest_distance((a, b), vision) > 15
               for a in style.COLOURS for b in style.SERIES)
    assert all(np.linalg.norm(seen(c, vision) - seen("#ffffff", vision)) > 30
               for c in style.COLOURS + style.SERIES)


def test_the_measure_knows_colours_that_do_not():
    assert smallest_distance(("#ff0000", "#00aa00"), "usual") > 100
    assert smallest_distance(("#b8860b", "#7f9a00"), "deuteranopia") < 15
    np.testing.assert_allclose(seen("#ffffff", "usual"), [100, 0, 0], atol=1e-3)


def test_deep_network_has_a_style_for_each_layer():
    styles = style.layer_styles([f"layer {i}" for i in range(19)])
    looks = {(tuple(s["color"]), s["linestyle"], s["marker"]) for s in styles}
    assert len(looks) == 19


def test_moving_average():
    line = np.arange(9.0)
    np.testing.assert_allclose(style.moving_average(line, 1), line)
    np.testing.assert_allclose(style.moving_average(line, 3),
                               [0.5, 1, 2, 3, 4, 5, 6, 7, 7.5])
    assert style.smoothing_window(20) == 1
    assert style.smoothing_window(400) == 11


@pytest.mark.parametrize("points", [1, 2, 30, 400])
def test_markers_stand_on_points(points):
    for which in range(5):
        places = style.spread_markers_on_logarithm(points, which, 5)
        assert places and 0 <= min(places) and max(places) < points
