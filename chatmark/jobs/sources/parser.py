"""
Reading a row: a change in chatmark's own form, or a request body of the vendor's.

A file of millions of rows repeats few lists of marks, so those are read once each.
"""

import decimal
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast, final

import attrs

from chatmark import Conversation, ConversationMark, InputError, MarkChange, MarkNames
from chatmark.conversations import check_id, check_text
from chatmark.jobs.sources.dialect import CLEAR_WORD, Columns, Dialect, Notes, unknown_columns
from chatmark.jobs.sources.row import (
    FIELDS,
    MARK_FIELDS,
    NOTES,
    OWN_FIELDS,
    Record,
    Row,
    SetAsideError,
    mark_of,
    signed,
)
from chatmark.limits import MAX_CUSTOM_MARK_BYTES, MAX_GROUP_ID_BYTES, MAX_USER_ID_BYTES
from chatmark.wire.converter import read_request

# Looked up in a set, a type does not narrow a value to a list of unknown types.
_LISTS: Final = frozenset((list,))
_MOST_CACHED: Final = 10_000
# Rows are looked for below so many keys.
_MOST_WRAPPED: Final = 4
_LONGEST_MARKS: Final = 4_000
_BETWEEN_MARKS: Final = re.compile(r"[|,;\s]+")
# A float beyond this has lost digits.
_MOST_EXACT: Final = 1 << 53
# Databases' and data frames' words for no value, and errors of spreadsheets.
_WORDS: Final = (
    r"\N NaN -NaN NaT null (null) [null] none nil NA <NA> N/A undefined "
    "#N/A #REF! #NAME? #VALUE! #DIV/0! #NUM! #NULL!"
)
_NULL_WORDS: Final = frozenset(
    form(word) for word in _WORDS.split() for form in (str, str.lower, str.upper, str.title)
)
# A number that was an id, as spreadsheets and data frames write it.
_ROUNDED: Final = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?").fullmatch
_PEER: Final = Conversation.one_to_one("peer")
# Of other fields, those of a user's id.
_LIMITS: Final = {"to_group_id": MAX_GROUP_ID_BYTES, "custom_mark": MAX_CUSTOM_MARK_BYTES}


