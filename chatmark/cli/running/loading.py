"""
Files of changes, read to their end for a command.
"""

import sys

from chatmark.cli.options.inputs import Inputs
from chatmark.cli.render.console import complain
from chatmark.cli.render.progress import display_for, sign_of_reading
from chatmark.jobs.grouping.loading import BadRowsError, Loaded, load
from chatmark.jobs.sources.files import STANDARD_INPUT


def loaded(path: str, inputs: Inputs, *, quiet: bool) -> Loaded:
    """
    Read a file of changes, or standard input, to its end.

    Raises:
        BadRowsError: Too many rows cannot be applied.
        InputError: The file's name tells no format, and none is given.
        OSError: It cannot be read.
    """
    file = inputs.file(path)
    rows = file.read(sys.stdin.buffer) if path == STANDARD_INPUT else file.rows()
    with display_for(quiet=quiet) as display:
        sign = sign_of_reading(display, file.name)
        return load(file.name, rows, max_errors=inputs.max_errors, sign=sign)


def tell_bad_rows(refusal: BadRowsError) -> None:
    """
    Say which rows cannot be applied.
    """
    for error in refusal.errors:
        complain(str(error))
    more = refusal.bad - len(refusal.errors)
    shown = f", {more:,} of them not shown" if more else ""
    bad = f"{refusal.bad:,} of {refusal.rows:,} rows cannot be applied{shown}"
    complain(f"{bad}: nothing was sent")
