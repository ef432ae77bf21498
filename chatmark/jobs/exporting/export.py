"""All marks of many users, read in parallel and written in the order of the users."""

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, final

import attrs

from chatmark import ChatmarkError, MarkedConversation, RefusedError
from chatmark.jobs.exporting.file import FailedUser, marked_row
from chatmark.jobs.server import OutageGuard, read_marks
from chatmark.jobs.sources.users import UserList

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chatmark import MarkSession

_USERS_AT_ONCE: Final = 64
_SAVED_EVERY: Final = 2.0


class Output(Protocol):
    """The output of an export."""

    def write(self, rows: "Iterable[dict[str, Any]]") -> None:
        """Append rows."""

    def save(self, users: int, rows: int, failed: "Iterable[FailedUser]") -> None:
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
