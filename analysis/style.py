"""What all figures have in common: colours, type, legends, curves with their spread."""
import io
import logging
import os

import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

import command  # noqa: E402

# Okabe and Ito's colours, which stay apart for every common kind of colour blindness, the five
# that do so best in front; yellow is left out because it fades on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#56B4E9", "#000000", "#CC79A7", "#E69F00")
# Of curves that belong to no layer, one per series of runs: they stay apart from those above too.
SERIES = ("#332288", "#AAAA55", "#882255")
LINES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (7, 2)), (0, (3, 1, 1, 1)))
MARKERS = "osD^vPX"
RULES = {"strict": "predictive coding (strict)",
         "fixed-prediction": "predictive coding (fixed prediction)",
         "backprop": "backprop"}
STATES = {"value": "values stored", "deviation": "deviations stored"}
DATA = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
LOSSES = {"mse": "MSE, dimensionless", "cross_entropy": "cross entropy, nats"}
TYPE = {"font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 8,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
        "grid.color": "0.92", "grid.linewidth": 0.6, "axes.axisbelow": True,
        "mathtext.fontset": "dejavusans", "pdf.fonttype": 42}
DPI = 150
GALLERY_DPI = 120
PUBLISHED = {"linewidth": 0.7, "alpha": 0.5, "linestyle": "-", "zorder": 1.5}
CLOSED_FORM = {"color": "0.25", "linestyle": (0, (1, 2)), "linewidth": 1.2, "zorder": 20}

plt.rcParams.update(TYPE)
logging.getLogger("fontTools").setLevel(logging.ERROR)  # it remarks on the age of fonts


def layer_styles(layers):
    """Colour, line style and marker of each layer, as keyword arguments of plot."""
    if len(layers) > len(COLOURS):
        colours = matplotlib.colormaps["cividis"](np.linspace(0, 0.9, len(layers)))
    else:
        colours = COLOURS
    return [{"color": colours[i], "linestyle": LINES[i % len(LINES)],
             "marker": MARKERS[i % len(MARKERS)], "label": name}
            for i, name in enumerate(layers)]


def moving_average(values, window):
    """Centred mean over `window` (odd) points, over fewer near both ends; values (points)."""
    if window <= 1:
        return values
    kernel = np.ones(window)
    inside = np.convolve(np.ones(len(values)), kernel, "full")
    half = window // 2
    return (np.convolve(values, kernel, "full") / inside)[half:half + len(values)]


def smoothing_window(points):
    """Points that the moving average of a curve spans: odd, about a 40th of the curve."""
    return 1 if points < 60 else points // 40 // 2 * 2 + 1


def spread_markers(points, which, of):
    """markevery such that the markers of `of` curves do not fall on each other."""
    every = max(1, points // 8)
    return (every * which // max(1, of) % max(1, points), every)


def spread_markers_on_logarithm(points, which, of):
    """The same for an axis that is the logarithm of 1 .. points."""
    where = np.exp((np.arange(8) + which / max(1, of)) / 8 * np.log(max(2, points)))
    return sorted(set(np.minimum(where.round().astype(int), points) - 1))


def draw_noisy(ax, x, curves, style, which=0, of=1, raw=True):
    """The smoothed mean of noisy curves (curve, point), the band from the lowest to the
    highest where there are several, or with `raw` every point of a single one.

    Points that one of the curves lacks are left out. Returns whether there were any.
    """
    curves = np.atleast_2d(curves)
    there = np.isfinite(curves).all(axis=0)
    x, curves = x[there], curves[:, there]
    if len(x) == 0:
        return False
    window = smoothing_window(len(x))
    smooth = np.array([moving_average(curve, window) for curve in curves])
    if len(curves) > 1:
        ax.fill_between(x, smooth.min(axis=0), smooth.max(axis=0), color=style["color"],
                        alpha=0.22, linewidth=0, zorder=1)
    elif raw and window > 1:
        ax.plot(x, curves[0], color=style["color"], linewidth=0.5, alpha=0.3, zorder=1)
    ax.plot(x, smooth.mean(axis=0), linewidth=1.4, markersize=4, zorder=2 + which,
            markeredgecolor="white", markeredgewidth=0.4,
            markevery=spread_markers(len(x), which, of), **style)
    return True


def say_not_recorded(ax):
    """Fill a panel that has no data with the words that say so."""
    ax.text(0.5, 0.5, "not recorded", transform=ax.transAxes, ha="center", va="center",
            color="0.45", fontsize=11)
    ax.set_yticks([])
    ax.grid(False)


def letter(ax, text, title):
    """Panel letter and a short title above a panel, flush left."""
    ax.set_title(f"$\\bf{{{text}}}$  {title}", loc="left")


def footnote(figure, text):
    """Small print below the panels."""
    figure.supxlabel(text, fontsize=8, color="0.35", x=0.01, ha="left")


def legend_beside(row, title=None):
    """Legend of a row of panels, to the right of the last, where it covers no data."""
    fullest = max(row, key=lambda ax: len(ax.get_legend_handles_labels()[0]))
    handles, labels = fullest.get_legend_handles_labels()
    ax = row[-1]
    if handles:
        ax.legend(handles, labels, title=title, loc="upper left", bbox_to_anchor=(1.02, 1),
                  borderaxespad=0, frameon=False, handlelength=3.2,
                  ncol=1 + len(labels) // 14)


def zero_floor(values):
    """A power of ten below the smallest positive value: where zeros are drawn."""
    positive = values[np.isfinite(values) & (values > 0)]
    return 10.0 ** (np.floor(np.log10(positive.min())) - 1) if len(positive) else 1e-3


def label_zero(ax, floor, top):
    """Name the bottom tick of a logarithmic axis 0, for zeros are drawn there."""
    low, high = round(np.log10(floor)), int(np.floor(np.log10(top)))
    every = max(1, -(-(high - low) // 7))
    powers = [k for k in range(low + 1, high + 1) if k % every == 0]
    ax.set_yticks([floor] + [10.0 ** k for k in powers],
                  ["0"] + [f"$10^{{{k}}}$" for k in powers])
    ax.minorticks_off()


def save(figure, path, dpi=DPI):
    """Write aside and rename, so that a failure leaves an older figure in place."""
    suffix = os.path.splitext(path)[1][1:].lower()
    content = io.BytesIO()
    figure.savefig(content, format=suffix, dpi=dpi)
    aside = path + ".partial"
    with command.naming(aside), open(aside, "wb") as file:
        file.write(content.getvalue())
    os.replace(aside, path)
