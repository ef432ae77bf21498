"""
All marks of many users, read in parallel and written in the order of the users.

An export survives its process: a later run continues it. Until it is complete it is called
`<name>.part`. Beside it `<name>.progress`, an SQLite database, has the number of users whose rows
are all there, and the size of these rows. Bytes behind them are cut off when the export continues.
The part reaches the disk before the progress that counts it, so that neither a dead process nor a
dead machine leaves a gap.
"""

import contextlib
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, final

import attrs

from chatmark import ChatmarkError, InputError, MarkChange, MarkedConversation, RefusedError
from chatmark.jobs.databases import DatabaseFormat, open_locked, transaction
from chatmark.jobs.row_files import RowFile
from chatmark.jobs.server import OutageGuard, read_marks
from chatmark.jobs.sources.formats import FileFormat
from chatmark.jobs.sources.row import OWN_FIELDS, row_of
from chatmark.jobs.sources.users import UserList

if TYPE_CHECKING:
    from chatmark import MarkSession

_USERS_AT_ONCE: Final = 64
_SAVED_EVERY: Final = 2.0
#: The columns; an export clears nothing.
COLUMNS: Final = (
    *(each for each in OWN_FIELDS if each != "clear_mark"),
    *("_group_ids", "_group_names", "_updated_at", "_reserved_bits"),
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
    notes = {
        "_group_ids": list(marked.group_ids),
        "_group_names": list(marked.group_names) if any(marked.group_names) else None,
        "_updated_at": None if marked.updated_at is None else marked.updated_at.isoformat(),
        "_reserved_bits": list(marked.mark.reserved.bits),
    }
    return row | {name: value for name, value in notes.items() if value}


@attrs.frozen
class FailedUser:
    """A user that could not be read."""

    account: str
    code: int | None
    error: str


class Output(Protocol):
    """The output of an export."""

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows."""

    def save(self, users: int, rows: int, failed: Iterable[FailedUser]) -> None:
        """Make the rows written so far durable, if possible."""


@final
@attrs.define
class Export:
    """
    An export, which may continue an earlier one.

    Args:
        users: The users.
        done: How many of the users are complete.
        rows: How many rows they have.
        clock: Seconds that never go back.

    Attributes:
        failed: How many users could not be read in this run.
        left_out: How many conversations have groups or bits of Chat's own only, in this run.
    """

    users: UserList
    done: int = 0
    rows: int = 0
    clock: Callable[[], float] = time.monotonic
    failed: int = attrs.field(default=0, init=False)
    left_out: int = attrs.field(default=0, init=False)
    # Users that could not be read since the last save. The latest of them are not saved but read
    # again by the next run, because their failures may have been an outage.
    _failures: list[FailedUser] = attrs.field(factory=list[FailedUser], init=False)
    _doubtful: int = attrs.field(default=0, init=False)

    @property
    def saved(self) -> int:
        """How many users are complete for good, once this has run."""
        return self.done - self._doubtful

    async def run(self, session: "MarkSession", output: Output) -> None:
        """
        Read and write the remaining users; rows are saved however this ends.

        Raises:
            ApplicationRefusedError: The server refuses the application.
            ChatmarkError: The server did not answer for many users in a row.
            SessionError: The session is closed or broken.
            OSError: There is no room.
        """
        guard = OutageGuard()
        saved = self.clock()
        users = self.users.read(self.done)
        reading = read_marks(session, users, guard=guard, at_once=_USERS_AT_ONCE)
        try:
            async with contextlib.aclosing(reading):
                async for user, marked in reading:
                    if guard.error is not None and marked is guard.error:
                        raise guard.error
                    self._take(user, marked, output)
                    if self.clock() - saved >= _SAVED_EVERY:
                        self._save(output)
                        saved = self.clock()
            # Users that could not be read at the end will not be asked again.
            self._doubtful = 0
        finally:
            self._save(output)

    def _take(
        self, user: str, marked: list[MarkedConversation] | ChatmarkError, output: Output
    ) -> None:
        if isinstance(marked, ChatmarkError):
            code = marked.code if isinstance(marked, RefusedError) else None
            self._failures.append(FailedUser(user, code, str(marked)))
            self._doubtful = self._doubtful + 1 if code is None else 0
            self.failed += 1
        else:
            rows = [row for each in marked if (row := marked_row(user, each)) is not None]
            output.write(rows)
            self.rows += len(rows)
            self.left_out += len(marked) - len(rows)
            self._doubtful = 0
        self.done += 1

    def _save(self, output: Output) -> None:
        certain = len(self._failures) - self._doubtful
        output.save(self.saved, self.rows, self._failures[:certain])
        del self._failures[:certain]


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
        begun: How many users and rows were complete when it was opened.

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
        self._digest = f"{format_.value}{'-guarded' if guard else ''}:{digest}"
        self._rows = RowFile(path, COLUMNS, format_, guard=guard, resume=True)
        self._rows.keep_apart()
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._rows)
            self._beside = f"{self._rows.path}.progress"
            self._database = open_locked(
                self._beside, _FORMAT, lambda reason: InputError("output", reason, self._beside)
            )
            stack.callback(self._database.close)
            self.begun = self._begin(restart=restart)
            self._closing = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows, with the next `save`."""
        self._rows.write(*rows)

    def save(self, users: int, rows: int, failed: Iterable[FailedUser]) -> None:
        """
        Make the rows written so far durable.

        Args:
            users: The number of users whose rows are written.
            rows: The number of these rows.
            failed: The users since the last time that could not be read.
        """
        progress = (users, rows, self._rows.sync())
        with transaction(self._database, self._beside):
            self._database.executemany(
                "INSERT OR REPLACE INTO failures VALUES (?,?,?)", map(attrs.astuple, failed)
            )
            self._database.execute("UPDATE progress SET users = ?, rows = ?, bytes = ?", progress)

    def failures(self) -> Iterator[FailedUser]:
        """Yield the users that could not be read, in earlier runs too."""
        found = self._database.execute("SELECT account, code, error FROM failures ORDER BY rowid")
        for record in found:
            yield FailedUser(*record)

    def complete(self) -> None:
        """Give the file its name."""
        self._rows.publish()
        # The progress is of no use after this, and closed before.
        self._closing.callback(pathlib.Path(self._beside).unlink)
        self._closing.callback(self._database.close)

    def _begin(self, *, restart: bool) -> tuple[int, int]:
        found = self._database.execute("SELECT * FROM progress").fetchone()
        size = self._rows.size()
        if found is None or restart or not size:
            found = (self._digest, 0, 0, 0)
            with transaction(self._database, self._beside):
                self._database.execute("DELETE FROM progress")
                self._database.execute("DELETE FROM failures")
                self._database.execute("INSERT INTO progress VALUES (?,?,?,?)", found)
        digest, users, rows, complete = found
        if digest != self._digest:
            raise InputError(
                "output",
                "an export of other users, of another application or in another format, was "
                "begun there: finish it with the same arguments, or begin anew with --restart",
                str(self._rows.path),
            )
        if size < complete:
            reason = "is too short: begin anew with --restart"
            raise InputError("output", reason, str(self._rows.part))
        # The bytes behind those that are known to be whole may be half a user's.
        self._rows.go_on(complete)
        return users, rows
