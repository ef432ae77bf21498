"""
What the commands that only read have in common: progress, and a stop from outside.
"""

import asyncio
import contextlib
import signal
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
import click

from chatmark.cli.render.progress import Clock, Display
from chatmark.jobs.reports.progress import duration
from chatmark.jobs.tasks import Sleep, calling_at_intervals

if TYPE_CHECKING:
    from chatmark.session import MarkSession

T = TypeVar("T")

# Rates are those of the last seconds, so that a pause shows.
_WINDOW: Final = 10.0


def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """
    Run a coroutine, which Ctrl-C and SIGTERM cancel; once more ends it where it is.

    Raises:
        click.Abort: It was cancelled.
    """

    async def run() -> T:
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await coroutine

    try:
        return asyncio.run(run())
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise click.Abort from None


@attrs.define
class Pace:
    """
    How fast something goes on.

    Args:
        things: What is counted.
        total: How many there are.
    """

    things: str
    total: int
    _marks: deque[tuple[float, int, int]] = attrs.field(
        factory=deque[tuple[float, int, int]], init=False
    )

    def line(self, now: float, done: int, calls: int) -> str:
        """
        Return how far it is, and how fast.

        >>> pace = Pace("users", 100)
        >>> start = pace.line(0.0, 0, 0)
        >>> pace.line(2.0, 20, 30)
        '20 of 100 users, 10/s, 30 calls, 15.0/s, 8 s left'
        """
        marks = self._marks
        marks.append((now, done, calls))
        while len(marks) > 2 and marks[1][0] <= now - _WINDOW:  # noqa: PLR2004 - one span at least.
            marks.popleft()
        then, done_then, calls_then = marks[0]
        span = max(now - then, 1e-9)
        rate = (done - done_then) / span
        left = f", {duration((self.total - done) / rate)} left" if rate else ""
        return (
            f"{done:,} of {self.total:,} {self.things}, {rate:,.0f}/s, "
            f"{calls:,} calls, {(calls - calls_then) / span:.1f}/s{left}"
        )


@contextlib.asynccontextmanager
async def watching_reading(
    display: Display,
    session: "MarkSession",
    pace: Pace,
    done: Callable[[], int],
    *,
    clock: Clock = time.monotonic,
    sleep: Sleep = asyncio.sleep,
) -> AsyncGenerator[None]:
    """
    Show how reading goes while the block runs.

    Args:
        display: Where.
        session: What reads.
        pace: What is counted.
        done: Returns how much of it is done.
        clock: Returns seconds.
        sleep: Waits for that many seconds.
    """

    def look() -> None:
        count = done()
        line = pace.line(clock(), count, session.stats.calls)
        display.show(line, fraction=count / max(pace.total, 1))

    pace.line(clock(), done(), session.stats.calls)
    async with calling_at_intervals(look, display.interval, sleep=sleep):
        yield
