"""
Waiting for tasks that are to end, whatever happens to the one who waits.
"""

import asyncio


async def end(task: "asyncio.Task[object]") -> None:
    """
    Cancel a task, and wait until it has ended; see `outlast`.
    """
    task.cancel()
    await outlast(task)


async def outlast(task: "asyncio.Task[object]") -> None:
    """
    Wait until a task has ended that will soon: what it uses is closed next.

    Raises:
        CancelledError: It was cancelled itself meanwhile.
    """
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
