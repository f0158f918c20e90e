"""Print the settings that run files and checkpoints were made with, for scripts.

    python3 analysis/settings_of.py FILE...

For each file that has settings: its path and the settings (YAML), each ended by a zero byte.
"""
import sys

import h5py


def settings_of(path):
    """The settings in a file, without its last line's end; None when there are none."""
    try:
        with h5py.File(path) as file:
            text = file.attrs["settings"]
        return (text.decode() if isinstance(text, bytes) else text).rstrip("\n")
    except (OSError, KeyError, ValueError, AttributeError, RuntimeError):
        return None


def main(paths):
    """The command."""
    for path in paths:
        settings = settings_of(path)
        if settings is not None:
            print(path, settings, sep="\0", end="\0")


if __name__ == "__main__":
    main(sys.argv[1:])
