"""Sessions of the commands that only read: they show progress, and stop on a signal."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chatmark.cli.options.access import Target
from chatmark.cli.options.shared import ReadingOptions
from chatmark.cli.render.progress import display_for
from chatmark.cli.running.signals import call_on_signals, forget_signals
from chatmark.jobs.reports.progress import Counters, Meter
from chatmark.jobs.tasks import calling_at_intervals

if TYPE_CHECKING:
    from chatmark import MarkSession

T = TypeVar("T")


def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine. A signal cancels it, a second one ends it at once."""

    async def run() -> T:
        task = asyncio.current_task()

        def cancel() -> None:
            forget_signals()
            assert task is not None  # noqa: S101 - a coroutine runs in one.
            task.cancel()

        call_on_signals(cancel)
        try:
            return await coroutine
        finally:
            forget_signals()

    try:
        return asyncio.run(run())
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise click.Abort from None


@contextlib.asynccontextmanager
async def reading_session(
    target: Target,
    options: ReadingOptions,
    phase: str,
    things: str,
    total: int,
    done: Callable[[], int],
    **more: Any,
) -> AsyncGenerator["MarkSession"]:
    """Open a session, and show the progress of reading while the block runs."""
    with display_for(quiet=options.quiet) as display:
        async with target.session(priority="low", **options.calling.options, **more) as session:
            loop = asyncio.get_running_loop()
            meter = Meter(total, loop.time(), done=done(), things=things, phase=phase)

            def show() -> None:
                counters = Counters(done(), session.stats.calls)
                display.show(meter.at(loop.time(), counters))

            async with calling_at_intervals(show, display.interval):
                yield session
