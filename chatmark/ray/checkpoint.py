"""
The checkpoint of a job: a folder on storage that outlives the process.

It has a note on each partition that was sent. A file is there as a whole or not at all.
"""

import concurrent.futures
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar, final

import attrs
from pyarrow import fs  # pyright: ignore[reportMissingTypeStubs]

from chatmark import MarkResult
from chatmark.jobs.grouping import Unit
from chatmark.jobs.journal import JobKey, JournalError, Run
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.sending.accounts import Accounts, refusal_of, subject_of
from chatmark.jobs.sources.files import file_system, naming, shown
from chatmark.jobs.sources.row import change_of, record_of
from chatmark.ray.input import Partition

T = TypeVar("T")

_JOB: Final = "job.json"
_AT_ONCE: Final = 16
_files: Any = fs


@final
class Checkpoint:
    """
    The checkpoint in the folder of a path or a URL.

    Attributes:
        name: The name in messages.
        first_users: The first user of each partition but the first, None if the job is new.

    Raises:
        JournalError: It is a file, or damaged.
        OSError: It cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self.name = shown(url)
        uri = url if "://" in url else pathlib.Path(url).absolute().as_uri()
        self._system, self._root = file_system(uri)
        with naming(self.name):
            if self._system.get_file_info(self._root).is_file:
                raise JournalError(self.name, "is a file: a job on a cluster needs a folder")
        self._job = self._read(_JOB, _load_job)
        self.first_users = None if self._job is None else self._job[1]

    def claim(self, key: JobKey, first_users: Sequence[str], *, accept_changed_input: bool) -> None:
        """
        Assign a new checkpoint to a job, or make sure that it belongs to it.

        Raises:
            ChangedInputError: It is of other rows, which are not accepted.
            JournalError: It is of another application or server.
            OSError: It cannot be written.
        """
        if self._job is not None:
            key.check(self.name, self._job[0], accept_changed_input=accept_changed_input)
        values = attrs.asdict(key, filter=attrs.filters.exclude("undo"))
        self._write(_JOB, values | {"first_users": [*first_users]})

    def reports(self, partitions: Sequence[Partition]) -> Iterator[tuple[int, JobReport] | None]:
        """
        Yield what is noted of each partition: which start of the job has sent it, and its report.

        None stands for a partition without a note on the same changes.
        """

        def read(partition: Partition) -> tuple[int, JobReport] | None:
            found = self._read(_name_of(partition.index), _load_report)
            return found[1:] if found and found[0] == partition.digest else None

        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            for first in range(0, len(partitions), _AT_ONCE):
                yield from pool.map(read, partitions[first : first + _AT_ONCE])

    def note(self, partition: Partition, start: int, report: JobReport) -> None:
        """Note a partition that this start of the job has sent, and whose changes are settled."""
        note = {
            "digest": partition.digest,
            "start": start,
            "applied": report.accounts.applied,
            "unchanged": report.accounts.unchanged,
            "run": attrs.astuple(report.run),
            "refused": [*map(_dump_failure, report.failures)],
        }
        self._write(_name_of(partition.index), note)

    def remove(self, partitions: int) -> None:
        """Remove the notes on so many partitions, and the folder if nothing else is there."""
        with naming(self.name):
            for name in [*map(_name_of, range(partitions)), _JOB]:
                path = f"{self._root}/{name}"
                if self._system.get_file_info(path).is_file:
                    self._system.delete_file(path)
            if not self._system.get_file_info(_files.FileSelector(self._root)):
                self._system.delete_dir(self._root)

    def _read(self, name: str, load: Callable[..., T]) -> T | None:
        try:
            with naming(self.name), self._system.open_input_file(f"{self._root}/{name}") as file:
                return load(**json.loads(file.read()))
        except FileNotFoundError:
            return None
        except (TypeError, ValueError):
            reason = "is damaged: move it away; the same command sends everything again"
            raise JournalError(self.name, reason) from None

    def _write(self, name: str, values: dict[str, Any]) -> None:
        path = f"{self._root}/{name}"
        with naming(self.name):
            self._system.create_dir(self._root, recursive=True)
            with self._system.open_output_stream(f"{path}.part") as file:
                file.write(json.dumps(values).encode())
            self._system.move(f"{path}.part", path)


def _name_of(partition: int) -> str:
    return f"part-{partition:05}.json"


def _load_job(first_users: list[str], **key: Any) -> tuple[JobKey, list[str]]:
    return JobKey(**key), first_users


def _load_report(
    digest: str, start: int, applied: int, unchanged: int, run: list[Any], refused: list[Any]
) -> tuple[str, int, JobReport]:
    accounts = Accounts(applied=applied, unchanged=unchanged)
    failures = [_load_failure(*each) for each in refused]
    for unit, result in failures:
        accounts.refused[result.code] += unit.rows
    accounts.taken = accounts.earlier = accounts.settled
    # Earlier versions noted a fifth number.
    report = JobReport(file="", rows=0, accounts=accounts, run=Run(*run[:4]), failures=failures)
    return digest, start, report


def _dump_failure(failure: tuple[Unit, MarkResult]) -> tuple[Any, ...]:
    unit, result = failure
    record = record_of(unit.change, unit.line)
    return record, unit.rows, result.code, result.info, result.attempts, subject_of(result)


def _load_failure(
    record: Any, rows: int, code: int, info: str, attempts: int, subject: str
) -> tuple[Unit, MarkResult]:
    change = change_of(record)
    return Unit(0, change, rows, record[-1]), refusal_of(change, code, info, attempts, subject)
