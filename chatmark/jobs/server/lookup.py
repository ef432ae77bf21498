"""
Reads many users from the server, ahead and in their order, and conversations of one in few calls.

A search finds 300 conversations a call. The size of a page of all marked conversations is not
documented, so it is known only after the first page. Up to 300 conversations are searched for. For
more, the first page is read, which is the last one for most users; otherwise its size tells which
of the two ways needs fewer calls in the worst case.
"""

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeVar, final

from chatmark import (
    AnswerError,
    ApplicationRefusedError,
    ChatmarkError,
    Conversation,
    MarkedConversation,
    MarkedPage,
    RefusedError,
    SessionError,
)
from chatmark.jobs.grouping import Unit

if TYPE_CHECKING:
    from chatmark import MarkSession

T = TypeVar("T")
R = TypeVar("R")

# https://www.tencentcloud.com/document/product/1047/53442
SEARCHED_AT_ONCE: Final = 300
# https://www.tencentcloud.com/document/product/1047/53438
MOST_MARKED: Final = 1000
# Most users have some hundred conversations in a job; those with more are looked up in parts.
LOOKED_UP_AT_ONCE: Final = 4 * SEARCHED_AT_ONCE
# The error of a unit that could not be read although others of its user could.
_UNREADABLE: Final = AnswerError("the server's answer about a conversation cannot be read")
_AT_ONCE: Final = 32
# More than are asked at once, so that one bad moment is not taken for an outage.
_MOST_IN_A_ROW: Final = 50

Found = dict[Conversation, MarkedConversation]


@final
class OutageGuard:
    """
    Stops reading when a server does not answer: each call may take the deadline of a session.

    `error` is the reason for making no more calls, None as long as calls are made.
    """

    def __init__(self) -> None:
        self._in_a_row = 0
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
    """
    Yield each item with the result of *function* for it, or its error, in the order of the items.

    At most *at_once* items are read and not yet yielded.
    """
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
    users: Iterable[str],
    guard: OutageGuard | None = None,
    *,
    at_once: int = _AT_ONCE,
) -> AsyncGenerator[tuple[str, list[MarkedConversation] | ChatmarkError], None]:
    """Yield each user with all marked conversations, or the error that prevented reading."""

    async def read(user: str) -> list[MarkedConversation]:
        return [marked async for marked in session.marked(user)]

    return read_ahead(read, users, guard, at_once=at_once)


@final
class Lookup:
    """
    Reads conversations of one user through a session.

    Conversations may be wanted in several parts, one after another; pages serve all of them.
    """

    def __init__(self, session: "MarkSession", account: str) -> None:
        self._session = session
        self._account = account
        self._turn = asyncio.Lock()
        self._walk: AsyncGenerator[MarkedPage, None] | None = None
        self._on_pages: Found = {}
        self._pages = 0
        self._is_last = self._has_gaps = False

    async def find(self, conversations: Iterable[Conversation]) -> Found:
        """
        Return these conversations, empty ones without marks, but for those that are unreadable.
        """
        wanted = dict.fromkeys(conversations)
        async with self._turn:
            # Changes of the part before may have moved the pages that were not read.
            self._has_gaps = self._has_gaps or (self._pages > 0 and not self._is_last)
            while missing := [each for each in wanted if each not in self._on_pages]:
                if self._is_last and not self._has_gaps:
                    break
                if self._is_search_shorter(len(missing)):
                    known = {each: self._on_pages[each] for each in wanted.keys() - set(missing)}
                    return known | await self._session.search(self._account, missing)
                await self._read_page()
        return {each: self._on_pages.get(each) or MarkedConversation(each) for each in wanted}

    async def aclose(self) -> None:
        """Close the walk over the pages."""
        walk, self._walk = self._walk, None
        if walk is not None:
            await walk.aclose()

    def _is_search_shorter(self, wanted: int) -> bool:
        if self._is_last or wanted <= SEARCHED_AT_ONCE:
            return True
        left = _most_pages_left(len(self._on_pages), max(self._pages, 1))
        return self._pages > 0 and _searches(wanted) < left

    async def _read_page(self) -> None:
        if self._walk is None:
            self._walk = self._session.pages(self._account)
        try:
            page = await anext(self._walk)
        except BaseException:
            # A generator that raised has ended; the next read begins anew.
            await self.aclose()
            raise
        self._pages += 1
        self._is_last = page.is_last
        self._has_gaps = self._has_gaps or page.has_moved or bool(page.unreadable)
        self._on_pages |= {each.conversation: each for each in page.conversations}


def calls_of_lookup(wanted: int, on_first_page: int, sizes: Sequence[int]) -> tuple[int, int]:
    """
    Estimate the pages and the searches of a `Lookup` for a user whose pages are known.

    A user whose wanted conversations are on later pages may need fewer.

    Args:
        wanted: How many conversations are looked up, in parts of `LOOKED_UP_AT_ONCE`.
        on_first_page: How many of them are on the first page.
        sizes: How many conversations each page has.
    """
    if wanted <= SEARCHED_AT_ONCE:
        return 0, 1
    first_part = min(wanted, LOOKED_UP_AT_ONCE)
    searches = _searches(max(first_part - on_first_page, 0))
    if len(sizes) > 1 and (searches == 1 or searches < _most_pages_left(sizes[0], 1)):
        return 1, searches + _searches(wanted - first_part)
    return len(sizes), 0


def _searches(conversations: int) -> int:
    return -(-conversations // SEARCHED_AT_ONCE)


def _most_pages_left(seen: int, pages: int) -> int:
    # A server that sends empty pages gives no page size.
    return -(-max(MOST_MARKED - seen, 1) // max(seen // pages, 1))


async def read_units(
    session: "MarkSession", units: Iterable[Unit]
) -> AsyncGenerator[tuple[Unit, MarkedConversation | ChatmarkError], None]:
    """
    Yield each unit with its conversation on the server, or the error of reading it.

    The units are grouped by user, and read no further than needed. Those of a user are read
    together: few calls, none for the user's other conversations. Memory holds only units that are
    read ahead.
    """

    def parts() -> Iterator[tuple[Lookup, list[Unit], bool]]:
        for account, of_user in itertools.groupby(units, lambda unit: unit.change.from_account):
            lookup = Lookup(session, account)
            part: list[Unit] = []
            for unit in of_user:
                if len(part) == LOOKED_UP_AT_ONCE:
                    yield lookup, part, False
                    part = []
                part.append(unit)
            yield lookup, part, True

    async def find(part: tuple[Lookup, list[Unit], bool]) -> Found:
        lookup, some, is_last = part
        try:
            return await lookup.find(unit.change.conversation for unit in some)
        finally:
            if is_last:
                await lookup.aclose()

    async with contextlib.aclosing(read_ahead(find, parts())) as found_parts:
        async for (_, some, _), found in found_parts:
            for unit in some:
                if isinstance(found, ChatmarkError):
                    yield unit, found
                else:
                    yield unit, found.get(unit.change.conversation, _UNREADABLE)
