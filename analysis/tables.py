"""Our numbers beside the published ones, layer by layer, and our times beside theirs.

A table is a dict: title, note, columns (list of text), rows (list of lists of text).
"""
import numpy as np

import published
import reproduction
import style

STATE_COLUMNS = {"value": "ours, values stored", "deviation": "ours, deviations stored"}
RUNTIMES = {"strict": "strict, \u03b7 0.1, n 20", "fixed-0.1": "fixed prediction, \u03b7 0.1, n 20",
            "fixed-1": "fixed prediction, \u03b7 1, n 5", "backprop": "backprop"}


def number(value, digits=3):
    """A number as people read it."""
    if value is None or np.isnan(value):
        return "\u2013"
    if np.isinf(value) or abs(value) > 1e6:
        return "diverged"
    if 0 < abs(value) < 1e-7:
        return f"{value:.0e}"
    return f"{value:.{digits}g}"


def spread(values, digits=3):
    """Mean of some networks, with the lowest and the highest; values (network)."""
    values = np.asarray(values, float)
    if len(values) == 0 or np.isnan(values).all():
        return "\u2013"
    if len(values) == 1:
        return number(values[0], digits)
    low, high = np.nanmin(values), np.nanmax(values)
    return (f"{number(np.nanmean(values), digits)} "
            f"({number(low, digits)} \u2026 {number(high, digits)})")


def training(runs, figure, data="mnist"):
    """Final losses and accuracies, and medians over the steps of each layer's curves."""
    old, beside = published.curves(figure, data), reproduction.backprop(runs, figure, data)
    groups = by_state(runs, reproduction.prefix_of(figure, data), len(old["step"]))
    steps = min([len(old["step"])] + [run["attributes"].get("steps_done", 0)
                                      for group in groups.values() for run in group])
    old, groups = shorten(old, steps), {s: shorten_all(groups[s], steps) for s in groups}
    backprop = shorten_all(reproduction.whole(runs, beside, steps), steps)
    rows = final_rows(groups, backprop, old)
    layers = next(iter(groups.values()))[0]["layers"]
    for name, words in (("relative_error", "relative error"), ("angle", "angle, degrees")):
        theirs = reproduction.median(old[name])
        ours = {s: reproduction.medians(group, name) for s, group in groups.items()}
        for i, layer in enumerate(layers):
            rows.append([f"median {words}, {layer}", number(max(0, theirs[i]))]
                        + cells({s: ours[s][:, i] for s in ours}, theirs[i]))
    return {"title": f"{figure[:3].capitalize()} {figure[3:]}, {style.DATA[data]}",
            "note": f"Of the first {steps} training steps, published and ours. Losses "
                    f"and accuracies are means of the last {min(steps, reproduction.LAST)} of them, the others medians; of several "
                    "networks the mean (lowest \u2026 highest)."
                    + (f" {reproduction.LIKE_BACKPROP_NOTE}"
                       if backprop and beside == reproduction.LIKE_BACKPROP else ""),
            "columns": ["", "published"] + headings(groups), "rows": rows}


def by_state(runs, prefix, steps):
    """Per state the networks of at least so many training steps or, with none, the shorter."""
    found = {}
    for state in reproduction.STATES:
        name = f"{prefix}-{state}"
        group = reproduction.whole(runs, name, steps) or reproduction.networks(runs, name)
        if group:
            found[state] = group
    return found


def shorten(curves, steps):
    """The first `steps` training steps of published curves or of ours."""
    keep = curves["step"] < steps
    return {name: {key: curve[keep] for key, curve in content.items()}
            if isinstance(content, dict) else content[..., keep]
            for name, content in curves.items()}


def shorten_all(group, steps):
    """Some networks, with the first `steps` training steps only."""
    return [{**run, "training": shorten(run["training"], steps)} for run in group]


def headings(groups):
    """Column names of the states that there are."""
    return [text for s in groups for text in (STATE_COLUMNS[s], "minus published")]


def cells(ours, theirs):
    """The cells of one quantity: per state the networks and their difference."""
    return [text for values in ours.values()
            for text in (spread(values), number(np.mean(values) - np.maximum(0, theirs), 2))]


def final_rows(groups, backprop, old):
    """Rows of losses and accuracies, of predictive coding and of backprop."""
    rows = []
    for kind, words in (("PC", "predictive coding"), ("BP", "backprop")):
        for name in ("loss", "accuracy"):
            for split, prefix in (("train", ""), ("test", "test_")):
                theirs = reproduction.last_mean(old[name][f"{kind}_{split}"])
                ours = {s: reproduction.finals(group if kind == "PC" else backprop,
                                               prefix + name) for s, group in groups.items()}
                if kind == "BP" and not backprop:
                    continue
                rows.append([f"{name}, {words}, {split}", number(theirs)] + cells(ours, theirs))
    return rows


def gradients(runs, figure, step_sizes, lengths):
    """Relative error and angle of each layer after some steps of inference."""
    groups = {s: reproduction.networks(runs, f"{figure}-{s}") for s in reproduction.STATES}
    groups = {s: group for s, group in groups.items() if group}
    old = {"gradients": published.curves(figure)}
    rows = []
    for eta in step_sizes:
        for n in lengths:
            for i, layer in enumerate(next(iter(groups.values()))[0]["layers"]):
                row = [number(eta), str(n), layer]
                for name in ("relative_error", "angle"):
                    theirs = reproduction.at([old], name, eta, n)[0, i]
                    row.append(number(np.maximum(0, theirs)))
                    row += [middle(reproduction.at(group, name, eta, n)[:, i])
                            for group in groups.values()]
                rows.append(row)
    columns = ["\u03b7", "n", "layer"]
    for words in ("relative error", "angle, degrees"):
        columns += [f"{words}: published"] + [STATE_COLUMNS[s] for s in groups]
    return {"title": f"{figure[:3].capitalize()} {figure[3:]}",
            "note": "Of several networks the median (lowest \u2026 highest).",
            "columns": columns, "rows": rows}


def middle(values, digits=3):
    """Median of some networks, with the lowest and the highest."""
    values = np.where(np.isnan(values), np.inf, values)
    if len(values) == 1:
        return number(values[0], digits)
    return (f"{number(np.median(values), digits)} ({number(values.min(), digits)} \u2026 "
            f"{number(values.max(), digits)})")


def runtimes(runs):
    """Seconds of each algorithm and their ratios to backprop, ours and the published."""
    seconds = {name: runs[f"time-{name}"]["attributes"].get("seconds", np.nan)
               for name in RUNTIMES if f"time-{name}" in runs}
    base, rows = seconds.get("backprop", np.nan), []
    for name, value in seconds.items():
        theirs = published.SECONDS[name]
        rows.append([RUNTIMES[name], f"{value:.2f}", f"{value / base:.2f}", f"{theirs:.2f}",
                     f"{theirs / published.SECONDS['backprop']:.2f}"])
    return {"title": "Runtimes",
            "note": "2 epochs of MNIST, mean squared error, nothing measured on the way.",
            "columns": ["algorithm", "ours, s", "ours, ratio", "published, s",
                        "published, ratio"], "rows": rows}
