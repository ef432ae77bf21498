"""
A job on a cluster, from its files to its report.
"""

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, final

from chatmark.credentials import Credentials
from chatmark.jobs.grouping.spool import Size
from chatmark.jobs.options import Control, JobOptions
from chatmark.jobs.reports.progress import Counters, Meter, Progress
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.sources.columns import Columns
from chatmark.jobs.sources.files import ChangeFile
from chatmark.jobs.sources.formats import FileFormat
from chatmark.names import MarkNames
from chatmark.ray.crew import Crew
from chatmark.ray.engine import quiet_data
from chatmark.ray.failures import FailureFolder
from chatmark.ray.finding import find, slices
from chatmark.ray.options import RayOptions, check_options
from chatmark.ray.reading import Read, read
from chatmark.ray.sealed import Sealed
from chatmark.ray.summing import sum_reports
from chatmark.regions import Region, resolve_base_url

OnProgress = Callable[[Progress], object]


@final
class RayJob:
    """
    A job: read, then loaded into workers, then run, then released.

    Args:
        name: What the input is called.
        files: Its files.
        sealed: Who calls.
        options: How it is run.
        session: The options of each worker's session.

    Raises:
        InputError: The options will not do.
        OSError: The failures cannot be written.
    """

    def __init__(
        self,
        name: str,
        files: Sequence[ChangeFile],
        sealed: Sealed,
        options: RayOptions,
        session: Mapping[str, Any],
    ) -> None:
        self._name = name
        self._files = files
        self._sealed = sealed
        self._options = options
        self._session = session
        self._workers = check_options(options)
        self._folder = None if options.failed is None else FailureFolder(options.failed)
        self._crew: Crew | None = None
        self._size = Size()
        self._input = Read(0, (), [])
        self._ended = asyncio.Event()

    @classmethod
    def of(
        cls,
        paths: Sequence[str],
        credentials: Credentials,
        options: RayOptions | None = None,
        *,
        region: Region | None = None,
        base_url: str | None = None,
        format_: FileFormat | None = None,
        names: MarkNames | None = None,
        columns: Columns | None = None,
    ) -> Self:
        """
        Return the job of files; see `apply_on_ray`.

        Raises:
            InputError: An argument will not do.
            OSError: A folder cannot be read, or the failures not be written.
        """
        options = RayOptions() if options is None else options
        sealed = Sealed(credentials, options.budget)
        # Whatever is wrong with it is wrong here.
        url = resolve_base_url(region, base_url)
        files = [ChangeFile.of(path, format_, names, columns) for path in find(paths)]
        return cls(", ".join(paths), files, sealed, options, {**options.session, "base_url": url})

    def read(self, sign: Callable[[int], object] | None = None) -> None:
        """
        Read the files to their end, on the cluster.

        Args:
            sign: Called now and then with the number of rows read.

        Raises:
            BadRowsError: More rows cannot be applied than may be set aside, or a file not be read.
            OSError: A file cannot be opened.
        """
        with quiet_data():
            cut = slices(self._files)
            self._input = read(cut, self._workers, self._options.max_errors, sign)

    async def load(self) -> Size:
        """
        Give the workers their rows, and return what there is to do.

        Raises:
            WorkerLostError: A worker was lost again and again.
            OSError: A worker has no room for its rows.
        """
        options = self._options
        has_office = options.budget is None
        self._crew = Crew(
            self._input.parts,
            self._session,
            JobOptions(
                failed=options.failed,
                skip_unchanged=options.skip_unchanged,
                verify=options.verify,
            ),
            options.calls_per_second if has_office else None,
        )
        self._size = await self._crew.load()
        return self._size

    @property
    def rows(self) -> int:
        """
        Rows read.
        """
        return self._input.rows

    @property
    def bad(self) -> int:
        """
        Rows that are set aside.
        """
        return len(self._input.bad)

    async def run(
        self, on_progress: OnProgress | None = None, control: Control | None = None
    ) -> JobReport:
        """
        Send everything, and report.

        Args:
            on_progress: Called now and then.
            control: Stops it.

        Raises:
            OSError: What is set aside cannot be written; nothing was sent.
        """
        assert self._crew is not None, "a job is loaded first"  # noqa: S101
        crew = self._crew
        if self._folder is not None:
            self._folder.write_set_aside(self._input.bad)
        if control is not None:
            control.on_stop(crew.stop)
        loop = asyncio.get_running_loop()
        started, started_at = loop.time(), dt.datetime.now(dt.UTC)
        names = [file.name for file in self._files]
        watching = asyncio.create_task(self._watch(crew, on_progress), name="chatmark-progress")
        running = asyncio.create_task(
            crew.run(self._sealed, names, self._folder), name="chatmark-crew"
        )
        try:
            await _wait(running, crew)
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
            stopped=crew.error,
            interrupted=crew.is_stopped,
        )

    async def close(self, *, send_waiting: bool = False) -> None:
        """
        Send nothing more, and wait for what is in flight; cancelled, end all workers at once.

        Args:
            send_waiting: No matter: what a worker has not sent is in the input.
        """
        del send_waiting
        if self._crew is not None:
            self._crew.stop()
            try:
                await self._ended.wait()
            except asyncio.CancelledError:
                self._crew.kill()
                raise

    def release(self) -> None:
        """
        Let go of the workers, and of the rows, whatever they do.
        """
        if self._crew is not None:
            self._crew.kill()
        self._input = Read(self._input.rows, self._input.bad, [])

    async def _watch(self, crew: Crew, on_progress: OnProgress | None) -> None:
        if on_progress is None:
            return
        loop = asyncio.get_running_loop()
        total = self._size.changes + self.bad
        options = self._options
        budget = None if options.budget is not None else options.calls_per_second
        meter = Meter(total, loop.time(), done=self.bad, budget=budget)
        while True:
            await asyncio.sleep(options.interval)
            counters = await crew.counters() + Counters(self.bad)
            on_progress(meter.at(loop.time(), counters))


async def _wait(running: asyncio.Task[Any], crew: Crew) -> None:
    try:
        await asyncio.wait([running])
    except asyncio.CancelledError:
        crew.stop()
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError:
            crew.kill()
            await asyncio.wait([running])
        raise
