"""The surprise analysis: inputs.py against plain loops, AUC and intervals by hand, the figure."""
import gzip
import json
import sys

import h5py
import matplotlib.pyplot as plt
import numpy as np
import pytest
from program import SOURCE, write_dataset, write_idx

sys.path.insert(0, str(SOURCE / "analysis"))
import inputs  # noqa: E402
import separation  # noqa: E402
import surprise  # noqa: E402
import surprise_cells  # noqa: E402

SETTINGS = """
data: {{path: /data/{network}}}
inference: {{rule: {rule}, step: 0.1, steps: 20}}
"""


# --- inputs.py ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("source") / "one", n_train=80, n_test=60)


def make(source, target, kind, *options):
    other = ["--other", str(source)] if kind == "other" else []
    inputs.main([kind, "--from", str(source), *other, "-o", str(target), "--count", "30",
                 *map(str, options)])
    about = json.loads((target / "inputs.json").read_text())
    return (*inputs.read_split(str(target), "t10k"), about)


@pytest.mark.parametrize("kind", inputs.KINDS)
def test_inputs_follow_the_seed_and_hold_together(source, tmp_path, kind):
    images, labels, about = make(source, tmp_path / "a", kind)
    again = make(source, tmp_path / "b", kind)
    assert np.array_equal(images, again[0]) and about == again[2]
    assert not np.array_equal(images, make(source, tmp_path / "c", kind, "--seed", 1)[0])
    assert images.shape == (30, 12, 12) and images.dtype == np.uint8
    originals, truth = inputs.read_split(str(source), "t10k")
    index = about["index"]
    assert len(set(index)) == 30 and np.array_equal(labels, truth[index])
    assert labels.tolist() == about["label"]
    same = np.all(images == originals[index], axis=(1, 2))
    assert np.all(same) if kind in ("test", "control", "other") else not np.any(same)
    assert (set(index) == set(make(source, tmp_path / "d", "test")[2]["index"])) == (kind == "test")
    train = inputs.read_split(str(source), "train")[0] / 255
    distance = [min(np.sqrt(((image / 255 - other) ** 2).sum()) for other in train)
                for image in images]
    assert np.allclose(about["distance"], distance, rtol=0, atol=2e-3)


def test_options_belong_to_their_kind(source, tmp_path, capsys):
    for options, words in ((("noise", "--side", "3"), "--side belongs to kind patch"),
                           (("rotation", "--angle", "nan"), "'nan': a finite number"),
                           (("patch", "--grey", "2"), "from 0 to 1")):
        with pytest.raises(SystemExit) as stop:
            inputs.main([*options, "--from", str(source), "-o", str(tmp_path / "a")])
        error = capsys.readouterr().err
        assert stop.value.code == 64 and words in error and len(error.splitlines()) == 1
    about = make(source, tmp_path / "a", "patch", "--side", 4)[2]
    assert about["options"] == {"side": 4, "grey": 0.5} and about["train"] == 80


