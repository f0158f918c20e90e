"""What `lamina surprise` measured, compared with ordinary test images cell by cell. What the cells
mean is said in surprise.py."""
import functools
import json
import os

import numpy as np

import lamina
import separation
import style

KINDS = {"misclassified": "misclassified", "noise": "noise", "patch": "occluding patch",
         "rotation": "rotation", "overlay": "two overlaid", "other": "other data set",
         "control": "control: test images"}
LABELS = {"true": "true label", "guess": "own guess", "wrong": "wrong label", "": "no label"}
RULES = {"strict": "strict", "fixed-prediction": "fixed prediction", "backprop": "backprop"}
NETWORKS = style.DATA
LOSS, UNCERTAINTY, DISTANCE = "loss", "uncertainty", "pixel distance"


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
        raise ValueError(f"{path}: {folder} has no inputs.json: was it made by inputs.py?"
                         ) from None
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
    terms = [separation.placements(positive[key], negative[key]) for key in keys]
    above, below = (np.array(part) for part in zip(*terms))
    samples = separation.bootstrap(above, below)
    auc, (low, high) = above.mean(axis=1), np.clip(separation.interval(samples), 0, 1)
    for i, (label, measure) in enumerate(keys):
        cell = {"label": label, "measure": measure, "auc": auc[i], "low": low[i],
                "high": high[i], "verdict": verdict(low[i], high[i]), "gain": np.nan,
                "gain_low": np.nan, "gain_high": np.nan, "more": False}
        if label and measure != LOSS:
            loss = keys.index((label, LOSS))
            cell["gain"] = auc[i] - auc[loss]
            cell["gain_low"], cell["gain_high"] = separation.interval(samples[:, i] - samples[:, loss])
            cell["more"] = bool(cell["verdict"] == "follows" and cell["gain_low"] > 0)
        yield cell


@functools.lru_cache(maxsize=4)
def cells_of_files(files):
    found = []
    for (network, rule), group in load_all(files).items():
        for kind, positive, negative in compared(group):
            n, m = (len(part["", DISTANCE]) for part in (positive, negative))
            for cell in cells_of(positive, negative):
                found.append({"network": network, "rule": rule, "kind": kind, **cell,
                              "inputs": n, "ordinary": m})
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
                for name, numbers in (("spearman", separation.spearman(score, loss)),
                                      ("pearson", separation.pearson_of_logs(score, loss))):
                    row.update(zip((name, f"{name}_low", f"{name}_high"), numbers))
                found.append(row)
    return found


def cells(files):
    """Every comparison with ordinary test images, a list of dicts: network, rule, kind, label,
    measure; auc with low and high; verdict; gain over the loss with gain_low and gain_high;
    more, whether it says more than the loss; inputs and ordinary, the numbers of images."""
    return cells_of_files(tuple(map(os.fspath, files)))


def correlations(files):
    """How the magnitude goes with the loss within each kind, a list of dicts: network, rule,
    kind, label, measure; spearman, and pearson of the logarithms, each with _low and _high."""
    return correlations_of_files(tuple(map(os.fspath, files)))
