"""
Formats and compressions of files, and how the suffixes of a file's name tell them.
"""

import enum
import pathlib
from collections.abc import Collection
from typing import Final

from chatmark import InputError


class FileFormat(enum.Enum):
    """The format of rows or users in a file; `LINES` is one user id a line."""

    JSON_LINES = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    LINES = "lines"


class Compression(enum.Enum):
    """The compression of a file."""

    GZIP = "gzip"
    ZSTD = "zstd"


#: Formats of rows, in files of changes and in exports.
ROW_FORMATS: Final = (FileFormat.JSON_LINES, FileFormat.CSV, FileFormat.PARQUET)
#: Formats of lists of users.
USER_FORMATS: Final = (FileFormat.LINES, FileFormat.JSON_LINES, FileFormat.CSV)
_SUFFIXES: Final[dict[str, FileFormat | Compression]] = {
    ".jsonl": FileFormat.JSON_LINES,
    ".ndjson": FileFormat.JSON_LINES,
    ".json": FileFormat.JSON_LINES,
    ".csv": FileFormat.CSV,
    ".parquet": FileFormat.PARQUET,
    ".gz": Compression.GZIP,
    ".zst": Compression.ZSTD,
    ".zstd": Compression.ZSTD,
}


def compression_of(path: str) -> Compression | None:
    """
    Return the compression that the last suffix of a file's name tells.

    >>> compression_of("marks.csv.gz")
    <Compression.GZIP: 'gzip'>
    """
    found = _SUFFIXES.get(pathlib.PurePath(path).suffix.lower())
    return found if isinstance(found, Compression) else None


def format_of(
    path: str, formats: Collection[FileFormat], default: FileFormat | None = None
) -> FileFormat:
    """
    Return the format that a file's name tells, compressed or not.

    Raises:
        InputError: The name tells none of the formats, and there is no default.

    >>> format_of("marks.CSV.gz", ROW_FORMATS)
    <FileFormat.CSV: 'csv'>
    """
    name = pathlib.PurePath(path)
    suffix = (name if compression_of(path) is None else name.with_suffix("")).suffix.lower()
    found = _SUFFIXES.get(suffix, default)
    if isinstance(found, FileFormat) and found in formats:
        return found
    if default is not None:
        return default
    known = ", ".join(suffix for suffix, each in _SUFFIXES.items() if each in formats)
    raise InputError("format", f"the name ends in none of {known}: give the format", str(path))
