"""Does what we ran show what the paper shows? Every claim is worked out from the run files.

A check is a dict: claim, ours, expected, passed (True or False).
"""
import numpy as np

import lamina
import published
import reproduction
import theory
from reproduction import DIVERGED
from tables import number, spread

STRICT_MEDIANS = (0.975, 0.913, 0.728, 0.288)  # of Figure 1, V1 to PFC
ACCURACY_BOUND = {"mnist": 0.01, "cifar10": 0.04}
CLOSED_FORM_BOUND = 1e-5
# 97.5 % of Student's distribution lie below, for one degree of freedom, for two, ...
STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)


def count(group):
    """How many networks, in words."""
    return f"{len(group)} network{'s' if len(group) > 1 else ''}"


def check(claim, ours, expected, passed):
    """One row; `passed` may be a NumPy truth value."""
    return {"claim": claim, "ours": ours, "expected": expected, "passed": bool(passed)}


def all_checks(runs):
    """Every check that the runs allow."""
    checks = []
    for figure, data in published.TRAINING:
        checks += accuracies(runs, figure, data)
    checks += strict_medians(runs)
    checks += strict_spread(runs) + strict_divergence(runs) + exact_passage(runs)
    for name in sorted(runs):
        checks += closed_form(name, runs[name])
    return checks + plateaus(runs) + noise(runs)


def accuracies(runs, figure, data):
    """Accuracy over the last 50 steps, of predictive coding and of backprop."""
    prefix, old = reproduction.prefix_of(figure, data), published.curves(figure, data)
    groups = [("PC", f"{prefix}-{s}") for s in reproduction.STATES]
    groups.append(("BP", reproduction.backprop(runs, figure, data)))
    checks, bound = [], ACCURACY_BOUND[data]
    for kind, name in groups:
        group = reproduction.whole(runs, name, len(old["step"]))
        if not group:
            continue
        words = f"{name} as backprop" if (kind, name) == ("BP", reproduction.LIKE_BACKPROP) else name
        for split, curve in (("train", "accuracy"), ("test", "test_accuracy")):
            ours = reproduction.finals(group, curve)
            theirs = reproduction.last_mean(old["accuracy"][f"{kind}_{split}"])
            checks.append(check(
                f"{figure.capitalize()}, {data}: accuracy, last 50 steps, {split}, {words}"
                f" ({count(group)})", spread(ours, 4), f"{theirs:.4f} \u00b1 {bound}",
                abs(ours.mean() - theirs) <= bound))
    return checks


def strict_medians(runs):
    """Figure 1: medians of the relative error per layer."""
    checks = []
    for state in reproduction.STATES:
        group = reproduction.networks(runs, f"fig1-{state}")
        if not group:
            continue
        values = reproduction.medians(group, "relative_error")
        for i, expected in enumerate(STRICT_MEDIANS):
            ours = values[:, i].mean()
            checks.append(check(
                f"Fig1: median relative error of {group[0]['layers'][i]}, state {state}, mean of "
                f"{count(group)}", f"{ours:.3f} \u00b1 {values[:, i].std():.3f}",
                f"{expected} \u00b1 0.03", abs(ours - expected) <= 0.03))
    return checks


def strict_spread(runs):
    """Figure 2: the published numbers against the spread of our networks, of two at least."""
    group, old = reproduction.networks(runs, "fig2-value"), published.curves("fig2")
    checks = []
    if len(group) < 2:
        return checks
    for eta in (0.1, 0.2):
        for n in (20, 100, 400):
            ours = reproduction.at(group, "relative_error", eta, n)[:, :-1]
            ours = np.where(np.isfinite(ours), ours, np.inf)
            theirs = reproduction.at([{"gradients": old}], "relative_error", eta, n)[0, :-1]
            within = [inside(ours[:, i], theirs[i]) for i in range(len(theirs))]
            between = (ours.min(axis=0) <= theirs) & (theirs <= ours.max(axis=0))
            checks.append(check(
                f"Fig2: relative errors for \u03b7 {eta}, n {n}, V1 to PFC, state value: published ones "
                f"where 95 % of further networks are expected from {count(group)} (diverged ones "
                f"count as above); {between.sum()} of {len(between)} are between our lowest and "
                "highest",
                "  ".join(f"{number(ours[:, i].min())}\u2026{number(ours[:, i].max())}"
                          for i in range(len(theirs))),
                "  ".join(map(number, theirs)), all(within)))
    return checks


def student(freedom):
    """What 97.5 % of Student's distribution lie below. A new network lies within mean plus or
    minus student(k - 1) * deviation * sqrt(1 + 1/k) of k others in 95 of 100 cases."""
    if freedom <= len(STUDENT):
        return STUDENT[freedom - 1]
    z = 1.96  # of the normal distribution; the first terms of an expansion in 1/freedom
    return z + (z ** 3 + z) / (4 * freedom) + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * freedom ** 2)


