"""Sending an input through a session of this process."""

import asyncio
import contextlib
import gc
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final

import attrs

from chatmark import ChatmarkError, MarkNames
from chatmark.cli.options.apply import SendingOptions
from chatmark.cli.options.target import Target
from chatmark.cli.render.progress import Display, display_for, job_reporter
from chatmark.cli.running.outcome import Sent, print_dry_run, send_and_report
from chatmark.cli.running.signals import stoppable
from chatmark.jobs.grouping.loading import Loaded
from chatmark.jobs.options import Control
from chatmark.jobs.running import run_loaded, run_stream
from chatmark.jobs.sending.stream import ChangeStream

if TYPE_CHECKING:
    from chatmark import MarkSession


# New objects between two collections. A job holds some 40,000, and frees them by reference counts.
_YOUNG: Final = 20_000


def deliver(
    target: Target | None,
    source: Loaded | ChangeStream,
    options: SendingOptions,
    names: MarkNames,
) -> int:
    """Send an input, tell the outcome, and return the exit status; only tell without a target."""
    if target is not None:
        return send_and_report(lambda: _run(target, source, options), options, names)
    if isinstance(source, Loaded):
        print_dry_run(source.name, source.rows, source.bad, source.spool.size, options)
    return 0


def _run(target: Target, source: Loaded | ChangeStream, options: SendingOptions) -> Sent:
    """Send everything, and read the marks of the users of --show at the end."""
    with display_for(quiet=options.quiet) as display:
        return asyncio.run(_send(target, source, options, display))


async def _send(
    target: Target, source: Loaded | ChangeStream, options: SendingOptions, display: Display
) -> Sent:
    control = Control()
    job = attrs.evolve(
        options.job,
        target=target.name,
        calls_per_second=options.calling.rate,
        interval=min(display.interval, options.job.interval),
    )
    watch: dict[str, Any] = {"on_progress": job_reporter(display), "control": control}
    # Single marks of a service take precedence over a file.
    async with target.session(priority="low", **options.calling.options) as session:
        with stoppable(control, session), rare_collections():
            if isinstance(source, Loaded):
                report = await run_loaded(session, source, job, **watch)
            else:
                report = await run_stream(session, source, job, **watch)
            sent = Sent(report)
            if report.complete:
                await _show(session, options.show, sent)
    return sent


async def _show(session: "MarkSession", users: tuple[str, ...], sent: Sent) -> None:
    try:
        for user in users:
            sent.marked[user] = [each async for each in session.marked(user)]
    except ChatmarkError as error:
        sent.error = error


@contextlib.contextmanager
def rare_collections() -> Generator[None]:
    """
    Collect garbage rarely while the block runs, and skip older objects.

    By default the collector walks all modules and all pending changes once every few hundred
    changes, a tenth of a job's time. A program may change this for its process, a library may not.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
