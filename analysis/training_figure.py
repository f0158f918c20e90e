"""The figure of training runs: Figures 1, 3 and 5 of Rosenbaum (2022).

Runs that differ in their seed only make one series, drawn as mean and spread. Every series of
a predictive-coding rule has a row of four panels: loss and accuracy, beside those of the
backprop runs of the same data and loss, then relative error and angle of each layer's update.
"""
import os

import matplotlib.pyplot as plt
import numpy as np

import lamina
import published
import reproduction
import style
import theory

FIGURE_5_AS_BACKPROP = "backprop (taken from Figure 5)"
SPLITS = (("train", "training", ""), ("test", "test", "test_"))


def series(runs):
    """Runs of the same length that differ in their seed only, together: a list of lists, in
    order. ValueError when a network is there twice."""
    found = {}
    for run in runs:
        key = lamina.same_but_for_seed(run), run["attributes"].get("steps_done")
        group = found.setdefault(key, {})
        which = run["attributes"].get("seed"), run["attributes"].get("checkpoint")
        if which in group:
            raise ValueError(f"{run['path']}: the same network as in {group[which]['path']}")
        group[which] = run
    return [list(group.values()) for group in found.values()]


def data_name(run):
    """The data set of a run, as people call it."""
    path = os.path.basename(str(lamina.setting(run, "data.path", "")))
    return style.DATA.get(path, path or "unknown data")


def published_data(run):
    """The name of a run's data set in `published`; nothing was published for others."""
    return {"MNIST": "mnist", "CIFAR-10": "cifar10"}.get(data_name(run), "")


def task(run):
    """What two runs must share to be compared in loss and accuracy."""
    return data_name(run), lamina.setting(run, "network.loss")


def stack(runs, name):
    """Curve `name` of runs of one series: (run, [layer,] step)."""
    return np.array([run["training"][name] for run in runs])


def is_backprop(runs):
    """Whether a series was trained by backprop."""
    return lamina.setting(runs[0], "inference.rule") == "backprop"


def label(runs):
    """The rule of a series, in words."""
    rule = str(lamina.setting(runs[0], "inference.rule", "unknown rule"))
    return style.RULES.get(rule, rule)


def title(runs):
    """What a series of runs is: data, rule, step size, steps, state, how far it came."""
    run = runs[0]
    parts = [data_name(run), label(runs)]
    if not is_backprop(runs):
        parts.append(f"$\\eta$ = {lamina.setting(run, 'inference.step', '?')}")
        parts.append(f"$n$ = {lamina.setting(run, 'inference.steps', '?')}")
        parts.append(precision(run))
    if len(runs) > 1:
        parts.append(f"{len(runs)} networks")
    done = [run["attributes"].get("steps_done", "?") for run in runs]
    if not all(run["attributes"].get("complete", True) for run in runs):
        parts.append(f"not finished ({min(done)} steps done)")
    elif lamina.setting(run, "training.steps", 0):
        parts.append(f"stopped after {min(done)} training steps")
    return ",  ".join(str(part) for part in parts)


def precision(run):
    """What the state of a run is kept as, and in which numbers."""
    state = str(lamina.setting(run, "inference.state", "deviation"))
    real = {"float": "float32", "double": "float64"}.get(run["attributes"].get("real"), "")
    return f"{style.STATES.get(state, state)}{' in ' if real else ''}{real}"


