"""
Looking at work now and then, while it goes on.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

from chatmark.jobs.tasks import end

Sleep = Callable[[float], Awaitable[object]]


@contextlib.asynccontextmanager
async def ticking(
    look: Callable[[], object], interval: float, *, sleep: Sleep = asyncio.sleep
) -> AsyncGenerator[None]:
    """
    Call something again and again while the block runs, until it raises.

    Args:
        look: What to call; an error of its own is none of the block's.
        interval: Seconds before each call.
        sleep: Waits for that many seconds.
    """

    async def tick() -> None:
        while True:
            await sleep(interval)
            look()

    task = asyncio.create_task(tick(), name="chatmark-progress")
    try:
        yield
    finally:
        try:
            await end(task)
        finally:
            if not task.cancelled():
                # Progress that nobody can read is no reason to fail.
                task.exception()
