"""What the commands of this folder share: their command line, their mistakes, their exit codes.

64 wrong command line, 65 wrong file content, 66 missing or unreadable file, 73 output cannot be
written. A mistake is one line on standard error.
"""
import argparse
import contextlib
import os
import sys


@contextlib.contextmanager
def naming(path):
    """A failure to read or write within names this file, if it names none: that a disk is full
    is known of no name."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = path
        raise


class Parser(argparse.ArgumentParser):
    """A command line whose mistakes are one line and exit code 64. `manual` is the docstring of
    the command."""

    def __init__(self, name, manual):
        super().__init__(prog=name, description=manual,
                         formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message):
        self.fail(64, message)

    def fail(self, code, message):
        """End the program with one line on standard error."""
        print(f"{self.prog}: {message}", file=sys.stderr)
        sys.exit(code)

    def expect_figures(self, paths):
        """Names of figures to write, each .png or .pdf."""
        for path in paths:
            if os.path.splitext(path)[1].lower() not in (".png", ".pdf"):
                self.fail(64, f"{path}: the name must end in .png or .pdf")
