"""
Reading for many users at once: some are asked ahead of the one whose turn it is.
"""

import asyncio
import collections
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def map_ahead(
    function: Callable[[T], Awaitable[R]], items: Iterable[T], *, at_once: int
) -> AsyncGenerator[tuple[T, R], None]:
    """
    Yield each item with what *function* returns for it, in the order of the items.

    Args:
        function: Called for several items at once.
        items: Read no further than needed.
        at_once: For how many items it runs, or has run and nobody took the result yet.

    Raises:
        Exception: What the function raised for an item, when it is the item's turn.
    """
    started: collections.deque[tuple[T, asyncio.Task[R]]] = collections.deque()

    async def call(item: T) -> R:
        return await function(item)

    try:
        for item in items:
            started.append((item, asyncio.create_task(call(item), name="chatmark-ahead")))
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
    # It stays there until it is done: whoever is cancelled meanwhile ends it with the others.
    result = await task
    started.popleft()
    return item, result
