"""
Marked conversations as rows that `apply` reads again.

What a change cannot say stands in notes, which reading leaves aside: the conversation groups, the
last update, and bits that belong to Chat. A conversation that has nothing else is no row.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from chatmark.jobs.sources.formats import FileFormat
from chatmark.jobs.sources.row import OWN_FIELDS, row_of
from chatmark.models import MarkChange, MarkedConversation

_GROUPS: Final = "_group_ids"
_UPDATED: Final = "_updated_at"
_RESERVED: Final = "_reserved_bits"
# An export clears nothing.
_COLUMNS: Final = (*(each for each in OWN_FIELDS if each != "clear_mark"), _GROUPS, _UPDATED)
_HEADER: Final = (*_COLUMNS, _RESERVED)


def marked_row(account: str, marked: MarkedConversation) -> dict[str, Any] | None:
    """
    Return the row of a conversation; None if it has neither bits of one's own nor a custom mark.
    """
    own = marked.mark & ~marked.mark.reserved
    if not (own or marked.custom_mark):
        return None
    # A native client's bytes may come as half a character, which UTF-8 has no bytes for.
    custom = marked.custom_mark.encode("utf-8", "replace").decode() or None
    row = row_of(MarkChange(account, marked.conversation, own, custom_mark=custom))
    if marked.group_ids:
        row[_GROUPS] = list(marked.group_ids)
    if marked.updated_at is not None:
        row[_UPDATED] = marked.updated_at.isoformat()
    if marked.mark.reserved:
        row[_RESERVED] = list(marked.mark.reserved.bits)
    return row


def csv_header() -> bytes:
    """
    Return the first line of CSV.
    """
    return _csv_lines([_HEADER])


def encode(rows: Iterable[dict[str, Any]], format_: FileFormat) -> bytes:
    """
    Return rows as bytes, of CSV without its header; Parquet is made of JSON Lines at the end.
    """
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
    # As RFC 4180 has it. What ends lines is quoted, which a bare CR would not be otherwise.
    csv.writer(text, lineterminator="\r\n").writerows(records)
    return text.getvalue().encode()
