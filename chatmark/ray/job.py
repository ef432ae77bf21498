"""A job on a cluster, from its files to its report."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, Unpack, final

import attrs

from chatmark import Credentials, InputError, MarkNames, Region
from chatmark.jobs.counting import Phase
from chatmark.jobs.grouping.spool import new_digest
from chatmark.jobs.grouping.units import Size
from chatmark.jobs.journal.database import JobKey
from chatmark.jobs.options import Control
from chatmark.jobs.output_files import check_outputs
from chatmark.jobs.reports.progress import Progress
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.running import publish_failures
from chatmark.jobs.sending.failures import FailureLog
from chatmark.jobs.sources.columns import Columns
from chatmark.jobs.sources.dialect import Dialect
from chatmark.jobs.sources.files import ChangeFiles
from chatmark.jobs.sources.formats import FileFormat
from chatmark.ray.input.partitions import divide, group_rows, read_slices
from chatmark.ray.input.slices import cut_slices
from chatmark.ray.options import RayOptions
from chatmark.ray.runtime import joined, without_progress_bars
from chatmark.ray.sending.actor import RemoteSender
from chatmark.ray.sending.checkpoint import Checkpoint
from chatmark.ray.sending.driver import Driver, Input
from chatmark.ray.sending.sealed import SealedCredentials
from chatmark.regions import resolve_base_url

OnProgress = Callable[[Progress], object]


class Source(TypedDict, total=False):
    """
    The server of a job, `region` or `base_url`, and the arguments of `ChangeFile.of` for its files.
    """

    region: Region | None
    base_url: str | None
    format_: FileFormat | None
    names: MarkNames | None
    columns: Columns | None
    dialect: Dialect | None


async def apply_on_ray(
    paths: Sequence[str],
    credentials: Credentials,
    options: RayOptions | None = None,
    *,
    address: str | None = None,
    on_progress: OnProgress | None = None,
    control: Control | None = None,
    **source: Unpack[Source],
) -> JobReport:
    """
    Apply files of changes on a Ray cluster, and return the report.

    The job reads, sends and reports as `chatmark.jobs.run` does. A cancelled job sends nothing more
    and waits for requests in flight. A second cancellation ends the sender at once.

    A process that has not joined the cluster yet joins it here, which blocks its event loop for
    some seconds.

    Args:
        paths: Local files, folders and patterns, or URLs; together they are one input, in that
            order.
        credentials: Credentials with a key or a UserSig.
        options: The options of the job.
        address: The cluster; see `chatmark.ray.joined`.
        on_progress: Called with the progress, at intervals.
        control: Stops the job from outside.
        **source: `region`, the data centre of the application, or `base_url`, another host that
            every machine reaches; `format_`, the format of rows, by default that of the files'
            names; `names`, a team's own names for its extension bits; `columns`, the files' names
            for the fields of a row; `dialect`, how their text is written.

    Raises:
        BadRowsError: More than `max_errors` rows cannot be applied; nothing was sent.
        InputError: An argument or the checkpoint is wrong; nothing was sent.
        OSError: A file cannot be read, or an output not be begun; nothing was sent.
    """
    if options is not None and options.max_errors and options.failed is None:
        raise InputError("max_errors", "needs a file for the bad rows: give failed")
    with joined(address):
        job = RayJob(paths, credentials, options, **source)
        try:
            await asyncio.to_thread(job.read)
            return await job.run(on_progress, control)
        finally:
            job.release()


@final
class RayJob:
    """
    A job; call `read`, `run` and `release` in this order.

    The arguments are those of `apply_on_ray`.

    Attributes:
        files: The files.
        size: The size of the job, after `read`.

    Raises:
        InputError: An argument is wrong.
        OSError: A file does not exist, or the checkpoint cannot be reached.
    """

    def __init__(
        self,
        paths: Sequence[str],
        credentials: Credentials,
        options: RayOptions | None = None,
        **source: Unpack[Source],
    ) -> None:
        options = RayOptions() if options is None else options
        options.check()
        self._sealed = SealedCredentials(credentials)
        url = resolve_base_url(source.get("region"), source.get("base_url"))
        form = (source.get(name) for name in ("names", "columns", "dialect"))
        self.files = ChangeFiles.of(paths, source.get("format_"), *form)
        if self.files.is_stream:
            raise InputError("path", "must be a file that every machine reads", self.files.name)
        check_outputs({"failed": options.failed}, [file.path for file in self.files.files])
        self._options = attrs.evolve(
            options,
            target=options.target or f"{credentials.sdkappid} at {url}",
            session={**options.session, "base_url": url},
        )
        self._checkpoint = None if options.journal is None else Checkpoint(options.journal)
        self._first_users: Sequence[str] = ()
        self._input: Input | None = None
        self._sender: RemoteSender | None = None
        self._driver: Driver | None = None
        self._ended = asyncio.Event()
        self.size = Size()

    def read(
        self,
        on_rows: Callable[[int], object] | None = None,
        on_group: Callable[[int], object] | None = None,
    ) -> None:
        """
        Read the files to their end, and group their changes, on the cluster.

        Args:
            on_rows: Called at intervals with the number of changes read.
            on_group: Called with the number of changes before they are grouped.

        Raises:
            BadRowsError: More than `max_errors` rows cannot be applied, or a file cannot be read.
            OSError: A file cannot be opened.
        """
        started = time.monotonic()
        noted = None if self._checkpoint is None else self._checkpoint.first_users()
        with without_progress_bars():
            slices = cut_slices(self.files)
            checked = read_slices(slices, self._options.max_errors, self.files.notes, on_rows)
            read = time.monotonic()
            if on_group is not None:
                on_group(checked.changes)
            self._first_users = noted or divide(checked.accounts, self._options.partitions)
            partitions = group_rows(checked, self._first_users)
        digest = new_digest()
        for partition in partitions:
            digest.update(partition.users)
        self.size = sum((partition.size for partition in partitions), Size())
        self._input = Input(
            self.files.name,
            checked.rows,
            checked.bad,
            digest.hexdigest(),
            [attrs.evolve(partition, users=b"") for partition in partitions],
            (
                Phase("check", "rows", checked.rows, read - started),
                Phase("group", "changes", self.size.changes, time.monotonic() - read),
            ),
        )

    @property
    def input(self) -> Input:
        """What was read."""
        assert self._input is not None, "call read first"  # noqa: S101
        return self._input

    async def run(
        self, on_progress: OnProgress | None = None, control: Control | None = None
    ) -> JobReport:
        """
        Send everything, and return the report.

        Raises:
            JournalError: The checkpoint is of another job; nothing was sent.
            OSError: An output cannot be begun; nothing was sent.
        """
        options, given = self._options, self.input
        if self._checkpoint is not None:
            key = JobKey(
                options.target, given.digest, self.size.units, self.size.changes, given.name
            )
            accept = options.accept_changed_input
            self._checkpoint.claim(key, self._first_users, accept_changed_input=accept)
        with FailureLog(options.failed) as failures:
            self._sender = RemoteSender(self._sealed, options)
            self._driver = driver = Driver(given, options, self._sender, failures)
            if control is not None:
                control.on_stop(driver.stop)
            running = asyncio.create_task(driver.run(on_progress), name="chatmark-driver")
            running.add_done_callback(lambda _: self._ended.set())
            await self._wait(running)
            report = publish_failures(failures, running.result())
            await self._sender.close()
        if self._checkpoint is None:
            return report
        if report.ok and not options.keep_journal:
            self._checkpoint.remove(len(self._first_users) + 1)
            return report
        return attrs.evolve(report, journal=self._checkpoint.name)

    async def close(self, *, send_waiting: bool = False) -> None:
        """
        Send nothing more, and wait for requests in flight. Cancellation ends the sender at once.

        Args:
            send_waiting: Ignored: unsent changes are in the input.
        """
        if self._driver is not None:
            self._driver.stop()
            try:
                await self._ended.wait()
            except asyncio.CancelledError:
                self.release()
                raise

    def release(self) -> None:
        """End the sender at once."""
        if self._sender is not None:
            self._sender.kill()

    async def _wait(self, running: asyncio.Task[Any]) -> None:
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError:
            with contextlib.suppress(asyncio.CancelledError):
                await self.close()
            await asyncio.wait([running])
            raise
