"""
The checkpoint of a job: a folder on storage that outlives the process.

It has a note on each partition that was sent. A file is there as a whole or not at all.
"""

import concurrent.futures
import json
import pathlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final, final

import attrs
from pyarrow import fs  # pyright: ignore[reportMissingTypeStubs]

from chatmark import ItemRefusedError, MarkResult
from chatmark.jobs.grouping.units import Unit
from chatmark.jobs.journal.database import ChangedInputError, JobKey, JournalError, Run
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.sending.accounts import Accounts
from chatmark.jobs.sending.failures import subject_of
from chatmark.jobs.sources.files import file_system, naming, shown
from chatmark.jobs.sources.parser import RowParser
from chatmark.jobs.sources.row import failed_row
from chatmark.ray.input.partitions import Partition

_JOB: Final = "job.json"
_FIELDS: Final = frozenset(("target", "digest", "units", "changes", "input", "first_users"))
_AT_ONCE: Final = 16
_files: Any = fs


@attrs.frozen
class Sent:
    """
    A partition that was sent.

    Args:
        report: Its report.
        failed: The rows that failed, as JSON Lines.
        start: Which start of the job sent it.
    """

    report: JobReport
    failed: bytes = b""
    start: int = 0

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows that failed."""
        return map(json.loads, self.failed.splitlines())

    def dump(self, digest: str) -> bytes:
        """Return the note on a partition whose changes are all settled."""
        report = self.report
        note = {
            "digest": digest,
            "start": self.start,
            "applied": report.accounts.applied,
            "unchanged": report.accounts.unchanged,
            "refused": [*report.accounts.refused.items()],
            "run": attrs.astuple(report.run),
            "subjects": [*report.subjects.items()],
            "kept": [*map(_dump_failure, report.failures)],
            "failed": self.failed.decode(),
        }
        return json.dumps(note).encode()

    @classmethod
    def load(cls, note: dict[str, Any]) -> "Sent":
        """Return the partition of a note, sent by an earlier start."""
        accounts = Accounts(applied=note["applied"], unchanged=note["unchanged"])
        accounts.refused = Counter(dict(note["refused"]))
        accounts.taken = accounts.earlier = accounts.settled
        report = JobReport(
            file="",
            rows=0,
            accounts=accounts,
            run=Run(*note["run"]),
            subjects={(code, subject): count for (code, subject), count in note["subjects"]},
            failures=[_load_failure(*each) for each in note["kept"]],
        )
        return cls(report, note["failed"].encode(), note["start"])


@final
class Checkpoint:
    """
    The files of a checkpoint.

    Args:
        url: The path or the URL of the folder.

    Attributes:
        name: The name in messages.

    Raises:
        JournalError: It is a file.
        OSError: It cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self.name = shown(url)
        uri = url if "://" in url else pathlib.Path(url).absolute().as_uri()
        self._system, self._root = file_system(uri)
        with naming(self.name):
            if self._system.get_file_info(self._root).is_file:
                raise JournalError(self.name, "is a file: a job on a cluster needs a folder")

    def first_users(self) -> list[str] | None:
        """Return the first user of each partition but the first, None if the job is new."""
        found = self._job()
        return None if found is None else found["first_users"]

    def claim(self, key: JobKey, first_users: Sequence[str], *, accept_changed_input: bool) -> None:
        """
        Assign a new checkpoint to a job, or make sure that it belongs to it.

        Raises:
            ChangedInputError: It is of other rows, which are not accepted.
            JournalError: It is of another application or server, or damaged.
            OSError: It cannot be written.
        """
        found = self._job()
        if found is not None and found["target"] != key.target:
            reason = f"is of a job for {found['target']}, not for {key.target}: give another name"
            raise JournalError(self.name, reason)
        if found is not None and found["digest"] != key.digest and not accept_changed_input:
            raise ChangedInputError(
                self.name,
                f"is of other rows: {found['changes']:,} changes of {found['units']:,} "
                f"conversations from {found['input']}; now it is {key.changes:,} of {key.units:,} "
                f"from {key.input}",
            )
        values = {name: getattr(key, name) for name in _FIELDS - {"first_users"}}
        self._write(_JOB, json.dumps(values | {"first_users": [*first_users]}).encode())

    def notes(self, partitions: Sequence[Partition]) -> list[Sent | None]:
        """Return what is noted of each partition, None without a note on the same changes."""

        def load(partition: Partition) -> Sent | None:
            note = self._read(_name_of(partition.index))
            return Sent.load(note) if note and note["digest"] == partition.digest else None

        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(load, partitions))

    def note(self, partition: Partition, sent: Sent) -> None:
        """Note a partition that was sent."""
        self._write(_name_of(partition.index), sent.dump(partition.digest))

    def remove(self, partitions: int) -> None:
        """Remove the notes on so many partitions, and the folder if nothing else is there."""
        with naming(self.name):
            for name in [*map(_name_of, range(partitions)), _JOB]:
                path = f"{self._root}/{name}"
                if self._system.get_file_info(path).is_file:
                    self._system.delete_file(path)
            if not self._system.get_file_info(_files.FileSelector(self._root)):
                self._system.delete_dir(self._root)

    def _job(self) -> dict[str, Any] | None:
        found = self._read(_JOB)
        if found is not None and not found.keys() >= _FIELDS:
            raise self._damaged()
        return found

    def _damaged(self) -> JournalError:
        reason = "is damaged: move it away; the same command sends everything again"
        return JournalError(self.name, reason)

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            with naming(self.name), self._system.open_input_file(f"{self._root}/{name}") as file:
                return dict(json.loads(file.read()))
        except FileNotFoundError:
            return None
        except (TypeError, ValueError):
            raise self._damaged() from None

    def _write(self, name: str, data: bytes) -> None:
        path = f"{self._root}/{name}"
        with naming(self.name):
            self._system.create_dir(self._root, recursive=True)
            with self._system.open_output_stream(f"{path}.part") as file:
                file.write(data)
            self._system.move(f"{path}.part", path)


def _name_of(partition: int) -> str:
    return f"part-{partition:05}.json"


def _dump_failure(failure: tuple[Unit, MarkResult]) -> list[Any]:
    unit, result = failure
    return [failed_row(result), unit.rows, unit.line, subject_of(result)]


def _load_failure(
    row: dict[str, Any], rows: int, line: int, subject: str
) -> tuple[Unit, MarkResult]:
    (change,) = RowParser().parse(row)
    code, info, attempts = row["_code"], row["_info"], row["_attempts"]
    error = ItemRefusedError(code, info)
    error.names_peer = {"peer": True, "user": False}.get(subject)
    unit = Unit(0, change, rows, line, contradicts=False)
    return unit, MarkResult(change, code, info, attempts, error)
