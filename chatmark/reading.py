"""
Reading marks back: pages of get_contact_group, and search_contact_group.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Final, TypeVar

from chatmark.caller import Caller
from chatmark.codes import Handling
from chatmark.errors import AnswerError, DeadlineExceededError
from chatmark.models import (
    MAX_USER_ID_BYTES,
    Conversation,
    MarkedConversation,
    MarkedPage,
    check_id,
)
from chatmark.wire import Command, Envelope, Found, Page, encode_page, encode_search

E = TypeVar("E", bound=Envelope)

# https://www.tencentcloud.com/document/product/1047/53442
MAX_SEARCHED: Final = 300
_SHORTEST_PAUSE: Final = 1.0


class Reader:
    """
    Makes the reading calls of a session, with retries.

    Args:
        caller: What makes the calls.
        backoff: From the number of a retry (from 1) to a wait in seconds.
        deadline: Seconds from the first attempt of a call after which it is not repeated.
        connections: The most calls at once.
    """

    def __init__(
        self,
        caller: Caller,
        backoff: Callable[[int], float],
        deadline: float,
        connections: int,
    ) -> None:
        self._caller = caller
        self._backoff = backoff
        self._deadline = deadline
        self._connections = asyncio.Semaphore(connections)

    async def pages(self, account: str) -> AsyncGenerator[MarkedPage, None]:
        """
        Yield a user's marked conversations as the server cuts them, each page when it is asked for.

        Raises:
            ChatmarkError: A page could not be read, or the server's pages do not end.
        """
        check_id("from_account", account, MAX_USER_ID_BYTES)
        start = 0
        while True:
            body = encode_page(account, start)
            page = await self._call(Command.GET_CONTACT_GROUP, account, 0, body, Page)
            yield MarkedPage(tuple(page.contact_item), bool(page.complete_flag))
            if page.complete_flag:
                return
            if page.next_start_index <= start:
                raise AnswerError("the page does not lead on", path="$.NextStartIndex")
            start = page.next_start_index

    async def search(
        self, account: str, conversations: Iterable[Conversation]
    ) -> dict[Conversation, MarkedConversation]:
        """
        Return the marks of each of a user's conversations; one without marks is there, and empty.

        Raises:
            ChatmarkError: A call could not be made.
        """
        check_id("from_account", account, MAX_USER_ID_BYTES)
        found = {each: MarkedConversation(each) for each in conversations}
        wanted = iter(list(found))
        while some := list(itertools.islice(wanted, MAX_SEARCHED)):
            body = encode_search(account, some)
            answer = await self._call(Command.SEARCH_CONTACT_GROUP, account, len(some), body, Found)
            for each in answer.contact_result_item:
                if each.conversation in found:
                    found[each.conversation] = each
        return found

    async def _call(
        self, command: Command, account: str, items: int, body: bytes, kind: type[E]
    ) -> E:
        loop = asyncio.get_running_loop()
        started: float | None = None
        for retry in itertools.count(1):
            # With a connection free, nothing waits between the permit and the sending.
            async with self._connections:
                permit = await self._caller.budget.acquire()
                started = loop.time() if started is None else started
                verdict = await self._caller.call(command, account, items, body, kind, permit)
            if verdict.handling is Handling.DONE and verdict.answer is not None:
                return verdict.answer
            error = verdict.error or AnswerError("no answer")
            if verdict.handling not in (
                Handling.RETRY,
                Handling.SLOW_DOWN,
                Handling.RENEW_SIGNATURE,
            ):
                raise error.fresh()
            left = started + self._deadline - loop.time()
            if left <= 0:
                raise DeadlineExceededError(self._deadline, error)
            wait = max(self._backoff(retry), verdict.pause)
            if verdict.handling is Handling.SLOW_DOWN:
                self._caller.pause(max(_SHORTEST_PAUSE, wait), verdict.reason)
            elif verdict.handling is Handling.RETRY and not (verdict.at_once and retry == 1):
                await asyncio.sleep(min(wait, left))
        raise AssertionError
