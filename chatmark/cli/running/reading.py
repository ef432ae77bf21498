"""
Sessions of the commands that only read: with progress, and a stop by Ctrl-C or SIGTERM.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chatmark.cli.options.calling import Calling
from chatmark.cli.options.target import Target
from chatmark.cli.render.progress import display_for
from chatmark.cli.running.signals import call_on_signals
from chatmark.jobs.reports.progress import Counters, Meter
from chatmark.jobs.tasks import calling_at_intervals

if TYPE_CHECKING:
    from chatmark.session.session import MarkSession

T = TypeVar("T")


def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine, which Ctrl-C and SIGTERM cancel; a second signal ends it where it is."""

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
    calling: Calling,
    *,
    quiet: bool,
    things: str,
    total: int,
    done: Callable[[], int],
    **options: Any,
) -> AsyncGenerator["MarkSession"]:
    """Open a session, and show how reading goes while the block runs."""
    with display_for(quiet=quiet) as display:
        async with target.session(priority="low", **calling.options, **options) as session:
            loop = asyncio.get_running_loop()
            meter = Meter(total, loop.time(), done=done(), things=things)

            def show() -> None:
                counters = Counters(done(), session.stats.calls)
                progress = meter.at(loop.time(), counters)
                display.show(progress.line, fraction=progress.fraction)

            async with calling_at_intervals(show, display.interval):
                yield session
