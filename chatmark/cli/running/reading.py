"""Sessions of the commands that only read: they show progress, and stop on Ctrl-C and SIGTERM."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chatmark.cli.options.reading import ReadingOptions
from chatmark.cli.options.target import Target
from chatmark.cli.render.progress import display_for
from chatmark.cli.running.signals import call_on_signals
from chatmark.jobs.reports.progress import Counters, Meter
from chatmark.jobs.tasks import calling_at_intervals

if TYPE_CHECKING:
    from chatmark import MarkSession

T = TypeVar("T")


def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine. Ctrl-C and SIGTERM cancel it, a second signal ends it at once."""

    async def run() -> T:
        task = asyncio.current_task()
        if task is not None:
            call_on_signals(task.cancel, signals=[signal.SIGTERM])
        return await coroutine

    try:
        return asyncio.run(run())
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise click.Abort from None


@contextlib.asynccontextmanager
async def reading_session(
    target: Target,
    options: ReadingOptions,
    things: str,
    total: int,
    done: Callable[[], int],
    **more: Any,
) -> AsyncGenerator["MarkSession"]:
    """Open a session, and show the progress of reading while the block runs."""
    with display_for(quiet=options.quiet) as display:
        async with target.session(priority="low", **options.calling.options, **more) as session:
            loop = asyncio.get_running_loop()
            meter = Meter(total, loop.time(), done=done(), things=things)

            def show() -> None:
                counters = Counters(done(), session.stats.calls)
                progress = meter.at(loop.time(), counters)
                display.show(progress.line, fraction=progress.fraction)

            async with calling_at_intervals(show, display.interval):
                yield session
