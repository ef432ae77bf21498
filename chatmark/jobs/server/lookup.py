"""
Reads some of a user's conversations from the server in few calls.

A search finds 300 conversations a call. The size of a page of all marked conversations is not
documented, so it is known only after the first page. Up to 300 conversations are searched for. For
more, the first page is read, which is the last one for most users; otherwise its size tells which
of the two ways needs fewer calls in the worst case.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, final

import attrs

from chatmark import AnswerError, ChatmarkError, Conversation, MarkedConversation, MarkedPage
from chatmark.jobs.grouping.units import Unit
from chatmark.jobs.server.prefetch import OutageGuard, read_ahead

if TYPE_CHECKING:
    from chatmark import MarkSession

# https://www.tencentcloud.com/document/product/1047/53442
SEARCHED_AT_ONCE: Final = 300
# https://www.tencentcloud.com/document/product/1047/53438
MOST_MARKED: Final = 1000
# Most users have some hundred conversations in a job; those with more are looked up in parts.
LOOKED_UP_AT_ONCE: Final = 4 * SEARCHED_AT_ONCE
# The error of a unit that could not be read although others of its user could.
_UNREADABLE: Final = AnswerError("the server's answer about a conversation cannot be read")
_PARTS_AT_ONCE: Final = 32

Found = dict[Conversation, MarkedConversation]


@final
class Lookup:
    """
    Reads conversations of one user through a session.

    Conversations may be wanted in several parts, one after another; pages serve all of them.
    """

    def __init__(self, session: "MarkSession", account: str) -> None:
        self._session = session
        self._account = account
        self._walk: AsyncGenerator[MarkedPage, None] | None = None
        self._on_pages: Found = {}
        self._pages = 0
        self._is_last = self._has_gaps = False

    async def find(self, conversations: Iterable[Conversation]) -> Found:
        """
        Return these conversations, empty ones without marks, but for those that are unreadable.
        """
        wanted = dict.fromkeys(conversations)
        # Changes of the part before may have moved the pages that were not read.
        self._has_gaps = self._has_gaps or (self._pages > 0 and not self._is_last)
        while missing := [each for each in wanted if each not in self._on_pages]:
            if self._is_last and not self._has_gaps:
                break
            if self._is_search_shorter(len(missing)):
                known = {each: self._on_pages[each] for each in wanted if each in self._on_pages}
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


@attrs.frozen(eq=False)
class _Part:
    """Some units of one user."""

    units: list[Unit]
    lookup: Lookup
    turn: asyncio.Lock
    is_last: bool

    async def find(self) -> dict[Conversation, MarkedConversation]:
        # The parts of one user go one after another: a page that came for one serves the next.
        async with self.turn:
            try:
                return await self.lookup.find(unit.change.conversation for unit in self.units)
            finally:
                if self.is_last:
                    await self.lookup.aclose()


async def read_units(
    session: "MarkSession", units: Iterable[Unit]
) -> AsyncGenerator[tuple[Unit, MarkedConversation | ChatmarkError], None]:
    """
    Yield each unit with its conversation on the server, or the error of reading it.

    The units are grouped by user, and read no further than needed. Those of a user are read
    together: few calls, none for the user's other conversations. Memory holds only units that are
    read ahead.
    """
    parts = read_ahead(_Part.find, _parts(session, units), OutageGuard(), at_once=_PARTS_AT_ONCE)
    async with contextlib.aclosing(parts):
        async for part, found in parts:
            for unit in part.units:
                if isinstance(found, ChatmarkError):
                    yield unit, found
                else:
                    yield unit, found.get(unit.change.conversation, _UNREADABLE)


def _parts(session: "MarkSession", units: Iterable[Unit]) -> Iterator[_Part]:
    for account, of_user in itertools.groupby(units, lambda unit: unit.change.from_account):
        lookup, turn = Lookup(session, account), asyncio.Lock()
        parts = _divided(of_user)
        part = next(parts)
        for after in parts:
            yield _Part(part, lookup, turn, is_last=False)
            part = after
        yield _Part(part, lookup, turn, is_last=True)


def _divided(units: Iterator[Unit]) -> Iterator[list[Unit]]:
    while part := list(itertools.islice(units, LOOKED_UP_AT_ONCE)):
        yield part
