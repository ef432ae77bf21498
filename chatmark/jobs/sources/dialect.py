"""How a file is written: its text, its names for the fields, and what its readers left out."""

import difflib
import functools
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, BinaryIO, Final

import attrs

from chatmark import InputError
from chatmark.jobs.sources.row import FIELDS, OWN_FIELDS, TARGETS

#: The cell of a text table that clears a custom mark, because an empty one leaves it.
CLEAR_WORD: Final = "<clear>"
#: Whether a name stands for a column without one.
UNNAMED: Final = re.compile(r"#\d+").fullmatch
_MOST_NAMED: Final = 20
# A name as long as from_account may lack a letter, have two swapped, or have one more.
_TYPO: Final = 0.85


def _delimiter(value: str | None) -> str | None:
    value = "\t" if value in ("tab", "\\t") else value
    if value is not None and (len(value) != 1 or value in '"\r\n'):
        raise InputError("delimiter", "must be one character, or tab", value)
    return value


def _encoding(value: str | None) -> str | None:
    try:
        "".encode(value or "utf-8")
    except (LookupError, ValueError):
        reason = "must be one that Python knows, such as cp1252"
        raise InputError("encoding", reason, value) from None
    return value or None


def _words(values: Iterable[str]) -> Collection[str]:
    return frozenset(values)


@attrs.frozen
class Dialect:
    r"""
    How the text of a file is written.

    Args:
        delimiter: The character between cells; by default that of the format, or of a line `sep=;`.
        encoding: The encoding, by default UTF-8; a byte order mark overrides it.
        null: The texts of a cell that mean an absent field, besides the empty one. With `\N`, TSV
            is read as the text form of PostgreSQL's COPY.
        literal: Whether ids are meant as they are: blanks at their edges, commas, words such as
            NULL, and numbers as spreadsheets round them.
    """

    delimiter: str | None = attrs.field(default=None, converter=_delimiter)
    encoding: str | None = attrs.field(default=None, converter=_encoding)
    null: Collection[str] = attrs.field(default=(), converter=_words)
    literal: bool = False


@attrs.define
class Notes:
    """What readers left out, and how far they are."""

    columns: dict[str, None] = attrs.field(factory=dict[str, None])
    # Records that repeat the header.
    headers: int = 0
    others: list[str] = attrs.field(factory=list[str])
    stream: BinaryIO | None = None
    # The bytes of the files before it.
    behind: int = 0

    @property
    def position(self) -> int:
        """The bytes that were read."""
        stream = self.stream
        is_open = stream is not None and not stream.closed and stream.seekable()
        return self.behind + (stream.tell() if is_open and stream else 0)

    def ignore(self, columns: Iterable[str]) -> None:
        if len(self.columns) <= _MOST_NAMED:
            self.columns.update(dict.fromkeys(columns))

    def lines(self) -> list[str]:
        named = [*self.columns][:_MOST_NAMED] + ["..."] * (len(self.columns) > _MOST_NAMED)
        lines = [f"left out, because they are not fields: {', '.join(named)}"] if named else []
        if self.headers:
            lines.append(f"records equal to the header, skipped: {self.headers:,}")
        return lines + self.others