def test_inputs_json_is_not_there_while_its_folder_is_not_whole(source, tmp_path, monkeypatch):
    make(source, tmp_path / "a", "test")
    monkeypatch.setattr(inputs, "write_idx", lambda path, array: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make(source, tmp_path / "a", "test", "--seed", 1)
    assert not (tmp_path / "a" / "inputs.json").exists()


def test_kinds_but_test_share_no_image_with_it(source, tmp_path):
    test = make(source, tmp_path / "test", "test")[2]["index"]
    for kind in ("control", "noise", "patch", "rotation", "overlay"):
        assert not set(test) & set(make(source, tmp_path / kind, kind)[2]["index"])


def test_overlay_is_the_larger_of_two_classes(source, tmp_path):
    images, labels, about = make(source, tmp_path / "overlay", "overlay")
    originals, truth = inputs.read_split(str(source), "t10k")
    mine = originals[about["index"]]
    assert np.all(np.array(about["second_label"]) != labels)
    for image, first, second in zip(images, mine, about["second_label"]):
        assert any(np.array_equal(image, np.maximum(first, other)) for other in
                   mine[truth[about["index"]] == second])


def test_patch_covers_one_square_of_grey():
    rng = np.random.default_rng(1)
    images = rng.uniform(0.6, 1, (40, 12, 9))
    covered = inputs.patch(images, rng, 4, 0.25)
    places = set()
    for image, result in zip(images, covered):
        rows, columns = np.nonzero(result != image)
        assert len(rows) == 16 and np.ptp(rows) == np.ptp(columns) == 3
        assert np.all(result[rows, columns] == 0.25)
        places.add((rows.min(), columns.min()))
    assert len(places) > 15


def test_noise_has_its_spread_and_stays_in_range():
    rng = np.random.default_rng(2)
    noisy = inputs.noise(np.full((50, 20, 20), 0.5), rng, 0.1)
    assert abs(noisy.std() - 0.1) < 0.005 and abs(noisy.mean() - 0.5) < 0.005
    noisy = inputs.noise(np.zeros((5, 20, 20)), rng, 3)
    assert noisy.min() == 0 and noisy.max() == 1


def test_rotation_turns_counter_clockwise_and_interpolates():
    rng = np.random.default_rng(3)
    images = rng.uniform(0, 1, (4, 9, 9))
    turned = inputs.rotate(images, [0, 90, -90, 180])
    for image, result, quarters in zip(images, turned, (0, 1, -1, 2)):
        assert np.allclose(result, np.rot90(image, quarters), rtol=0, atol=1e-12)
    # A plane turns into a plane, inside.
    y, x = np.meshgrid(np.arange(-10, 11), np.arange(-10, 11), indexing="ij")
    angle = np.radians(30)
    result = inputs.rotate((3 * x + y + 50.0)[None], [30])[0]
    expected = 3 * (np.cos(angle) * x - np.sin(angle) * y) + np.sin(angle) * x + np.cos(angle) * y + 50
    inside = np.hypot(x, y) < 9
    assert np.allclose(result[inside], expected[inside], rtol=0, atol=1e-9)
    assert np.all(inputs.rotate(np.ones((1, 9, 9)), [45])[0][[0, 0, -1, -1], [0, -1, 0, -1]] == 0)


@pytest.mark.parametrize("arguments, code, words", [
    (["noise", "--from", "{}"], 64, ["-o"]),
    (["fog", "--from", "{}", "-o", "x"], 64, ["fog"]),
    (["noise", "--from", "{}", "-o", "x", "--sigma", "2"], 64, ["sigma", "2"]),
    (["noise", "--from", "{}", "-o", "x", "--count", "0"], 64, ["count", "0"]),
    (["other", "--from", "{}", "-o", "x"], 64, ["--other"]),
    (["noise", "--from", "/none", "-o", "x"], 66, ["/none"]),
    (["noise", "--from", "{}", "-o", "x", "--count", "31"], 65, ["60", "31"]),
    (["patch", "--from", "{}", "-o", "x", "--count", "5", "--side", "13"], 65, ["13"]),
    (["noise", "--from", "{}", "-o", "/proc/x", "--count", "5"], 73, ["/proc/x"]),
])
def test_wrong_orders_for_inputs(source, capsys, arguments, code, words):
    with pytest.raises(SystemExit) as stop:
        inputs.main([argument.format(source) for argument in arguments])
    error = capsys.readouterr().err
    assert stop.value.code == code and len(error.splitlines()) == 1
    for word in words:
        assert word in error


def test_damaged_files_are_named(source, tmp_path, capsys):
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"\0\0\x0d\x03" + bytes(12))
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", [1])
    with pytest.raises(SystemExit) as stop:
        inputs.main(["other", "--from", str(source), "--other", str(tmp_path), "-o", "x"])
    assert stop.value.code == 65 and "t10k-images" in capsys.readouterr().err
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    whole = gzip.compress(bytes((0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4)))
    for damaged in (whole[:-3], whole[:12] + b"\xff" * 6 + whole[18:], whole + b"more", b"no gzip"):
        (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(damaged)
        with pytest.raises(SystemExit) as stop:
            inputs.main(["other", "--from", str(source), "--other", str(tmp_path), "-o", "x"])
        error = capsys.readouterr().err
        assert stop.value.code == 65 and "t10k-images" in error and len(error.splitlines()) == 1


# --- statistics ----------------------------------------------------------------------------


@pytest.mark.parametrize("positive, negative, auc", [
    ([3, 4], [1, 2], 1), ([1, 2], [3, 4], 0), ([1, 2, 3], [2], 0.5), ([5, 5], [5, 5, 5], 0.5),
    ([1, 3], [2, 2], 0.5), ([2, 3], [1, 2], 7 / 8), ([np.inf, 0], [1, np.inf], 3 / 8),
])
def test_auc_by_hand(positive, negative, auc):
    above, below = separation.placements(np.array(positive, float), np.array(negative, float))
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert np.mean(pairs) == auc
    assert abs(above.mean() - auc) < 1e-15 and abs(below.mean() - auc) < 1e-15
    false, true = separation.roc(np.array(positive, float), np.array(negative, float))
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.all(np.diff(false) >= 0) and np.all(np.diff(true) >= 0)
    assert abs(np.trapz(true, false) - auc) < 1e-15


def test_bootstrap_agrees_with_resampling_and_pairs():
    rng = np.random.default_rng(4)
    positive, negative = rng.normal(0.7, 1, (2, 200)), rng.normal(0, 1, (2, 200))
    negative[1] = negative[0] + 0.1 * negative[1]
    positive[1] = positive[0] + 0.1 * positive[1]
    # In order, so that it would show if both samples were drawn by the same numbers.
    positive, negative = (part[:, np.argsort(part[0])] for part in (positive, negative))
    terms = [separation.placements(p, n) for p, n in zip(positive, negative)]
    samples = separation.bootstrap(*(np.array(part) for part in zip(*terms)))
    plain = []
    for _ in range(1500):
        i, j = rng.integers(0, 200, 200), rng.integers(0, 200, 200)
        plain.append([separation.placements(positive[k][i], negative[k][j])[0].mean() for k in (0, 1)])
    plain = np.array(plain)
    width = np.diff(separation.interval(plain)[:, 0])[0]
    assert np.all(np.abs(separation.interval(samples) - separation.interval(plain)) < 0.1 * width)
    difference, wanted = samples[:, 1] - samples[:, 0], plain[:, 1] - plain[:, 0]
    narrow = np.diff(separation.interval(wanted))[0]
    assert narrow < 0.3 * width
    assert np.all(np.abs(separation.interval(difference) - separation.interval(wanted)) < 0.15 * narrow)


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(5)
    trials, covered, rho_covered, truth = 400, 0, 0, 0.7602499389065233  # Phi(1 / sqrt 2)
    for _ in range(trials):
        x, y = rng.normal(1, 1, 120), rng.normal(0, 1, 120)
        above, below = separation.placements(x, y)
        low, high = separation.interval(separation.bootstrap(above[None], below[None]))[:, 0]
        covered += low <= truth <= high
        u = rng.normal(0, 1, 120)
        v = 0.6 * u + 0.8 * rng.normal(0, 1, 120)
        r, low, high = separation.spearman(u, v)
        rho_covered += low <= 6 / np.pi * np.arcsin(0.3) <= high
    # 95 % of 400 is 380, with a standard deviation of 4.4.
    assert 362 <= covered <= 396 and 362 <= rho_covered <= 396


def test_correlations_by_hand():
    assert np.array_equal(separation.ranks(np.array([10, 30, 20, 20])), [1, 4, 2.5, 2.5])
    x = np.array([1.0, 2, 3, 4, 5])
    assert abs(separation.spearman(x, np.exp(x))[0] - 1) < 1e-12
    assert abs(separation.spearman(x, np.array([2, 1, 4, 3, 5]))[0] - 0.8) < 1e-12
    r, low, high = separation.pearson_of_logs(x, x ** -3)
    assert abs(r + 1) < 1e-12 and low <= r + 1e-9 and high < -0.99
    assert np.isnan(separation.pearson_of_logs(x, 0 * x)[0])
    assert np.isnan(separation.spearman(x, 0 * x)[0])


# --- files, table, figure ---------------------------------------------------------------------


def write_file(folder, network, rule, kind, shift, n=80, seed=0):
    """A file as of `lamina surprise`; magnitudes larger by `shift` standard deviations."""
    rng = np.random.default_rng([seed, len(kind), len(rule)])
    place = folder / "inputs" / f"{network}-{kind}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "inputs.json").write_text(json.dumps(
        {"kind": kind, "index": list(range(n)), "distance": rng.uniform(1, 2, n).tolist()}))
    path = folder / f"{network}-{rule}-{kind}.h5"
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        file.attrs["settings"] = SETTINGS.format(network=network, rule=rule)
        file.attrs["data"] = str(place)
        file.create_dataset("layer", data=["V1", "out"], dtype=text)
        group = file.create_group("surprise")
        group.create_dataset("imposed", data=["true", "guess", "wrong"], dtype=text)
        normal = rng.normal(0, 1, (3, 2, n)) + np.array([shift, 0, -shift])[:, None, None]
        group["magnitude"] = np.exp(normal)
        group["loss"] = np.exp(normal[:, 1] + rng.normal(0, 0.1, (3, n)))
        group["confidence"] = rng.uniform(0, 1, n)
        group["correct"] = (np.arange(n) % 4 > 0).astype(int)
        for name in ("index", "label", "prediction"):
            group[name] = np.arange(n) % 10
        group["imposed_label"] = np.zeros((3, n), int)
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return [write_file(folder, network, rule, kind, shift)
            for network in ("fashion-mnist", "mnist") for rule in ("backprop", "strict")
            for kind, shift in (("test", 0), ("noise", 2), ("control", 0))]


