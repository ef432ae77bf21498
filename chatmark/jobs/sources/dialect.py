"""How the text of a file is written, and what its readers noted."""

from collections.abc import Collection, Iterable
from typing import BinaryIO, Final

import attrs

from chatmark import InputError

#: The cell of a text table that clears a custom mark, because an empty one leaves it.
CLEAR_WORD: Final = "<clear>"
_TABS: Final = ("tab", "\\t")
_MOST_NAMED: Final = 20


def _delimiter(value: str | None) -> str | None:
    value = "\t" if value in _TABS else value
    if value is not None and (len(value) != 1 or value in '"\r\n'):
        raise InputError("delimiter", "must be one character, or tab", value)
    return value


def _encoding(value: str | None) -> str | None:
    value = value or None
    try:
        "".encode(value or "utf-8")
    except (LookupError, ValueError):
        raise InputError(
            "encoding", "must be one that Python knows, such as cp1252", value
        ) from None
    return value


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
    """
    What readers left out.

    Args:
        columns: Columns and keys that are not fields.
        headers: Records that repeat the header.
        others: Further notes.
        stream: The file that is read, None before the first.
        behind: The bytes of the files before it.
    """

    columns: dict[str, None] = attrs.field(factory=dict[str, None])
    headers: int = 0
    others: list[str] = attrs.field(factory=list[str])
    stream: BinaryIO | None = None
    behind: int = 0

    @property
    def position(self) -> int:
        """The bytes that were read."""
        is_open = self.stream is not None and not self.stream.closed and self.stream.seekable()
        return self.behind + (self.stream.tell() if is_open and self.stream else 0)

    def ignore(self, columns: Iterable[str]) -> None:
        """Note columns that are left out."""
        if len(self.columns) <= _MOST_NAMED:
            self.columns.update(dict.fromkeys(columns))

    def lines(self) -> list[str]:
        """Return the notes, a line each."""
        named = list(self.columns)[:_MOST_NAMED]
        lines = [f"left out, because they are not fields: {', '.join(named)}"] if named else []
        if len(self.columns) > _MOST_NAMED:
            lines[0] += ", ..."
        if self.headers:
            lines.append(f"records equal to the header, skipped: {self.headers:,}")
        return lines + self.others
