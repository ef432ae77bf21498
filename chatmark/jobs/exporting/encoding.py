"""
Marked conversations as rows that `apply` reads again.

Notes hold values that a change cannot express, and readers ignore them: the conversation groups,
the last update, and bits that belong to Chat. A conversation that has nothing else is no row.
"""

import csv
import datetime as dt
import io
import itertools
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

from chatmark import MarkChange, MarkedConversation
from chatmark.jobs.sources.arrow_rows import load_arrow
from chatmark.jobs.sources.formats import FileFormat
from chatmark.jobs.sources.row import OWN_FIELDS, row_of

_GROUPS: Final = "_group_ids"
_NAMES: Final = "_group_names"
_UPDATED: Final = "_updated_at"
_RESERVED: Final = "_reserved_bits"
# An export clears nothing.
_COLUMNS: Final = (
    *(each for each in OWN_FIELDS if each != "clear_mark"),
    _GROUPS,
    _NAMES,
    _UPDATED,
)
_ROWS_A_GROUP: Final = 50_000
_HEADER: Final = (*_COLUMNS, _RESERVED)


def marked_row(account: str, marked: MarkedConversation) -> dict[str, Any] | None:
    """Return the row of a conversation; None without own bits and a custom mark."""
    own = marked.mark & ~marked.mark.reserved
    if not (own or marked.custom_mark):
        return None
    # A native client's bytes may come as half a character, which UTF-8 has no bytes for.
    custom = marked.custom_mark.encode("utf-8", "replace").decode() or None
    row = row_of(MarkChange(account, marked.conversation, own, custom_mark=custom))
    if marked.group_ids:
        row[_GROUPS] = list(marked.group_ids)
    if any(marked.group_names):
        row[_NAMES] = list(marked.group_names)
    if marked.updated_at is not None:
        row[_UPDATED] = marked.updated_at.isoformat()
    if marked.mark.reserved:
        row[_RESERVED] = list(marked.mark.reserved.bits)
    return row


def csv_header() -> bytes:
    """Return the first line of CSV."""
    return _csv_lines([_HEADER])


def encode(rows: Iterable[dict[str, Any]], format_: FileFormat) -> bytes:
    """Return rows as bytes, of CSV without its header; Parquet is made of JSON Lines at the end."""
    if format_ is FileFormat.CSV:
        return _csv_lines([_cell(row.get(field)) for field in _HEADER] for row in rows)
    return b"".join(
        json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for row in rows
    )


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return "|".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]
    return "" if value is None else str(value)


def _csv_lines(records: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    # As in RFC 4180. This line end makes csv quote cells with a bare CR.
    csv.writer(text, lineterminator="\r\n").writerows(records)
    return text.getvalue().encode()


def write_parquet(source: pathlib.Path, target: pathlib.Path) -> None:
    """Write the rows of a file of JSON Lines as Parquet; marks are a list of text there."""
    pa, parquet = load_arrow()
    schema = _schema(pa)
    with source.open("rb") as lines, parquet.ParquetWriter(target, schema) as writer:
        while some := list(itertools.islice(lines, _ROWS_A_GROUP)):
            rows = [_row(json.loads(line)) for line in some]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _schema(pa: Any) -> Any:
    numbers = pa.list_(pa.int64())
    return pa.schema(
        {
            "from_account": pa.string(),
            "to_account": pa.string(),
            "to_group_id": pa.string(),
            "set_mark": pa.list_(pa.string()),
            "custom_mark": pa.string(),
            "_group_ids": numbers,
            "_group_names": pa.list_(pa.string()),
            "_updated_at": pa.timestamp("s", tz="UTC"),
            "_reserved_bits": numbers,
        }
    )


def _row(row: dict[str, Any]) -> dict[str, Any]:
    updated = row.get("_updated_at")
    return row | {
        "set_mark": [str(mark) for mark in row.get("set_mark", ())],
        "_updated_at": None if updated is None else dt.datetime.fromisoformat(updated),
    }