def inside(ours, theirs):
    """Whether a number is one that networks like ours may give, by their logarithms."""
    logarithms = np.log(ours[ours < DIVERGED])
    k = len(logarithms)
    if k < 2:
        return bool(ours.min() <= theirs <= ours.max())
    reach = student(k - 1) * logarithms.std(ddof=1) * np.sqrt(1 + 1 / k)
    high = np.inf if k < len(ours) else logarithms.mean() + reach
    return bool(logarithms.mean() - reach <= np.log(theirs) <= high)


def strict_divergence(runs):
    """Figure 2: step sizes 0.5 and 1 diverge, by the iterations that the paper shows."""
    checks = []
    for eta, by in ((0.5, 20), (1.0, 12)):
        for state in reproduction.STATES:
            group = reproduction.networks(runs, f"fig2-{state}")
            if not group or len(group[0]["gradients"]["iteration"]) < by:
                continue
            errors = np.array([run["gradients"]["relative_error"][reproduction.column(run, eta)]
                               for run in group])
            beyond = ~(errors.max(axis=1) <= DIVERGED)
            first = [int(np.argmax(row)) + 1 if row.any() else 0 for row in beyond]
            checks.append(check(f"Fig2: \u03b7 {eta:g} diverges, state {state}: first n with a relative "
                                f"error above {DIVERGED}", ", ".join(map(str, first)),
                                f"1 \u2026 {by}", all(0 < f <= by for f in first)))
    return checks


def exact_passage(runs):
    """Figure 2: with step size 1 layer l has the exact gradient at n = L - l + 1."""
    checks, old = [], published.curves("fig2")
    for state in reproduction.STATES:
        group = reproduction.networks(runs, f"fig2-{state}")
        if not group:
            continue
        layers = len(group[0]["layers"])
        ours = np.array([reproduction.at(group, "relative_error", 1, layers - layer + 1)[:, layer - 1]
                         for layer in range(1, layers)])
        theirs = [reproduction.at([{"gradients": old}], "relative_error", 1,
                                  layers - layer + 1)[0, layer - 1] for layer in range(1, layers)]
        checks.append(check(
            f"Fig2: \u03b7 1 passes through the exact gradient at n = L\u2212l+1, state {state}: relative "
            "error there", "  ".join(number(v.max()) for v in ours),
            "at most 0.01; published " + "  ".join(map(number, theirs)), np.all(ours <= 0.01)))
    return checks


def closed_form(name, run):
    """Fixed predictions, deviations stored: on the closed form, whatever was trained."""
    stored = lamina.setting(run, "inference.state")
    if stored != "deviation" or not theory.applies(run) or name.startswith("time-"):
        return []
    layers = len(run["layers"])
    if run["gradients"]:
        gradients = run["gradients"]
        expected = np.array([theory.relative_errors(gradients["iteration"], eta, layers)
                             for eta in gradients["step_size"]])
        ours = gradients["relative_error"]
    else:
        expected = theory.relative_error(lamina.setting(run, "inference.steps"),
                                         lamina.setting(run, "inference.step"), layers)[:, None]
        every = lamina.setting(run, "record.gradients_every", 1)
        ours = run["training"]["relative_error"][:, every - 1::every]
    if ours.size == 0:
        return []
    worst = np.max(abs(ours - expected))
    return [check(f"{name}: every relative error on the closed form, largest distance",
                  f"{worst:.1e}", f"at most {CLOSED_FORM_BOUND:.0e}", worst <= CLOSED_FORM_BOUND)]


def same_order(ours, theirs):
    """Within a factor of the root of ten."""
    return abs(np.log10(ours / theirs)) <= 0.5


def plateaus(runs):
    """Figure 4: where float32 values stop, per step size and layer."""
    group, old, checks = reproduction.networks(runs, "fig4-value"), published.curves("fig4"), []
    if not group or len(group[0]["gradients"]["iteration"]) < 200:
        return checks
    for name, words in (("relative_error", "relative error"), ("angle", "angle in degrees")):
        for eta in (0.1, 0.2, 0.5, 1):
            ours = np.median(reproduction.at(group, name, eta, 200)[:, :-1], axis=0)
            theirs = reproduction.at([{"gradients": old}], name, eta, 200)[0, :-1]
            checks.append(check(
                f"Fig4: plateau of the {words} at n 200, \u03b7 {eta}, state value, V1 to PFC, median "
                f"of {count(group)}", "  ".join(map(number, ours)),
                "same order as " + "  ".join(map(number, theirs)),
                np.all(same_order(ours, theirs))))
    return checks


def noise(runs):
    """Figures 3 and 5: medians over the training steps of what float32 values add."""
    checks = []
    for figure, names in (("fig3", ("angle",)), ("fig5", ("relative_error", "angle"))):
        old = published.curves(figure)
        group = reproduction.whole(runs, f"{figure}-value", len(old["step"]))
        if not group:
            continue
        for name in names:
            ours = reproduction.medians(group, name).mean(axis=0)[:-1]
            theirs = reproduction.median(old[name])[:-1]
            checks.append(check(
                f"{figure.capitalize()}: median {name.replace('_', ' ')}, state value, V1 to PFC",
                "  ".join(map(number, ours)), "same order as " + "  ".join(map(number, theirs)),
                np.all(same_order(ours, theirs))))
    return checks
