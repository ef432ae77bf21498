"""
Reads some of a user's conversations from the server in few calls.

A search finds 300 conversations a call; a page of all marked conversations has a size that no page
of the vendor's names, so that it is known only when one has come. Up to 300 conversations are
searched for. For more the first page is asked, which is the last one for most users; if it is not,
its size tells which of the two ways needs fewer calls in the worst case.
"""

from collections.abc import AsyncGenerator, Generator, Iterable
from typing import TYPE_CHECKING, Any, Final, final

from chatmark.conversations import Conversation
from chatmark.results import MarkedConversation, MarkedPage

if TYPE_CHECKING:
    from chatmark.session.session import MarkSession

# https://www.tencentcloud.com/document/product/1047/53442
SEARCHED_AT_ONCE: Final = 300
# https://www.tencentcloud.com/document/product/1047/53438
MOST_MARKED: Final = 1000

Found = dict[Conversation, MarkedConversation]


@final
class Inquiry:
    """
    Decides how to read a user's conversations; sans-IO.

    Conversations may be wanted in several parts, one after another; pages serve all of them.
    """

    def __init__(self) -> None:
        self._on_pages: Found = {}
        self._pages = 0
        self._is_last = self._has_gaps = False

    def steps(
        self, conversations: Iterable[Conversation]
    ) -> Generator[list[Conversation] | None, Any, Found]:
        """
        Yield the next read, and take its result; return all conversations that could be read.

        A read is a list of conversations to search for, or None for the next page. Conversations
        without marks are there, and empty.
        """
        wanted = dict.fromkeys(conversations)
        found: Found = {}

        def settle(came: Found) -> None:
            for conversation in wanted.keys() & came.keys():
                found[conversation] = came[conversation]
                del wanted[conversation]

        # The former part may be sent by now, so that the pages to come have moved.
        self._has_gaps = self._has_gaps or (self._pages > 0 and not self._is_last)
        settle(self._on_pages)
        while wanted and (self._has_gaps or not self._is_last):
            if self._is_search_shorter(len(wanted)):
                settle((yield list(wanted)))
                # Conversations that the search does not have could not be read.
                return found
            page: MarkedPage = yield None
            self._pages += 1
            self._is_last = page.is_last
            self._has_gaps = self._has_gaps or page.has_moved or bool(page.unreadable)
            self._on_pages |= {each.conversation: each for each in page.conversations}
            settle(self._on_pages)
        return found | {each: MarkedConversation(each) for each in wanted}

    def _is_search_shorter(self, wanted: int) -> bool:
        searches = calls_of_search(wanted)
        if searches == 1 or self._is_last:
            return True
        if not self._pages:
            return False
        seen = len(self._on_pages)
        # A server that sends empty pages gives no page size.
        return -(-max(MOST_MARKED - seen, 1) // max(seen // self._pages, 1)) > searches


@final
class Lookup:
    """
    Reads conversations of one user through a session.
    """

    def __init__(self, session: "MarkSession", account: str) -> None:
        self._session = session
        self._account = account
        self._inquiry = Inquiry()
        self._pages: AsyncGenerator[MarkedPage, None] | None = None

    async def find(self, conversations: Iterable[Conversation]) -> Found:
        """
        Return each of these conversations; see `Inquiry.steps`.
        """
        steps = self._inquiry.steps(conversations)
        result: object = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as end:
                found: Found = end.value
                return found
            if step is None:
                result = await self._next_page()
            else:
                result = await self._session.search(self._account, step)

    async def aclose(self) -> None:
        """
        Close the walk over the pages.
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
        self.of_pages = self.of_searches = 0

    @property
    def calls(self) -> int:
        """
        All of them.
        """
        return self.of_pages + self.of_searches

    def find(self, conversations: Iterable[Conversation]) -> None:
        """
        Count the calls of `Lookup.find`.
        """
        steps = self._inquiry.steps(conversations)
        step = next(steps, ())
        while step is None:
            self.of_pages += 1
            try:
                step = steps.send(next(self._pages))
            except StopIteration:
                return
        self.of_searches += calls_of_search(len(step))


def calls_of_search(conversations: int) -> int:
    """
    Return the calls of a search.
    """
    return -(-conversations // SEARCHED_AT_ONCE)
