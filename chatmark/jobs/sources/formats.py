"""File formats: which exist, what each can hold, and how a file's name tells its format."""

import enum
import pathlib
from collections.abc import Collection
from typing import Final

from chatmark.errors import InputError


class FileFormat(enum.Enum):
    """How rows or users are written in a file; `LINES` is one user id a line."""

    JSON_LINES = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    LINES = "lines"


#: Formats of rows, in files of changes and in exports.
ROW_FORMATS: Final = (FileFormat.JSON_LINES, FileFormat.CSV, FileFormat.PARQUET)
#: Formats of lists of users.
USER_FORMATS: Final = (FileFormat.LINES, FileFormat.JSON_LINES, FileFormat.CSV)
_SUFFIXES: Final = {
    ".jsonl": FileFormat.JSON_LINES,
    ".ndjson": FileFormat.JSON_LINES,
    ".json": FileFormat.JSON_LINES,
    ".csv": FileFormat.CSV,
    ".parquet": FileFormat.PARQUET,
}


def format_of(
    name: str, formats: Collection[FileFormat], default: FileFormat | None = None
) -> FileFormat:
    """
    Return the format that the suffix of a file's name tells.

    >>> format_of("marks.CSV", ROW_FORMATS)
    <FileFormat.CSV: 'csv'>
    """
    found = _SUFFIXES.get(pathlib.PurePath(name).suffix.lower(), default)
    if found in formats and found is not None:
        return found
    if default is not None:
        return default
    known = ", ".join(suffix for suffix, each in _SUFFIXES.items() if each in formats)
    raise InputError("format", f"the name ends in none of {known}: give the format", name)
