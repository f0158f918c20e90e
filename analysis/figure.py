"""Draw the figure of a run file as PNG or PDF.

    python3 analysis/figure.py fig1.h5 [backprop.h5] -o fig1.png

A file of `lamina train` gives four panels against training steps: A loss, B accuracy,
C relative error and D angle of each layer's update against the exact gradient. A second
file, of the same experiment trained with backprop, is drawn beside it in A and B.
A file of `lamina gradients` gives relative error (top) and angle (bottom) against the
iterations of inference, one column per step size.

Exit codes: 64 wrong command line, 65 wrong file content, 66 missing or unreadable file,
73 output cannot be written.
"""
import argparse
import io
import os
import sys

import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import lamina

# Okabe and Ito's colours, which stay apart for every common kind of colour blindness; yellow
# is left out because it fades on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (7, 2)), (0, (3, 1, 1, 1)))
MARKERS = "osD^vPX"
RULES = {"strict": "predictive coding (strict)",
         "fixed-prediction": "predictive coding (fixed prediction)",
         "backprop": "backprop"}
LOSSES = {"mse": "mean squared error, dimensionless", "cross_entropy": "cross entropy, nats"}
TYPE = {"font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 8,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
        "grid.color": "0.92", "grid.linewidth": 0.6, "axes.axisbelow": True,
        "mathtext.fontset": "dejavusans", "pdf.fonttype": 42}
DPI = 150
HIGHEST = 1e3  # relative errors above this have diverged: the axis ends there


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


def layer_styles(layers):
    """Colour, line style and marker of each layer, as keyword arguments of plot."""
    if len(layers) > len(COLOURS):
        colours = matplotlib.colormaps["cividis"](np.linspace(0, 0.9, len(layers)))
    else:
        colours = COLOURS
    return [{"color": colours[i], "linestyle": LINES[i % len(LINES)],
             "marker": MARKERS[i % len(MARKERS)], "label": name}
            for i, name in enumerate(layers)]


