"""Helpers for tasks: ending them safely, and calling something at intervals."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

Sleep = Callable[[float], Awaitable[object]]


async def cancel_and_wait(task: "asyncio.Task[object]") -> None:
    """Cancel a task and wait until it has ended; see `wait_through_cancellation`."""
    task.cancel()
    await wait_through_cancellation(task)


async def wait_through_cancellation(task: "asyncio.Task[object]") -> None:
    """Wait until a task has ended, even when cancelled: the caller closes its resources next."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


@contextlib.asynccontextmanager
async def calling_at_intervals(
    function: Callable[[], object], interval: float, *, sleep: Sleep = asyncio.sleep
) -> AsyncGenerator[None]:
    """
    Call a function at intervals of seconds while the block runs, until the function raises.

    Its error is not raised: progress that cannot be shown stops no job.
    """

    async def call() -> None:
        while True:
            await sleep(interval)
            function()

    task = asyncio.create_task(call(), name="chatmark-progress")
    try:
        yield
    finally:
        try:
            await cancel_and_wait(task)
        finally:
            if not task.cancelled():
                task.exception()
