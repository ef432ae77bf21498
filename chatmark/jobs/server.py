"""Reads many users from the server, ahead and in their order, and compares them with a job."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

import attrs

from chatmark import (
    AnswerError,
    ApplicationRefusedError,
    ChatmarkError,
    Conversation,
    ConversationMark,
    MarkChange,
    MarkedConversation,
    RefusedError,
    SessionError,
)
from chatmark.jobs.counting import Addable
from chatmark.jobs.grouping import Spool, Unit, parts_of
from chatmark.jobs.sources.row import row_of
from chatmark.limits import MAX_SEARCHED

if TYPE_CHECKING:
    from chatmark import MarkSession

T = TypeVar("T")
R = TypeVar("R")
#: A conversation on the server, or the error of reading it.
Found = MarkedConversation | ChatmarkError

# The error of a unit that could not be read although others of its user could.
_UNREADABLE: Final = AnswerError("the server's answer about a conversation cannot be read")
_AT_ONCE: Final = 32
# More than are asked at once, so that one bad moment is not taken for an outage.
_MOST_IN_A_ROW: Final = 50
_MOST_KEPT: Final = 20
# The vendor's user interfaces clear these when a message comes or a conversation is opened.
CLEARED_BY_CLIENTS: Final = ConversationMark.HIDDEN | ConversationMark.UNREAD


@final
class OutageGuard:
    """Stops reading when a server does not answer: each call may take the session's deadline."""

    def __init__(self) -> None:
        self._in_a_row = 0
        # The reason for making no more calls.
        self.error: ChatmarkError | None = None

    async def ask(self, function: Callable[[T], Awaitable[R]], item: T) -> R | ChatmarkError:
        """Return the result of *function* for an item, or the error that prevented it."""
        if self.error is not None:
            return self.error
        try:
            answer = await function(item)
        except (ApplicationRefusedError, SessionError):
            raise
        except ChatmarkError as error:
            # A refusal of one user is an answer.
            self._in_a_row = 0 if isinstance(error, RefusedError) else self._in_a_row + 1
            if self._in_a_row >= _MOST_IN_A_ROW:
                self.error = error
            return error
        self._in_a_row = 0
        return answer


async def read_ahead(
    function: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    guard: OutageGuard | None = None,
    *,
    at_once: int = _AT_ONCE,
) -> AsyncGenerator[tuple[T, R | ChatmarkError], None]:
    """Yield each item in its order with its result or error; *at_once* are read and not yielded."""
    guard = OutageGuard() if guard is None else guard
    started: deque[tuple[T, asyncio.Task[R | ChatmarkError]]] = deque()

    async def first() -> tuple[T, R | ChatmarkError]:
        item, task = started[0]
        # It stays in the queue until it is done, so that a cancellation ends it with the others.
        result = await task
        started.popleft()
        return item, result

    try:
        for item in items:
            asking = guard.ask(function, item)
            started.append((item, asyncio.create_task(asking, name="chatmark-ahead")))
            if len(started) >= at_once:
                yield await first()
        while started:
            yield await first()
    finally:
        tasks = [task for _, task in started]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def read_marks(
    session: "MarkSession",
    users: Iterable[T],
    account_of: Callable[[T], str] = str,
    guard: OutageGuard | None = None,
    *,
    at_once: int = _AT_ONCE,
) -> AsyncGenerator[tuple[T, list[MarkedConversation] | ChatmarkError], None]:
    """Yield each user with all marked conversations, or the error that prevented reading."""

    async def read(user: T) -> list[MarkedConversation]:
        return [marked async for marked in session.marked(account_of(user))]

    return read_ahead(read, users, guard, at_once=at_once)


async def read_units(
    session: "MarkSession", units: Iterable[Unit]
) -> AsyncGenerator[list[tuple[Unit, Found]], None]:
    """
    Yield the units of each call, which are of one user, with their conversations on the server.

    The units are grouped by user, and read no further than needed. A call searches for as many of a
    user's as it may, and for no other conversations. Memory holds only units that are read ahead.
    """

    async def find(part: Sequence[Unit]) -> dict[Conversation, MarkedConversation]:
        account = part[0].change.from_account
        return await session.search(account, (unit.change.conversation for unit in part))

    async with contextlib.aclosing(read_ahead(find, parts_of(units, MAX_SEARCHED))) as parts:
        async for part, found in parts:
            if isinstance(found, ChatmarkError):
                yield [(unit, found) for unit in part]
            else:
                has = found.get
                yield [(unit, has(unit.change.conversation, _UNREADABLE)) for unit in part]