def spread_markers(points, which, of):
    """markevery such that the markers of `of` curves do not fall on each other."""
    every = max(1, points // 8)
    return (every * which // max(1, of) % max(1, points), every)


def draw_noisy(ax, x, y, style, which=0, of=1):
    """A curve's finite points: thin as they are, and their moving average over it."""
    there = np.isfinite(y)
    x, y = x[there], y[there]
    if len(x) == 0:
        return False
    window = smoothing_window(len(x))
    if window > 1:
        ax.plot(x, y, color=style["color"], linewidth=0.5, alpha=0.3, zorder=1)
    ax.plot(x, moving_average(y, window), linewidth=1.4, markersize=4, zorder=2 + which,
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


def legend_beside(row, title=None):
    """Legend of a row of panels, to the right of the last, where it covers no data."""
    fullest = max(row, key=lambda ax: len(ax.get_legend_handles_labels()[0]))
    handles, labels = fullest.get_legend_handles_labels()
    ax = row[-1]
    if handles:
        ax.legend(handles, labels, title=title, loc="upper left", bbox_to_anchor=(1.02, 1),
                  borderaxespad=0, frameon=False, handlelength=3.2,
                  ncol=1 + len(labels) // 14)


def rule_labels(runs):
    """One label per run: its rule, with the file's name where two runs share a rule."""
    labels = [RULES.get(str(rule), str(rule))
              for rule in (lamina.setting(run, "inference.rule", "unknown") for run in runs)]
    if len(set(labels)) < len(labels):
        labels = [f"{label}, {os.path.basename(run['path'])}"
                  for label, run in zip(labels, runs)]
    return labels


def describe(run):
    """The title line: rule, step size and steps of inference, and how far a run has come."""
    rule = lamina.setting(run, "inference.rule", "unknown rule")
    parts = [RULES.get(str(rule), str(rule))]
    parts[0] = parts[0][0].upper() + parts[0][1:]
    if run["gradients"]:
        trained = lamina.setting(run, "gradients.train")
        if trained:
            parts.append(f"network trained with {trained}")
    elif rule != "backprop":
        parts.append(f"$\\eta$ = {lamina.setting(run, 'inference.step', '?')}")
        parts.append(f"$n$ = {lamina.setting(run, 'inference.steps', '?')}")
    if not run["attributes"].get("complete", True):
        parts.append(f"not finished ({run['attributes'].get('steps_done', '?')} steps done)")
    return ",  ".join(parts)


def draw_progress(ax, runs, labels, name):
    """Curve `name` of every run over training steps, and test_`name` where measured."""
    drawn = False
    count = 2 * len(runs)
    for i, (run, label) in enumerate(zip(runs, labels)):
        training = run["training"]
        for j, (split, curve) in enumerate((("training", name), ("test", f"test_{name}"))):
            which = 2 * i + j
            style = {"color": COLOURS[which], "linestyle": LINES[which],
                     "marker": MARKERS[which], "label": f"{label}:\n{split} inputs"}
            drawn |= draw_noisy(ax, training["step"], training[curve], style, which, count)
    if not drawn:
        say_not_recorded(ax)


def draw_layers(ax, run, name):
    """Curve `name` of every layer over training steps, from zero upwards."""
    training, drawn = run["training"], False
    for i, style in enumerate(layer_styles(run["layers"])):
        drawn |= draw_noisy(ax, training["step"], training[name][i], style, i,
                            len(run["layers"]))
    if not drawn:
        say_not_recorded(ax)
        return
    top = 1.05 * np.max(training[name], where=np.isfinite(training[name]), initial=0)
    top = top if top > 0 else 1
    ax.set_ylim(-0.03 * top, top)


def draw_training(runs):
    """The four panels of a training run, with an optional second run in A and B."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 6.4), layout="constrained", sharex=True)
    labels = rule_labels(runs)
    loss = lamina.setting(runs[0], "network.loss", "loss")
    draw_progress(axes[0, 0], runs, labels, "loss")
    letter(axes[0, 0], "A", "Loss")
    axes[0, 0].set_ylabel(f"loss ({LOSSES.get(str(loss), loss)})")
    draw_progress(axes[0, 1], runs, labels, "accuracy")
    letter(axes[0, 1], "B", "Accuracy")
    axes[0, 1].set_ylabel("accuracy (fraction correct)")
    draw_layers(axes[1, 0], runs[0], "relative_error")
    letter(axes[1, 0], "C", "Relative error of the update")
    axes[1, 0].set_ylabel("relative error (dimensionless)")
    draw_layers(axes[1, 1], runs[0], "angle")
    letter(axes[1, 1], "D", "Angle to the exact gradient")
    axes[1, 1].set_ylabel("angle (degrees)")
    for ax in axes.flat:
        ax.set_xlabel("training step")
        ax.tick_params(labelbottom=True)
    legend_beside(axes[0])
    legend_beside(axes[1], "layer")
    window = smoothing_window(len(runs[0]["training"]["step"]))
    if window > 1:
        figure.supxlabel(f"Thick lines: moving average over {window} points; thin lines: every "
                         "point.", fontsize=8, color="0.35", x=0.01, ha="left")
    figure.suptitle(describe(runs[0]), fontsize=10, x=0.01, ha="left")
    return figure


def error_floor(values):
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


def draw_column(top, bottom, run, column, floor):
    """Relative error (top) and angle (bottom) of every layer for one step size.

    Angles end where a layer's relative error passes HIGHEST: there is no direction any more.
    """
    gradients = run["gradients"]
    iteration = gradients["iteration"]
    diverged = np.maximum.accumulate(gradients["relative_error"][column] > HIGHEST, axis=1)
    for i, style in enumerate(layer_styles(run["layers"])):
        style["markevery"] = spread_markers(len(iteration), i, len(run["layers"]))
        style.update(linewidth=1.4, markersize=4, markeredgecolor="white",
                     markeredgewidth=0.4)
        error = gradients["relative_error"][column, i]
        top.plot(iteration, np.where(error == 0, floor, error), **style)
        angle = gradients["angle"][column, i]
        bottom.plot(iteration, np.where(diverged[i], np.nan, angle), **style)
    top.set_title(f"$\\eta$ = {gradients['step_size'][column]:.4g}"
                  + (" (diverges)" if diverged.any() else ""))
    bottom.set_xlabel("iterations $n$")


def draw_gradients(run):
    """Relative error and angle against iterations, one column per step size."""
    values = run["gradients"]["relative_error"]
    columns = len(run["gradients"]["step_size"])
    figure, axes = plt.subplots(2, columns, figsize=(2.6 + 2.4 * columns, 5.2), squeeze=False,
                                layout="constrained", sharex=True, sharey="row")
    floor = error_floor(values)
    for column in range(columns):
        draw_column(axes[0, column], axes[1, column], run, column, floor)
    finite = values[np.isfinite(values)]
    axes[0, 0].set_yscale("log")
    limits = floor / 2, min(HIGHEST, 2 * finite.max(initial=1))
    if np.any(values == 0):
        label_zero(axes[0, 0], floor, limits[1])
    axes[0, 0].set_ylim(limits)
    axes[1, 0].set_ylim(bottom=min(-2, axes[1, 0].get_ylim()[0]))
    axes[0, 0].set_ylabel("relative error (dimensionless)")
    axes[1, 0].set_ylabel("angle (degrees)")
    for ax, text in zip(axes[:, 0], "AB"):
        letter(ax, text, "")
    legend_beside(axes[0], "layer")
    figure.suptitle(describe(run), fontsize=10, x=0.01, ha="left")
    return figure


def draw(runs):
    """The figure of one or two runs; ValueError when their content does not make one."""
    for run in runs:
        if run["gradients"] is None and run["training"] is None:
            raise ValueError(f"{run['path']}: neither /training nor /gradients is in the file")
    if runs[0]["gradients"] is None:
        if runs[-1]["training"] is None:
            raise ValueError(f"{runs[-1]['path']}: no /training to draw beside "
                             f"{runs[0]['path']}")
        return draw_training(runs)
    if len(runs) > 1:
        raise ValueError(f"{runs[0]['path']}: a file of `lamina gradients` is drawn alone, "
                         f"without {runs[1]['path']}")
    return draw_gradients(runs[0])


def save(figure, path):
    """Write aside and rename, so that a failure leaves an older figure in place."""
    suffix = os.path.splitext(path)[1][1:].lower()
    content = io.BytesIO()
    figure.savefig(content, format=suffix, dpi=DPI)
    aside = path + ".partial"
    with open(aside, "wb") as file:
        file.write(content.getvalue())
    os.replace(aside, path)


def fail(code, message):
    """End the program with one line on standard error."""
    print(f"figure.py: {message}", file=sys.stderr)
    sys.exit(code)


def main(arguments=None):
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, prog="figure.py",
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.error = lambda message: fail(64, message)
    parser.add_argument("run", help="run file of `lamina train` or `lamina gradients`")
    parser.add_argument("backprop", nargs="?", help="run file to draw beside it in A and B")
    parser.add_argument("-o", "--output", required=True, help="figure to write: .png or .pdf")
    options = parser.parse_args(arguments)
    if os.path.splitext(options.output)[1].lower() not in (".png", ".pdf"):
        fail(64, f"{options.output}: the name must end in .png or .pdf")
    plt.rcParams.update(TYPE)
    try:
        paths = [options.run] + ([options.backprop] if options.backprop else [])
        figure = draw([lamina.open_run(path) for path in paths])
    except OSError as error:
        fail(66, f"{error.filename}: {error.strerror}")
    except ValueError as error:
        fail(65, error)
    try:
        save(figure, options.output)
    except OSError as error:
        fail(73, f"{options.output}: {error.strerror}")
    print(options.output)


if __name__ == "__main__":
    main()
