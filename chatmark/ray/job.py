"""A job on a cluster, from its files to its report."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, final

import attrs

from chatmark import Credentials, InputError, Region
from chatmark.jobs.journal import JobKey
from chatmark.jobs.options import Control
from chatmark.jobs.output_files import check_outputs
from chatmark.jobs.reports.progress import Progress
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.sending.accounts import FailureLog
from chatmark.jobs.sources.files import ChangeFiles
from chatmark.ray.input.partitions import Input
from chatmark.ray.input.reading import read_input
from chatmark.ray.options import RayOptions
from chatmark.ray.runtime import joined
from chatmark.ray.sending.actor import RemoteSender
from chatmark.ray.sending.checkpoint import Checkpoint
from chatmark.ray.sending.driver import Driver
from chatmark.ray.sending.sealed import SealedCredentials
from chatmark.regions import resolve_base_url

OnProgress = Callable[[Progress], object]


async def apply_on_ray(
    files: ChangeFiles | Sequence[str],
    credentials: Credentials,
    options: RayOptions | None = None,
    *,
    region: Region | str | None = None,
    base_url: str | None = None,
    address: str | None = None,
    on_progress: OnProgress | None = None,
    control: Control | None = None,
) -> JobReport:
    """
    Apply files of changes on a Ray cluster, and return the report.

    The job reads, sends and reports as `chatmark.jobs.run` does. A cancelled job sends nothing more
    and waits for requests in flight. A second cancellation ends the sender at once.

    A process that has not joined the cluster yet joins it here, which blocks its event loop for
    some seconds.

    Args:
        files: The files, or the paths, folders, patterns and URLs of `ChangeFiles.of`.
        credentials: Credentials with a key or a UserSig.
        options: The options of the job.
        region: The data centre of the application.
        base_url: Another host, which every machine reaches.
        address: The cluster; see `chatmark.ray.joined`.
        on_progress: Called with the progress, at intervals.
        control: Stops the job from outside.

    Raises:
        BadRowsError: More than `max_errors` rows cannot be applied; nothing was sent.
        InputError: An argument or the checkpoint is wrong; nothing was sent.
        OSError: A file cannot be read, or an output not be begun; nothing was sent.
    """
    if options is not None and options.max_errors and options.failed is None:
        raise InputError("max_errors", "needs a file for the bad rows: give failed")
    with joined(address):
        job = RayJob(files, credentials, options, region=region, base_url=base_url)
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
        input: The changes and the bad rows of them.
    """

    input: Input

    def __init__(
        self,
        files: ChangeFiles | Sequence[str],
        credentials: Credentials,
        options: RayOptions | None = None,
        *,
        region: Region | str | None = None,
        base_url: str | None = None,
    ) -> None:
        options = RayOptions() if options is None else options
        options.check()
        self._sealed = SealedCredentials(credentials)
        url = resolve_base_url(region, base_url)
        self.files = files if isinstance(files, ChangeFiles) else ChangeFiles.of(files)
        if self.files.is_stream:
            raise InputError("path", "must be a file that every machine reads", self.files.name)
        check_outputs({"failed": options.failed}, [file.path for file in self.files.files])
        self._options = attrs.evolve(
            options,
            target=options.target or f"{credentials.sdkappid} at {url}",
            session={**options.session, "base_url": url},
        )
        self._checkpoint = None if options.journal is None else Checkpoint(options.journal)
        self._sender: RemoteSender | None = None
        self._driver: Driver | None = None
        self._ended = asyncio.Event()

    def read(
        self,
        on_rows: Callable[[int], object] | None = None,
        on_group: Callable[[int], object] | None = None,
    ) -> None:
        """Read the files to their end; see `read_input`."""
        noted = None if self._checkpoint is None else self._checkpoint.first_users()
        self.input = read_input(self.files, self._options, noted, on_rows, on_group)

    async def run(
        self, on_progress: OnProgress | None = None, control: Control | None = None
    ) -> JobReport:
        """
        Send everything, and return the report.

        Raises:
            JournalError: The checkpoint is of another job; nothing was sent.
            OSError: An output cannot be begun; nothing was sent.
        """
        options, given, checkpoint = self._options, self.input, self._checkpoint
        if checkpoint is not None:
            size = given.size
            key = JobKey(options.target, given.digest, size.units, size.changes, given.name)
            accepted = options.accept_changed_input
            checkpoint.claim(key, given.first_users, accept_changed_input=accepted)
        with FailureLog(options.failed) as failures:
            self._sender = RemoteSender(self._sealed, options)
            self._driver = Driver(given, options, self._sender, failures, checkpoint)
            if control is not None:
                control.on_stop(self._driver.stop)
            running = asyncio.create_task(self._driver.run(on_progress), name="chatmark-driver")
            running.add_done_callback(lambda _: self._ended.set())
            await self._wait(running)
            report = running.result()
            report = attrs.evolve(report, stopped=failures.close(report.stopped))
            await self._sender.close()
        if checkpoint is not None and report.ok and not options.keep_journal:
            checkpoint.remove(len(given.first_users) + 1)
        elif checkpoint is not None:
            report = attrs.evolve(report, journal=checkpoint.name)
        return report

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
