"""
Files of rows that `apply` reads again, in the format and the compression that their names tell.

Notes beside the fields of a row are values that a change does not have; readers ignore them.
"""

import csv
import datetime as dt
import io
import itertools
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, final

from chatmark import InputError
from chatmark.jobs.output_files import OutputFile, open_owned
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
# The rows that are held become a member of a compressed file, which should be large.
_MOST_HELD: Final = 100
_MOST_HELD_COMPRESSED: Final = 10_000
# Spreadsheets take a cell that begins so for a formula.
_FORMULA: Final = tuple("=+-@\t\r")


@final
class RowFile(OutputFile):
    """
    An output of rows; "-" is standard output.

    With *guard* cells that spreadsheets take for formulas begin with an apostrophe. With *resume*
    it continues a part, once `go_on` has told where.

    Raises:
        InputError: As for an `OutputFile`, or the format needs a file or another package.
        OSError: It cannot be written.
    """

    def __init__(
        self,
        path: str,
        columns: Sequence[str],
        format_: FileFormat | None = None,
        *,
        guard: bool = False,
        resume: bool = False,
    ) -> None:
        self._columns, self._guard = columns, guard
        jsonl = FileFormat.JSON_LINES
        self._format = format_ or format_of(path, ROW_FORMATS, jsonl, is_output=True)
        self._compression = compression_of(path)
        self._held: list[Mapping[str, Any]] = []
        # Fails now if a package is missing.
        if self._format is FileFormat.PARQUET:
            load_arrow()
        if self._compression is not None:
            compress(b"", self._compression)
        super().__init__(path, resume=resume)
        if self._format is FileFormat.PARQUET and self.is_in_place:
            raise InputError("output", "must be a file for Parquet", path)
        if not resume:
            self._write_header()

    def size(self) -> int:
        """Return how many bytes the part has."""
        return self._file.seek(0, os.SEEK_END)

    def go_on(self, size: int) -> None:
        """Cut the part to a size, and write from there; a part of no size begins anew."""
        self._file.seek(size)
        self._file.truncate()
        if not size:
            self._write_header()

    def write(self, *rows: Mapping[str, Any]) -> None:
        """Write rows, soon."""
        self._held += rows
        most = _MOST_HELD if self._compression is None else _MOST_HELD_COMPRESSED
        if len(self._held) >= most:
            self._write_held()

    def flush(self) -> None:
        self._write_held()
        super().flush()

    def publish(self) -> None:
        """Give the file its name; make it Parquet before, if it is to be."""
        if self._format is not FileFormat.PARQUET:
            super().publish()
            return
        # The part has JSON Lines, and is not the file.
        self.flush()
        made = self.path.with_name(f"{self.path.name}.making")
        self._write_parquet(made)
        self._give_name(made)
        self.part.unlink()

    def _write_header(self) -> None:
        if self._format in DELIMITERS:
            self._write_all([{name: name for name in self._columns}])

    def _write_held(self) -> None:
        self._write_all(self._held)
        self._held.clear()

    def _write_all(self, rows: Sequence[Mapping[str, Any]]) -> None:
        data = encode(rows, self._columns, self._format, guard=self._guard)
        # Members of a compressed file follow one another.
        if data and self._compression is not None:
            data = compress(data, self._compression)
        self.write_bytes(data)

    def _write_parquet(self, target: pathlib.Path) -> None:
        pa = load_arrow()
        types = {_TIME: pa.timestamp("s", tz="UTC"), **dict.fromkeys(_NUMBERS, pa.int64())}
        types |= dict.fromkeys(_LISTS, pa.list_(pa.int64()))
        types |= dict.fromkeys(_MARKS, pa.list_(pa.string()))
        schema = pa.schema([(name, types.get(name, pa.string())) for name in self._columns])
        with (
            self.part.open("rb") as lines,
            open_owned(target) as made,
            pa.parquet.ParquetWriter(made, schema) as writer,
        ):
            made.truncate()
            while some := list(itertools.islice(lines, _ROWS_A_GROUP)):
                rows = [_typed(json.loads(line)) for line in some]
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def encode(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], format_: FileFormat, *, guard: bool
) -> bytes:
    """Return rows as bytes: Parquet is made of JSON Lines at the end."""
    text = io.StringIO()
    if format_ is FileFormat.LINES:
        text.writelines(f"{row[columns[0]]}\n" for row in rows)
    elif format_ in DELIMITERS:
        # As in RFC 4180. This line end makes csv quote cells with a bare CR.
        made = csv.writer(text, delimiter=DELIMITERS[format_], lineterminator="\r\n")
        made.writerows([_cell(row, name, guard=guard) for name in columns] for row in rows)
    else:
        for row in rows:
            text.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
    return text.getvalue().encode("utf-8", "replace")


def _cell(row: Mapping[str, Any], name: str, *, guard: bool) -> str:
    value = row.get(name)
    if name == "custom_mark" and value in ("", CLEAR_WORD):
        if value:
            raise InputError(name, "means a cleared mark in a table: write JSON Lines", value)
        return CLEAR_WORD
    if isinstance(value, list):
        return "|".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]
    text = "" if value is None else str(value)
    return f"'{text}" if guard and text.startswith(_FORMULA) else text


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    updated = row.get(_TIME)
    marks = {name: [str(mark) for mark in row[name]] for name in _MARKS & row.keys()}
    times = {} if updated is None else {_TIME: dt.datetime.fromisoformat(updated)}
    return row | marks | times
