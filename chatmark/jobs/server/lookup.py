"""
Reads some of a user's conversations from the server in few calls.

A search finds 300 conversations a call; a page of all marked conversations has a size that no page
of the vendor's names, so that it is known only when one has come. Up to 300 conversations are
searched for. For more the first page is asked, which is the last one for most users; if it is not,
its size tells which of the two ways needs fewer calls in the worst case.
"""

import enum
from collections.abc import AsyncGenerator, Iterable
from typing import TYPE_CHECKING, Final, final

from chatmark.models import Conversation, MarkedConversation, MarkedPage

if TYPE_CHECKING:
    from chatmark.session import MarkSession

# https://www.tencentcloud.com/document/product/1047/53442
SEARCHED_AT_ONCE: Final = 300
# https://www.tencentcloud.com/document/product/1047/53438
MOST_MARKED: Final = 1000


class Way(enum.Enum):
    """
    How the next call reads.
    """

    SEARCH = "search_contact_group"
    PAGE = "get_contact_group"


@final
class Inquiry:
    """
    Decides how to read a user's conversations, and collects them; sans-IO.

    Conversations may be wanted in several parts, one after another; pages that came serve all.
    """

    def __init__(self) -> None:
        self._wanted: dict[Conversation, None] = {}
        self._found: dict[Conversation, MarkedConversation] = {}
        self._on_pages: dict[Conversation, MarkedConversation] = {}
        self._pages = 0
        self._is_last = self._has_gaps = False

    def want(self, conversations: Iterable[Conversation]) -> None:
        """
        Begin with the next part.
        """
        self._wanted = dict.fromkeys(conversations)
        self._found = {}
        self._settle(self._on_pages)

    def take_page(self, page: MarkedPage) -> None:
        """
        Take a page.
        """
        self._pages += 1
        self._is_last = page.is_last
        self._has_gaps = self._has_gaps or bool(page.unreadable)
        came = {each.conversation: each for each in page.conversations}
        self._on_pages |= came
        self._settle(came)

    def take_search(self, found: dict[Conversation, MarkedConversation]) -> None:
        """
        Take the result of a search for all remaining conversations.

        Those that it did not find could not be read.
        """
        self._settle(found)
        self._wanted.clear()

    def left(self) -> list[Conversation]:
        """
        Return the conversations that are not known yet.
        """
        return [] if self._is_complete else list(self._wanted)

    @property
    def _is_complete(self) -> bool:
        return self._is_last and not self._has_gaps

    def way(self) -> Way | None:
        """
        Return the next call, None when all wanted conversations are known.
        """
        left = 0 if self._is_complete else len(self._wanted)
        if not left:
            return None
        searches = _calls(left, SEARCHED_AT_ONCE)
        if searches == 1 or self._is_last:
            return Way.SEARCH
        if not self._pages:
            return Way.PAGE
        seen = len(self._on_pages)
        # A server that sends empty pages gives no page size.
        pages = _calls(max(MOST_MARKED - seen, 1), max(seen // self._pages, 1))
        return Way.PAGE if pages <= searches else Way.SEARCH

    def answer(self) -> dict[Conversation, MarkedConversation]:
        """
        Return the conversations of the part; those without marks are there, and empty.

        One that could not be read is not there.
        """
        return self._found | {each: MarkedConversation(each) for each in self._wanted}

    def _settle(self, came: dict[Conversation, MarkedConversation]) -> None:
        for conversation in self._wanted.keys() & came.keys():
            self._found[conversation] = came[conversation]
            del self._wanted[conversation]


@final
class Lookup:
    """
    Asks a session about one user.
    """

    def __init__(self, session: "MarkSession", account: str) -> None:
        self._session = session
        self._account = account
        self._inquiry = Inquiry()
        self._pages: AsyncGenerator[MarkedPage, None] | None = None

    async def find(
        self, conversations: Iterable[Conversation]
    ) -> dict[Conversation, MarkedConversation]:
        """
        Return the marks of each of these conversations; one without marks is there, and empty.

        One that could not be read is not there.
        """
        inquiry = self._inquiry
        inquiry.want(conversations)
        while (way := inquiry.way()) is not None:
            if way is Way.PAGE:
                inquiry.take_page(await self._next_page())
            else:
                inquiry.take_search(await self._session.search(self._account, inquiry.left()))
        return inquiry.answer()

    async def aclose(self) -> None:
        """
        Ask no more.
        """
        pages, self._pages = self._pages, None
        if pages is not None:
            await pages.aclose()

    async def _next_page(self) -> MarkedPage:
        if self._pages is None:
            self._pages = self._session.pages(self._account)
        try:
            return await anext(self._pages)
        except BaseException:
            # A generator that raised has ended; the next read begins anew.
            await self.aclose()
            raise


@final
class LookupCosts:
    """
    Counts the calls of a `Lookup` for a user whose pages are known.
    """

    def __init__(self, pages: Iterable[MarkedPage]) -> None:
        self._inquiry = Inquiry()
        self._pages = iter(pages)
        self.calls = 0

    def find(self, conversations: Iterable[Conversation]) -> None:
        """
        Count the calls of `Lookup.find`.
        """
        self._inquiry.want(conversations)
        while (way := self._inquiry.way()) is Way.PAGE:
            self._inquiry.take_page(next(self._pages))
            self.calls += 1
        if way is not None:
            self.calls += _calls(len(self._inquiry.left()), SEARCHED_AT_ONCE)


def _calls(number: int, at_once: int) -> int:
    return -(-number // at_once)
