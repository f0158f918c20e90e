"""Write inputs for `lamina surprise`: test images as they are, changed, or of another data set.

    python3 analysis/inputs.py noise --from .data/mnist -o noise [--count 2000] [--seed 0]

kinds:
  test      ordinary test images
  control   other ordinary test images
  other     test images of another data set (--other); their labels are nominal
  noise     Gaussian noise of standard deviation --sigma added to every pixel, then cut to [0, 1]
  patch     a square of --side pixels, its place uniform, covered with grey --grey
  rotation  turned by --angle degrees about the centre, clockwise or not with equal chance;
            bilinear, black beyond the edge
  overlay   the pixelwise larger of two images of different classes; the label is the first's

A permutation of the test images, drawn from the seed, gives `test` its first COUNT images and
every other kind the next COUNT, so that no kind shares an image with `test`. Pixels run from 0
to 1 in options and are written as bytes.

The output folder gets t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte and inputs.json: kind,
options, index (of each image in its source), label, second_label (of an overlay), and distance:
the Euclidean distance of each image to the nearest of the first --train training images of
--from, pixels from 0 to 1. inputs.json comes last: a folder that has it is whole.

Exit codes: 64 wrong command line, 65 wrong file content, 66 missing or unreadable file, 73
output cannot be written.
"""
import argparse
import contextlib
import gzip
import json
import os
import struct
import zlib

import numpy as np

import command

# Options of the kinds that have some, and their defaults.
OPTIONS = {"noise": {"sigma": 0.3}, "patch": {"side": 10, "grey": 0.5}, "rotation": {"angle": 45}}
KINDS = ("test", "control", "other", "noise", "patch", "rotation", "overlay")
IMAGES, LABELS = "{}-images{}idx3-ubyte", "{}-labels{}idx1-ubyte"


# --- IDX ----------------------------------------------------------------------------------


def find_idx(folder, name):
    """Path of an IDX file of MNIST under one of its usual names; FileNotFoundError if none."""
    for dot in ("-", "."):
        for end in ("", ".gz"):
            path = os.path.join(folder, name.replace("{}idx", dot + "idx") + end)
            if os.path.exists(path):
                return path
    raise FileNotFoundError(2, "is not there", os.path.join(folder, name.replace("{}", "-")))


