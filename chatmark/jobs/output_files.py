"""
Files that a job writes: whole or not at all.

Until it is complete, a file is called `<name>.part`: only its owner may read it, and the process
that writes it holds a lock on it. A link is followed: its target is replaced. A
device or a pipe is written to as it is.
"""

import contextlib
import json
import os
import pathlib
import stat
from typing import Any, BinaryIO, Self, final

try:
    import fcntl
except ImportError:  # Windows, which refuses to replace a file that is open.
    fcntl = None  # type: ignore[assignment]

from chatmark import InputError


def publish(part: pathlib.Path, path: pathlib.Path) -> None:
    """Give a complete part its name, so that it outlives the machine."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    sync_directory(path)


def sync_directory(path: pathlib.Path) -> None:
    """Make the name of a file durable, if the system supports that."""
    with contextlib.suppress(OSError):
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@final
class OutputFile:
    """
    A file that takes its name only when it is complete, so that a job may replace its input.

    With *resume* it continues the part that an earlier process left.

    Raises:
        InputError: Another process writes it, it is not a regular file and cannot be resumed, or
            a file of another user has the name of its part.
        OSError: It cannot be written.
    """

    def __init__(self, path: str, *, resume: bool = False) -> None:
        self.path = pathlib.Path(os.path.realpath(path))
        self.part = self.path.with_name(f"{self.path.name}.part")
        self._is_partial = False
        if self.path.is_dir():
            raise IsADirectoryError(21, "Is a directory", path)
        self._in_place = self.path.exists() and not self.path.is_file()
        if self._in_place and resume:
            raise InputError("output", "must be a file, not a device or a pipe", path)
        self._file = self.path.open("wb") if self._in_place else _open_part(self.part)
        if not (self._in_place or resume):
            self._file.truncate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        if not (exc_type or self._file.closed or self._in_place or self._is_partial):
            self.publish()
        self._file.close()

    def replaces(self, path: str) -> bool:
        """Whether this is going to replace that file."""
        return self.path.exists() and str(self.path) == os.path.realpath(path)

    def keep_apart(self) -> str:
        """Replace nothing when it is closed, since it does not hold everything; return its name."""
        self._is_partial = True
        return str(self.path if self._in_place else self.part)

    def write(self, document: Any, *, indent: int | None = None) -> None:
        """Write a JSON document and end the line."""
        self.write_text(json.dumps(document, ensure_ascii=False, indent=indent) + "\n")

    def write_text(self, text: str) -> None:
        """Write text as it is."""
        # A server's text may name half a character, which UTF-8 has no bytes for.
        self.write_bytes(text.encode("utf-8", "replace"))

    def write_bytes(self, data: bytes) -> None:
        """Write bytes as they are."""
        self._file.write(data)

    def size(self) -> int:
        """Return how many bytes the part has."""
        return self._file.seek(0, os.SEEK_END)

    def cut(self, size: int) -> None:
        """Cut the part to a size, and write from there."""
        self._file.seek(size)
        self._file.truncate()

    def sync(self) -> int:
        """Make the written bytes durable; return their number."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def publish(self) -> None:
        """Close it and give it its name."""
        self._file.close()
        publish(self.part, self.path)


def _open_part(part: pathlib.Path) -> BinaryIO:
    # Another user may have planted a link: links are not followed here.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(part, flags, 0o600)
    try:
        _claim(descriptor, str(part))
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "r+b")


def _claim(descriptor: int, name: str) -> None:
    found = os.fstat(descriptor)
    owner = getattr(os, "geteuid", lambda: found.st_uid)()
    if not stat.S_ISREG(found.st_mode) or found.st_uid != owner or found.st_nlink > 1:
        raise InputError("output", "must be a file of your own: remove it", name)
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError("output", "is written by another process", name) from None
