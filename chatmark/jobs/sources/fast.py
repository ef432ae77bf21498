"""
The rows that most files consist of, read in their fastest form.

The slow reader takes 3.6 µs for a line of JSON: `json` makes a dict, whose names, types and values
are checked one by one. msgspec reads the same text into fields of known types, and the change is
made after 1.6 µs. It accepts less than `json` does, and reads it alike, but for a repeated
name. Cells of a table need no dict either. The fast readers accept only rows known to be good; the
slow ones name the fault.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation
from chatmark.errors import InputError
from chatmark.jobs.sources.lines import MAX_LINE_BYTES
from chatmark.marks import ConversationMark

_Marks = list[str | int] | str | int | UnsetType

_NO_MARK: Final = ConversationMark()
# A repeated name makes more of these than there are names; text in a mark may, too.
_NAME_ENDS: Final = re.compile(rb'"\s*:').findall


class _PlainRow(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    from_account: str
    to_account: str | UnsetType = UNSET
    to_group_id: str | UnsetType = UNSET
    set_mark: _Marks = UNSET
    clear_mark: _Marks = UNSET
    custom_mark: str | UnsetType = UNSET


def fast_line_reader(
    marks: Mapping[object, ConversationMark],
) -> Callable[[bytes], MarkChange | None]:
    """
    Return a function that reads a line as a change, or returns None for the slow reader.

    *marks* are those that the slow reader has read so far, by their lists as tuples.
    """
    decode = msgspec.json.Decoder(_PlainRow).decode
    known = marks.get

    def read(line: bytes) -> MarkChange | None:
        try:
            row = decode(line)
            target, names = row.to_account, 2
            if target is UNSET:
                conversation = Conversation.group(row.to_group_id)  # type: ignore[arg-type]
            elif row.to_group_id is UNSET:
                conversation = Conversation.one_to_one(target)
            else:
                return None
            set_mark, clear_mark, custom_mark = row.set_mark, row.clear_mark, row.custom_mark
            to_set: ConversationMark | None = _NO_MARK
            if set_mark is not UNSET:
                names += 1
                to_set = known(tuple(set_mark) if type(set_mark) is list else (set_mark,))
            to_clear: ConversationMark | None = _NO_MARK
            if clear_mark is not UNSET:
                names += 1
                to_clear = known(tuple(clear_mark) if type(clear_mark) is list else (clear_mark,))
            text: str | None = None
            if custom_mark is not UNSET:
                names += 1
                text = custom_mark
            if to_set is None or to_clear is None or len(line) > MAX_LINE_BYTES:
                return None
            if line.count(b":") != names and len(_NAME_ENDS(line)) != names:
                return None
            return MarkChange(row.from_account, conversation, to_set, to_clear, text)
        except (InputError, ValueError, RecursionError):
            return None

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
