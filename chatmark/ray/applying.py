"""
Files of changes through a cluster, in one call.
"""

import asyncio
from collections.abc import Sequence

from chatmark.credentials import Credentials
from chatmark.jobs.options import Control
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.sources.columns import Columns
from chatmark.jobs.sources.formats import FileFormat
from chatmark.names import MarkNames
from chatmark.ray.engine import joined
from chatmark.ray.job import OnProgress, RayJob
from chatmark.ray.options import RayOptions
from chatmark.regions import Region


async def apply_on_ray(
    paths: Sequence[str],
    credentials: Credentials,
    options: RayOptions | None = None,
    *,
    address: str | None = None,
    region: Region | None = None,
    base_url: str | None = None,
    format_: FileFormat | None = None,
    names: MarkNames | None = None,
    columns: Columns | None = None,
    on_progress: OnProgress | None = None,
    control: Control | None = None,
) -> JobReport:
    """
    Apply files of changes on a Ray cluster, and report what became of each change.

    What is read, sent and reported is what `chatmark.jobs.run` would. Cancelling it sends nothing
    more, and waits for what is in flight; cancelling once more ends the workers at once.

    A process that has not joined the cluster yet joins it here, which takes some seconds, in which
    its event loop stands still.

    Args:
        paths: Files, folders and patterns, here or as URLs; together they are one input, in that
            order.
        credentials: Who calls, with a key or a UserSig.
        options: How to run the job.
        address: The cluster; see `chatmark.ray.joined`.
        region: The data centre of the application.
        base_url: Another host instead, which every worker reaches.
        format_: How rows are written, by the files' names where none is given.
        names: A team's own names for its extension bits.
        columns: What the files call the fields of a row.
        on_progress: Called now and then.
        control: Stops it.

    Raises:
        BadRowsError: More rows cannot be applied; nothing was sent.
        InputError: An argument will not do; nothing was sent.
        OSError: A file cannot be read, or the failures not be written; nothing was sent.
    """
    with joined(address):
        job = RayJob.of(
            paths,
            credentials,
            options,
            region=region,
            base_url=base_url,
            format_=format_,
            names=names,
            columns=columns,
        )
        await asyncio.to_thread(job.read)
        try:
            await job.load()
            return await job.run(on_progress, control)
        finally:
            job.release()
