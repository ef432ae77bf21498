"""
Reading a row: a change in chatmark's own form, or a request body of the vendor's.

A file of millions of rows repeats few lists of marks, so those are read once each.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast, final

from chatmark import Conversation, ConversationMark, InputError, MarkChange, MarkNames
from chatmark.jobs.sources.columns import Columns
from chatmark.jobs.sources.row import FIELDS, NOTES, OWN_FIELDS, SetAsideError, unknown_field
from chatmark.wire.written_requests import read_request

_VENDOR_FIELDS: Final = frozenset(("From_Account", "MarkItem"))
_MARK_TYPES: Final = frozenset((int, str))
_LISTS: Final = frozenset((list,))
_NO_MARK: Final = ConversationMark(0)
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
        refuse_set_aside(row)
        return [_change(map(row.get, OWN_FIELDS), self._listed)]

    def parse_cells(self, cells: Iterable[Any]) -> MarkChange:
        """
        Return the change of cells of CSV or Parquet for `OWN_FIELDS`, None where they are empty.

        Its marks are text with "|" between them, one number, or a list; numbers may be text.
        """
        return _change(cells, self._cell)

    def parse_known(self, values: Iterable[Any]) -> MarkChange | None:
        """Return the change of values of JSON for `OWN_FIELDS`; None for `parse` to decide."""
        try:
            return _change(values, self._known)
        except InputError:
            return None

    @staticmethod
    def _vendor(row: dict[str, Any]) -> list[MarkChange]:
        if not row.keys() & _VENDOR_FIELDS:
            raise unknown_field(next(field for field in row if field not in FIELDS))
        changes = read_request(row)
        if not changes:
            raise InputError("$.MarkItem", "is empty")
        return changes

    def _listed(self, field: str, value: Any) -> ConversationMark:
        if type(value) in _LISTS:
            # Checked before the cache is asked, to which 1 and true are the same.
            if not set(map(type, value)) <= _MARK_TYPES:
                wrong = next(each for each in value if type(each) not in _MARK_TYPES)
                raise InputError(field, "a mark is a name or a number", wrong)
        elif type(value) not in _MARK_TYPES:
            raise InputError(field, "must be a list of names and numbers", value)
        mark = self._marks.get(tuple(value) if type(value) in _LISTS else value)
        if mark is None:
            marks = _as_tuple(value)
            for each in marks:
                if isinstance(each, str) and each.strip().isdigit():
                    raise InputError(field, "a number is written without quotes", each)
            mark = self._remember(field, value, marks)
        return mark

    def _cell(self, field: str, value: Any) -> ConversationMark:
        if value == "":
            return _NO_MARK
        mark = self._marks.get(tuple(value) if type(value) in _LISTS else value)
        if mark is None:
            marks = value.split("|") if isinstance(value, str) else value
            mark = self._remember(field, value, _as_tuple(marks))
        return mark

    def _known(self, field: str, value: Any) -> ConversationMark:
        mark = self._marks.get(tuple(value) if type(value) in _LISTS else value)
        if mark is None:
            raise InputError(field, "has not been read before")
        return mark

    def _remember(self, field: str, value: Any, marks: tuple[str | int, ...]) -> ConversationMark:
        try:
            mark = self._names.parse_all(marks)
        except InputError as error:
            raise InputError(field, error.reason) from None
        if len(self._marks) >= _MOST_CACHED:
            self._marks.clear()
        self._marks[tuple(value) if type(value) in _LISTS else value] = mark
        return mark


def _change(values: Iterable[Any], mark_of: Callable[[str, Any], ConversationMark]) -> MarkChange:
    account, to_account, to_group_id, set_mark, clear_mark, custom_mark = values
    to_set = _NO_MARK if set_mark is None else mark_of("set_mark", set_mark)
    to_clear = _NO_MARK if clear_mark is None else mark_of("clear_mark", clear_mark)
    if account is None:
        raise InputError("from_account", "is missing")
    if to_account is None:
        if to_group_id is None:
            raise InputError("to_account", "and to_group_id are missing: a row needs one of them")
        conversation = Conversation.group(to_group_id)
    elif to_group_id is None:
        conversation = Conversation.one_to_one(to_account)
    else:
        raise InputError("to_group_id", "must not be given with to_account")
    return MarkChange(account, conversation, to_set, to_clear, custom_mark)


def _as_tuple(value: Any) -> tuple[str | int, ...]:
    return tuple(cast("list[str | int]", value)) if isinstance(value, list) else (value,)


def refuse_set_aside(row: Mapping[str, Any]) -> None:
    """Raise a SetAsideError if a row has notes and no field of its own."""
    if "_error" in row and row.keys() <= NOTES:
        raise SetAsideError(dict(row))


def _refuse_null(row: dict[str, Any]) -> None:
    for field, value in row.items():
        if value is None and field not in NOTES:
            more = ' to leave it as it is, "" clears it' if field == "custom_mark" else ""
            raise InputError(field, f"is null: leave the field out{more}")
