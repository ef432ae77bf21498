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

from chatmark.errors import InputError


def open_part(part: pathlib.Path, *, keep: bool = False) -> BinaryIO:
    """
    Open the part of a file for writing, and lock it until it is closed.
    """
    # Another user may have planted a link: links are not followed here.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(part, flags, 0o600)
    try:
        _claim(descriptor, str(part))
        if not keep:
            os.ftruncate(descriptor, 0)
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


def publish(part: pathlib.Path, path: pathlib.Path) -> None:
    """
    Give a complete part its name, so that it outlives the machine.
    """
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    sync_directory(path)


def sync_directory(path: pathlib.Path) -> None:
    """
    Make the name of a file durable, if the system supports that.
    """
    with contextlib.suppress(OSError):
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@final
class OutputFile:
    """
    A file that takes its name only when it is complete.

    A job may so read the very file that it replaces.
    """

    def __init__(self, path: str) -> None:
        self._path = pathlib.Path(os.path.realpath(path))
        self._part = self._path.with_name(f"{self._path.name}.part")
        self._is_partial = False
        if self._path.is_dir():
            raise IsADirectoryError(21, "Is a directory", path)
        self._in_place = self._path.exists() and not self._path.is_file()
        self._file = self._path.open("wb") if self._in_place else open_part(self._part)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if exc_type is None and not self._in_place and not self._is_partial:
            publish(self._part, self._path)

    def is_file(self, path: str) -> bool:
        """
        Whether this is going to replace that file.
        """
        return self._path.exists() and str(self._path) == os.path.realpath(path)

    def keep_apart(self) -> str:
        """
        Replace nothing when it is closed, since it does not hold everything; return its name.
        """
        self._is_partial = True
        return str(self._path if self._in_place else self._part)

    def write(self, document: Any, *, indent: int | None = None) -> None:
        """
        Write a JSON document and end the line.
        """
        self.write_text(json.dumps(document, ensure_ascii=False, indent=indent) + "\n")

    def write_text(self, text: str) -> None:
        """
        Write text as it is.
        """
        # A server's text may name half a character, which UTF-8 has no bytes for.
        self._file.write(text.encode("utf-8", "replace"))
