"""
Fast readers for the rows that most files consist of.

The slow reader takes 3.6 µs for a line of JSON: `json` makes a dict, whose names, types and values
are checked one by one. msgspec reads the line into fields of known types, and the change is made
after 1.9 µs. It accepts less than `json` does, and reads it alike, but for a repeated name. The
fast readers accept only rows known to be good; the slow ones name the fault.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation
from chatmark.errors import InputError
from chatmark.jobs.sources.lines import MAX_LINE_BYTES
from chatmark.marks import ConversationMark

_Marks = list[str | int] | str | int

_NO_MARK: Final = ConversationMark()
# A repeated name makes more of these than there are names; text in a mark may, too.
_NAME_ENDS: Final = re.compile(rb'"\s*:').findall


class _PlainRow(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The fields of `OWN_FIELDS`, None where they are absent; null is none of their values."""

    from_account: str
    to_account: str = None  # type: ignore[assignment]
    to_group_id: str = None  # type: ignore[assignment]
    set_mark: _Marks = None  # type: ignore[assignment]
    clear_mark: _Marks = None  # type: ignore[assignment]
    custom_mark: str = None  # type: ignore[assignment]


def fast_line_reader(
    marks: Mapping[object, ConversationMark],
) -> Callable[[bytes], MarkChange | None]:
    """Return a function that reads a line of JSON; see `fast_cell_reader`."""
    decode = msgspec.json.Decoder(_PlainRow).decode
    read_cells = fast_cell_reader(marks)

    def read(line: bytes) -> MarkChange | None:
        try:
            cells = astuple(decode(line))
        except (ValueError, RecursionError):
            return None
        names = len(cells) - cells.count(None)
        if line.count(b":") != names and len(_NAME_ENDS(line)) != names:
            return None
        # An empty text is a mark of a cell, but not of JSON.
        if len(line) > MAX_LINE_BYTES or "" in cells[3:5]:
            return None
        return read_cells(cells)

    return read


def fast_cell_reader(
    marks: Mapping[object, ConversationMark],
) -> Callable[[Sequence[Any]], MarkChange | None]:
    """
    Return a function that reads cells as a change, or returns None for the slow reader.

    The cells are those of `OWN_FIELDS`, None for empty ones. *marks* are those that the slow reader
    has read so far, by their texts, or lists as tuples.
    """
    known = marks.get

    def mark_of(cell: list[str | int] | str | int | None) -> ConversationMark | None:
        if cell is None or cell == "":
            return _NO_MARK
        if isinstance(cell, str):
            return known(cell)
        return known(tuple(cell) if isinstance(cell, list) else (cell,))

    def read(cells: Sequence[Any]) -> MarkChange | None:
        account, to_account, to_group_id, set_mark, clear_mark, custom_mark = cells
        try:
            if to_account is None:
                conversation = Conversation.group(to_group_id)
            elif to_group_id is None:
                conversation = Conversation.one_to_one(to_account)
            else:
                return None
            to_set, to_clear = mark_of(set_mark), mark_of(clear_mark)
            if to_set is None or to_clear is None:
                return None
            return MarkChange(account, conversation, to_set, to_clear, custom_mark)
        except InputError:
            return None

    return read
