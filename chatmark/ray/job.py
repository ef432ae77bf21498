"""A job on a cluster, from its files to its report, and the actor that sends its partitions."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Final, final

import attrs

from chatmark import CallBudget, Credentials, InputError, MarkSession, Region, UnsentError
from chatmark.jobs.journal import JobKey
from chatmark.jobs.options import Control
from chatmark.jobs.output_files import check_outputs
from chatmark.jobs.reports.progress import Counters, Progress
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.sending.accounts import FailureLog
from chatmark.jobs.sources.files import ChangeFiles
from chatmark.ray.checkpoint import Checkpoint
from chatmark.ray.driver import Driver, SenderLostError, send_partition
from chatmark.ray.input import Input, Partition
from chatmark.ray.options import RayOptions, SealedCredentials
from chatmark.ray.runtime import joined, raising_causes, ray, read_input
from chatmark.regions import resolve_base_url

OnProgress = Callable[[Progress], object]

# It needs no CPU of its own: the tasks that bring lost rows back may need the last one.
SETTINGS: Final[dict[str, Any]] = {"num_cpus": 0, "max_restarts": -1}
# Seconds for which a successor sends nothing: calls of the lost sender may count that long.
_AFTER_LOSS: Final = 1.1


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
        self._running: asyncio.Task[JobReport]

    def read(
        self,
        on_rows: Callable[[int], object] | None = None,
        on_group: Callable[[int], object] | None = None,
    ) -> None:
        """Read the files to their end; see `read_input`."""
        noted = None if self._checkpoint is None else self._checkpoint.first_users
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
            running = self._driver.run(on_progress)
            self._running = asyncio.create_task(running, name="chatmark-driver")
            try:
                await asyncio.wait([self._running])
            except asyncio.CancelledError:
                with contextlib.suppress(asyncio.CancelledError):
                    await self.close()
                await asyncio.wait([self._running])
                raise
            report = self._running.result()
            report = attrs.evolve(report, stopped=failures.close(report.stopped))
            await self._sender.close()
        if checkpoint is not None and report.ok and not options.keep_journal:
            checkpoint.remove(len(given.first_users) + 1)
        elif checkpoint is not None:
            report = attrs.evolve(report, journal=checkpoint.name)
        return report

    async def close(self) -> None:
        """Send nothing more, and wait for requests in flight; if cancelled, end the sender."""
        if self._driver is not None:
            self._driver.stop()
            try:
                await asyncio.wait([self._running])
            except asyncio.CancelledError:
                self.release()
                raise

    def release(self) -> None:
        """End the sender at once."""
        if self._sender is not None:
            ray.kill(self._sender.actor)


class SendingActor:
    """The actor. Ray starts it anew, on another node if its own is lost."""

    def __init__(self) -> None:
        self._stack = contextlib.AsyncExitStack()
        self._session: MarkSession | None = None
        self._sending: dict[int, asyncio.Task[JobReport]] = {}
        self._counters = Counters()
        self._control = Control()

    async def ready(self) -> None:
        """Return when the actor runs."""

    async def send(
        self, sealed: SealedCredentials, options: RayOptions, partition: Partition, data: bytes
    ) -> AsyncGenerator[Counters | JobReport]:
        """
        Send a partition; yield its counters at intervals, and its report with all failures.

        A call that is repeated, because the actor could not be reached, sends nothing again.
        """
        if partition.index not in self._sending:
            self._counters, self._control = Counters(), Control()
            work = self._send(sealed, options, partition, data)
            self._sending = {partition.index: asyncio.create_task(work, name="chatmark-send")}
        sending = self._sending[partition.index]
        while not sending.done():
            await asyncio.wait([sending], timeout=options.interval)
            yield self._counters
        yield sending.result()

    async def stop(self) -> None:
        self._control.stop()
        if self._session is not None:
            # The report accounts for unsent changes.
            with contextlib.suppress(UnsentError):
                await self._session.close(send_waiting=False)

    async def close(self) -> None:
        await self._stack.aclose()

    async def _send(
        self, sealed: SealedCredentials, options: RayOptions, partition: Partition, data: bytes
    ) -> JobReport:
        def show(progress: Progress) -> None:
            self._counters = progress.counters

        session = self._session or await self._open(sealed, options)
        return await send_partition(session, options, partition, data, show, self._control)

    async def _open(self, sealed: SealedCredentials, options: RayOptions) -> MarkSession:
        if options.budget is not None:
            budget = await self._stack.enter_async_context(options.budget())
        else:
            budget = CallBudget(options.calls_per_second)
            if ray.get_runtime_context().was_current_actor_reconstructed:
                budget.pause(_AFTER_LOSS)
        session = MarkSession(sealed.open(), budget=budget, **options.session)
        self._session = await self._stack.enter_async_context(session)
        return self._session


@final
class RemoteSender:
    """The actor, for the process that started the job."""

    def __init__(self, credentials: SealedCredentials, options: RayOptions) -> None:
        self._arguments = (credentials, options)
        self.actor: Any = ray.remote(SendingActor).options(**SETTINGS).remote()

    async def send(self, partition: Partition) -> AsyncGenerator[Counters | JobReport]:
        send = self.actor.send.options(num_returns="streaming").remote
        alone = attrs.evolve(partition, data=None)
        try:
            with raising_causes():
                async for news in send(*self._arguments, alone, partition.data):
                    yield await news
        except ray.exceptions.RayActorError as error:
            with contextlib.suppress(ray.exceptions.RayError):
                await self.actor.ready.options(max_task_retries=-1).remote()
            raise SenderLostError(f"the sender was lost ({type(error).__name__})") from None

    def stop(self) -> None:
        self.actor.stop.remote()

    async def close(self) -> None:
        with contextlib.suppress(ray.exceptions.RayError):
            await self.actor.close.remote()