def test_cells_say_what_was_put_in(files):
    cells = surprise.cells(files)
    assert len(cells) == 4 * 3 * (3 * 3 + 2)
    assert [c["network"] for c in cells[:1]] == ["mnist"]
    for c in cells:
        assert c["low"] <= c["auc"] <= c["high"]
        assert c["verdict"] == surprise_cells.verdict(c["low"], c["high"])
        if c["kind"] == "noise" and c["label"] in ("true", "wrong"):
            sign = 1 if c["label"] == "true" else -1
            assert c["verdict"] == ("follows" if sign > 0 else "opposes")
            assert abs(c["auc"] - 0.5 - sign * 0.42) < 0.1  # Phi(2 / sqrt 2) = 0.92
        if c["measure"] == "out" and c["label"]:
            assert abs(c["gain"]) < 0.1  # the loss was made from it
        assert np.isnan(c["gain"]) == (c["measure"] in ("loss", "uncertainty", "pixel distance"))
    assert all(c["more"] == (c["gain_low"] > 0 and c["low"] > 0.5) for c in cells)
    assert {c["inputs"] for c in cells if c["kind"] == "misclassified"} == {20}
    control = [c["verdict"] for c in cells if c["kind"] == "control"]
    assert np.mean([v == "undecided" for v in control]) > 0.7
    rho = {c["measure"]: c["spearman"] for c in surprise.correlations(files)
           if (c["kind"], c["label"], c["rule"], c["network"]) == ("test", "true", "strict", "mnist")}
    assert rho["out"] > 0.95 and abs(rho["V1"]) < 0.4


