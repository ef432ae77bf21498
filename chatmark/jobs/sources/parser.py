"""
Reading a row: a change in chatmark's own form, or a request body of the vendor's.

A file of millions of rows repeats few lists of marks, so those are read once each.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, cast, final

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation
from chatmark.errors import InputError
from chatmark.jobs.sources.columns import Columns
from chatmark.jobs.sources.row import FIELDS, NOTES, SetAsideError, unknown_field
from chatmark.marks import ConversationMark
from chatmark.names import MarkNames
from chatmark.wire.written_requests import read_request

_VENDOR_FIELDS: Final = frozenset(("From_Account", "MarkItem"))
_MARK_TYPES: Final = frozenset((int, str))
_LIST_TYPES: Final = frozenset((list,))
_NO_MARK: Final = ConversationMark()
_MOST_CACHED: Final = 10_000


@final
class RowParser:
    """Turns rows into changes."""

    __slots__ = ("_marks", "_names", "columns", "is_renaming")

    def __init__(self, names: MarkNames | None = None, columns: Columns | None = None) -> None:
        self._names = MarkNames() if names is None else names
        self.columns = Columns() if columns is None else columns
        self.is_renaming = self.columns != Columns()
        self._marks: dict[object, ConversationMark] = {}

    @property
    def marks(self) -> Mapping[object, ConversationMark]:
        """The last marks that were read, by their text or list."""
        return self._marks

    def parse(self, value: Any) -> list[MarkChange]:
        """
        Return the changes of a JSON value: one of a row, several of a request body.

        >>> row = {"from_account": "a", "to_account": "b", "set_mark": ["favorite", 33]}
        >>> RowParser().parse(row)[0].set_mark.bits
        (0, 33)
        """
        if type(value) is not dict:
            raise InputError("row", "must be a JSON object", value)
        row = cast("dict[str, Any]", value)
        if self.is_renaming and "MarkItem" not in row:
            row = self.columns.renamed(row)
        if not row.keys() <= FIELDS:
            return self._vendor(row)
        if None in row.values():
            _refuse_null(row)
        return [self._change(row, self._listed)]

    def parse_cells(self, row: dict[str, Any]) -> list[MarkChange]:
        """
        Return the change of the filled cells of a row of CSV or Parquet.

        Its marks are text with "|" between them, one number, or a list; numbers may be text.
        """
        return [self._change(row, self._cell)]

    def _change(
        self, row: Mapping[str, Any], read: Callable[[str, Any], ConversationMark]
    ) -> MarkChange:
        set_mark, clear_mark = (
            read(field, row[field]) if field in row else _NO_MARK
            for field in ("set_mark", "clear_mark")
        )
        return MarkChange(
            _account(row), _conversation(row), set_mark, clear_mark, row.get("custom_mark")
        )

    @staticmethod
    def _vendor(row: dict[str, Any]) -> list[MarkChange]:
        if not row.keys() & _VENDOR_FIELDS:
            raise unknown_field(next(field for field in row if field not in FIELDS))
        changes = read_request(row)
        if not changes:
            raise InputError("$.MarkItem", "is empty")
        return changes

    def _listed(self, field: str, value: Any) -> ConversationMark:
        if type(value) in _LIST_TYPES:
            # Checked before the cache is asked, to which 1 and true are the same.
            if not set(map(type, value)) <= _MARK_TYPES:
                wrong = next(each for each in value if type(each) not in _MARK_TYPES)
                raise InputError(field, "a mark is a name or a number", wrong)
            marks: tuple[str | int, ...] = tuple(value)
        elif type(value) in _MARK_TYPES:
            marks = (value,)
        else:
            raise InputError(field, "must be a list of names and numbers", value)
        key = value if isinstance(value, str) else marks
        mark = self._marks.get(key)
        if mark is None:
            for each in marks:
                if isinstance(each, str) and each.strip().isdigit():
                    raise InputError(field, "a number is written without quotes", each)
            mark = self._remember(field, key, marks)
        return mark

    def _joined(self, field: str, text: str) -> ConversationMark:
        mark = self._marks.get(text)
        return self._remember(field, text, tuple(text.split("|"))) if mark is None else mark

    def _cell(self, field: str, value: Any) -> ConversationMark:
        if isinstance(value, str):
            return self._joined(field, value) if value else _NO_MARK
        key = tuple(cast("list[str | int]", value)) if isinstance(value, list) else (value,)
        mark = self._marks.get(key)
        return self._remember(field, key, key) if mark is None else mark

    def _remember(self, field: str, key: object, marks: tuple[str | int, ...]) -> ConversationMark:
        try:
            mark = self._names.parse_all(marks)
        except InputError as error:
            raise InputError(field, error.reason) from None
        if len(self._marks) >= _MOST_CACHED:
            self._marks.clear()
        self._marks[key] = mark
        return mark


def _account(row: Mapping[str, Any]) -> Any:
    if "from_account" not in row:
        if "_error" in row and row.keys() <= NOTES:
            raise SetAsideError(dict(row))
        raise InputError("from_account", "is missing")
    return row["from_account"]


def _conversation(row: Mapping[str, Any]) -> Conversation:
    if "to_account" not in row:
        if "to_group_id" not in row:
            raise InputError("to_account", "and to_group_id are missing: a row needs one of them")
        return Conversation.group(row["to_group_id"])
    if "to_group_id" in row:
        raise InputError("to_group_id", "must not be given with to_account")
    return Conversation.one_to_one(row["to_account"])


def _refuse_null(row: dict[str, Any]) -> None:
    for field, value in row.items():
        if value is None and field not in NOTES:
            more = ' to leave it as it is, "" clears it' if field == "custom_mark" else ""
            raise InputError(field, f"is null: leave the field out{more}")
