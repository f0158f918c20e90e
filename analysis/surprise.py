"""Do the magnitudes of prediction errors follow surprise? In numbers, from `lamina surprise`.

    python3 analysis/surprise.py FILES -o surprise.png [--table surprise.csv]

FILES come from `lamina surprise` on inputs that analysis/inputs.py made; of each network and
rule one holds the ordinary test images (kind test).

A score separates a kind of inputs from ordinary test images as well as its area under the ROC
curve says (AUC): the probability that it is larger for an image of the kind than for an ordinary
one, ties counted half; 0.5 is chance. Scores are the magnitude of each layer's error and the loss
under the true label, the network's own guess and a wrong label, and, without a label, the
uncertainty (minus the largest softmax probability) and the pixel distance (to the nearest of
10000 training images). The kind `misclassified` is a selection: the ordinary test images that
the network gets wrong against those it gets right. Magnitudes that overflowed count as largest.

What is said of a cell was fixed before looking, with 95 % bootstrap intervals:
    follows    the interval of the AUC lies above 0.5: surprising inputs have larger errors
    opposes    it lies below 0.5: surprising inputs have smaller errors
    undecided  it contains 0.5
    more than the loss    the interval of the AUC minus that of the loss under the same label, on
                          the same images, lies above 0

Exit codes: 64 wrong command line, 65 wrong file content, 66 missing or unreadable file, 73
output cannot be written.
"""
import argparse
import csv
import functools
import io
import json
import os
import sys

import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

import lamina  # noqa: E402

KINDS = {"misclassified": "misclassified", "noise": "noise", "patch": "occluding patch",
         "rotation": "rotation", "overlay": "two overlaid", "other": "other data set",
         "control": "control: test images"}
LABELS = {"true": "true label", "guess": "own guess", "wrong": "wrong label", "": "no label"}
RULES = {"strict": "strict", "fixed-prediction": "fixed prediction", "backprop": "backprop"}
NETWORKS = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}
LOSS, UNCERTAINTY, DISTANCE = "loss", "uncertainty", "pixel distance"
REPLICATES, SEED = 2000, 0
NORMAL = 1.959963984540054  # two-sided 95 %


# --- statistics ----------------------------------------------------------------------------


def placements(positive, negative):
    """AUC of positive (n) against negative (m) scores through its terms: for each positive the
    fraction of negatives below it (n), for each negative the fraction of positives above it
    (m), ties counted half. The AUC is the mean of either."""
    def fraction_below(values, others):
        others = np.sort(others)
        below = np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")
        return below / (2 * len(others))
    return fraction_below(positive, negative), 1 - fraction_below(negative, positive)


def roc(positive, negative):
    """The ROC curve: false and true positive rate at every threshold, from (0, 0) to (1, 1)."""
    scores = np.concatenate([positive, negative])
    thresholds = np.concatenate([[np.inf], np.unique(scores[np.isfinite(scores)])[::-1], [-np.inf]])
    rate = [1 - np.searchsorted(np.sort(part), thresholds, "left") / len(part)
            for part in (negative, positive)]
    infinite = [np.mean(np.isposinf(part)) for part in (negative, positive)]
    rate = [np.concatenate([[0], np.where(np.isposinf(thresholds), share, part)])
            for part, share in zip(rate, infinite)]
    return rate[0], rate[1]


@functools.lru_cache(maxsize=16)
def resamples(n, stream):
    """Share of each of n inputs in each of the bootstrap's resamples: (REPLICATES, n)."""
    rng = np.random.default_rng([SEED, stream, n])
    return (rng.multinomial(n, np.full(n, 1 / n), REPLICATES) / n).astype(np.float32)


def bootstrap(above, below):
    """AUC of every score in every resample, (REPLICATES, score), from placements
    above (score, n) and below (score, m).

    Both samples are drawn anew; of the AUC's expansion in the two the first-order terms are
    kept, those of both together, of order 1/n, are left out: then a resample is a product.
    """
    auc = above.mean(axis=1)
    return (auc + resamples(above.shape[1], 0) @ (above.T - auc).astype(np.float32) +
            resamples(below.shape[1], 1) @ (below.T - auc).astype(np.float32))


def interval(samples):
    """The 95 % percentile interval over the first axis: (2, ...)."""
    return np.percentile(samples, (2.5, 97.5), axis=0)