@final
@attrs.define(eq=False)
class RowParser:
    _names: MarkNames = attrs.field(factory=MarkNames)
    columns: Columns = attrs.field(factory=Columns)
    dialect: Dialect = attrs.field(factory=Dialect)
    notes: Notes = attrs.field(factory=Notes)
    is_renaming: bool = attrs.field(
        init=False, default=attrs.Factory(lambda self: self.columns != Columns(), takes_self=True)
    )
    # The bits of marks that were read, without those that have Chat's own bits.
    _bits: dict[object, int] = attrs.field(factory=lambda: {None: 0}, init=False)

    def parse(self, value: Any) -> list[MarkChange]:
        """Return the changes of a JSON value: one of a row, several of a request body."""
        return self.row(value, 0).changes

    def row(self, value: Any, line: int) -> Row:
        if type(value) is not dict:
            raise InputError("row", "must be a JSON object", value)
        row = cast("dict[str, Any]", value)
        if self.is_renaming and "MarkItem" not in row:
            row = self.columns.renamed(row, self.notes)
        if not row.keys() <= FIELDS:
            return Row(line, _read_body(row))
        refuse_set_aside(row)
        values = [row.get(field) for field in OWN_FIELDS]
        values[:3] = map(as_id, values[:3])
        values[3:5] = map(_without_bools, values[3:5])
        record = self.record(values, line)
        return Row(line, [self._change(values)]) if record is None else Row(line, None, record)

    def parse_cells(self, cells: Sequence[Any], line: int) -> Row:
        """Return the row of cells of CSV or Arrow for `OWN_FIELDS`, None where there is none."""
        account, user, group, to_set, to_clear, custom_mark = cells
        is_literal = self.dialect.literal
        if not is_literal:
            account = account.strip() if type(account) is str else account
            user = (user.strip() or None) if type(user) is str else user
            group = (group.strip() or None) if type(group) is str else group
            if custom_mark == CLEAR_WORD:
                custom_mark = ""
        values = (as_id(account), as_id(user), as_id(group), to_set, to_clear, custom_mark)
        peer = user if group is None else group
        if is_literal or not (
            _suspicion(account)
            or _suspicion(peer)
            or (custom_mark is not None and custom_mark in _NULL_WORDS)
        ):
            record = self.record(values, line)
            if record is not None:
                return Row(line, None, record)
        return Row(line, [self._change(values, are_cells=not is_literal)])

    def record(self, values: Sequence[Any], line: int) -> Record | None:
        """
        Return the record of values for `OWN_FIELDS` that are good at first sight.

        It accepts less than a `MarkChange` does, and none of a kind that was not read before.
        """
        account, user, group, to_set, to_clear, custom_mark = values
        try:
            to_set = self._bits[tuple(to_set) if type(to_set) in _LISTS else to_set]
            to_clear = self._bits[tuple(to_clear) if type(to_clear) in _LISTS else to_clear]
        except (KeyError, TypeError):
            return None
        if group is None:
            name, limit, kind = user, MAX_USER_ID_BYTES, "1"
        elif user is None:
            name, limit, kind = group, MAX_GROUP_ID_BYTES, "2"
        else:
            return None
        if (
            ((to_set or to_clear) if custom_mark is None else _is_custom_mark(custom_mark))
            and not to_set & to_clear
            and type(account) is type(name) is str
            and 0 < len(account) <= MAX_USER_ID_BYTES
            and 0 < len(name) <= limit
            # As `is_id` says it of each, without two calls.
            and (both := account + name).isascii()
            and both.isprintable()
        ):
            return account, kind + name, to_set, to_clear, custom_mark, False, line
        return None

    def _change(self, values: Sequence[Any], *, are_cells: bool = False) -> MarkChange:
        """Return the change of values, or raise all their errors at once."""
        faults: list[InputError] = []
        if values[0] is None:
            faults.append(InputError("from_account", "is missing"))
        if values[1] is None and values[2] is None:
            reason = "and to_group_id are missing: a row needs one of them"
            faults.append(InputError("to_account", reason))
        for field, value in zip(OWN_FIELDS, values, strict=True):
            try:
                if value is not None:
                    self._check(field, value, are_cells=are_cells)
            except InputError as error:
                faults.append(InputError(field, error.reason))
        if values[1] is not None and values[2] is not None:
            faults.append(InputError("to_group_id", "must not be given with to_account"))
        if faults:
            first, *others = faults
            raise InputError(first.field, "; ".join([first.reason, *map(str, others)]))
        account, user, group, to_set, to_clear, custom_mark = values
        conversation = Conversation.group(group) if user is None else Conversation.one_to_one(user)
        to_set, to_clear = self.mark("set_mark", to_set), self.mark("clear_mark", to_clear)
        return MarkChange(account, conversation, to_set, to_clear, custom_mark)

    def _check(self, field: str, value: Any, *, are_cells: bool) -> None:
        if field in MARK_FIELDS:
            MarkChange("user", _PEER, self.mark(field, value), custom_mark="")
            return
        if are_cells:
            refuse_suspicious(field, value)
        check = check_text if field == "custom_mark" else check_id
        check(field, value, _LIMITS.get(field, MAX_USER_ID_BYTES))

    def mark(self, field: str, value: Any) -> ConversationMark:
        key = tuple(value) if type(value) in _LISTS else value
        try:
            if key not in self._bits:
                mark = self._names.parse_all(_marks_in(value))
                if mark.reserved:
                    return mark
                if len(self._bits) >= _MOST_CACHED:
                    self._bits = {None: 0}
                self._bits[key] = signed(mark)
            return mark_of(self._bits[key])
        except InputError as error:
            raise InputError(field, error.reason + _hint(value)) from None
        except TypeError:
            # It cannot be a key: no mark is an object or a list of lists.
            raise InputError(field, "must be names and numbers", value) from None


