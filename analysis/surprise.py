"""Do the magnitudes of prediction errors follow surprise? In numbers, from `lamina surprise`.

    python3 analysis/surprise.py FILES -o surprise.png [-o surprise.pdf] [--roc roc.pdf]
        [--table surprise.csv]

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
    more than the loss    it follows, and the interval of the AUC minus that of the loss under the
                          same label, on the same images, lies above 0

Exit codes: 64 wrong command line, 65 wrong file content, 66 missing or unreadable file, 73
output cannot be written.
"""
import csv
import os

import numpy as np

import command
import lamina
import style
from surprise_cells import KINDS, LABELS, LOSS, NETWORKS, RULES, cells, correlations, load_all
from surprise_figure import figure, roc_figure

# --- table and paragraph --------------------------------------------------------------------


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
        mark = " +" if cell["more"] else ""
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
        parts.append(f"under the {LABELS[label]} in {count(some, more=True)} cells (median "
                     f"difference of AUC {np.median([c['gain'] for c in some]):+.3f}, largest "
                     f"{max(c['gain'] for c in some):+.3f})")
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
                plain = c["label"] == "" or c["measure"] == LOSS
                name = c["measure"] if plain else f"magnitude of {c['measure']}"
                mean.setdefault(name, []).append(c["auc"])
        mean = {name: np.mean(values) for name, values in mean.items()}
        best = max(mean, key=mean.get)
        layer = max((n for n in mean if n.startswith("magnitude")), key=mean.get, default=best)
        parts.append(f"{KINDS.get(kind, kind)}: {best} {mean[best]:.2f}" +
                     ("" if best == layer else f" ({layer} {mean[layer]:.2f})"))
    return "; ".join(parts)


def paragraph(files):
    """What the numbers say, in one paragraph."""
    groups, everything = load_all(tuple(map(os.fspath, files))), cells(files)
    magnitudes = [c for c in everything if c["label"] and c["measure"] != LOSS]
    surprising = [c for c in magnitudes if c["kind"] != "control"]
    control = [c for c in magnitudes if c["kind"] == "control"]
    accuracy = [np.mean(group["test"]["correct"]) for group in groups.values()]
    sentences = [
        f"Networks trained on {names(everything, 'network', NETWORKS)} by each rule "
        f"({names(everything, 'rule', RULES)}) are evaluated by the rule that trained them "
        f"(accuracy {min(accuracy):.3f} to {max(accuracy):.3f}), on "
        f"{len(next(iter(groups.values()))['test']['correct'])} ordinary test images and as many "
        "of each kind. A cell is one layer's magnitude for one network, rule, label and kind; it "
        "follows surprise when the 95 % interval of its AUC lies above 0.5, opposes it when below, "
        "and is undecided otherwise.",
        "The paper's claim is that magnitudes need not follow surprise. "
        f"They follow it in {count(surprising, verdict='follows')} cells, oppose it in "
        f"{count(surprising, verdict='opposes')}, and "
        f"{count(surprising, verdict='undecided')} are undecided: {say_verdicts(surprising)}."]
    if control:
        decided = sum(c["verdict"] != "undecided" for c in control)
        sentences.append(f"As a control, of other ordinary test images {decided} of {len(control)} "
                         "cells are decided (5 % are expected by chance, and cells of one network "
                         "hang together).")
    sentences += [
        "The magnitude follows surprise and separates better than the loss under the same label "
        f"{say_gain(surprising)}.",
        "Spearman's correlation of magnitude and loss over ordinary test images is "
        f"{say_correlation([c for c in correlations(files) if c['kind'] == 'test'])}.",
        "Without knowing the true label, the best score and the best layer under the own guess "
        "are, as mean AUC over networks and rules, "
        f"{say_best([c for c in everything if c['kind'] != 'control'])}.",
        "Misclassified images have a large loss under the true label by definition; of images of "
        "another data set the true label is nominal, of overlaid images it names one of two; under "
        "fixed predictions the errors are a fixed fraction per layer of the exact gradient, so its "
        "cells differ from those of backprop through the trained network only."]
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


# --- the command line ------------------------------------------------------------------------


def write_csv(path, files):
    """Every cell with all its numbers, correlations beside."""
    rho = {tuple(c[k] for k in ("network", "rule", "kind", "label", "measure")): c
           for c in correlations(files)}
    rows = [{**rho.get(tuple(c[k] for k in ("network", "rule", "kind", "label", "measure")), {}),
             **c} for c in cells(files)]
    fields = list(dict.fromkeys(key for row in rows for key in row))
    with command.naming(path), open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)


def main(arguments=None):
    """The command."""
    parser = command.Parser("surprise.py", __doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file of `lamina surprise`")
    parser.add_argument("-o", "--output", required=True, action="append",
                        help="figure to write: .png or .pdf")
    parser.add_argument("--roc", metavar="FIGURE", help="draw the ROC curves too: .png or .pdf")
    parser.add_argument("--table", metavar="CSV", help="write every cell too")
    options = parser.parse_args(arguments)
    parser.expect_figures(options.output + ([options.roc] if options.roc else []))
    try:
        drawn, words = figure(options.files), paragraph(options.files)
    except OSError as error:
        parser.fail(66, f"{error.filename}: {error.strerror}")
    except ValueError as error:
        parser.fail(65, error)
    try:
        for path in options.output:
            style.save(drawn, path)
        if options.roc:
            style.save(roc_figure(options.files), options.roc)
        if options.table:
            write_csv(options.table, options.files)
    except OSError as error:
        parser.fail(73, f"{error.filename}: {error.strerror}")
    print(words)
    print(*options.output, sep="\n")


if __name__ == "__main__":
    main()