def ranks(values):
    """Ranks from 1, ties their mean."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[where]


def correlation(x, y):
    """Pearson's correlation; NaN where one does not vary."""
    x, y = x - x.mean(), y - y.mean()
    norm = np.sqrt((x @ x) * (y @ y))
    return x @ y / norm if norm > 0 else np.nan


def spearman(x, y):
    """Spearman's correlation and its 95 % interval, by Fisher's z with the standard error of
    Bonett and Wright (2000)."""
    r = correlation(ranks(x), ranks(y))
    return r, *fisher(r, (1 + r * r / 2) / max(1, len(x) - 3))


def pearson_of_logs(x, y):
    """Pearson's correlation of the logarithms and its 95 % interval by Fisher's z, of the
    inputs where both are positive and finite."""
    there = (x > 0) & (y > 0) & np.isfinite(x) & np.isfinite(y)
    if np.count_nonzero(there) < 4:
        return np.nan, np.nan, np.nan
    r = correlation(np.log(x[there]), np.log(y[there]))
    return r, *fisher(r, 1 / (np.count_nonzero(there) - 3))


def fisher(r, variance):
    """Interval of a correlation whose z has this variance."""
    z = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12))
    return tuple(np.tanh(z + sign * NORMAL * np.sqrt(variance)) for sign in (-1, 1))


# --- what was measured -------------------------------------------------------------------------


