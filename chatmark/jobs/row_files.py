"""
Files of rows that `apply` reads again, in the format and the compression that their names tell.

Notes beside the fields of a row are values that a change does not have; readers ignore them.
"""

import csv
import datetime as dt
import io
import itertools
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Self, final

import attrs

from chatmark import InputError
from chatmark.jobs.output_files import OutputFile, open_owned, publish
from chatmark.jobs.sources.arrow_rows import load_arrow
from chatmark.jobs.sources.dialect import CLEAR_WORD
from chatmark.jobs.sources.formats import (
    DELIMITERS,
    ROW_FORMATS,
    FileFormat,
    compress,
    compression_of,
    format_of,
)
from chatmark.jobs.sources.row import OWN_FIELDS

#: The columns of changes that failed, of differences, and of users that could not be read.
FAILURES: Final = (
    *(*OWN_FIELDS, "_code", "_info", "_attempts", "_line", "_rows"),
    *("_error", "_raw", "_file"),
)
DIFFERENCES: Final = (*OWN_FIELDS, "_found_bits", "_found_custom_mark", "_cleared_by_clients")
USERS: Final = ("from_account", "_code", "_error")
_NUMBERS: Final = frozenset(("_code", "_attempts", "_line", "_rows"))
_LISTS: Final = frozenset(("_group_ids", "_reserved_bits", "_found_bits", "_cleared_by_clients"))
_MARKS: Final = frozenset(("set_mark", "clear_mark", "_group_names"))
_TIME: Final = "_updated_at"
_ROWS_A_GROUP: Final = 50_000
_MOST_HELD: Final = 100
# Spreadsheets take a cell that begins so for a formula.
_FORMULA: Final = tuple("=+-@\t\r")


@attrs.frozen(kw_only=True)
class RowEncoding:
    """
    Rows as bytes.

    Args:
        columns: The columns of a table, and the fields of JSON.
        format: The format. Parquet is made of JSON Lines at the end.
        compression: The compression of the file, None for none.
        guard: Whether cells that spreadsheets take for formulas begin with an apostrophe.
    """

    columns: Sequence[str]
    format: FileFormat = FileFormat.JSON_LINES
    compression: str | None = None
    guard: bool = False

    def __attrs_post_init__(self) -> None:
        # Fails now if a package is missing.
        if self.format is FileFormat.PARQUET:
            load_arrow()
        self.compress(b"\n")

    @property
    def header(self) -> bytes:
        """The first line of a table, "" without one."""
        return self._lines([self.columns]) if self.format in DELIMITERS else b""

    def encode(self, rows: Iterable[Mapping[str, Any]]) -> bytes:
        """Return rows as bytes, not compressed."""
        if self.format is FileFormat.LINES:
            return "".join(f"{row[self.columns[0]]}\n" for row in rows).encode()
        if self.format in DELIMITERS:
            return self._lines([self._cell(row, name) for name in self.columns] for row in rows)
        return b"".join(
            json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
            + b"\n"
            for row in rows
        )

    def compress(self, data: bytes) -> bytes:
        """Return data as a member of a compressed file, which members may follow."""
        if self.compression is None or not data:
            return data
        return compress(data, self.compression)

    def finish(self, file: OutputFile) -> None:
        """Give a file its name; make it Parquet before, if it is to be."""
        if self.format is not FileFormat.PARQUET:
            file.publish()
            return
        # The part is not the file.
        file.keep_apart()
        file.sync()
        made = file.path.with_name(f"{file.path.name}.making")
        self._write_parquet(file.part, made)
        publish(made, file.path)
        file.part.unlink()

    def _cell(self, row: Mapping[str, Any], name: str) -> str:
        value = row.get(name)
        if name == "custom_mark" and value in ("", CLEAR_WORD):
            if value:
                raise InputError(name, "means a cleared mark in a table: write JSON Lines", value)
            return CLEAR_WORD
        if isinstance(value, list):
            return "|".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]
        text = "" if value is None else str(value)
        return f"'{text}" if self.guard and text.startswith(_FORMULA) else text

    def _lines(self, records: Iterable[Sequence[str]]) -> bytes:
        text = io.StringIO()
        # As in RFC 4180. This line end makes csv quote cells with a bare CR.
        made = csv.writer(text, delimiter=DELIMITERS[self.format], lineterminator="\r\n")
        made.writerows(records)
        return text.getvalue().encode("utf-8", "replace")

    def _write_parquet(self, source: pathlib.Path, target: pathlib.Path) -> None:
        pa = load_arrow()
        schema = pa.schema([(name, self._type(pa, name)) for name in self.columns])
        with (
            source.open("rb") as lines,
            open_owned(target) as made,
            pa.parquet.ParquetWriter(made, schema) as writer,
        ):
            made.truncate()
            while some := list(itertools.islice(lines, _ROWS_A_GROUP)):
                rows = [self._typed(json.loads(line)) for line in some]
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))

    def _type(self, pa: Any, name: str) -> Any:
        if name in _MARKS:
            return pa.list_(pa.string())
        if name in _LISTS:
            return pa.list_(pa.int64())
        if name == _TIME:
            return pa.timestamp("s", tz="UTC")
        return pa.int64() if name in _NUMBERS else pa.string()

    def _typed(self, row: dict[str, Any]) -> dict[str, Any]:
        updated = row.get(_TIME)
        marks = {name: [str(mark) for mark in row[name]] for name in _MARKS & row.keys()}
        times = {} if updated is None else {_TIME: dt.datetime.fromisoformat(updated)}
        return row | marks | times


@final
class RowFile:
    """
    An output of rows; "-" is standard output.

    Args:
        path: The path; a name without a suffix of the table is of the default format.
        columns: The columns of its rows.
        default: The default format.

    Raises:
        InputError: As for an `OutputFile`, or the format needs a file or another package.
        OSError: It cannot be written.
    """

    def __init__(
        self, path: str, columns: Sequence[str], default: FileFormat = FileFormat.JSON_LINES
    ) -> None:
        format_ = format_of(path, ROW_FORMATS, default)
        self._encoding = RowEncoding(
            columns=columns, format=format_, compression=compression_of(path)
        )
        self._file = OutputFile(path)
        if format_ is FileFormat.PARQUET and self._file.is_in_place:
            raise InputError("output", "must be a file for Parquet", path)
        self._held: list[Mapping[str, Any]] = []
        self._is_partial = self._is_closed = False
        if self._encoding.header:
            self._file.write_bytes(self._encoding.compress(self._encoding.header))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *rest: object) -> None:
        try:
            if exc_type is None and not self._is_closed:
                self._is_closed = True
                self._flush()
                if not (self._file.is_in_place or self._is_partial):
                    self._encoding.finish(self._file)
        except BaseException:
            self._file.__exit__(BaseException)
            raise
        self._file.__exit__(exc_type, *rest)

    def keep_apart(self) -> str:
        """As `OutputFile.keep_apart`."""
        self._is_partial = True
        return self._file.keep_apart()

    def write(self, row: Mapping[str, Any]) -> None:
        """Write a row, soon."""
        self._held.append(row)
        if len(self._held) >= _MOST_HELD:
            self._flush()

    def _flush(self) -> None:
        self._file.write_bytes(self._encoding.compress(self._encoding.encode(self._held)))
        self._held.clear()
