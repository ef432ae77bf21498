import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from chatmark.jobs.server import read_ahead


class TestReadAhead:
    async def test_order(self) -> None:
        """Results come in the order of the items, whichever is ready first."""

        async def after_turns(turns: int) -> int:
            for _ in range(turns):
                await asyncio.sleep(0)
            return -turns

        found = [each async for each in read_ahead(after_turns, [9, 1, 5, 0], at_once=3)]

        assert [(9, -9), (1, -1), (5, -5), (0, 0)] == found

    async def test_bounded(self) -> None:
        """No more items are read than may be asked at once."""
        read: list[int] = []

        def items() -> Iterator[int]:
            for number in range(100):
                read.append(number)
                yield number

        async def nothing(_: int) -> None:
            return None

        async with contextlib.aclosing(read_ahead(nothing, items(), at_once=4)) as results:
            await anext(results)
            await anext(results)

            assert 5 == len(read)

    async def test_failure(self) -> None:
        """What an item's call raises comes at its turn, and the calls behind it are ended."""
        ended: list[int] = []

        async def call(number: int) -> int:
            if number == 1:
                raise ValueError(number)
            try:
                await asyncio.sleep(3600 if number else 0)
            except asyncio.CancelledError:
                ended.append(number)
                raise
            return number

        results = read_ahead(call, range(10), at_once=4)

        assert (0, 0) == await anext(results)
        with pytest.raises(ValueError, match="1"):
            await anext(results)
        assert [2, 3] == ended
        assert 1 == len(asyncio.all_tasks())

    async def test_cancelled(self) -> None:
        """Who is cancelled while it waits leaves no call behind."""
        waiting = asyncio.Event()

        async def call(_: int) -> None:
            waiting.set()
            await asyncio.sleep(3600)

        async def consume() -> None:
            async for _ in read_ahead(call, range(3), at_once=2):
                pass

        task = asyncio.create_task(consume())
        await waiting.wait()
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)

        assert task.cancelled()
        assert [] == [each for each in asyncio.all_tasks() if each.get_name() == "chatmark-ahead"]
