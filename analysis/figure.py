"""Draw the figure of some run files as PNG or PDF.

    python3 analysis/figure.py fig1.h5 [backprop.h5 ...] -o fig1.png [--published fig1]

Files of `lamina train` give four panels per series: A loss, B accuracy, C relative error and
D angle of each layer's update against the exact gradient. Files that differ in their seed only
are one series, drawn as mean and spread; files trained with backprop are drawn beside the
others in A and B. Files of `lamina gradients` give relative error (top) and angle (bottom)
against the iterations of inference, one column per step size. With --magnitudes, files of
`lamina train` give the magnitudes of the errors of single inputs while the network learned.
--published draws the published curves of a figure of Rosenbaum (2022) behind ours.

Exit codes: 64 wrong command line, 65 wrong file content, 66 missing or unreadable file,
73 output cannot be written.
"""
import sys

import command
import gradients_figure
import lamina
import magnitude_figure
import published
import training_figure
from style import save


def draw(runs, figure=None, beside=()):
    """The figure of some runs, and of training runs `beside` them as backprop's; ValueError when
    their content does not make one."""
    for run in runs:
        if run["gradients"] is None and run["training"] is None:
            raise ValueError(f"{run['path']}: neither /training nor /gradients is in the file")
        if run["layers"] != runs[0]["layers"] and run["gradients"]:
            raise ValueError(f"{run['path']}: other layers than in {runs[0]['path']}")
    kind = "gradients" if runs[0]["gradients"] else "training"
    for run in runs:
        if run[kind] is None:
            raise ValueError(f"{run['path']}: no /{kind} to draw beside {runs[0]['path']}")
    if figure and published.is_of_gradients(figure) != (kind == "gradients"):
        raise ValueError(f"{runs[0]['path']}: {figure} was not published of files with /{kind}")
    if kind == "gradients":
        return gradients_figure.draw(runs, figure)
    return training_figure.draw(runs, figure, beside)


def main(arguments=None):
    """Read, draw, write."""
    parser = command.Parser("figure.py", __doc__)
    parser.add_argument("run", nargs="+", help="run files of `lamina train`, or of `lamina "
                        "gradients`")
    parser.add_argument("-o", "--output", required=True, help="figure to write: .png or .pdf")
    parser.add_argument("--published", choices=published.FIGURES, metavar="FIGURE",
                        help="draw the published curves too: " + ", ".join(published.FIGURES))
    parser.add_argument("--magnitudes", action="store_true",
                        help="draw how the errors of single inputs evolved")
    options = parser.parse_args(arguments)
    parser.expect_figures([options.output])
    try:
        runs = [lamina.open_run(path) for path in options.run]
        if options.published and not training_figure.published_data(runs[0]):
            print(f"figure.py: of {training_figure.data_name(runs[0])} nothing was published",
                  file=sys.stderr)
        figure = (magnitude_figure.draw(runs) if options.magnitudes
                  else draw(runs, options.published))
    except OSError as error:
        parser.fail(66, f"{error.filename}: {error.strerror}")
    except ValueError as error:
        parser.fail(65, error)
    try:
        save(figure, options.output)
    except OSError as error:
        parser.fail(73, f"{options.output}: {error.strerror}")
    print(options.output)


if __name__ == "__main__":
    main()
