"""
Files that a job writes: whole or not at all.

Until it is complete, a file is called `<name>.part`: only its owner may read it, and the process
that writes it holds a lock on it. A link is followed: its target is replaced. A device, a pipe, and
the file that standard output goes to are written to as they are.
"""

import contextlib
import os
import pathlib
import stat
import sys
from collections.abc import Generator, Iterable, Mapping
from typing import BinaryIO, Final, Self

try:
    import fcntl
except ImportError:  # Windows, which refuses to replace a file that is open.
    fcntl = None  # type: ignore[assignment]

from chatmark import InputError
from chatmark.jobs.sources.files import naming

STANDARD_OUTPUT: Final = "-"
# Paths of files that are open in this process.
_DESCRIPTORS: Final = ("/dev/fd/", "/proc/")


def check_outputs(outputs: Mapping[str, str | None], inputs: Iterable[str]) -> None:
    """Refuse an output that would replace an input or another output; messages have their names."""
    taken = {_identity(path): "the input" for path in inputs if path != STANDARD_OUTPUT}
    for name, path in outputs.items():
        if path is None:
            continue
        identity = _identity(path)
        if identity in taken:
            raise InputError("output", f"{name} would replace {taken[identity]}", path)
        if identity:
            taken[identity] = f"what {name} writes"


def _identity(path: str) -> object:
    """Return what two names of one file have in common, None for a device that takes anything."""
    if path == STANDARD_OUTPUT:
        return path
    with contextlib.suppress(OSError):
        found = os.stat(path)  # noqa: PTH116 - of what a link points to.
        if stat.S_ISREG(found.st_mode):
            return found.st_dev, found.st_ino
        return None if stat.S_ISCHR(found.st_mode) else os.path.realpath(path)
    return os.path.realpath(path)


def sync_directory(path: pathlib.Path) -> None:
    """Make the name of a file durable, if the system supports that."""
    with contextlib.suppress(OSError):
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


class OutputFile:
    """
    A file that takes its name only when it is complete; "-" is standard output.

    With *resume* it continues the part that an earlier process left. A file that *is_in_place* is a
    device, a pipe or standard output, written to as it is.

    Raises:
        InputError: Another process writes it, it is not a regular file and cannot be resumed, or
            a file of another user has the name of its part.
        OSError: It cannot be written. The error has its name, as all others of the system have.
    """

    def __init__(self, path: str, *, resume: bool = False) -> None:
        self._is_partial = False
        self._is_standard_output = path == STANDARD_OUTPUT
        self.is_in_place = is_in_place(path)
        self.path = pathlib.Path(path if self.is_in_place else os.path.realpath(path))
        self.part = self.path.with_name(f"{self.path.name}.part")
        if self.is_in_place and resume:
            raise InputError("output", "must be a file, not a device or a pipe", path)
        if self.path.is_dir():
            raise IsADirectoryError(21, "Is a directory", path)
        self._file = _open_in_place(path) if self.is_in_place else open_owned(self.part)
        if not (self.is_in_place or resume):
            self._file.truncate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        if exc_type is not None:
            # The error that ended it says more.
            with contextlib.suppress(OSError):
                self._close()
            return
        try:
            if not self._file.closed:
                self.flush()
                if not (self.is_in_place or self._is_partial):
                    self.publish()
        finally:
            self._close()

    def keep_apart(self) -> str:
        """Replace nothing when it is closed, since it does not hold everything; return its name."""
        self._is_partial = True
        return str(self.path if self.is_in_place else self.part)

    def write_text(self, text: str) -> None:
        # A server's text may name half a character, which UTF-8 has no bytes for.
        self.write_bytes(text.encode("utf-8", "replace"))

    def write_bytes(self, data: bytes) -> None:
        with self._whole():
            self._file.write(data)

    def flush(self) -> None:
        """Hand the written bytes to the system."""
        with self._whole():
            self._file.flush()

    def sync(self) -> int:
        """Make the written bytes durable; return their number."""
        self.flush()
        with self._whole():
            os.fsync(self._file.fileno())
            return self._file.tell()

    def publish(self) -> None:
        """Close it and give it its name."""
        self.flush()
        self._give_name(self.part)

    def _give_name(self, complete: pathlib.Path) -> None:
        """Close it and let a complete file take its name, so that it outlives the machine."""
        self._close()
        with self._whole():
            with complete.open("rb") as file:
                os.fsync(file.fileno())
            complete.replace(self.path)
            sync_directory(self.path)

    def _close(self) -> None:
        with self._whole():
            if self._is_standard_output:
                self._file.flush()
            else:
                self._file.close()

    @contextlib.contextmanager
    def _whole(self) -> Generator[None]:
        """Let the file take no name if something could not be written."""
        try:
            with naming(str(self.path)):
                yield
        except OSError:
            self._is_partial = True
            raise


def is_in_place(path: str) -> bool:
    """Whether an output is written to as it is: no file takes the place of what is there."""
    if path == STANDARD_OUTPUT:
        return True
    try:
        found = os.stat(path)  # noqa: PTH116 - of what a link points to.
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(found.st_mode):
        return False
    if not stat.S_ISREG(found.st_mode) or _standard_stream(found) is not None:
        return True
    # A link may lead to a file that is open in this process.
    link = pathlib.Path(path)
    while link.is_symlink() and not str(link.absolute()).startswith(_DESCRIPTORS):
        link = link.parent / link.readlink()
    return str(link.absolute()).startswith(_DESCRIPTORS)


def _standard_stream(found: os.stat_result) -> int | None:
    """Return the number of the standard stream that goes to a file, None if none does."""
    for number in (1, 2):
        with contextlib.suppress(OSError):
            if os.path.samestat(found, os.fstat(number)):
                return number
    return None


def _open_in_place(path: str) -> BinaryIO:
    sys.stdout.flush()
    if path == STANDARD_OUTPUT:
        return sys.stdout.buffer
    number = _standard_stream(os.stat(path))  # noqa: PTH116 - as above.
    # A second opening of a file would overwrite what the stream has written.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND) if number is None else os.dup(number)
    return os.fdopen(descriptor, "wb")


def open_owned(part: pathlib.Path) -> BinaryIO:
    """Open a file of this user alone, or create it, and lock it until it is closed."""
    # Another user may have planted a link: links are not followed here.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(part, flags, 0o600), "r+b")
    try:
        found = os.fstat(file.fileno())
        _claim(file, found, str(part))
        if hasattr(os, "fchmod"):
            # One that was left behind may be open to others.
            os.fchmod(file.fileno(), 0o600)
        # A process that held the lock may have given it its name in between.
        is_there = part.exists() and os.path.samestat(part.stat(), found)
    except BaseException:
        file.close()
        raise
    if is_there:
        return file
    file.close()
    return open_owned(part)


def _claim(file: BinaryIO, found: os.stat_result, name: str) -> None:
    owner = getattr(os, "geteuid", lambda: found.st_uid)()
    if not stat.S_ISREG(found.st_mode) or found.st_uid != owner or found.st_nlink > 1:
        raise InputError("output", "must be a file of your own: remove it", name)
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError("output", "is written by another process", name) from None