def draw_progress(ax, groups, name, old):
    """Curve `name` and test_`name` of every series over training steps; what comes after the
    first is drawn as backprop's."""
    drawn, count = False, 2 * len(groups)
    for i, runs in enumerate(groups):
        kind = "BP" if i > 0 or is_backprop(runs) else "PC"
        words = FIGURE_5_AS_BACKPROP if i > 0 and not is_backprop(runs) else label(runs)
        for j, (key, split, prefix) in enumerate(SPLITS):
            which = 2 * i + j
            look = {"color": style.SERIES[i % len(style.SERIES)],
                    "linestyle": style.LINES[(2 * (i // len(style.SERIES)) + j) % len(style.LINES)],
                    "marker": style.MARKERS[which % len(style.MARKERS)],
                    "label": f"{words}:\n{split} inputs"}
            if old and i < 2:
                ax.plot(old["step"], old[name][f"{kind}_{key}"], color=look["color"],
                        **style.PUBLISHED)
            drawn |= style.draw_noisy(ax, runs[0]["training"]["step"],
                                      stack(runs, prefix + name), look, which, count, not old)
    if not drawn:
        style.say_not_recorded(ax)


def cut_to_published(ax, old):
    """Losses far above every published one leave the panel, as those of the second step on
    CIFAR-10 do in print."""
    top = 1.05 * max(np.nanmax(curve) for curve in old["loss"].values())
    if ax.get_ylim()[1] > 2 * top:
        ax.set_ylim(top=top)


def draw_layers(ax, runs, name, old):
    """Curve `name` of every layer over training steps, from zero upwards."""
    curves, layers, drawn = stack(runs, name), runs[0]["layers"], False
    for i, look in enumerate(style.layer_styles(layers)):
        if old and i < len(old[name]):
            ax.plot(old["step"], old[name][i], color=look["color"], **style.PUBLISHED)
        drawn |= style.draw_noisy(ax, runs[0]["training"]["step"], curves[:, i], look, i,
                                  len(layers), not old)
    if not drawn:
        style.say_not_recorded(ax)
        return
    values = [curves] + ([old[name]] if old else [])
    top = max(np.max(v, where=np.isfinite(v), initial=0) for v in values)
    top = 1.05 * top if top > 0 else 1
    if name == "relative_error" and theory.applies(runs[0]):
        draw_closed_form(ax, runs[0])
        top = max(top, 1e-6)
    ax.set_ylim(-0.03 * top, top)


def draw_closed_form(ax, run):
    """The relative error that theory gives, one level per layer."""
    expected = theory.relative_error(int(lamina.setting(run, "inference.steps")),
                                     lamina.setting(run, "inference.step"),
                                     len(run["layers"]))
    for i, level in enumerate(expected):
        ax.axhline(level, label="closed form" if i == 0 else None, **style.CLOSED_FORM)


def draw_row(axes, runs, beside, letters, old):
    """The four panels of one series; `beside` are series to draw as backprop's."""
    draw_progress(axes[0], [runs] + beside, "loss", old)
    if old:
        cut_to_published(axes[0], old)
    style.letter(axes[0], letters[0], "Loss")
    loss = str(lamina.setting(runs[0], "network.loss", "loss"))
    axes[0].set_ylabel(f"loss ({style.LOSSES.get(loss, loss)})")
    draw_progress(axes[1], [runs] + beside, "accuracy", old)
    style.letter(axes[1], letters[1], "Accuracy")
    axes[1].set_ylabel("accuracy (fraction correct)")
    draw_layers(axes[2], runs, "relative_error", old)
    style.letter(axes[2], letters[2], "Relative error of the update")
    axes[2].set_ylabel("relative error (dimensionless)")
    draw_layers(axes[3], runs, "angle", old)
    style.letter(axes[3], letters[3], "Angle to the exact gradient")
    axes[3].set_ylabel("angle (degrees)")
    for ax in axes:
        ax.set_xlabel("training step")
        ax.tick_params(labelbottom=True)


def row_letters(groups):
    """Letters of each row: A-D for the first task, E-H for the second; primes for further
    rows of the same task."""
    tasks, letters = [], []
    for runs in groups:
        tasks.append(task(runs[0]))
        first = sorted(set(tasks), key=tasks.index).index(tasks[-1])
        prime = "'" * (tasks.count(tasks[-1]) - 1)
        letters.append([chr(ord("A") + 4 * (first % 6) + k) + prime for k in range(4)])
    return letters


def explain(figure, groups, beside, old):
    """The small print: what thick, thin and dotted lines and bands are."""
    smoothed = any(style.smoothing_window(len(runs[0]["training"]["step"])) > 1 for runs in groups)
    networks = [len(runs) for runs in groups + beside]
    words = []
    thick = ["moving average over a 40th of each curve"] if smoothed else []
    if max(networks) > 1:
        thick.append("mean of all networks, with the band from the lowest to the highest")
    if thick:
        words.append(f"Thick lines: {', '.join(thick)}.")
    if old:
        words.append("Thin lines: published.")
    elif smoothed and min(networks) == 1:
        words.append("Thin lines: every point.")
    if not all(is_backprop(runs) for runs in beside):
        words.append(reproduction.LIKE_BACKPROP_NOTE)
    if words:
        style.footnote(figure, " ".join(words))


def draw_rows(groups, beside, old):
    """The panels of all series in one figure; `old` are their published curves."""
    rows, columns = (2, 2) if len(groups) == 1 else (len(groups), 4)
    size = (10, 6.4) if len(groups) == 1 else (17, 3.4 * rows)
    figure = plt.figure(figsize=size, layout="constrained")
    parts = np.atleast_1d(figure.subfigures(max(1, len(groups)), 1))
    for runs, part, letters, curves in zip(groups, parts, row_letters(groups), old):
        axes = part.subplots(rows if len(groups) == 1 else 1, columns, sharex=True)
        others = [b for b in beside if task(b[0]) == task(runs[0])]
        draw_row(axes.ravel(), runs, others, letters, curves)
        axes = axes.reshape(-1, columns)
        if len(groups) == 1:
            style.legend_beside(axes[0])
        else:
            axes[0, 0].legend(loc="upper right", handlelength=3.2, fontsize=7, frameon=False)
        style.legend_beside(axes[-1][-2:], "layer")
        part.suptitle(title(runs), fontsize=10, x=0.01, ha="left")
    explain(figure, groups, beside, any(old))
    return figure


def draw(runs, figure=None, beside=()):
    """The figure of training runs, over the published curves of `figure` ("fig1", ...). Those
    trained by backprop are drawn beside the others, and as backprop's the runs `beside`."""
    groups = series(runs)
    backprop = [g for g in groups if is_backprop(g)]
    rows = [g for g in groups if g not in backprop] or [backprop.pop(0)]
    tasks = [task(g[0]) for g in rows]
    beside = [g for g in backprop + series(beside) if task(g[0]) in tasks]
    old = [published.curves(figure, published_data(g[0])) if figure else None for g in rows]
    return draw_rows(rows, beside, old)