def test_table_paragraph_and_figure(files):
    rows = surprise.table(files)
    assert len(rows) == 4 * (3 * 3 + 2) and len({tuple(row) for row in rows}) == 1
    first = rows[0]
    assert first["network"] == "MNIST" and "noise" in first and "[" in first["noise"]
    words = surprise.paragraph(files)
    cells = [c for c in surprise.cells(files) if c["label"] and c["measure"] != "loss" and
             c["kind"] != "control"]
    follows = sum(c["verdict"] == "follows" for c in cells)
    undecided = sum(c["verdict"] == "undecided" for c in cells)
    assert f"follow it in {follows} of {len(cells)} cells" in words and "nan" not in words
    assert f"{undecided} of {len(cells)} are undecided" in words
    figure = surprise.figure(files)
    maps = [ax for ax in figure.axes if ax.images]
    assert len(maps) == 2 * 4  # AUC and correlations of two networks and two rules
    values = np.ma.filled(maps[0].images[0].get_array(), np.nan)
    assert values.shape == (3, 14)  # three gaps
    numbers = [float(text.get_text()) for text in maps[0].texts if text.get_text().isdigit()]
    shown = values[np.isfinite(values)]
    assert len(numbers) == len(shown) == 3 * 11
    assert np.allclose(sorted(numbers), sorted(100 * (shown + 0.5)), atol=0.51)
    plt.close(figure)


