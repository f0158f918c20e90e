"""How the magnitudes of the errors of the same inputs evolve while a network is trained."""
import matplotlib.pyplot as plt
import numpy as np

import lamina
import style
from training_figure import data_name, label


def title(run):
    """Rule and loss of a run, in two lines."""
    parts = [label([run])]
    if lamina.setting(run, "inference.rule") != "backprop":
        parts.append(f"$\\eta$ = {lamina.setting(run, 'inference.step')}, "
                     f"$n$ = {lamina.setting(run, 'inference.steps')}")
    loss = str(lamina.setting(run, "network.loss", "loss"))
    parts.append(style.LOSSES.get(loss, loss).split(",")[0])
    return parts[0] + "\n" + ", ".join(parts[1:])


def expect_together(runs, records):
    """ValueError unless all runs have the same layers and recorded the same inputs."""
    for run, record in zip(runs, records):
        for same, what in ((run["layers"] == runs[0]["layers"], "layers"),
                           (data_name(run) == data_name(runs[0]), "data"),
                           (split(run) == split(runs[0]) and np.array_equal(
                               record["index"], records[0]["index"]), "recorded inputs")):
            if not same:
                raise ValueError(f"{run['path']}: other {what} than in {runs[0]['path']}")


def split(run):
    """Which images were recorded."""
    return lamina.setting(run, "record.errors.split")


def draw(runs):
    """A panel per run: median over the inputs, with the band between the quartiles. ValueError
    when the runs do not go together."""
    records = [lamina.magnitudes(run) for run in runs]
    expect_together(runs, records)
    figure, axes = plt.subplots(1, len(runs), figsize=(2.2 + 3.3 * len(runs), 3.8),
                                squeeze=False, layout="constrained", sharey=True)
    for k, (run, record, ax) in enumerate(zip(runs, records, axes[0])):
        for i, look in enumerate(style.layer_styles(run["layers"])):
            low, middle, high = np.percentile(record["magnitude"][:, i], [25, 50, 75], axis=1)
            ax.fill_between(record["step"], low, high, color=look["color"], alpha=0.15,
                            linewidth=0)
            ax.plot(record["step"], middle, linewidth=1.4, markersize=4,
                    markeredgecolor="white", markeredgewidth=0.4,
                    markevery=style.spread_markers(len(record["step"]), i,
                                                          len(run["layers"])), **look)
        ax.set_yscale("log")
        ax.set_xlabel("training steps done")
        style.letter(ax, chr(ord("A") + k % 26), title(run))
    axes[0, 0].set_ylabel("magnitude of the error of one input,\n"
                          "under its own loss (dimensionless)")
    style.legend_beside(axes[0], "layer")
    inputs = len(records[0]["index"])
    style.footnote(figure, f"Lines: median over the same {inputs} inputs of the {split(runs[0])} "
                   f"split of {data_name(runs[0])}; bands: between the quartiles.")
    return figure
