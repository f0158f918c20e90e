"""The figure of updates against the steps of inference: Figures 2 and 4 of Rosenbaum (2022).

Files that differ in their seed only, so in the network that they measure, make one series,
drawn as median and range. Every series has two rows of panels, relative error (top) and angle
(bottom), with one column per step size.
"""
import matplotlib.pyplot as plt
import numpy as np

import lamina
import published
import style
import theory
from reproduction import DIVERGED
from training_figure import data_name, label, precision, published_data, series

HIGHEST = 1e3   # the axis ends there
INFINITE = 1e30


def stack(runs, name):
    """Curve `name` of files of one series: (run, step size, layer, iteration)."""
    return np.array([run["gradients"][name] for run in runs])


def diverged(errors):
    """Where a layer's relative error has passed DIVERGED once, or was no number: like errors,
    with iterations last."""
    return np.maximum.accumulate(~(errors <= DIVERGED), axis=-1)


def title(runs):
    """What a series of files is: data, rule, trained how, state, number of networks."""
    run = runs[0]
    parts = [data_name(run), label(runs)]
    trained = lamina.trained_by(run)
    if trained:
        parts.append("untrained network" if trained == "none"
                     else f"network trained with {trained}")
    parts.append(precision(run))
    if len(runs) > 1:
        parts.append(f"{len(runs)} networks")
    return ",  ".join(parts)


def draw_curve(ax, x, curves, typical, look):
    """Median of the curves (run, point) that `typical` (run) chooses, and the band from the
    lowest to the highest of all. NaN is left out."""
    known = np.isfinite(curves).any(axis=0)
    if len(curves) > 1 and known.any():
        ax.fill_between(x[known], np.nanmin(curves[:, known], axis=0),
                        np.nanmax(curves[:, known], axis=0), color=look["color"], alpha=0.18,
                        linewidth=0, zorder=1)
    ax.plot(x, np.median(curves[typical], axis=0), linewidth=1.4, markersize=4,
            markeredgecolor="white", markeredgewidth=0.4, zorder=3, **look)


def draw_published(axes, old, column, look, layer, floor):
    """The published curves of one layer and step size."""
    error = old["relative_error"][column, layer]
    axes[0].plot(old["iteration"], np.where(error < floor, floor, error), color=look["color"],
                 **style.PUBLISHED)
    angle = np.where(diverged(error), np.nan, old["angle"][column, layer])
    axes[1].plot(old["iteration"], angle, color=look["color"], **style.PUBLISHED)


def draw_column(axes, runs, column, floor, old):
    """Relative error (top) and angle (bottom) of every layer for one step size.

    Angles end where a layer's relative error passes DIVERGED: there is no direction any more.
    Where some networks diverge and others do not, the lines are of those that do not.
    """
    gradients, layers = runs[0]["gradients"], runs[0]["layers"]
    iteration, eta = gradients["iteration"], gradients["step_size"][column]
    errors, angles = stack(runs, "relative_error")[:, column], stack(runs, "angle")[:, column]
    errors = np.where(np.isfinite(errors), np.clip(errors, floor, INFINITE), INFINITE)
    lost = diverged(errors)
    fails = lost.any(axis=(1, 2))
    typical = np.ones_like(fails) if fails.all() else ~fails
    matching = np.flatnonzero(np.isclose(old["step_size"], eta)) if old else []
    for i, look in enumerate(style.layer_styles(layers)):
        look["markevery"] = style.spread_markers_on_logarithm(len(iteration), i, len(layers))
        if len(matching):
            draw_published(axes, old, matching[0], look, i, floor)
        draw_curve(axes[0], iteration, errors[:, i], typical, look)
        draw_curve(axes[1], iteration, np.where(lost[:, i], np.nan, angles[:, i]), typical,
                   look)
    if theory.applies(runs[0]):
        for i, curve in enumerate(theory.relative_errors(iteration, eta, len(layers))):
            axes[0].plot(iteration, np.maximum(curve, floor),
                         label="closed form" if i == 0 else None, **style.CLOSED_FORM)
    words = "diverges" if fails.all() else f"{fails.sum()} of {len(runs)} diverge"
    axes[0].set_title(f"$\\eta$ = {eta:.4g}" + (f"  ({words})" if fails.any() else ""))


def scale_errors(ax, runs, column, limits, floor):
    """The axis of a panel of relative errors: logarithmic where they are small or diverge."""
    lost = diverged(stack(runs, "relative_error")[:, column]).any(axis=(1, 2))
    if lamina.setting(runs[0], "inference.rule") == "strict" and not lost.all():
        ax.set_ylim(-0.03, 1.15)
        return
    ax.set_yscale("log")
    if floor > limits[0]:
        style.label_zero(ax, floor, limits[1])
    ax.set_ylim(limits)


def draw_series(part, runs, old, letters, limits, floor):
    """Both rows of one series in a part of the figure."""
    columns = len(runs[0]["gradients"]["step_size"])
    axes = part.subplots(2, columns, squeeze=False, sharex=True)
    for column in range(columns):
        draw_column(axes[:, column], runs, column, floor, old)
        scale_errors(axes[0, column], runs, column, limits, floor)
        axes[1, column].set_xlabel("iterations $n$")
    axes[0, 0].set_xscale("log")
    for ax in axes.flat:
        ax.minorticks_off()
    top = max(ax.get_ylim()[1] for ax in axes[1])
    for ax in axes[1]:
        ax.set_ylim(-0.03 * top, min(184, top))
    axes[0, 0].set_ylabel("relative error (dimensionless)")
    axes[1, 0].set_ylabel("angle (degrees)")
    for ax, text in zip(axes[:, 0], letters):
        style.letter(ax, text, "")
    style.legend_beside(axes[0], "layer")
    part.suptitle(title(runs), fontsize=10, x=0.01, ha="left")


def draw(runs, figure=None):
    """The figure of files of `lamina gradients`, over the published curves of `figure`."""
    groups = series(runs)
    values = np.concatenate([stack(g, "relative_error").ravel() for g in groups])
    old = [published.curves(figure, published_data(g[0])) if figure else None for g in groups]
    floor = style.zero_floor(values)
    finite = values[np.isfinite(values)]
    limits = (floor / 2 if np.any(values == 0) else floor,
              min(HIGHEST, 2 * finite.max(initial=1)))
    columns = max(len(g[0]["gradients"]["step_size"]) for g in groups)
    canvas = plt.figure(figsize=(2.6 + 2.4 * columns, 5.2 * len(groups)), layout="constrained")
    parts = np.atleast_1d(canvas.subfigures(len(groups), 1))
    for k, (group, part) in enumerate(zip(groups, parts)):
        draw_series(part, group, old[k], ["A" + "'" * k, "B" + "'" * k], limits, floor)
    words = []
    if max(map(len, groups)) > 1:
        words.append("Thick lines: median of the networks, of those that do not diverge where "
                     "some do; bands: from the lowest to the highest of all.")
    if any(old):
        words.append("Thin lines: published.")
    if words:
        style.footnote(canvas, " ".join(words))
    return canvas
