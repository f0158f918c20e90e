#!/usr/bin/env python3
"""Check what the sources promise of their form: format, rooms, sizes.

usage: check_style.py [SOURCE_FOLDER]

- clang-format (version 14, as pinned in .clang-format) would change nothing;
- the rooms of the README: src/ includes neither mpi.h nor hdf5.h nor io/, mpi/ or experiments/;
  mpi/ and io/ include src/ only; mpi.h stands in mpi/ and in the store of io/, which opens files
  with the MPI-IO driver, hdf5.h in the store only;
- functions are at most 60 lines, files at most 500 (tests 650);
- shell scripts pass shellcheck;
- no top-level entry but the known ones.
Prints one line per finding and exits with their number (at most 125).
"""
import json
import pathlib
import re
import subprocess
import sys

ROOMS = {"src": set(), "mpi": {"src"}, "io": {"src"}, "experiments": {"src", "mpi", "io"}}
STORE = {"io/store.c", "io/store_data.c", "io/store_attributes.c", "io/store_hdf5.c",
         "io/store_hdf5.h"}
SYSTEM = {"mpi.h": {"mpi", "io/store_hdf5.h"}, "hdf5.h": STORE, "hdf5_hl.h": STORE}
INSIDE = {"store_hdf5.h": STORE}
TOP = {"CMakeLists.txt", "README.md", "LICENSE", "src", "mpi", "io", "experiments", "analysis",
       "tests"}
LONGEST_FUNCTION = 60
LONGEST_FILE = {"tests": 650}


def tracked(root):
    """Files of the repository, as paths relative to root."""
    out = subprocess.run(["git", "-C", root, "ls-files", "--cached", "--others",
                          "--exclude-standard"], capture_output=True, text=True, check=True)
    return [pathlib.Path(name) for name in out.stdout.splitlines() if (root / name).exists()]


def room(path):
    return path.parts[0]


def check_format(root, files):
    """clang-format leaves C sources alone."""
    sources = [str(root / f) for f in files if f.suffix in (".c", ".h")]
    out = subprocess.run(["clang-format-14", "--dry-run", "--Werror", *sources],
                         capture_output=True, text=True)
    for name in sorted(set(re.findall(r"^(\S+?):\d+:\d+: error", out.stderr, re.M))):
        yield f"{pathlib.Path(name).relative_to(root)}: clang-format-14 -i would change it"
    if out.returncode and not out.stderr.strip():
        yield "clang-format-14 failed without a word"


def check_includes(root, files):
    """The arrows between the rooms."""
    where = {f.name: room(f) for f in files if f.suffix == ".h" and room(f) in ROOMS}
    for f in files:
        if f.suffix not in (".c", ".h") or room(f) not in ROOMS:
            continue
        text = (root / f).read_text()
        for name in re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.M):
            target = where.get(pathlib.PurePath(name).name)
            if target and target != room(f) and target not in ROOMS[room(f)]:
                yield f"{f}: includes {name} of {target}/"
            if str(f) not in INSIDE.get(name, {str(f)}):
                yield f"{f}: includes {name}, which is internal"
        for name in re.findall(r"^\s*#\s*include\s*<([^>]+)>", text, re.M):
            allowed = SYSTEM.get(name)
            if allowed is not None and not {room(f), str(f)} & allowed:
                yield f"{f}: includes <{name}>"


def check_sizes(root, files):
    """Files and functions of a screen."""
    sources = [f for f in files if f.suffix in (".c", ".h")]
    for f in sources:
        limit = LONGEST_FILE.get(room(f), 500)
        lines = len((root / f).read_text().splitlines())
        if lines > limit:
            yield f"{f}: {lines} lines, more than {limit}"
    out = subprocess.run(["ctags", "--output-format=json", "--fields=+ne", "--kinds-C=f", "-f", "-",
                          *[str(root / f) for f in sources]],
                         capture_output=True, text=True, check=True)
    for line in out.stdout.splitlines():
        tag = json.loads(line)
        length = tag.get("end", tag["line"]) - tag["line"] + 1
        if length > LONGEST_FUNCTION:
            name = pathlib.Path(tag["path"]).relative_to(root)
            yield f"{name}:{tag['line']}: {tag['name']} has {length} lines"


def check_shell(root, files):
    """Shell scripts by their first line."""
    scripts = []
    for f in files:
        with open(root / f, "rb") as stream:
            if re.match(rb"#!.*\b(ba)?sh\b", stream.readline()):
                scripts.append(str(root / f))
    out = subprocess.run(["shellcheck", "-f", "gcc", *scripts], capture_output=True, text=True)
    yield from (line.removeprefix(f"{root}/") for line in out.stdout.splitlines())


def check_top(_root, files):
    """Nothing but the rooms at the top."""
    for name in sorted({f.parts[0] for f in files}):
        if name not in TOP and not name.startswith("."):
            yield f"{name}: not a known top-level entry"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else
                        pathlib.Path(__file__).parent.parent).resolve()
    files = tracked(root)
    findings = [line for check in (check_format, check_includes, check_sizes, check_shell, check_top)
                for line in check(root, files)]
    print("\n".join(findings) if findings else f"{len(files)} files are in good form")
    sys.exit(min(len(findings), 125))


if __name__ == "__main__":
    main()