def read_about(path, run):
    """What inputs.py says of the inputs that a file measured."""
    folder = run["attributes"].get("data", "")
    about = os.path.join(folder, "inputs.json")
    if not os.path.exists(about):  # the whole folder may have been moved
        about = os.path.join(os.path.dirname(path), "inputs", os.path.basename(folder),
                             "inputs.json")
    try:
        with open(about, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        raise ValueError(f"{path}: {folder} has no inputs.json: was it made by inputs.py?") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{about}: not JSON: {error}") from None


def load(path):
    """One file: network, rule, kind, layers, imposed, correct (input) and scores
    {(label, measure): (input)}."""
    run = lamina.open_run(path)
    found, about = lamina.surprise(run), read_about(path, run)
    if about.get("index") is None or len(about["index"]) != len(found["correct"]):
        raise ValueError(f"{path}: not the inputs of {run['attributes'].get('data')}")
    scores = {}
    for k, label in enumerate(found["imposed"]):
        for layer, name in enumerate(run["layers"]):
            scores[label, name] = np.nan_to_num(found["magnitude"][k, layer], nan=np.inf,
                                                posinf=np.inf)
        scores[label, LOSS] = found["loss"][k]
    scores["", UNCERTAINTY] = -found["confidence"]
    scores["", DISTANCE] = np.array(about["distance"])
    return {"path": path, "run": run, "network": os.path.basename(
        os.path.normpath(str(lamina.setting(run, "data.path")))),
        "rule": lamina.setting(run, "inference.rule"), "kind": about["kind"],
        "layers": run["layers"], "imposed": found["imposed"],
        "correct": found["correct"].astype(bool), "scores": scores, "about": about}


def order(table):
    """Sort key of a name: as in the table, others behind."""
    names = list(table)
    return lambda name: (names.index(name) if name in names else len(names), name)


@functools.lru_cache(maxsize=4)
def load_all(files):
    """{(network, rule): {kind: record}}, in the order of the figure."""
    groups = {}
    for path in files:
        record = load(path)
        group = groups.setdefault((record["network"], record["rule"]), {})
        if record["kind"] in group:
            raise ValueError(f"{path}: the same network, rule and kind as "
                             f"{group[record['kind']]['path']}")
        group[record["kind"]] = record
    if not groups:
        raise ValueError("no file of lamina surprise")
    for (network, rule), group in groups.items():
        if "test" not in group:
            raise ValueError(f"of {network}, {rule}, no file holds ordinary test images")
        for kind, record in group.items():
            if record["scores"].keys() != group["test"]["scores"].keys():
                raise ValueError(f"{record['path']}: other layers or labels than in "
                                 f"{group['test']['path']}")
    key_network, key_rule = order(NETWORKS), order(RULES)
    return dict(sorted(groups.items(), key=lambda item: (key_network(item[0][0]),
                                                         key_rule(item[0][1]))))


def compared(group):
    """(kind, scores of its inputs, scores of the ordinary inputs) of a network and rule."""
    test = group["test"]
    wrong = ~test["correct"]
    if 1 < np.count_nonzero(wrong) < len(wrong) - 1:
        yield ("misclassified", {key: s[wrong] for key, s in test["scores"].items()},
               {key: s[~wrong] for key, s in test["scores"].items()})
    for kind in sorted(set(group) - {"test"}, key=order(KINDS)):
        yield kind, group[kind]["scores"], test["scores"]


def verdict(low, high):
    """What an interval of the AUC says."""
    return "follows" if low > 0.5 else "opposes" if high < 0.5 else "undecided"


def cells_of(positive, negative):
    """AUC, interval, verdict and gain over the loss of every score."""
    keys = list(positive)
    terms = [placements(positive[key], negative[key]) for key in keys]
    above, below = (np.array(part) for part in zip(*terms))
    samples = bootstrap(above, below)
    auc, (low, high) = above.mean(axis=1), np.clip(interval(samples), 0, 1)
    for i, (label, measure) in enumerate(keys):
        cell = {"label": label, "measure": measure, "auc": auc[i], "low": low[i],
                "high": high[i], "verdict": verdict(low[i], high[i]), "gain": np.nan,
                "gain_low": np.nan, "gain_high": np.nan}
        if label and measure != LOSS:
            loss = keys.index((label, LOSS))
            cell["gain"] = auc[i] - auc[loss]
            cell["gain_low"], cell["gain_high"] = interval(samples[:, i] - samples[:, loss])
        yield cell


@functools.lru_cache(maxsize=4)
def cells_of_files(files):
    found = []
    for (network, rule), group in load_all(files).items():
        for kind, positive, negative in compared(group):
            n, m = (len(part["", DISTANCE]) for part in (positive, negative))
            for cell in cells_of(positive, negative):
                found.append({"network": network, "rule": rule, "kind": kind, **cell, "inputs": n,
                              "ordinary": m})
    return found


@functools.lru_cache(maxsize=4)
def correlations_of_files(files):
    found = []
    for (network, rule), group in load_all(files).items():
        for kind, record in group.items():
            for (label, measure), score in record["scores"].items():
                if not label or measure == LOSS:
                    continue
                loss = record["scores"][label, LOSS]
                row = {"network": network, "rule": rule, "kind": kind, "label": label,
                       "measure": measure}
                row.update(zip(("spearman", "spearman_low", "spearman_high"), spearman(score, loss)))
                row.update(zip(("pearson", "pearson_low", "pearson_high"),
                               pearson_of_logs(score, loss)))
                found.append(row)
    return found


def cells(files):
    """Every comparison with ordinary test images, a list of dicts: network, rule, kind, label,
    measure; auc with low and high; verdict; gain over the loss with gain_low and gain_high;
    inputs and ordinary, the numbers of images."""
    return cells_of_files(tuple(map(os.fspath, files)))


def correlations(files):
    """How the magnitude goes with the loss within each kind, a list of dicts: network, rule,
    kind, label, measure; spearman, and pearson of the logarithms, each with _low and _high."""
    return correlations_of_files(tuple(map(os.fspath, files)))


# --- table and paragraph -----------------------------------------------------------------------


def table(files):
    """The cells with one row per network, rule, label and score and one column per kind, each
    "AUC [interval] verdict", with "+" where the magnitude says more than the loss; and
    Spearman's correlation with the loss on ordinary test images. A list of dicts of texts."""
    rho = {(c["network"], c["rule"], c["label"], c["measure"]): c for c in correlations(files)
           if c["kind"] == "test"}
    rows = {}
    for cell in cells(files):
        key = tuple(cell[name] for name in ("network", "rule", "label", "measure"))
        row = rows.setdefault(key, {"network": NETWORKS.get(key[0], key[0]),
                                    "rule": RULES.get(key[1], key[1]),
                                    "label": LABELS[key[2]], "score": key[3]})
        mark = " +" if cell["gain_low"] > 0 else ""
        row[KINDS.get(cell["kind"], cell["kind"])] = (
            f"{cell['auc']:.3f} [{cell['low']:.3f}, {cell['high']:.3f}] {cell['verdict']}{mark}")
    for key, row in rows.items():
        if key in rho:
            c = rho[key]
            row["correlation with loss"] = (f"{c['spearman']:.3f} [{c['spearman_low']:.3f}, "
                                            f"{c['spearman_high']:.3f}]")
        else:
            row["correlation with loss"] = ""
    return list(rows.values())


def count(found, **wanted):
    """"12 of 30" cells with these values."""
    return f"{sum(all(c[k] == v for k, v in wanted.items()) for c in found)} of {len(found)}"


def names(found, key, table_of_names):
    """The different values of a key as words."""
    return ", ".join(table_of_names.get(v, v) for v in dict.fromkeys(c[key] for c in found))


def say_verdicts(found):
    """How many cells follow, oppose or say nothing, label by label."""
    parts = []
    for label in dict.fromkeys(c["label"] for c in found):
        some = [c for c in found if c["label"] == label]
        parts.append(f"under the {LABELS[label]} {count(some, verdict='follows')} cells follow "
                     f"surprise, {count(some, verdict='opposes')} oppose it")
    return "; ".join(parts)


def say_gain(found):
    """How often the magnitude says more than the loss."""
    parts = []
    for label in dict.fromkeys(c["label"] for c in found):
        some = [c for c in found if c["label"] == label]
        more = [c for c in some if c["gain_low"] > 0]
        less = [c for c in some if c["gain_high"] < 0]
        parts.append(f"under the {LABELS[label]} more in {len(more)} and less in {len(less)} of "
                     f"{len(some)} cells (median difference of AUC "
                     f"{np.median([c['gain'] for c in some]):+.3f})")
    return "; ".join(parts)


def say_correlation(found):
    """Range of the correlations with the loss on ordinary test images."""
    parts = []
    for label in dict.fromkeys(c["label"] for c in found):
        r = [c["spearman"] for c in found if c["label"] == label]
        parts.append(f"{min(r):.2f} to {max(r):.2f} under the {LABELS[label]}")
    return ", ".join(parts)


def say_best(found):
    """Which score without a label, or under the own guess, separates best, kind by kind."""
    usable = [c for c in found if c["label"] in ("", "guess")]
    parts = []
    for kind in dict.fromkeys(c["kind"] for c in usable):
        mean = {}
        for c in usable:
            if c["kind"] == kind:
                name = c["measure"] if c["label"] == "" or c["measure"] == LOSS else "magnitude of " + c["measure"]
                mean.setdefault(name, []).append(c["auc"])
        mean = {name: np.mean(values) for name, values in mean.items()}
        best = max(mean, key=mean.get)
        layer = max((n for n in mean if n.startswith("magnitude")), key=mean.get)
        parts.append(f"{KINDS.get(kind, kind)}: {best} {mean[best]:.2f}" +
                     ("" if best == layer else f" ({layer} {mean[layer]:.2f})"))
    return "; ".join(parts)


def paragraph(files):
    """What the numbers say, in one paragraph."""
    groups, everything = load_all(tuple(map(os.fspath, files))), cells(files)
    magnitudes = [c for c in everything if c["label"] and c["measure"] != LOSS]
    surprising = [c for c in magnitudes if c["kind"] != "control"]
    control = [c for c in magnitudes if c["kind"] == "control"]
    follows = sum(c["verdict"] == "follows" for c in surprising)
    accuracy = [np.mean(group["test"]["correct"]) for group in groups.values()]
    confirmed = len(surprising) - follows
    sentences = [
        f"Networks trained on {names(everything, 'network', NETWORKS)} by each rule "
        f"({names(everything, 'rule', RULES)}) are evaluated by the rule that trained them "
        f"(accuracy {min(accuracy):.3f} to {max(accuracy):.3f}), on "
        f"{len(next(iter(groups.values()))['test']['correct'])} ordinary test images and as many "
        "of each kind. A cell is one layer's magnitude for one network, rule, label and kind; it "
        "follows surprise when the 95 % interval of its AUC lies above 0.5, opposes it when below, "
        "and is undecided otherwise.",
        f"Magnitudes follow surprise in {follows} of {len(surprising)} cells; in the other "
        f"{confirmed} the paper's claim, that magnitudes need not follow surprise, is confirmed: "
        f"{say_verdicts(surprising)}."]
    if control:
        decided = sum(c["verdict"] != "undecided" for c in control)
        sentences.append(f"As a control, of other ordinary test images {decided} of {len(control)} "
                         "cells are decided (5 % are expected by chance, and cells of one network "
                         "hang together).")
    sentences += [
        f"Against the loss under the same label, the magnitude separates {say_gain(surprising)}.",
        "Spearman's correlation of magnitude and loss over ordinary test images is "
        f"{say_correlation([c for c in correlations(files) if c['kind'] == 'test'])}.",
        "Without knowing the true label, the best score is, as mean AUC over networks and rules, "
        f"{say_best([c for c in everything if c['kind'] != 'control'])}.",
        "Of images of another data set the true label is nominal, and of overlaid images it names "
        "one of two; under fixed predictions the errors are a fixed fraction per layer of the exact "
        "gradient, so its cells differ from those of backprop through the trained network only."]
    return " ".join(sentences + say_equilibrium(groups))


def say_equilibrium(groups):
    """How small strict errors near the input still are."""
    ratio = {}
    for (_, rule), group in groups.items():
        scores, layers = group["test"]["scores"], group["test"]["layers"]
        label = group["test"]["imposed"][0]
        some = scores[label, layers[0]] / np.maximum(scores[label, layers[-1]], 1e-300)
        ratio.setdefault(rule, []).append(np.median(some))
    if not {"strict", "backprop"} <= ratio.keys():
        return []
    run = next(group["test"]["run"] for (_, rule), group in groups.items() if rule == "strict")
    return [f"Strict inference of {lamina.setting(run, 'inference.steps')} steps of "
            f"{lamina.setting(run, 'inference.step')} is far from equilibrium near the input: the "
            f"median error of {run['layers'][0]} is {np.mean(ratio['strict']):.2g} of that of "
            f"{run['layers'][-1]}, against {np.mean(ratio['backprop']):.2g} under backprop."]


# --- figure --------------------------------------------------------------------------------------


def columns_of(record):
    """(label, measure) of each column of a heat map; None is a gap."""
    columns = []
    for label in sorted(record["imposed"], key=order(LABELS)):
        columns += [(label, measure) for measure in record["layers"] + [LOSS]] + [None]
    return columns + [("", UNCERTAINTY), ("", DISTANCE)]


def draw_map(ax, values, rows, scale):
    """A heat map with the number in every cell; `values` (row, column) may hold NaN."""
    image = ax.imshow(values, cmap="PuOr", vmin=-scale, vmax=scale, aspect="auto")
    ax.set_yticks(range(len(rows)), rows)
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return image


def write_numbers(ax, texts, values, weak, scale):
    """Numbers into cells; grey where nothing is decided."""
    for i, row in enumerate(texts):
        for j, text in enumerate(row):
            if text:
                dark = abs(values[i][j]) > 0.72 * scale
                ax.text(j, i, text, ha="center", va="center", fontsize=6,
                        color="white" if dark else "0.6" if weak[i][j] else "black")


def draw_panel(ax, below, found, rho, columns, kinds):
    """AUC of one network and rule (kinds x columns), and under it the correlations."""
    shape = (len(kinds), len(columns))
    values, weak = np.full(shape, np.nan), np.zeros(shape, bool)
    texts = [[""] * len(columns) for _ in kinds]
    for cell in found:
        i, j = kinds.index(cell["kind"]), columns.index((cell["label"], cell["measure"]))
        values[i, j] = cell["auc"] - 0.5
        texts[i][j] = f"{100 * cell['auc']:.0f}"
        weak[i, j] = cell["verdict"] == "undecided"
        if cell["gain_low"] > 0:
            ax.add_patch(plt.Rectangle((j - 0.44, i - 0.44), 0.88, 0.88, fill=False, linewidth=0.9,
                                       edgecolor="black"))
    image = draw_map(ax, values, [KINDS.get(kind, kind) for kind in kinds], 0.5)
    write_numbers(ax, texts, values, weak, 0.5)
    line, text, faint = np.full((1, len(columns)), np.nan), [""] * len(columns), [False] * len(columns)
    for c in rho:
        j = columns.index((c["label"], c["measure"]))
        line[0, j], text[j] = c["spearman"], f"{100 * c['spearman']:.0f}"
        faint[j] = c["spearman_low"] <= 0 <= c["spearman_high"]
    draw_map(below, line, ["correlation with loss"], 1)
    write_numbers(below, [text], line, [faint], 1)
    return image


def label_columns(top, bottom, columns):
    """Names of the scores under the correlations, of the labels above the heat map."""
    there = [j for j, column in enumerate(columns) if column]
    bottom.set_xticks(there, [columns[j][1] for j in there], rotation=90, fontsize=7)
    for label in dict.fromkeys(column[0] for column in columns if column):
        group = [j for j, column in enumerate(columns) if column and column[0] == label]
        top.text(np.mean(group), -0.7, LABELS[label], ha="center", va="bottom", fontsize=7.5,
                 color="0.25")


def figure(files):
    """Heat maps of the AUC: one per network (across) and rule (down)."""
    files = tuple(map(os.fspath, files))
    groups, everything, rho = load_all(files), cells(files), correlations(files)
    networks = list(dict.fromkeys(network for network, _ in groups))
    rules = sorted({rule for _, rule in groups}, key=order(RULES))
    kinds = sorted({c["kind"] for c in everything}, key=order(KINDS))
    drawn = plt.figure(figsize=(1.6 + 6.1 * len(networks), 0.9 + 0.32 * (len(kinds) + 4) * len(rules)),
                       layout="constrained")
    grid = drawn.add_gridspec(2 * len(rules), len(networks),
                              height_ratios=[len(kinds), 1] * len(rules), hspace=0.02)
    for (network, rule), group in groups.items():
        r, n = rules.index(rule), networks.index(network)
        top, bottom = drawn.add_subplot(grid[2 * r, n]), drawn.add_subplot(grid[2 * r + 1, n])
        columns = columns_of(group["test"])
        image = draw_panel(
            top, bottom, [c for c in everything if (c["network"], c["rule"]) == (network, rule)],
            [c for c in rho if (c["network"], c["rule"], c["kind"]) == (network, rule, "test")],
            columns, kinds)
        label_columns(top, bottom, columns)
        letter = chr(ord("A") + len(networks) * r + n)
        top.set_title(f"$\\bf{{{letter}}}$  {NETWORKS.get(network, network)}, "
                      f"{RULES.get(rule, rule)}", loc="left", fontsize=9, pad=16)
        if n:
            top.set_yticklabels([])
            bottom.set_yticklabels([])
    bar = drawn.colorbar(image, ax=drawn.axes, ticks=[-0.5, -0.25, 0, 0.25, 0.5], shrink=0.5,
                         pad=0.01, aspect=35)
    bar.ax.set_yticklabels(["0", "0.25", "0.5\n(chance)", "0.75", "1"])
    bar.set_label("area under the ROC curve against ordinary test images (dimensionless)\n"
                  "purple: larger for the surprising inputs; orange: smaller")
    drawn.suptitle("Do error magnitudes follow surprise? How well each score separates a kind of "
                   "inputs from ordinary test images", fontsize=10, x=0.01, ha="left")
    drawn.supxlabel("Columns: magnitude of each layer's error and loss, under three imposed labels; "
                    "baselines without a label. Numbers: AUC \u00d7 100, grey where the 95 % interval "
                    "contains chance;\nframed where the magnitude separates better than the loss under "
                    "the same label (95 % interval of the difference above 0). Last row: Spearman's "
                    "correlation \u00d7 100 with the loss, on ordinary test images.",
                    fontsize=8, color="0.35", x=0.01, ha="left")
    return drawn


def save(drawn, path):
    """Write aside and rename, so that a failure leaves an older figure in place."""
    content = io.BytesIO()
    drawn.savefig(content, format=os.path.splitext(path)[1][1:].lower(), dpi=150)
    with open(path + ".partial", "wb") as file:
        file.write(content.getvalue())
    os.replace(path + ".partial", path)


# --- the command line ------------------------------------------------------------------------------


def fail(code, message):
    """End with one line on standard error."""
    print(f"surprise.py: {message}", file=sys.stderr)
    sys.exit(code)


def write_csv(path, files):
    """Every cell with all its numbers, correlations beside."""
    rho = {tuple(c[k] for k in ("network", "rule", "kind", "label", "measure")): c
           for c in correlations(files)}
    rows = [{**rho.get(tuple(c[k] for k in ("network", "rule", "kind", "label", "measure")), {}),
             **c} for c in cells(files)]
    fields = list(dict.fromkeys(key for row in rows for key in row))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)


def main(arguments=None):
    """The command."""
    parser = argparse.ArgumentParser(prog="surprise.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.error = lambda message: fail(64, message)
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file of `lamina surprise`")
    parser.add_argument("-o", "--output", required=True, help="figure to write: .png or .pdf")
    parser.add_argument("--table", metavar="CSV", help="write every cell too")
    options = parser.parse_args(arguments)
    if os.path.splitext(options.output)[1].lower() not in (".png", ".pdf"):
        fail(64, f"{options.output}: the name must end in .png or .pdf")
    try:
        drawn, words = figure(options.files), paragraph(options.files)
    except OSError as error:
        fail(66, f"{error.filename}: {error.strerror}")
    except ValueError as error:
        fail(65, error)
    try:
        save(drawn, options.output)
        if options.table:
            write_csv(options.table, options.files)
    except OSError as error:
        fail(73, f"{error.filename or options.output}: {error.strerror}")
    print(words)
    print(options.output)


if __name__ == "__main__":
    main()