@attrs.frozen
class Difference:
    """A conversation that is not as the file wants it; *line* is that of the first of its rows."""

    wanted: MarkChange
    found: MarkedConversation
    line: int = 0
    rows: int = 1

    @property
    def missing(self) -> ConversationMark:
        """The bits that are to be set, and are not."""
        return self.wanted.set_mark & ~self.found.mark

    @property
    def extra(self) -> ConversationMark:
        """The bits that are to be clear, and are set."""
        return self.wanted.clear_mark & self.found.mark

    @property
    def has_other_custom_mark(self) -> bool:
        return self.wanted.custom_mark not in (None, self.found.custom_mark)

    @property
    def cleared_by_clients(self) -> ConversationMark:
        """Those of the missing bits that the vendor's own clients clear."""
        return self.missing & CLEARED_BY_CLIENTS

    @property
    def is_of_clients(self) -> bool:
        """Whether only bits differ that the vendor's own clients clear."""
        others = self.missing & ~self.cleared_by_clients
        return not (others or self.extra or self.has_other_custom_mark)

    def row(self) -> dict[str, Any]:
        """Return a row that asks for the same, with notes on the conversation found."""
        return row_of(self.wanted) | {
            "_found_bits": list(self.found.mark.bits),
            "_found_custom_mark": self.found.custom_mark,
            "_cleared_by_clients": list(self.cleared_by_clients.bits),
        }

    def document(self) -> dict[str, Any]:
        return {
            "line": self.line,
            "rows": self.rows,
            "wanted": row_of(self.wanted),
            "found": {"mark": list(self.found.mark.bits), "custom_mark": self.found.custom_mark},
            "missing": list(self.missing.bits),
            "extra": list(self.extra.bits),
            "cleared_by_clients": list(self.cleared_by_clients.bits),
        }


@attrs.define
class ReadBack(Addable):
    """
    The result of reading back.

    Args:
        conversations: How many the file has.
        differing: How many are not as the file wants them.
        of_clients: How many of those lack nothing but bits that the vendor's own clients clear.
        unread: How many could not be read.
        differences: The first that differ.
        errors: Why the conversations of the first users that could not be read were not.
    """

    conversations: int = 0
    differing: int = 0
    of_clients: int = 0
    unread: int = 0
    differences: list[Difference] = attrs.field(factory=list[Difference])
    errors: dict[str, ChatmarkError] = attrs.field(factory=dict[str, ChatmarkError])

    @property
    def ok(self) -> bool:
        """Whether all conversations were read, and are as the file wants them."""
        return not (self.differing or self.unread)

    @property
    def as_wanted(self) -> int:
        """How many conversations are as the file wants them."""
        return self.conversations - self.differing - self.unread

    def add(self, unit: Unit, found: Found) -> Difference | None:
        """Compare one conversation; return the difference, None without one or with an error."""
        self.conversations += 1
        if isinstance(found, ChatmarkError):
            self.unread += 1
            if len(self.errors) < _MOST_KEPT:
                self.errors.setdefault(unit.change.from_account, found)
            return None
        if found.satisfies(unit.change):
            return None
        difference = Difference(unit.change, found, unit.line, unit.rows)
        self.differing += 1
        self.of_clients += difference.is_of_clients
        if len(self.differences) < _MOST_KEPT:
            self.differences.append(difference)
        return difference

    def document(self) -> dict[str, Any]:
        """Return it for `json.dumps`."""
        return {
            "conversations": self.conversations,
            "differing": self.differing,
            "cleared_by_clients": self.of_clients,
            "unread": self.unread,
            "differences": [each.document() for each in self.differences],
            "errors": [
                {"from_account": account, "error": str(error)}
                for account, error in self.errors.items()
            ],
        }


async def read_back_exactly(
    session: "MarkSession",
    spool: Spool,
    result: ReadBack,
    on_difference: Callable[[Difference], object],
) -> None:
    """
    Read all marked conversations of the users of a file, and compare them with its rows alone.

    A conversation has the marks that its rows set and no others, one without a row has none. The
    other arguments and the errors are those of `read_back`.
    """

    def compare(unit: Unit, found: MarkedConversation) -> None:
        change = unit.change
        surplus = found.mark & ~change.set_mark & ~found.mark.reserved
        exact = attrs.evolve(change, clear_mark=surplus, custom_mark=change.custom_mark or "")
        difference = result.add(attrs.evolve(unit, change=exact), found)
        if difference is not None:
            on_difference(difference)

    reading = read_marks(session, spool.by_user(), attrgetter("account"))
    async with contextlib.aclosing(reading):
        async for user, marked in reading:
            units = spool.read(user.first, user.count)
            if isinstance(marked, ChatmarkError):
                for unit in units:
                    result.add(unit, marked)
                continue
            left = {each.conversation: each for each in marked}
            for unit in units:
                conversation = unit.change.conversation
                compare(unit, left.pop(conversation, MarkedConversation(conversation)))
            for conversation, found in left.items():
                if found.mark & ~found.mark.reserved or found.custom_mark:
                    nothing = MarkChange(user.account, conversation, custom_mark="")
                    compare(Unit(-1, nothing, 0, 0), found)


async def read_back(
    session: "MarkSession",
    units: Iterable[Unit],
    result: ReadBack | None = None,
    on_difference: Callable[[Difference], object] | None = None,
) -> ReadBack:
    """
    Read the conversations of all *units* back and compare them.

    Args:
        session: The session.
        units: The units, grouped by user.
        result: Filled while it is read, for progress; a new one by default.
        on_difference: Called with each conversation that differs.

    Raises:
        ApplicationRefusedError: The server refuses the application.
        SessionError: The session is closed or broken.
    """
    result = ReadBack() if result is None else result
    async with contextlib.aclosing(read_units(session, units)) as parts:
        async for part in parts:
            for unit, found in part:
                difference = result.add(unit, found)
                if difference is not None and on_difference is not None:
                    on_difference(difference)
    return result
