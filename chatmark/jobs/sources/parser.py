"""
Reading a row: a change in chatmark's own form, or a request body of the vendor's.

A file of millions of rows repeats few lists of marks, so those are read once each.
"""

import decimal
import functools
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast, final

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
from chatmark.marks import RESERVED
from chatmark.wire.converter import read_request

_MOST_CACHED: Final = 10_000
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
# A key with what it opens, an end, or a text.
_TOKENS: Final = re.compile(r'"([^"\\]+)"\s*:\s*(\{|\[\s*\{)|\}|"(?:[^"\\]|\\.)*"').finditer


@final
class RowParser:
    def __init__(
        self,
        names: MarkNames | None = None,
        columns: Columns | None = None,
        dialect: Dialect | None = None,
        notes: Notes | None = None,
    ) -> None:
        self._names = names or MarkNames()
        self.columns = columns or Columns()
        self.dialect = dialect or Dialect()
        self.notes = notes or Notes()
        self.is_renaming = self.columns != Columns()
        # Typed, because true is 1 otherwise.
        self._cached_bits = functools.lru_cache(_MOST_CACHED, typed=True)(self._read_bits)

    def row(self, value: Any, line: int) -> Row:
        """Return the row of a JSON value, which has several changes if it is a request body."""
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
        record = self.record(values, line)
        return Row(line, [self._change(values)]) if record is None else Row(line, None, record)

    def cells(self, cells: Sequence[Any], line: int) -> Row:
        """Return the row of cells of CSV or Arrow for `OWN_FIELDS`, None where there is none."""
        account, user, group, to_set, to_clear, custom_mark = cells
        is_literal = self.dialect.literal
        if not is_literal:
            account = (account.strip() or None) if type(account) is str else account
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

        It accepts less than a `MarkChange` does.
        """
        account, user, group, to_set, to_clear, custom_mark = values
        try:
            to_set = 0 if to_set is None else self._bits_of(to_set)
            to_clear = 0 if to_clear is None else self._bits_of(to_clear)
        except (InputError, TypeError):
            return None
        if group is None:
            name, limit, kind = user, MAX_USER_ID_BYTES, "1"
        elif user is None:
            name, limit, kind = group, MAX_GROUP_ID_BYTES, "2"
        else:
            return None
        if (
            ((to_set or to_clear) if custom_mark is None else _is_custom_mark(custom_mark))
            and not (to_set & to_clear or (to_set | to_clear) & RESERVED)
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
        faults = list(self._faults(values, are_cells=are_cells))
        if faults:
            first, *others = faults
            raise InputError(first.field, "; ".join([first.reason, *map(str, others)]))
        account, user, group, to_set, to_clear, custom_mark = values
        conversation = Conversation.group(group) if user is None else Conversation.one_to_one(user)
        to_set, to_clear = self.mark("set_mark", to_set), self.mark("clear_mark", to_clear)
        return MarkChange(account, conversation, to_set, to_clear, custom_mark)

    def _faults(self, values: Sequence[Any], *, are_cells: bool) -> Iterator[InputError]:
        account, user, group = values[:3]
        if account is None:
            yield InputError("from_account", "is missing")
        if user is None and group is None:
            yield InputError("to_account", "and to_group_id are missing: a row needs one of them")
        for field, value in zip(OWN_FIELDS, values, strict=True):
            try:
                if field in MARK_FIELDS:
                    MarkChange("user", _PEER, self.mark(field, value), custom_mark="")
                elif value is not None:
                    if are_cells:
                        refuse_suspicious(field, value)
                    check = check_text if field == "custom_mark" else check_id
                    check(field, value, _LIMITS.get(field, MAX_USER_ID_BYTES))
            except InputError as error:
                yield InputError(field, error.reason)
        if user is not None and group is not None:
            yield InputError("to_group_id", "must not be given with to_account")

    def mark(self, field: str, value: Any) -> ConversationMark:
        """Return the mark of a list, of one name or number, or of text with several."""
        try:
            return mark_of(0 if value is None else self._bits_of(value))
        except InputError as error:
            raise InputError(field, error.reason + _hint(value)) from None
        except TypeError:
            # It cannot be looked up: no mark is an object or a list of lists.
            raise InputError(field, "must be names and numbers", value) from None

    def _bits_of(self, value: Any) -> int:
        is_list = type(value) is list
        return self._cached_bits(*cast("list[Any]", value)) if is_list else self._cached_bits(value)

    def _read_bits(self, *marks: Any) -> int:
        return signed(self._names.parse_all(_marks_in(marks)))


def _marks_in(marks: Sequence[Any]) -> Iterator[str | int]:
    for mark in marks:
        number = _as_whole(mark)
        if isinstance(mark, str) and len(mark) <= _LONGEST_MARKS:
            yield from _marks_of_text(mark.strip())
        elif number is not None:
            yield number
        else:
            raise InputError("mark", "must be names and whole numbers", mark)


def _marks_of_text(text: str) -> Iterator[str | int]:
    if text.startswith("[") and text.endswith("]"):
        try:
            yield from _marks_in(json.loads(text))
        except (json.JSONDecodeError, RecursionError):
            raise InputError("mark", "is not a JSON array", text) from None
        return
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1].replace('"', "")
    yield from filter(None, _BETWEEN_MARKS.split(text))


def _as_whole(value: Any) -> int | None:
    """Return a number that is whole and exact, else None."""
    if type(value) is int:
        return value
    is_exact = type(value) is decimal.Decimal or (type(value) is float and abs(value) < _MOST_EXACT)
    return int(value) if is_exact and value % 1 == 0 else None


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
    try:
        return type(value) is str and len(value.encode()) <= MAX_CUSTOM_MARK_BYTES
    except UnicodeEncodeError:
        return False


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
        refuse_wrapped(json.dumps(row))
        unknown = [each for each in row if each not in FIELDS]
        raise unknown_columns(unknown, [each for each in OWN_FIELDS if each not in row])
    changes = read_request(row)
    if not changes:
        raise InputError("$.MarkItem", "is empty")
    return changes


def refuse_wrapped(text: str) -> None:
    """Refuse JSON that has rows under a key or several, with the command that takes them out."""
    keys: list[str] = []
    for found in _TOKENS(text):
        key, opening = found.groups()
        if found[0] == "}":
            keys = keys[:-1]
        elif opening:
            keys.append(key)
            if opening != "{" and key != "MarkItem":
                path = "".join(f"[{json.dumps(each)}]" for each in keys)
                command = f"jq -c {shlex.quote(f'.{path}[]')} FILE | chatmark apply -"
                reason = f"holds the rows, which must not be wrapped: {command}"
                raise InputError(".".join(keys), reason)


def refuse_set_aside(row: Mapping[str, Any]) -> None:
    """Raise a SetAsideError if a row has notes and no field of its own."""
    if "_error" in row and row.keys() <= NOTES:
        raise SetAsideError(dict(row))
