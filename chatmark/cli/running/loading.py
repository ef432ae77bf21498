"""Reading the input of a command to its end before anything is sent."""

import contextlib
import sys
from collections.abc import Callable, Generator
from typing import BinaryIO

import click

from chatmark.cli.options.inputs import Inputs
from chatmark.cli.render.log import complain
from chatmark.cli.render.progress import display_for, reading_reporter
from chatmark.cli.running.signals import interrupted_status
from chatmark.jobs.grouping.loading import Loaded, load
from chatmark.jobs.sources.files import STANDARD_INPUT, ChangeFile


@contextlib.contextmanager
def checking(name: str, *, quiet: bool) -> Generator[Callable[[int], object]]:
    """Show the progress of reading while the block runs."""
    try:
        with display_for(quiet=quiet) as display:
            yield reading_reporter(display)
    except KeyboardInterrupt:
        complain(f"interrupted while {name} was checked: nothing was sent")
        raise click.exceptions.Exit(interrupted_status()) from None


def read_to_end(
    path: str, inputs: Inputs, *, quiet: bool, stream: BinaryIO | None = None
) -> Loaded:
    """Read a file of changes, or standard input, to its end."""
    file = inputs.file(path)
    with contextlib.ExitStack() as stack:
        if stream is None:
            stream = open_stream(file, stack)
        rows = file.rows() if stream is None else file.read(stream)
        sign = stack.enter_context(checking(file.name, quiet=quiet))
        return load(file.name, rows, max_errors=inputs.max_errors, sign=sign)


def open_stream(file: ChangeFile, stack: contextlib.ExitStack) -> BinaryIO | None:
    """Open an input that can be read only once; return None for a file."""
    if file.path == STANDARD_INPUT:
        # A thread that waits in the buffered reader would hold its lock when the process ends.
        raw = getattr(sys.stdin.buffer, "raw", None)
        return sys.stdin.buffer if raw is None else open(raw.fileno(), "rb", closefd=False)
    if file.is_stream:
        return stack.enter_context(open(file.path, "rb"))  # noqa: PTH123
    return None