def read_idx(path, dimensions):
    """An IDX file of bytes as an array; ValueError names the file when it is something else."""
    try:
        with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
            content = file.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: damaged gzip data ({error})") from None
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes((0, 0, 8, dimensions)):
        raise ValueError(f"{path}: not an IDX file of bytes with {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    data = np.frombuffer(content, np.uint8, offset=header)
    if data.size != np.prod(shape, dtype=np.int64):
        raise ValueError(f"{path}: {data.size} bytes of data, expected {shape}")
    return data.reshape(shape)


def write_idx(path, array):
    """Write an array of bytes."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    with command.naming(path), open(path, "wb") as file:
        file.write(header + array.astype(np.uint8).tobytes())


def read_split(folder, split):
    """Images (image, row, column) as bytes, and labels (image); split "train" or "t10k"."""
    images = read_idx(find_idx(folder, IMAGES.replace("{}", split, 1)), 3)
    labels = read_idx(find_idx(folder, LABELS.replace("{}", split, 1)), 1)
    if len(images) != len(labels):
        raise ValueError(f"{folder}: {len(images)} images of {split}, but {len(labels)} labels")
    return images, labels


# --- transforms: images (image, row, column) from 0 to 1 -----------------------------------


def noise(images, rng, sigma):
    """Add Gaussian noise and cut to [0, 1]."""
    return np.clip(images + rng.normal(0, sigma, images.shape), 0, 1)


def patch(images, rng, side, grey):
    """Cover a square of side x side pixels, at a place of its own in each image."""
    n, rows, columns = images.shape
    top = rng.integers(0, rows - side + 1, n)[:, None]
    left = rng.integers(0, columns - side + 1, n)[:, None]
    down = (np.arange(rows) >= top) & (np.arange(rows) < top + side)
    across = (np.arange(columns) >= left) & (np.arange(columns) < left + side)
    return np.where(down[:, :, None] & across[:, None, :], grey, images)


def rotate(images, degrees):
    """Turn every image counter-clockwise by its angle (image), bilinearly."""
    n, rows, columns = images.shape
    turn = np.radians(np.asarray(degrees, float))[:, None, None]
    y, x = np.meshgrid(np.arange(rows) - (rows - 1) / 2, np.arange(columns) - (columns - 1) / 2,
                       indexing="ij")
    source_x = np.cos(turn) * x - np.sin(turn) * y + (columns - 1) / 2
    source_y = np.sin(turn) * x + np.cos(turn) * y + (rows - 1) / 2
    # A black rim of one pixel stands for all that lies beyond the edge.
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    source_x = np.clip(source_x + 1, 0, columns + 1)
    source_y = np.clip(source_y + 1, 0, rows + 1)
    i, j = np.minimum(source_y.astype(int), rows), np.minimum(source_x.astype(int), columns)
    down, right = source_y - i, source_x - j
    k = np.arange(n)[:, None, None]
    return ((1 - down) * ((1 - right) * framed[k, i, j] + right * framed[k, i, j + 1]) +
            down * ((1 - right) * framed[k, i + 1, j] + right * framed[k, i + 1, j + 1]))


def partners(labels, rng):
    """For each image another one of a different label: (image), uniform over those."""
    labels = np.asarray(labels)
    if len(np.unique(labels)) < 2:
        raise ValueError("an overlay takes images of two classes, there is one")
    partner = rng.integers(0, len(labels), len(labels))
    while np.any(same := labels[partner] == labels):
        partner[same] = rng.integers(0, len(labels), np.count_nonzero(same))
    return partner


def nearest(images, train):
    """Euclidean distance of each image to the nearest training image, (image) from bytes."""
    a = images.reshape(len(images), -1).astype(np.float32) / 255
    b = train.reshape(len(train), -1).astype(np.float32) / 255
    best = np.full(len(a), np.inf, np.float32)
    for first in range(0, len(b), 2000):
        some = b[first:first + 2000]
        best = np.minimum(best, ((some ** 2).sum(axis=1) - 2 * (a @ some.T)).min(axis=1))
    return np.sqrt(np.maximum(best + (a ** 2).sum(axis=1), 0))


# --- the data sets -------------------------------------------------------------------------


def choose(n, kind, count, seed):
    """Which of n test images a kind takes: (count) indices."""
    if n < (count if kind == "test" else 2 * count):
        raise ValueError(f"{n} test images: kind {kind} takes "
                         f"{'' if kind == 'test' else 'twice '}{count}")
    order = np.random.default_rng([seed, 0]).permutation(n)
    return order[:count] if kind == "test" else order[count:2 * count]


def make(options):
    """Images (bytes), labels, and what inputs.json says of them."""
    source = options.other if options.kind == "other" else options.source
    images, labels = read_split(source, "t10k")
    index = choose(len(images), options.kind, options.count, options.seed)
    labels, plain = labels[index], images[index] / 255
    rng = np.random.default_rng([options.seed, 1 + KINDS.index(options.kind)])
    about = {"kind": options.kind, "base": os.path.abspath(options.source),
             "source": os.path.abspath(source), "seed": options.seed, "count": options.count,
             "options": {name: getattr(options, name) for name in OPTIONS.get(options.kind, ())}}
    if options.kind == "noise":
        plain = noise(plain, rng, options.sigma)
    elif options.kind == "patch":
        if options.side > min(plain.shape[1:]):
            raise ValueError(f"--side {options.side}: the images have {plain.shape[1:]} pixels")
        plain = patch(plain, rng, options.side, options.grey)
    elif options.kind == "rotation":
        plain = rotate(plain, options.angle * rng.choice((-1, 1), len(plain)))
    elif options.kind == "overlay":
        partner = partners(labels, rng)
        plain = np.maximum(plain, plain[partner])
        about["second_label"] = labels[partner].tolist()
    changed = np.rint(255 * plain).astype(np.uint8)
    about.update(index=index.tolist(), label=labels.tolist())
    return changed, labels, about


def write(folder, images, labels, about):
    """The files of a data set, inputs.json last, and an older one of that name away first."""
    os.makedirs(folder, exist_ok=True)
    last = os.path.join(folder, "inputs.json")
    with contextlib.suppress(FileNotFoundError):
        os.remove(last)
    write_idx(os.path.join(folder, "t10k-images-idx3-ubyte"), images)
    write_idx(os.path.join(folder, "t10k-labels-idx1-ubyte"), labels)
    aside = last + ".partial"
    with command.naming(aside), open(aside, "w", encoding="utf-8") as file:
        json.dump(about, file, indent=1)
    os.replace(aside, last)


# --- the command line -----------------------------------------------------------------------


def whole(text):
    """A whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}': a whole number of at least 1 is expected")
    return int(text)


