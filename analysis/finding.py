"""The paragraphs of the report that say what part of the published curves is rounding, worked
out from the run files."""
import numpy as np

import published
import reproduction
from tables import number


def percent(value):
    """A fraction as percent, to two digits."""
    return f"{100 * value:.2g} %"


def updates_sentence(runs, figure, words):
    """How far float32 takes the updates of one network, stored either way."""
    found = {s: reproduction.update_errors(runs, figure, s) for s in reproduction.STATES}
    if any(errors is None for errors in found.values()):
        return ""
    value, deviation = found["value"], found["deviation"]
    layers = runs[f"{figure}-rounding-value"]["layers"]
    off = ", ".join(f"{layer} {percent(e)}" for layer, e in zip(layers, value))
    return (f"Under {words}, after 20 steps of \u03b7 = 0.1 on the same trained network and batch, updates "
            f"calculated from stored float32 values are off those of the float64 run by: {off}. "
            f"Calculated in float32 from stored deviations they are off by at most "
            f"{number(deviation.max(), 2)}, relative to the update. ")


def angles_sentence(runs):
    """Figure 1 D: the angle of the first layer, published, stored both ways, in float64."""
    groups = {s: reproduction.networks(runs, f"fig1-{s}") for s in reproduction.STATES}
    if not all(groups.values()) or "fig1-float64" not in runs:
        return ""
    theirs = reproduction.median(published.curves("fig1")["angle"])[0]
    first = {s: reproduction.medians(group, "angle")[:, 0] for s, group in groups.items()}
    exact = reproduction.medians([runs["fig1-float64"]], "angle")[0, 0]
    return (f"In Figure 1 D the median angle of {groups['value'][0]['layers'][0]} is {number(theirs)}\u00b0 as "
            f"published and {number(first['value'].mean())}\u00b0 with float32 values, but "
            f"{number(first['deviation'].mean())}\u00b0 with deviations; for seed 0 it is "
            f"{number(first['value'][0])}\u00b0, {number(first['deviation'][0])}\u00b0, and "
            f"{number(exact)}\u00b0 in float64. ")


def stalling_sentence(runs):
    """Figure 2, step size 0.1: where the first layer stops, and that it would not."""
    names = ("fig2-value-0", "fig2-deviation-0", "fig2-float64")
    if any(name not in runs for name in names):
        return ""
    n = len(runs[names[0]]["gradients"]["iteration"])
    value, deviation, exact = (reproduction.at([runs[name]], "relative_error", 0.1, n)[0]
                               for name in names)
    theirs = reproduction.at([{"gradients": published.curves("fig2")}], "relative_error", 0.1,
                             n)[0]
    apart = np.max(abs(deviation - exact) / exact)
    stalls = (" The flat end of the published curve is where moves of the values fall below half a "
              "unit in their last place." if exact[0] < min(theirs[0], value[0]) / 2 else "")
    return (f"In Figure 2 (\u03b7 = 0.1) the relative error of V1 after {n} steps is {number(theirs[0])} as "
            f"published; for our network of seed 0 it is {number(value[0])} with float32 values, "
            f"{number(deviation[0])} with deviations and {number(exact[0])} in float64 (all layers "
            f"of the last two agree to {number(apart, 2)}).{stalls} ")


def plateau_sentence(runs):
    """Figure 4: the plateaus of the first layer."""
    group = reproduction.networks(runs, "fig4-value")
    exact = reproduction.networks(runs, "fig4-deviation")
    if not group or not exact or "fig4-float64" not in runs:
        return ""
    n = len(group[0]["gradients"]["iteration"])
    theirs = reproduction.at([{"gradients": published.curves("fig4")}], "relative_error", 0.2,
                             n)[0]
    value, deviation, double = (
        np.median(reproduction.at(g, "relative_error", 0.2, n), axis=0)
        for g in (group, exact, [runs["fig4-float64"]]))
    rounding = (" So the angles of Figures 3 D, 4 and 5 D, and the relative errors of Figure 5 C, "
                "are rounding altogether."
                if max(deviation[0], double[0]) < min(theirs[0], value[0]) / 10 else "")
    return (f"In Figure 4, at \u03b7 = 0.2 and n = {n}, V1 stays at "
            f"{number(theirs[0])} (published), {number(value[0])} (float32 values), "
            f"{number(deviation[0], 2)} (deviations), {number(double[0], 2)} (float64 values); the "
            f"closed form goes to zero, with an angle of zero.{rounding} ")


def paragraphs(runs):
    """The finding, a list of paragraphs; empty when the runs for it are not there."""
    first = (updates_sentence(runs, "fig2", "strict predictive coding")
             + updates_sentence(runs, "fig4", "fixed predictions"))
    second = angles_sentence(runs) + stalling_sentence(runs) + plateau_sentence(runs)
    if not first and not second:
        return []
    opening = ("Part of the published curves is float32 rounding, not predictive coding. The published "
               "program stores the values, numbers of the order of 1, and gets errors of the order of "
               "1e-5 as their differences. The same arithmetic in float64 shows what is left "
               "without rounding, and storing each layer's deviation from its feedforward value shows "
               "the same in float32. ")
    return [text for text in (opening + first, second) if text]
