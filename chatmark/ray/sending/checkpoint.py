"""
The checkpoint of a job: what is settled, on storage that every machine reaches.

One file says which job it is of and how its users are divided. Each partition that was sent has its
journal there (see `chatmark.jobs.journal`). A file is there as a whole or not at all.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import Any, Final, final

from pyarrow import fs  # pyright: ignore[reportMissingTypeStubs]

from chatmark.jobs.journal.database import ChangedInputError, JobKey, JournalError
from chatmark.jobs.sources.storage import file_system, naming, shown

_JOB: Final = "job.json"
_FIELDS: Final = frozenset(("target", "digest", "units", "changes", "input", "first_users"))
_files: Any = fs


@final
class Checkpoint:
    """
    The files of a checkpoint, in a folder.

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
        """Return the users with whom the partitions but the first begin, None of a new job."""
        found = self._job()
        return None if found is None else [*map(str, found["first_users"])]

    def claim(
        self, key: JobKey, first_users: Sequence[str], *, accept_changed_input: bool = False
    ) -> None:
        """
        Assign a new checkpoint to a job, or make sure that it belongs to it.

        Raises:
            ChangedInputError: It is of other rows, which are not accepted.
            JournalError: It is of another application or server.
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

    def fetch(self, partition: int, path: pathlib.Path) -> None:
        """Write the journal of a partition, if there is one, into a file."""
        data = self._read(_name_of(partition))
        if data is not None:
            path.write_bytes(data)

    def note(self, partition: int, path: pathlib.Path) -> None:
        """Keep the journal of a partition from a file."""
        self._write(_name_of(partition), path.read_bytes())

    def remove(self, partitions: int) -> None:
        """Remove the files of so many partitions, and the folder if nothing else is there."""
        with naming(self.name):
            for name in [*map(_name_of, range(partitions)), _JOB]:
                path = f"{self._root}/{name}"
                if self._system.get_file_info(path).is_file:
                    self._system.delete_file(path)
            if not self._system.get_file_info(_files.FileSelector(self._root, recursive=True)):
                self._system.delete_dir(self._root)

    def _job(self) -> dict[str, Any] | None:
        data = self._read(_JOB)
        found = {} if data is None else _object(data)
        if data is not None and not found.keys() >= _FIELDS:
            reason = "is damaged: move it away; the same command sends everything again"
            raise JournalError(self.name, reason)
        return found or None

    def _read(self, name: str) -> bytes | None:
        try:
            with naming(self.name), self._system.open_input_file(f"{self._root}/{name}") as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None

    def _write(self, name: str, data: bytes) -> None:
        path = f"{self._root}/{name}"
        with naming(self.name):
            self._system.create_dir(self._root, recursive=True)
            with self._system.open_output_stream(f"{path}.part") as file:
                file.write(data)
            self._system.move(f"{path}.part", path)


def _name_of(partition: int) -> str:
    return f"part-{partition:05}.journal"


def _object(data: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(data))
    except (TypeError, ValueError):
        return {}
