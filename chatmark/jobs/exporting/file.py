"""
A file of an export that survives its process: a later run continues it.

Until it is complete it is called `<name>.part`. Beside it `<name>.progress`, an SQLite database,
has the number of users whose rows are all there, and the size of these rows. Bytes behind them are
cut off when the export continues. The part reaches the disk before the progress that counts it, so
that neither a dead process nor a dead machine leaves a gap.
"""

import contextlib
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, Final, Self, final

import attrs

from chatmark import InputError, MarkChange, MarkedConversation
from chatmark.jobs.databases import DatabaseFormat, open_locked, transaction
from chatmark.jobs.output_files import OutputFile
from chatmark.jobs.row_files import RowEncoding
from chatmark.jobs.sources.formats import FileFormat, compression_of
from chatmark.jobs.sources.row import OWN_FIELDS, row_of

_GROUPS: Final = "_group_ids"
_NAMES: Final = "_group_names"
_UPDATED: Final = "_updated_at"
_RESERVED: Final = "_reserved_bits"
#: The columns; an export clears nothing.
COLUMNS: Final = (
    *(each for each in OWN_FIELDS if each != "clear_mark"),
    *(_GROUPS, _NAMES, _UPDATED, _RESERVED),
)
_FORMAT: Final = DatabaseFormat(
    "the progress of an export",
    "remove it, and begin anew",
    0x63686D78,
    1,
    """
    CREATE TABLE progress (digest TEXT, users INTEGER, rows INTEGER, bytes INTEGER);
    CREATE TABLE failures (account TEXT PRIMARY KEY, code INTEGER, error TEXT)
    """,
)


def marked_row(account: str, marked: MarkedConversation) -> dict[str, Any] | None:
    """
    Return the row of a conversation, which `apply` reads again; None without bits and custom mark.

    Notes hold what a change cannot express: groups, the last update, and bits that belong to Chat.
    """
    own = marked.mark & ~marked.mark.reserved
    if not (own or marked.custom_mark):
        return None
    # A native client's bytes may come as half a character, which UTF-8 has no bytes for.
    custom = marked.custom_mark.encode("utf-8", "replace").decode() or None
    row = row_of(MarkChange(account, marked.conversation, own, custom_mark=custom))
    if marked.group_ids:
        row[_GROUPS] = list(marked.group_ids)
    if any(marked.group_names):
        row[_NAMES] = list(marked.group_names)
    if marked.updated_at is not None:
        row[_UPDATED] = marked.updated_at.isoformat()
    if marked.mark.reserved:
        row[_RESERVED] = list(marked.mark.reserved.bits)
    return row


@attrs.frozen
class FailedUser:
    """A user that could not be read."""

    account: str
    code: int | None
    error: str


@attrs.frozen
class Position:
    """The part of an export that is complete: all rows of so many users, in so many bytes."""

    users: int = 0
    rows: int = 0
    bytes: int = 0


@final
class ExportFile:
    """
    The output of an export, locked while it is open.

    Args:
        path: The path of the complete file.
        format: Its format.
        digest: Identifies the users, the application and the server.
        restart: Whether to begin anew where an export of other users was begun.
        overwrite: Whether to replace a file of this name at the end.
        guard: Whether cells that spreadsheets take for formulas begin with an apostrophe.

    Attributes:
        begun: The part that was complete when it was opened.

    Raises:
        InputError: It is there, was begun for other users, or another process writes it.
        OSError: It cannot be written.
    """

    def __init__(
        self,
        path: str,
        format_: FileFormat,
        digest: str,
        *,
        restart: bool = False,
        overwrite: bool = False,
        guard: bool = False,
    ) -> None:
        if not overwrite and pathlib.Path(path).is_file():
            reason = "is there: give another name, or replace it with --overwrite"
            raise InputError("output", reason, path)
        self._encoding = RowEncoding(
            columns=COLUMNS, format=format_, compression=compression_of(path), guard=guard
        )
        self._held: list[bytes] = []
        self._digest = f"{format_.value}{'-guarded' if guard else ''}:{digest}"
        self._file = OutputFile(path, resume=True)
        self._file.keep_apart()
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._file)
            self._beside = f"{self._file.path}.progress"
            self._database = open_locked(self._beside, _FORMAT, self._refused)
            stack.callback(self._database.close)
            self.begun = self._begin(restart=restart)
            self._closing = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows, with the next `save`."""
        self._held.append(self._encoding.encode(rows))

    def save(self, users: int, rows: int, failed: Iterable[FailedUser]) -> None:
        """
        Make the rows written so far durable.

        Args:
            users: The number of users whose rows are written.
            rows: The number of these rows.
            failed: The users since the last time that could not be read.
        """
        self._file.write_bytes(self._encoding.compress(b"".join(self._held)))
        self._held.clear()
        position = (users, rows, self._file.sync())
        with transaction(self._database, self._beside):
            self._database.executemany(
                "INSERT OR REPLACE INTO failures VALUES (?,?,?)", map(attrs.astuple, failed)
            )
            self._database.execute("UPDATE progress SET users = ?, rows = ?, bytes = ?", position)

    def failures(self) -> Iterator[FailedUser]:
        """Yield the users that could not be read, in earlier runs too."""
        found = self._database.execute("SELECT account, code, error FROM failures ORDER BY rowid")
        for record in found:
            yield FailedUser(*record)

    def complete(self) -> None:
        """Give the file its name."""
        self._encoding.finish(self._file)
        # The progress is of no use after this, and closed before.
        self._closing.callback(pathlib.Path(self._beside).unlink)
        self._closing.callback(self._database.close)

    def _begin(self, *, restart: bool) -> Position:
        found = self._database.execute("SELECT * FROM progress").fetchone()
        size = self._file.size()
        if found is None or restart or not size:
            begun = Position()
            with transaction(self._database, self._beside):
                self._database.execute("DELETE FROM progress")
                self._database.execute("DELETE FROM failures")
                self._database.execute("INSERT INTO progress VALUES (?,0,0,0)", (self._digest,))
        else:
            digest, *numbers = found
            begun = Position(*numbers)
            if digest != self._digest:
                raise InputError(
                    "output",
                    "an export of other users, of another application or in another format, was "
                    "begun there: finish it with the same arguments, or begin anew with "
                    "--restart",
                    str(self._file.path),
                )
            if size < begun.bytes:
                reason = "is too short: begin anew with --restart"
                raise InputError("output", reason, str(self._file.part))
        # The bytes behind those that are known to be whole may be half a user's.
        self._file.cut(begun.bytes)
        if not begun.bytes:
            self._file.write_bytes(self._encoding.compress(self._encoding.header))
        return begun

    def _refused(self, reason: str) -> InputError:
        return InputError("output", reason, self._beside)