@attrs.frozen
class Columns:
    """
    The columns of a file that hold the fields of a row.

    A field that is mapped is read from its column and from no other.

    Args:
        sources: The columns of the fields that have another name there; `#3` is the third column,
            if the header has no name for it.
        ignore_unknown: Leave aside columns that are no fields; they are errors otherwise. A column
            whose name is that of a missing field but for a typo is always an error.

    Raises:
        InputError: There is no such field, or two are read from one column.

    >>> Columns({"to_account": "peer_id"}).renamed({"peer_id": "b"}, Notes())
    {'to_account': 'b'}
    """

    sources: Mapping[str, str] = attrs.field(factory=dict[str, str])
    ignore_unknown: bool = False
    _fields: dict[str, str] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        fields: dict[str, str] = {}
        for field, column in self.sources.items():
            if field not in OWN_FIELDS:
                raise _unknown_field(field)
            if not column:
                raise InputError(field, "is mapped to a column without a name")
            if column in fields:
                raise InputError(field, f"and {fields[column]} are read from one column", column)
            fields[column] = field
        unmapped = {field: field for field in FIELDS if field not in self.sources}
        # The class is frozen.
        object.__setattr__(self, "_fields", unmapped | fields)

    def renamed(self, row: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
        """
        Return an object under the names of the fields.

        Raises:
            InputError: A key is no field, and such are not ignored; or two are one field.
        """
        if not row.keys() <= self._fields.keys():
            self._check_unknown(row, notes)
        return {self._fields[column]: row[column] for column in row if column in self._fields}

    def header(self, columns: Sequence[str], notes: Notes) -> list[str | None]:
        """
        Return the field of each column, None for ignored ones.

        Raises:
            InputError: A column is no field, and such are not ignored; one appears twice; or a
                column that every row needs is missing.
        """
        self._check_unknown(columns, notes)
        fields = [self._fields.get(column) for column in columns]
        for column, field in zip(columns, fields, strict=True):
            if field and fields.count(field) > 1:
                raise InputError(column, "appears twice in the header")
        for field, column in self.sources.items():
            if field not in fields:
                raise InputError(column, f"is not a column, but {field} is mapped to it")
        if OWN_FIELDS[0] not in fields:
            raise InputError(OWN_FIELDS[0], "is not a column of the header")
        if not set(TARGETS) & set(fields):
            raise InputError(TARGETS[0], "is not a column of the header, nor is to_group_id")
        return fields

    def knows_some(self, columns: Iterable[str]) -> bool:
        """Whether a record has a column, and so may be a header."""
        return any(column in self._fields for column in columns)

    def _check_unknown(self, columns: Collection[str], notes: Notes) -> None:
        unknown = dict.fromkeys(
            each for each in columns if each not in self._fields and not UNNAMED(each)
        )
        for column in unknown:
            if column in self.sources:
                reason = f"is in the file, but is mapped to {self.sources[column]!r}"
                raise InputError(column, reason)
        present = {self._fields.get(each) for each in columns}
        absent = [each for each in OWN_FIELDS if each not in present]
        is_refused = functools.partial(_meant, fields=absent, cutoff=_TYPO)
        refused = list(filter(is_refused, unknown) if self.ignore_unknown else unknown)
        if refused:
            raise unknown_columns(refused, absent)
        notes.ignore(unknown)


def unknown_columns(columns: Sequence[str], absent: Sequence[str]) -> InputError:
    """Return the error of columns or keys that are not fields, with the options that help."""
    first, *more = columns[:_MOST_NAMED]
    meant: dict[str, str] = {}
    for column in columns:
        field = _meant(column, [each for each in absent if each not in meant])
        if field:
            meant[field] = column
    reason = _unknown_field(first).reason
    if more:
        reason = f"and {', '.join(map(repr, more))} are not fields of a row"
    pairs = [f"--map {shlex.quote(f'{field}={column}')}" for field, column in meant.items()]
    options = " ".join(pairs) or "--map FIELD=COLUMN"
    # To ignore a typo would be to leave out what it says: it is refused.
    is_typo = any(_meant(each, absent, _TYPO) for each in columns)
    otherwise = "take the column out" if is_typo else "--ignore-unknown"
    return InputError(
        first, f"{reason}; the fields are {', '.join(OWN_FIELDS)}: add {options}, or {otherwise}"
    )


def _unknown_field(field: str) -> InputError:
    meant = _meant(field, OWN_FIELDS)
    hint = f"; did you mean {meant!r}?" if meant else ""
    return InputError(field, f"is not a field of a row{hint}")


def _meant(column: str, fields: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the field that a column's name may mean, such as "From Account"."""
    plain = {re.sub("[^a-z]", "", field): field for field in fields}
    name = re.sub(r"[\W_]", "", column[:80].lower())
    close = difflib.get_close_matches(name, plain, n=1, cutoff=cutoff)
    return plain[close[0]] if close else None