def _marks_in(value: Any) -> list[str | int]:
    """Return the names and numbers of a list, of one mark, or of text with several."""
    marks: list[Any] = value if type(value) in _LISTS else [value]
    if isinstance(value, str) and len(value) <= _LONGEST_MARKS:
        text = value.strip()
        if text[:1] == "[" and text[-1:] == "]":
            try:
                return _marks_in(json.loads(text))
            except (json.JSONDecodeError, RecursionError):
                raise InputError("mark", "is not a JSON array", value) from None
        if text[:1] == "{" and text[-1:] == "}":
            text = text[1:-1].replace('"', "")
        marks = [each for each in _BETWEEN_MARKS.split(text) if each]
    found = [each if isinstance(each, str) else _as_whole(each) for each in marks]
    # To look for a name like a very long one would take very long.
    is_long = any(isinstance(each, str) and len(each) > _LONGEST_MARKS for each in found)
    if is_long or None in found:
        raise InputError("mark", "must be names and whole numbers", value)
    return cast("list[str | int]", found)


def _as_whole(value: Any) -> int | None:
    """Return a number that is whole and exact, else None."""
    if type(value) is int:
        return value
    is_exact = type(value) is decimal.Decimal or (type(value) is float and abs(value) < _MOST_EXACT)
    return int(value) if is_exact and value % 1 == 0 else None


def _without_bools(value: Any) -> Any:
    """Return a value in which true is not the same as 1, which the cache of marks may have."""
    if type(value) in _LISTS:
        return [*map(_without_bools, value)]
    return repr(value) if isinstance(value, bool) else value


def as_id(value: Any) -> Any:
    """Return a whole number as text, and any other value as it is."""
    if value is None or type(value) is str:
        return value
    number = _as_whole(value)
    return value if number is None else str(number)


def _hint(value: object) -> str:
    if not isinstance(value, str):
        return ""
    if value in _NULL_WORDS:
        return f"; if it means that there is none, add --null {shlex.quote(value)}"
    if re.search(r"(^|[\s,;|])[+-]\w", value):
        return "; marks have no signs: set_mark has those to set, clear_mark those to clear"
    return ""


def _is_custom_mark(value: Any) -> bool:
    if type(value) is not str:
        return False
    try:
        size = len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError:
        return False
    return size <= MAX_CUSTOM_MARK_BYTES


def _suspicion(value: Any) -> str:
    """Return why a cell is hardly an id; `Dialect.literal` lets it through."""
    if type(value) is not str:
        return ""
    if value in _NULL_WORDS:
        return f"is a word for no value: add --null {shlex.quote(value)}"
    if "," in value:
        return "has a comma, and a row has one id"
    if ("." in value or "+" in value) and _ROUNDED(value):
        return "is a number as spreadsheets round it: keep ids as text there"
    return ""


def refuse_suspicious(field: str, value: Any) -> None:
    reason = _suspicion(value)
    if reason and (field != "custom_mark" or value in _NULL_WORDS):
        raise InputError(field, f"{reason}, or --literal if it is meant as it is", value)


def _read_body(row: dict[str, Any]) -> list[MarkChange]:
    if not row.keys() & {"From_Account", "MarkItem"}:
        if keys := _keys_of_rows(row):
            raise wrapped(*keys)
        unknown = [each for each in row if each not in FIELDS]
        raise unknown_columns(unknown, [each for each in OWN_FIELDS if each not in row])
    changes = read_request(row)
    if not changes:
        raise InputError("$.MarkItem", "is empty")
    return changes


def _keys_of_rows(value: Any, *above: str) -> tuple[str, ...]:
    """Return the keys that lead to a list of objects, none if there is no such list."""
    if type(value) in _LISTS:
        return above if value and isinstance(value[0], dict) else ()
    if not isinstance(value, dict) or len(above) == _MOST_WRAPPED:
        return ()
    row = cast("dict[str, Any]", value)
    return next(filter(None, (_keys_of_rows(row[key], *above, key) for key in row)), ())


def wrapped(*keys: str) -> InputError:
    """Return the error of rows under these keys, with the command that takes them out."""
    path = "".join(f"[{json.dumps(key)}]" for key in keys)
    command = f"jq -c {shlex.quote(f'.{path}[]')} FILE | chatmark apply -"
    return InputError(".".join(keys), f"holds the rows, which must not be wrapped: {command}")


def refuse_set_aside(row: Mapping[str, Any]) -> None:
    """Raise a SetAsideError if a row has notes and no field of its own."""
    if "_error" in row and row.keys() <= NOTES:
        raise SetAsideError(dict(row))
