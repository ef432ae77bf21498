"""Lists of ids that a command reads."""

import pathlib
import sys
from collections.abc import Iterator

from chatmark.jobs.sources.files import STANDARD_INPUT
from chatmark.jobs.sources.formats import FileFormat
from chatmark.jobs.sources.users import read_users


def read_ids(path: str, column: str, format_: FileFormat | None = None) -> Iterator[str]:
    """Yield the ids of a file, or of standard input; the same may come often."""
    if path == STANDARD_INPUT:
        yield from read_users(sys.stdin.buffer, "<stdin>", format_, column)
    else:
        with pathlib.Path(path).open("rb") as stream:
            yield from read_users(stream, path, format_, column)
