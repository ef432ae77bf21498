"""A job on a cluster, from its files to its report."""

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, Unpack, final

import attrs

from chatmark import Credentials, MarkNames, Region
from chatmark.jobs.grouping.units import Size
from chatmark.jobs.options import Control
from chatmark.jobs.reports.progress import Counters, Meter, Progress
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.sources.columns import Columns
from chatmark.jobs.sources.files import ChangeFile
from chatmark.jobs.sources.formats import FileFormat
from chatmark.ray.input.dataset import CheckedRows, read_slices
from chatmark.ray.input.files import cut_slices, find_files
from chatmark.ray.options import RayOptions, count_workers
from chatmark.ray.runtime import joined, without_progress_bars
from chatmark.ray.workers.failures import FailureFolder
from chatmark.ray.workers.pool import WorkerPool
from chatmark.ray.workers.reports import sum_reports
from chatmark.ray.workers.sealed import SealedSecrets
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
    and waits for requests in flight. A second cancellation ends the workers at once.

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
            every worker reaches; `format_`, the format of rows, by default that of the files'
            names; `names`, a team's own names for its extension bits; `columns`, the files' names
            for the fields of a row.

    Raises:
        BadRowsError: More than `max_errors` rows cannot be applied; nothing was sent.
        InputError: An argument is wrong; nothing was sent.
        OSError: A file cannot be read, or the folder of failures cannot be written; nothing was
            sent.
    """
    with joined(address):
        job = RayJob(paths, credentials, options, **source)
        await asyncio.to_thread(job.read)
        try:
            await job.load()
            return await job.run(on_progress, control)
        finally:
            job.release()


@final
class RayJob:
    """
    A job; call `read`, `load`, `run` and `release` in this order.

    The arguments are those of `apply_on_ray`.

    Raises:
        InputError: An argument is wrong.
        OSError: A folder cannot be read, or the folder of failures cannot be written.
    """

    def __init__(
        self,
        paths: Sequence[str],
        credentials: Credentials,
        options: RayOptions | None = None,
        **source: Unpack[Source],
    ) -> None:
        self._options = RayOptions() if options is None else options
        self._name = ", ".join(paths)
        self._sealed = SealedSecrets(credentials, self._options.budget)
        url = resolve_base_url(source.get("region"), source.get("base_url"))
        self._session = {**self._options.session, "base_url": url}
        form = (source.get("format_"), source.get("names"), source.get("columns"))
        self._files = [ChangeFile.of(path, *form) for path in find_files(paths)]
        self._workers = count_workers(self._options)
        failed = self._options.failed
        self._folder = None if failed is None else FailureFolder(failed)
        self._pool: WorkerPool | None = None
        self._size = Size()
        self._input = CheckedRows()
        self._ended = asyncio.Event()

    def read(self, on_rows: Callable[[int], object] | None = None) -> None:
        """
        Read the files to their end, on the cluster.

        Args:
            on_rows: Called at intervals with the number of rows read.

        Raises:
            BadRowsError: More than `max_errors` rows cannot be applied, or a file cannot be read.
            OSError: A file cannot be opened.
        """
        slices = cut_slices(self._files)
        with without_progress_bars():
            self._input = read_slices(slices, self._workers, self._options.max_errors, on_rows)

    async def load(self) -> Size:
        """
        Give the workers their rows, and return the size of the job.

        Raises:
            WorkerLostError: A worker was lost again and again.
            OSError: A worker has no room for its rows.
        """
        options = self._options
        calls_per_second = options.calls_per_second if options.budget is None else None
        self._pool = WorkerPool(
            self._input.parts, self._session, options.for_worker(), calls_per_second
        )
        self._size = await self._pool.load()
        return self._size

    @property
    def rows(self) -> int:
        """The number of rows read."""
        return self._input.rows

    @property
    def bad(self) -> int:
        """The number of rows that are set aside."""
        return len(self._input.bad)

    async def run(
        self, on_progress: OnProgress | None = None, control: Control | None = None
    ) -> JobReport:
        """
        Send everything, and return the report.

        Raises:
            OSError: The rows that are set aside cannot be written; nothing was sent.
        """
        assert self._pool is not None, "call load first"  # noqa: S101
        pool = self._pool
        if self._folder is not None:
            self._folder.write_set_aside(self._input.bad)
        if control is not None:
            control.on_stop(pool.stop)
        loop = asyncio.get_running_loop()
        started, started_at = loop.time(), dt.datetime.now(dt.UTC)
        names = [file.name for file in self._files]
        watching = asyncio.create_task(self._watch(pool, on_progress), name="chatmark-progress")
        running = asyncio.create_task(
            pool.run(self._sealed, names, self._folder), name="chatmark-workers"
        )
        try:
            await _wait(running, pool)
        finally:
            self._ended.set()
            watching.cancel()
            await asyncio.wait([watching])
        return sum_reports(
            [(max(0.0, begun - started), report) for begun, report in running.result()],
            file=self._name,
            rows=self.rows,
            set_aside=self.bad,
            started_at=started_at,
            seconds=loop.time() - started,
            stopped=pool.error,
            interrupted=pool.is_stopped,
        )

    async def close(self, *, send_waiting: bool = False) -> None:
        """
        Send nothing more, and wait for requests in flight. Cancellation ends all workers at once.

        Args:
            send_waiting: Ignored: unsent changes are in the input.
        """
        if self._pool is not None:
            self._pool.stop()
            try:
                await self._ended.wait()
            except asyncio.CancelledError:
                self._pool.kill()
                raise

    def release(self) -> None:
        """End the workers at once, and let Ray free the rows."""
        if self._pool is not None:
            self._pool.kill()
        self._input = attrs.evolve(self._input, parts=[])

    async def _watch(self, pool: WorkerPool, on_progress: OnProgress | None) -> None:
        if on_progress is None:
            return
        loop = asyncio.get_running_loop()
        options = self._options
        has_one_rate = options.budget is None and not options.skip_unchanged
        budget = options.calls_per_second if has_one_rate else None
        meter = Meter(self._size.changes + self.bad, loop.time(), done=self.bad, budget=budget)
        while True:
            await asyncio.sleep(options.interval)
            counters = await pool.counters() + Counters(self.bad)
            on_progress(meter.at(loop.time(), counters))


async def _wait(running: asyncio.Task[Any], pool: WorkerPool) -> None:
    try:
        await asyncio.wait([running])
    except asyncio.CancelledError:
        pool.stop()
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError:
            pool.kill()
            await asyncio.wait([running])
        raise