def fraction(text):
    """A number from 0 to 1."""
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"'{text}': a number from 0 to 1 is expected")
    return number


def finite(text):
    """A number that is one."""
    number = float(text)
    if not np.isfinite(number):
        raise argparse.ArgumentTypeError(f"'{text}': a finite number is expected")
    return number


def read_options(arguments):
    """The command line: its parser and what it says."""
    parser = command.Parser("inputs.py", __doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--from", dest="source", required=True, metavar="FOLDER",
                        help="the data set, with its training images")
    parser.add_argument("--other", metavar="FOLDER", help="the other data set, of kind other")
    parser.add_argument("-o", "--output", required=True, metavar="FOLDER")
    parser.add_argument("--count", type=whole, default=2000, help="images (2000)")
    parser.add_argument("--seed", type=int, default=0, help="(0)")
    parser.add_argument("--train", type=whole, default=10000,
                        help="training images that distances are taken to (10000)")
    parser.add_argument("--sigma", type=fraction, help="of the noise (0.3)")
    parser.add_argument("--side", type=whole, help="of the patch, pixels (10)")
    parser.add_argument("--grey", type=fraction, help="of the patch (0.5)")
    parser.add_argument("--angle", type=finite, help="of rotation, degrees (45)")
    options = parser.parse_args(arguments)
    if (options.kind == "other") != (options.other is not None):
        parser.fail(64, "--other belongs to kind other, and to no other kind")
    if options.seed < 0:
        parser.fail(64, f"--seed {options.seed}: a whole number from 0 on is expected")
    for kind, defaults in OPTIONS.items():
        for name, default in defaults.items():
            if getattr(options, name) is None:
                setattr(options, name, default)
            elif kind != options.kind:
                parser.fail(64, f"--{name} belongs to kind {kind}, and to no other kind")
    return parser, options


def main(arguments=None):
    """The command."""
    parser, options = read_options(arguments)
    try:
        images, labels, about = make(options)
        train = read_split(options.source, "train")[0]
        if train.shape[1:] != images.shape[1:]:
            raise ValueError(f"{about['source']}: images of {images.shape[1:]} pixels, those of "
                             f"{options.source} have {train.shape[1:]}")
        about["train"] = min(options.train, len(train))
        about["distance"] = nearest(images, train[:options.train]).astype(float).tolist()
    except OSError as error:
        parser.fail(66, f"{error.filename}: {error.strerror}")
    except ValueError as error:
        parser.fail(65, error)
    try:
        write(options.output, images, labels, about)
    except OSError as error:
        parser.fail(73, f"{error.filename}: {error.strerror}")
    print(options.output)


if __name__ == "__main__":
    main()
