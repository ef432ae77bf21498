"""
Formats and compressions of files, and the suffixes of their names, of inputs and outputs alike.
"""

import enum
import pathlib
import shlex
from collections.abc import Collection
from typing import Final

from chatmark import InputError


class FileFormat(enum.Enum):
    """
    The format of rows or users in a file; `LINES` is one user id a line.

    As an input, `JSON_LINES` is any JSON: a row a line, an array, or values over several lines.
    """

    JSON_LINES = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    LINES = "lines"

    @classmethod
    def _missing_(cls, value: object) -> "FileFormat | None":
        return cls.JSON_LINES if value == "json" else None


class Compression(enum.Enum):
    """The compression of a file."""

    GZIP = "gzip"
    ZSTD = "zstd"
    BZIP2 = "bzip2"
    XZ = "xz"


#: Formats of rows, in files of changes and in exports.
ROW_FORMATS: Final = (FileFormat.JSON_LINES, FileFormat.CSV, FileFormat.TSV, FileFormat.PARQUET)
#: Formats of lists of users.
USER_FORMATS: Final = (FileFormat.LINES, *ROW_FORMATS[:-1])
#: The character between the cells of a format of text.
DELIMITERS: Final = {FileFormat.CSV: ",", FileFormat.TSV: "\t"}
_SUFFIXES: Final[dict[str, FileFormat | Compression]] = {
    ".jsonl": FileFormat.JSON_LINES,
    ".ndjson": FileFormat.JSON_LINES,
    ".json": FileFormat.JSON_LINES,
    ".csv": FileFormat.CSV,
    ".tsv": FileFormat.TSV,
    ".parquet": FileFormat.PARQUET,
    ".gz": Compression.GZIP,
    ".zst": Compression.ZSTD,
    ".zstd": Compression.ZSTD,
    ".bz2": Compression.BZIP2,
    ".xz": Compression.XZ,
}
#: What other files are, and the command that writes their rows as CSV to standard output.
EXCEL: Final = ("an Excel workbook; with csvkit", "in2csv {}")
SQLITE: Final = ("a SQLite database", "sqlite3 -csv -header {} 'SELECT * FROM changes'")
_FOREIGN: Final = dict.fromkeys((".xlsx", ".xls", ".xlsm"), EXCEL) | dict.fromkeys(
    (".db", ".sqlite", ".sqlite3"), SQLITE
)


def compression_of(path: str) -> Compression | None:
    """
    Return the compression that the last suffix of a file's name tells.

    >>> compression_of("marks.csv.gz")
    <Compression.GZIP: 'gzip'>
    """
    found = _SUFFIXES.get(_plain(path).suffix.lower())
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
    name = _plain(path)
    suffix = (name if compression_of(path) is None else name.with_suffix("")).suffix.lower()
    found = _SUFFIXES.get(suffix)
    if isinstance(found, FileFormat) and found in formats:
        return found
    if suffix in _FOREIGN:
        raise InputError("format", how_to_convert(path, *_FOREIGN[suffix]))
    if default is not None:
        return default
    known = ", ".join(suffix for suffix, each in _SUFFIXES.items() if each in formats)
    raise InputError("format", f"the name ends in none of {known}: give the format", str(path))


def _plain(path: str) -> pathlib.PurePath:
    """Return a path without the query of a URL."""
    return pathlib.PurePath(path.partition("?")[0] if "://" in path else path)


def how_to_convert(path: str, kind: str, command: str) -> str:
    """
    Return the reason why a file is not read, and the command that pipes its rows in.

    >>> how_to_convert("my marks.xlsx", *EXCEL)
    "is an Excel workbook; with csvkit: in2csv 'my marks.xlsx' | chatmark apply - --format csv"
    """
    return f"is {kind}: {command.format(shlex.quote(path))} | chatmark apply - --format csv"
