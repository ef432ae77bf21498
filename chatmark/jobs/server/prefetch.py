"""Reading for many users at once, in their order, until the server does not answer."""

import asyncio
import collections
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from chatmark import (
    ApplicationRefusedError,
    ChatmarkError,
    MarkedConversation,
    RefusedError,
    SessionError,
)

if TYPE_CHECKING:
    from chatmark import MarkSession

T = TypeVar("T")
R = TypeVar("R")

# More than are asked at once, so that one bad moment is not taken for an outage.
_MOST_IN_A_ROW: Final = 50


async def map_ahead(
    function: Callable[[T], Coroutine[Any, Any, R]], items: Iterable[T], *, at_once: int
) -> AsyncGenerator[tuple[T, R], None]:
    """
    Yield each item with the result of *function* for it, in the order of the items.

    At most *at_once* items are read and not yet yielded.
    """
    started: collections.deque[tuple[T, asyncio.Task[R]]] = collections.deque()

    try:
        for item in items:
            started.append((item, asyncio.create_task(function(item), name="chatmark-ahead")))
            if len(started) >= at_once:
                yield await _first(started)
        while started:
            yield await _first(started)
    finally:
        tasks = [task for _, task in started]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _first(started: "collections.deque[tuple[T, asyncio.Task[R]]]") -> tuple[T, R]:
    item, task = started[0]
    # It stays in the queue until it is done, so that a cancellation ends it with the others.
    result = await task
    started.popleft()
    return item, result


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


def read_ahead(
    function: Callable[[T], Awaitable[R]], items: Iterable[T], guard: OutageGuard, *, at_once: int
) -> AsyncGenerator[tuple[T, R | ChatmarkError], None]:
    """Yield as `map_ahead`, with the errors of reading as results."""
    return map_ahead(functools.partial(guard.ask, function), items, at_once=at_once)


def read_marks(
    session: "MarkSession", users: Iterable[str], guard: OutageGuard, *, at_once: int
) -> AsyncGenerator[tuple[str, list[MarkedConversation] | ChatmarkError], None]:
    """Yield each user with all marked conversations, or the error that prevented reading."""

    async def read(user: str) -> list[MarkedConversation]:
        return [marked async for marked in session.marked(user)]

    return read_ahead(read, users, guard, at_once=at_once)