def test_roc_curves_are_those_of_the_scores(files):
    drawn = surprise.roc_figure(files)
    groups = surprise_cells.load_all(tuple(files))
    assert len(drawn.axes) == 3 * 3 * 4
    ax = drawn.axes[1 * 4]  # true label, noise, MNIST by strict
    line = next(line for line in ax.lines if line.get_label() == "V1")
    group = groups["mnist", "strict"]
    positive, negative = (group[kind]["scores"]["true", "V1"] for kind in ("noise", "test"))
    auc = separation.placements(positive, negative)[0].mean()
    assert abs(np.trapz(line.get_ydata(), line.get_xdata()) - auc) < 0.01
    plt.close(drawn)


def test_command_line(files, tmp_path, capsys):
    surprise.main([*files, "-o", str(tmp_path / "s.png"), "-o", str(tmp_path / "s.pdf"),
                   "--roc", str(tmp_path / "roc.png"), "--table", str(tmp_path / "s.csv")])
    assert (tmp_path / "roc.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "s.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "s.pdf").read_bytes()[:4] == b"%PDF"
    assert "follow surprise" in capsys.readouterr().out
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert len(lines) == 1 + len(surprise.cells(files))
    assert "spearman" in lines[0] and "gain_low" in lines[0]


def fails(capsys, arguments, code, word):
    with pytest.raises(SystemExit) as stop:
        surprise.main(list(map(str, arguments)))
    error = capsys.readouterr().err
    assert stop.value.code == code and word in error and len(error.splitlines()) == 1


def test_wrong_files(files, tmp_path, capsys):
    out = tmp_path / "s.png"
    fails(capsys, [files[0], "-o", tmp_path / "s.jpg"], 64, "s.jpg")
    fails(capsys, [tmp_path / "none.h5", "-o", out], 66, "none.h5")
    fails(capsys, [files[1], "-o", out], 65, "ordinary test images")
    fails(capsys, [files[0], files[0], "-o", out], 65, "the same network")
    lonely = write_file(tmp_path, "mnist", "strict", "test", 0)
    (tmp_path / "inputs/mnist-test/inputs.json").unlink()
    fails(capsys, [lonely, "-o", out], 65, "inputs.json")
    fails(capsys, [files[0], "-o", "/proc/s.png"], 73, "/proc/s.png")
    assert not out.exists()


def test_files_with_some_labels_only(tmp_path):
    """As of `lamina surprise --labels true`: what is said of other labels is left out."""
    some = [write_file(tmp_path, "mnist", "strict", kind, shift) for kind, shift in (("test", 0), ("noise", 2))]
    for path in some:
        with h5py.File(path, "a") as file:
            group = file["surprise"]
            for name in ("imposed", "magnitude", "loss", "imposed_label"):
                kept = group[name][:1]
                del group[name]
                group.create_dataset(name, data=kept)
    assert "under the true label" in surprise.paragraph(some) and "guess label" not in surprise.paragraph(some)
    others = [write_file(tmp_path, "mnist", "backprop", kind, 0) for kind in ("test", "noise")]
    drawn = surprise.roc_figure(some + others)  # one label that all have, and two kinds
    assert len(drawn.axes) == 1 * len({c["kind"] for c in surprise.cells(some + others)}) * 2
    plt.close(drawn)


def test_folder_that_was_moved(tmp_path):
    path = write_file(tmp_path / "before", "mnist", "strict", "test", 0)
    noise = write_file(tmp_path / "before", "mnist", "strict", "noise", 1)
    (tmp_path / "before").rename(tmp_path / "after")
    moved = [p.replace("/before/", "/after/") for p in (path, noise)]
    assert len(surprise.cells(moved)) == 2 * (3 * 3 + 2)
