"""Reading the input of a command to its end before anything is sent."""

import contextlib
import sys
from collections.abc import Callable, Generator, Sequence
from typing import BinaryIO

import click

from chatmark.cli.exit_status import INTERRUPTED
from chatmark.cli.options.inputs import Inputs
from chatmark.cli.render.console import clean, complain
from chatmark.cli.render.progress import display_for, reading_reporter
from chatmark.jobs.grouping.loading import Loaded, load
from chatmark.jobs.grouping.units import Size
from chatmark.jobs.sources.files import STANDARD_INPUT, ChangeFiles


@contextlib.contextmanager
def checking(name: str, *, quiet: bool) -> Generator[Callable[[int], object]]:
    """Show the progress of reading while the block runs."""
    try:
        with display_for(quiet=quiet) as display:
            yield reading_reporter(display, name)
    except KeyboardInterrupt:
        complain(f"interrupted while {name} was checked: nothing was sent")
        raise click.exceptions.Exit(INTERRUPTED) from None


def read_to_end(
    paths: Sequence[str], inputs: Inputs, *, quiet: bool, stream: BinaryIO | None = None
) -> Loaded:
    """Read files of changes, or standard input, to their end."""
    file = inputs.files(paths)
    with contextlib.ExitStack() as stack:
        if stream is None:
            stream = open_stream(file, stack)
        rows = file.rows() if stream is None else file.read(stream)
        with checking(file.name, quiet=quiet) as sign:
            loaded = load(file.name, rows, max_errors=inputs.max_errors, sign=sign)
        if not quiet:
            tell_notes(file)
        return loaded


def tell_notes(file: ChangeFiles) -> None:
    """Write what was left out of files that were read."""
    for note in file.notes.lines():
        click.echo(f"{file.name}: {clean(note)}", err=True)


def open_stream(file: ChangeFiles, stack: contextlib.ExitStack) -> BinaryIO | None:
    """Open an input that can be read only once; return None for a file."""
    if not file.is_stream:
        return None
    if (path := file.files[0].path) == STANDARD_INPUT:
        # A thread that waits in the buffered reader would hold its lock when the process ends.
        raw = getattr(sys.stdin.buffer, "raw", None)
        return sys.stdin.buffer if raw is None else open(raw.fileno(), "rb", closefd=False)
    return stack.enter_context(open(path, "rb"))  # noqa: PTH123


def print_dry_run(name: str, rows: int, bad: int, size: Size) -> None:
    """Print the size of a job."""
    aside = f"; {bad:,} rows would be set aside" if bad else ""
    click.echo(
        f"{name}: {size.changes:,} changes in {rows:,} rows, of {size.users:,} users and "
        f"{size.units:,} conversations: {size.calls:,} calls{aside}; nothing was sent"
    )
