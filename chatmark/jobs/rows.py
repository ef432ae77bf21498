"""
What one row of a file says: a change in chatmark's own form, or a request body of the vendor's.

A file of millions of rows repeats few lists of marks, so those are read once each.
"""

import difflib
from typing import Any, Final, cast, final

import attrs

from chatmark.errors import InputError
from chatmark.marks import ConversationMark
from chatmark.models import Conversation, ConversationType, MarkChange, MarkResult
from chatmark.names import MarkNames
from chatmark.wire import decode_request

TARGETS: Final = ("to_account", "to_group_id")
_OWN_FIELDS: Final = ("from_account", *TARGETS, "set_mark", "clear_mark", "custom_mark")
# What `failed_row` adds; it says nothing about the change.
_NOTES: Final = ("_code", "_info", "_attempts")
FIELDS: Final = frozenset((*_OWN_FIELDS, *_NOTES))
_VENDOR_FIELDS: Final = frozenset(("From_Account", "MarkItem"))
_MARK_TYPES: Final = frozenset((int, str))
_LIST_TYPES: Final = frozenset((list,))
_NO_MARK: Final = ConversationMark()
_MOST_CACHED: Final = 10_000


# Not frozen, which would double what each of millions of them costs.
@final
@attrs.define
class Row:
    """
    What one row says.

    Args:
        line: The line on which it starts, from 1.
        changes: One change of a row, several of a request body.
    """

    line: int
    changes: list[MarkChange]


class RowError(InputError):
    """
    A row that cannot be applied.

    Attributes:
        file: The file's name.
        line: The line on which the row starts, from 1.
        field: The field at fault, "row" for the whole.
        reason: What is wrong with it.
    """

    def __init__(self, file: str, line: int, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.args = (f"{file}:{line}: {field}: {reason}",)
        self.file = file
        self.line = line


def unknown_field(field: str) -> InputError:
    """
    Return the error of a field that no row has.
    """
    close = difflib.get_close_matches(field.lower(), _OWN_FIELDS, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return InputError(field, f"is no field of a row{hint}")


@final
class RowParser:
    """
    Turns what a row says into changes.

    Args:
        names: A team's own names for its extension bits.
    """

    __slots__ = ("_marks", "_names")

    def __init__(self, names: MarkNames | None = None) -> None:
        self._names = MarkNames() if names is None else names
        self._marks: dict[object, ConversationMark] = {}

    def parse(self, value: Any) -> list[MarkChange]:
        """
        Return the changes of a JSON value: one of a row, several of a request body.

        Raises:
            InputError: It is neither, or a change in it could not be sent.

        >>> row = {"from_account": "a", "to_account": "b", "set_mark": ["favorite", 33]}
        >>> RowParser().parse(row)[0].set_mark.bits
        (0, 33)
        """
        if type(value) is not dict:
            raise InputError("row", "is no JSON object", value)
        row = cast("dict[str, Any]", value)
        if not row.keys() <= FIELDS:
            return self._vendor(row)
        if None in row.values():
            _refuse_null(row)
        return [
            _change(
                row,
                self._listed("set_mark", row["set_mark"]) if "set_mark" in row else _NO_MARK,
                self._listed("clear_mark", row["clear_mark"]) if "clear_mark" in row else _NO_MARK,
            )
        ]

    def parse_text(self, row: dict[str, str]) -> list[MarkChange]:
        """
        Return the change of the filled cells of a CSV row, whose marks are separated by "|".

        Raises:
            InputError: The change could not be sent.
        """
        return [
            _change(
                row,
                self._joined("set_mark", row["set_mark"]) if "set_mark" in row else _NO_MARK,
                self._joined("clear_mark", row["clear_mark"]) if "clear_mark" in row else _NO_MARK,
            )
        ]

    @staticmethod
    def _vendor(row: dict[str, Any]) -> list[MarkChange]:
        if not row.keys() & _VENDOR_FIELDS:
            raise unknown_field(next(field for field in row if field not in FIELDS))
        changes = decode_request(row)
        if not changes:
            raise InputError("$.MarkItem", "is empty")
        return changes

    def _listed(self, field: str, value: Any) -> ConversationMark:
        if type(value) in _LIST_TYPES:
            # Checked before the cache is asked, to which 1 and true are the same.
            if not set(map(type, value)) <= _MARK_TYPES:
                wrong = next(each for each in value if type(each) not in _MARK_TYPES)
                raise InputError(field, "a mark is a name or a number", wrong)
            key: tuple[str | int, ...] = tuple(value)
        elif type(value) in _MARK_TYPES:
            key = (value,)
        else:
            raise InputError(field, "is no list of names and numbers", value)
        mark = self._marks.get(key)
        if mark is None:
            for each in key:
                if isinstance(each, str) and each.strip().isdigit():
                    raise InputError(field, "a number is written without quotes", each)
            mark = self._remember(field, key, key)
        return mark

    def _joined(self, field: str, text: str) -> ConversationMark:
        mark = self._marks.get(text)
        return self._remember(field, text, tuple(text.split("|"))) if mark is None else mark

    def _remember(self, field: str, key: object, marks: tuple[str | int, ...]) -> ConversationMark:
        try:
            mark = self._names.parse_all(marks)
        except InputError as error:
            raise InputError(field, error.reason) from None
        if len(self._marks) >= _MOST_CACHED:
            self._marks.clear()
        self._marks[key] = mark
        return mark


def _change(row: dict[str, Any], set_mark: Any, clear_mark: Any) -> MarkChange:
    if "from_account" not in row:
        raise InputError("from_account", "is missing")
    if "to_account" in row:
        if "to_group_id" in row:
            raise InputError("to_group_id", "stands beside to_account: a row has one of them")
        conversation = Conversation.one_to_one(row["to_account"])
    elif "to_group_id" in row:
        conversation = Conversation.group(row["to_group_id"])
    else:
        raise InputError("to_account", "is missing, and so is to_group_id: a row has one of them")
    return MarkChange(
        row["from_account"], conversation, set_mark, clear_mark, row.get("custom_mark")
    )


def _refuse_null(row: dict[str, Any]) -> None:
    for field, value in row.items():
        if value is None and field not in _NOTES:
            more = ' to leave it as it is, "" clears it' if field == "custom_mark" else ""
            raise InputError(field, f"is null: leave the field out{more}")


def row_of(change: MarkChange) -> dict[str, Any]:
    """
    Return the row that `RowParser` reads as *change*, whatever names it knows.
    """
    one_to_one = change.conversation.type is ConversationType.ONE_TO_ONE
    row: dict[str, Any] = {
        "from_account": change.from_account,
        TARGETS[0] if one_to_one else TARGETS[1]: change.conversation.id,
    }
    if change.set_mark:
        row["set_mark"] = _written(change.set_mark)
    if change.clear_mark:
        row["clear_mark"] = _written(change.clear_mark)
    if change.custom_mark is not None:
        row["custom_mark"] = change.custom_mark
    return row


def failed_row(result: MarkResult) -> dict[str, Any]:
    """
    Return the row of a change that failed, with notes on why, which reading leaves aside.
    """
    notes = (result.code, result.info, result.attempts)
    return row_of(result.change) | dict(zip(_NOTES, notes, strict=True))


def _written(mark: ConversationMark) -> list[str | int]:
    return [
        (each.name or "").lower() if each in ConversationMark.__members__.values() else each.bits[0]
        for each in mark
    ]
