"""Write the report of a reproduction of Rosenbaum (2022): one HTML page with everything in it.

    python3 analysis/report.py FOLDER [--gallery OTHER]

FOLDER is what experiments/rosenbaum2022/reproduce filled. The figures go to FOLDER/figures as
PDF and PNG, the page to FOLDER/report.html. With --gallery small PNGs of the figures go to
OTHER. What FOLDER does not hold is left out of the page, which says so.

Exit codes: 64 wrong command line, 65 wrong file content, 66 missing or unreadable file,
73 output cannot be written.
"""
import base64
import glob
import html
import os

import matplotlib.pyplot as plt

import checks
import command
import figure as figure_command
import finding
import lamina
import magnitude_figure
import published
import reproduction
import style
import surprise
import tables

CAPTIONS = {
    "figure1": "Figure 1: strict predictive coding. A\u2013D as the published program calculates, "
               "A\u2032\u2013D\u2032 without its rounding.",
    "figure2": "Figure 2: strict updates against the steps of inference, on trained networks. A, B as "
               "the published program calculates, A\u2032, B\u2032 without its rounding.",
    "figure3": "Figure 3: predictive coding with fixed predictions. Dotted: the closed form "
               "P(Bin(n\u22121, \u03b7) \u2264 L\u2212l\u22121).",
    "figure4": "Figure 4: updates under fixed predictions against the steps of inference, on trained "
               "networks. Dotted: the closed form.",
    "figure5": "Figure 5: fixed predictions with step size 1 and as many steps as layers. "
               "Dotted: the closed form, which is zero.",
    "magnitudes": "How the magnitude of each layer's error evolves while the network is trained, for the "
                  "same test inputs, rule by rule.",
    "surprise": "Does the magnitude of the errors follow surprise?",
}
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.45 sans-serif; color: #222; max-width: 1500px; margin: 2em auto; padding: 0 2em }}
img {{ max-width: 100%; display: block }}
figure {{ margin: 1.5em 0 }} figcaption, .note {{ color: #555; font-size: 13px }}
table {{ border-collapse: collapse; font-size: 13px; margin: 0.5em 0 1.5em }}
th, td {{ border-bottom: 1px solid #ddd; padding: 2px 10px 2px 0; text-align: left; vertical-align: top }}
td.yes {{ color: #00664b }} td.no {{ color: #b30000; font-weight: bold }}
code {{ font-size: 12px; overflow-wrap: anywhere }} p {{ max-width: 75em }}
</style></head><body>
{body}
</body></html>
"""


def text(words):
    """Words as HTML."""
    return html.escape(str(words))


def render(table):
    """A table (tables.py) as HTML."""
    head = "".join(f"<th>{text(column)}</th>" for column in table["columns"])
    body = "\n".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>"
                     for row in table["rows"])
    note = f'<p class="note">{text(table["note"])}</p>' if table.get("note") else ""
    return f"<h3>{text(table['title'])}</h3>{note}<table><tr>{head}</tr>\n{body}</table>"


def render_checks(rows):
    """The checks, with what failed in red."""
    passed = sum(row["passed"] for row in rows)
    lines = [f"<tr><td>{text(row['claim'])}</td><td>{text(row['ours'])}</td>"
             f"<td>{text(row['expected'])}</td>"
             + ('<td class="yes">yes</td>' if row["passed"] else '<td class="no">no</td>')
             + "</tr>" for row in rows]
    return (f"<p>{passed} of {len(rows)} hold.</p><table><tr><th>claim</th><th>ours</th>"
            "<th>expected</th><th>holds</th></tr>\n" + "\n".join(lines) + "</table>")


def render_dicts(rows):
    """A table of dicts that share their keys."""
    columns = list(rows[0]) if rows else []
    return render({"title": "Surprise, in numbers", "columns": columns,
                   "rows": [[row.get(column, "") for column in columns] for row in rows]})


# --- the figures --------------------------------------------------------------------------


def group(runs, *prefixes):
    """The runs of several prefixes, one after the other."""
    return [run for prefix in prefixes for run in reproduction.networks(runs, prefix)]


def training_runs(runs, figure, data):
    """The runs of a figure of training and data set, in the order of their rows."""
    prefix = reproduction.prefix_of(figure, data)
    return group(runs, *(f"{prefix}-{s}" for s in reproduction.STATES))


def draw_figures(runs):
    """Name and figure of everything that there are runs for, one by one."""
    for k in (1, 3, 5):
        figure, found, beside = f"fig{k}", [], []
        for data in ("mnist", "cifar10"):
            rows = training_runs(runs, figure, data)
            found += rows
            beside += group(runs, reproduction.backprop(runs, figure, data)) if rows else []
        if found:
            yield f"figure{k}", figure_command.draw(found, figure, beside)
        found = group(runs, f"fig{k + 1}-value", f"fig{k + 1}-deviation") if k < 5 else []
        if found:
            yield f"figure{k + 1}", figure_command.draw(found, f"fig{k + 1}")
    names = ("fig1-deviation-0", "fig1-backprop-0", "fig3-deviation-0", "fig5-deviation-0",
             "fig3-backprop-0")
    found = [runs[name] for name in names if name in runs and runs[name]["error_steps"]]
    if found:
        yield "magnitudes", magnitude_figure.draw(found)


def surprise_files(folder):
    """What `lamina surprise` wrote."""
    return sorted(glob.glob(os.path.join(folder, "surprise", "*.h5")))


def save(name, figure, folder, gallery):
    """Write a figure as PDF and PNG; returns the PNG's bytes."""
    os.makedirs(os.path.join(folder, "figures"), exist_ok=True)
    for suffix in ("png", "pdf"):
        style.save(figure, os.path.join(folder, "figures", f"{name}.{suffix}"))
        figure.set_layout_engine(None)  # keep the layout; with an engine saving draws twice
    if gallery:
        os.makedirs(gallery, exist_ok=True)
        style.save(figure, os.path.join(gallery, f"{name}.png"), style.GALLERY_DPI)
    plt.close(figure)
    with open(os.path.join(folder, "figures", f"{name}.png"), "rb") as file:
        return file.read()


def embed(name, png):
    """A figure inside the page."""
    data = base64.b64encode(png).decode("ascii")
    return (f'<figure id="{name}"><img alt="{text(CAPTIONS[name])}" '
            f'src="data:image/png;base64,{data}"><figcaption>{text(CAPTIONS[name])} Vector '
            f"graphics: figures/{name}.pdf.</figcaption></figure>")


# --- how the runs were made ---------------------------------------------------------------


def how(runs):
    """How each run was made."""
    rows = []
    for name, run in runs.items():
        about = run["attributes"]
        seconds = about.get("seconds")
        rows.append([name, about.get("seed", ""),
                     f"{about.get('ranks', '?')} \u00d7 {about.get('threads', '?')}",
                     about.get("real", ""), f"{seconds:.1f}" if seconds else "",
                     "yes" if about.get("complete") else "no", versions(run),
                     about.get("created", ""), about.get("command", "")])
    return {"title": "", "columns": ["run", "seed", "ranks \u00d7 threads", "numbers", "seconds",
                                     "complete", "versions", "started", "command"],
            "note": "Ranks and threads do not change the numbers. Seconds are those of the last "
                    "start that finished the run.", "rows": rows}


def versions(run):
    """The versions of program and libraries that a run was made with."""
    about = run["attributes"]
    return "; ".join(str(about[key]) for key in ("git_revision", "flags", "mpi_version",
                                                 "hdf5_version", "openblas_version")
                     if about.get(key))


def processor():
    """The name of this machine's processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        return "unknown processor"


# --- the page -----------------------------------------------------------------------------


def deviation_tables(runs):
    """Our numbers beside the published ones, for every figure that there are runs for."""
    for figure, data in published.TRAINING:
        if training_runs(runs, figure, data):
            yield tables.training(runs, figure, data)
    for figure, step_sizes, lengths in (("fig2", (0.1, 0.2), (20, 100, 400)),
                                        ("fig4", (0.1, 0.2, 0.5, 1), (20, 200))):
        if any(reproduction.networks(runs, f"{figure}-{s}") for s in reproduction.STATES):
            yield tables.gradients(runs, figure, step_sizes, lengths)


def surprise_part(files):
    """Paragraph and table of the surprise analysis, and its figure."""
    paragraph = f"<p>{text(surprise.paragraph(files))}</p>"
    return surprise.figure(files), paragraph, render_dicts(surprise.table(files))


def build(folder, gallery=None):
    """The page of a folder; figures are written on the way."""
    runs = reproduction.open_runs(folder)
    if not runs:
        raise ValueError(f"{folder}/runs: no run files: experiments/rosenbaum2022/reproduce "
                         "makes them")
    parts = ["<h1>Figures of Rosenbaum (2022), made again</h1>",
             "<p>R. Rosenbaum, \u201cOn the relationship between predictive coding and "
             "backpropagation\u201d, PLoS ONE 17(3), e0266102 (2022). Thick lines are ours, thin "
             "lines the published curves, read from the vector figures of the paper.</p>"]
    found = finding.paragraphs(runs)
    if found:
        parts += ["<h2>What is rounding</h2>"] + [f"<p>{text(words)}</p>" for words in found]
    parts.append("<h2>Figures</h2>")
    for name, figure in draw_figures(runs):
        parts.append(embed(name, save(name, figure, folder, gallery)))
    files = surprise_files(folder)
    if files:
        figure, paragraph, table = surprise_part(files)
        parts += ["<h2>Surprise</h2>", paragraph,
                  embed("surprise", save("surprise", figure, folder, gallery)), table]
    parts += ["<h2>Does it show what the paper shows?</h2>",
              render_checks(checks.all_checks(runs)), "<h2>Ours beside the published</h2>"]
    parts += [render(table) for table in deviation_tables(runs)]
    if "time-backprop" in runs:
        about = runs["time-backprop"]["attributes"]
        parts += [render(tables.runtimes(runs)),
                  f'<p class="note">Ours: {about.get("ranks")} rank(s) of {about.get("threads")} '
                  f"thread(s), {text(processor())}; published: one run on a Colab GPU.</p>"]
    parts += ["<h2>How the runs were made</h2>",
              render(how({**runs, **{os.path.basename(path)[:-3]: lamina.open_run(path)
                                     for path in files}}))]
    return PAGE.format(title="Figures of Rosenbaum (2022), made again", body="\n".join(parts))


def main(arguments=None):
    """Read, draw, write."""
    parser = command.Parser("report.py", __doc__)
    parser.add_argument("folder", help="what experiments/rosenbaum2022/reproduce filled")
    parser.add_argument("--gallery", help="folder for small PNGs of the figures")
    options = parser.parse_args(arguments)
    path = os.path.join(options.folder, "report.html")
    try:
        page = build(options.folder, options.gallery)
        with command.naming(path), open(path + ".partial", "w", encoding="utf-8") as file:
            file.write(page)
        os.replace(path + ".partial", path)
    except ValueError as error:
        parser.fail(65, error)
    except OSError as error:
        written = (path, os.path.join(options.folder, "figures"), options.gallery or path)
        parser.fail(73 if str(error.filename).startswith(written) else 66,
                    f"{error.filename}: {error.strerror}")
    print(path)


if __name__ == "__main__":
    main()
