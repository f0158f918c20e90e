"""The figures of the surprise analysis: heat maps of all cells, and ROC curves."""
import os

import matplotlib.pyplot as plt
import numpy as np

import separation
import style
from surprise_cells import (DISTANCE, KINDS, LABELS, LOSS, NETWORKS, RULES, UNCERTAINTY, cells,
                            compared, correlations, load_all, order)

FOOTNOTE = """\
Columns: magnitude of each layer's error and loss, under three imposed labels; baselines without a \
label. Numbers: AUC \u00d7 100, grey where the 95 % interval contains chance;
framed where the magnitude is larger for the surprising inputs and separates better than the loss \
under the same label (95 % interval of the difference above 0).
Last row: Spearman's correlation \u00d7 100 with the loss, on ordinary test images; the darker, the \
stronger."""


def columns_of(record):
    """(label, measure) of each column of a heat map; None is a gap."""
    columns = []
    for label in sorted(record["imposed"], key=order(LABELS)):
        columns += [(label, measure) for measure in record["layers"] + [LOSS]] + [None]
    return columns + [("", UNCERTAINTY), ("", DISTANCE)]


def draw_map(ax, values, rows, colours, low, high):
    """A heat map; `values` (row, column) may hold NaN."""
    image = ax.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto")
    ax.set_yticks(range(len(rows)), rows, fontsize=8)
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
                dark = abs(values[i][j]) > 0.66 * scale
                ax.text(j, i, text, ha="center", va="center", fontsize=6.5,
                        color="white" if dark else "0.4" if weak[i][j] else "black")


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
        if cell["more"]:
            ax.add_patch(plt.Rectangle((j - 0.44, i - 0.44), 0.88, 0.88, fill=False, linewidth=1.1,
                                       edgecolor="black"))
    image = draw_map(ax, values, [KINDS.get(kind, kind) for kind in kinds], "PuOr", -0.5, 0.5)
    write_numbers(ax, texts, values, weak, 0.5)
    line, text = np.full((1, len(columns)), np.nan), [""] * len(columns)
    faint = [False] * len(columns)
    for c in rho:
        j = columns.index((c["label"], c["measure"]))
        line[0, j], text[j] = c["spearman"], f"{100 * c['spearman']:.0f}"
        faint[j] = c["spearman_low"] <= 0 <= c["spearman_high"]
    draw_map(below, abs(line), ["correlation with loss"], "Greys", 0, 1)
    write_numbers(below, [text], line, [faint], 1)
    return image


def label_columns(top, bottom, columns, lowest):
    """Names of the labels above the heat map, of the scores under the lowest row."""
    there = [j for j, column in enumerate(columns) if column]
    if lowest:
        bottom.set_xticks(there, [columns[j][1] for j in there], rotation=90, fontsize=8)
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
    size = (1.6 + 6.1 * len(networks), 1.8 + 0.27 * (len(kinds) + 3) * len(rules))
    drawn = plt.figure(figsize=size, layout="constrained")
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
        label_columns(top, bottom, columns, r == len(rules) - 1)
        letter = chr(ord("A") + len(networks) * r + n)
        top.set_title(f"$\\bf{{{letter}}}$  {NETWORKS.get(network, network)}, "
                      f"{RULES.get(rule, rule)}", loc="left", fontsize=9, pad=16)
        if n:
            top.set_yticklabels([])
            bottom.set_yticklabels([])
    bar = drawn.colorbar(image, ax=drawn.axes, ticks=[-0.5, -0.25, 0, 0.25, 0.5], shrink=0.5,
                         pad=0.01, aspect=35)
    bar.ax.tick_params(labelsize=8)
    bar.ax.set_yticklabels(["0", "0.25", "0.5\n(chance)", "0.75", "1"])
    bar.set_label("area under the ROC curve against ordinary test images (dimensionless)\n"
                  "purple: larger for the surprising inputs; orange: smaller", fontsize=8)
    drawn.suptitle("Do error magnitudes follow surprise? How well each score separates a kind of "
                   "inputs from ordinary test images", fontsize=10, x=0.01, ha="left")
    drawn.supxlabel(FOOTNOTE, fontsize=8, color="0.35", x=0.01, ha="left")
    return drawn


def roc_figure(files):
    """ROC curves of every layer and of the loss: label and kind down, network and rule across."""
    files = tuple(map(os.fspath, files))
    groups = load_all(files)
    kinds = sorted({c["kind"] for c in cells(files)}, key=order(KINDS))
    labels = sorted(set.intersection(*(set(group["test"]["imposed"]) for group in groups.values())),
                    key=order(LABELS))
    rows = len(labels) * len(kinds)
    width, height = 0.8 + 1.2 * len(groups), 1.3 + 1.2 * rows
    drawn, axes = plt.subplots(rows, len(groups), squeeze=False, figsize=(width, height))
    drawn.subplots_adjust(left=0.8 / width, right=1 - 0.1 / width, bottom=0.4 / height,
                          top=1 - 0.9 / height, wspace=0.08, hspace=0.12)
    for column, ((network, rule), group) in enumerate(groups.items()):
        axes[0, column].set_title(f"{NETWORKS.get(network, network)}\n{RULES.get(rule, rule)}",
                                  fontsize=8)
        for kind, positive, negative in compared(group):
            for i, label in enumerate(labels):
                draw_curves(axes[i * len(kinds) + kinds.index(kind), column], positive, negative,
                            label, group["test"]["layers"])
    for i, ax in enumerate(axes[:, 0]):
        ax.set_ylabel(f"{LABELS[labels[i // len(kinds)]]}\n"
                      f"{KINDS.get(kinds[i % len(kinds)], kinds[i % len(kinds)])}", fontsize=7)
    for ax in axes.flat:
        ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], aspect="equal")
    drawn.legend(*axes[0, 0].get_legend_handles_labels(), loc="upper center", ncol=6, fontsize=8,
                 frameon=False)
    drawn.supxlabel("fraction of ordinary test images above the threshold, 0 to 1", fontsize=8)
    drawn.supylabel("fraction of the kind above it, 0 to 1", fontsize=8)
    return drawn


def draw_curves(ax, positive, negative, label, layers):
    """The ROC curves of one label, at 101 false positive rates."""
    at = np.linspace(0, 1, 101)
    ax.plot([0, 1], [0, 1], color="0.8", linewidth=0.6)
    curves = {name["label"]: name for name in style.layer_styles(layers)}
    curves[LOSS] = {"color": "0.3", "linestyle": "--", "label": LOSS}
    for measure, curve in curves.items():
        false, true = separation.roc(positive[label, measure], negative[label, measure])
        ax.plot(at, np.interp(at, false, true), linewidth=0.9, **{**curve, "marker": ""})
