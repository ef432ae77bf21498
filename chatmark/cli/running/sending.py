"""
Sending an input through a session of this process.
"""

import asyncio
from typing import TYPE_CHECKING

import attrs

from chatmark.cli.options.target import Target
from chatmark.cli.render.progress import Display, display_for, sign_of_progress
from chatmark.cli.running.garbage import rare_collections
from chatmark.cli.running.outcome import ApplyOptions, Sent
from chatmark.cli.running.signals import stoppable
from chatmark.errors import ChatmarkError
from chatmark.jobs.grouping.loading import Loaded
from chatmark.jobs.options import Control
from chatmark.jobs.running import run_loaded, run_stream
from chatmark.jobs.sending.stream import ChangeStream

if TYPE_CHECKING:
    from chatmark.session import MarkSession


def send(target: Target, source: Loaded | ChangeStream, options: ApplyOptions) -> Sent:
    """
    Send everything, and read the marks of the users of --show at the end.
    """
    with display_for(quiet=options.quiet) as display:
        return asyncio.run(_send(target, source, options, display))


async def _send(
    target: Target, source: Loaded | ChangeStream, options: ApplyOptions, display: Display
) -> Sent:
    control = Control()
    job = attrs.evolve(
        options.job,
        target=target.name,
        calls_per_second=options.calling.rate,
        interval=min(display.interval, options.job.interval),
    )
    sign = sign_of_progress(display)
    # Single marks of a service take precedence over a file.
    async with target.session(priority="low", **options.calling.options) as session:
        with stoppable(control, session), rare_collections():
            if isinstance(source, Loaded):
                report = await run_loaded(session, source, job, on_progress=sign, control=control)
            else:
                report = await run_stream(session, source, job, on_progress=sign, control=control)
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
