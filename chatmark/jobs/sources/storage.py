"""Files of changes on disks and in object stores: paths, folders, patterns and URLs."""

import contextlib
import errno
import fnmatch
import glob
import io
import itertools
import os
import pathlib
import posixpath
import re
import urllib.parse
from collections.abc import Generator, Iterator, Sequence
from typing import Any, BinaryIO, Final, cast

from chatmark import InputError
from chatmark.jobs.sources.formats import ROW_FORMATS, FileFormat, format_of
from chatmark.jobs.sources.row import OWN_FIELDS

_WILD: Final = re.compile(r"[*?\[]").search
# The scheme with a user, the place, and the query, such as a region, which is for the store.
_URL: Final = re.compile(r"(\w+://(?:[^/@]*@)?)(.*?)(\?\w+=.*)?", re.DOTALL).fullmatch
_SAFE: Final = "/=+,:@!$&'()~;"
_HIDDEN: Final = ("_", ".")
# Hive writes the value of a column into the names of folders.
_PARTITION: Final = re.compile(rf"({'|'.join(OWN_FIELDS)})=").match


def find_files(paths: Sequence[str], format_: FileFormat | None = None) -> list[str]:
    """
    Return the files of paths, patterns and folders; those of each are sorted by name.

    Args:
        paths: Local paths, or URLs that pyarrow reads: `s3://`, `gs://`, `hdfs://`, ...
        format_: The format of the files, None to tell by their names. Of a folder, files whose
            names tell none are left out, and those that begin with `_` or a dot always.

    Raises:
        InputError: A path has no files, or the names of its folders hold a field of rows.
        OSError: A file does not exist, or a folder cannot be read.
    """
    found: list[str] = []
    for path in paths:
        with naming(path):
            names = sorted((_remote_files if "://" in path else _local_files)(path, format_))
        if not names:
            raise InputError("path", "has no files of changes", shown(path))
        for part in {part for name in names for part in posixpath.dirname(name).split("/")}:
            if _PARTITION(part):
                reason = "is in the name of a folder, which is not read: write it as a column"
                raise InputError(part.partition("=")[0], reason, part)
        found += names
    return found


def open_file(path: str) -> BinaryIO:
    """Open a local or a remote file."""
    if "://" not in path:
        return open(path, "rb")  # noqa: PTH123
    system, inner = file_system(path)
    return cast("BinaryIO", io.BufferedReader(system.open_input_file(inner)))


@contextlib.contextmanager
def naming(path: str) -> Generator[None]:
    """Let the errors of an object store, which have neither number nor name, have both."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        raise OSError(errno.EIO, str(error).partition("\n")[0], shown(path)) from None


def shown(path: str) -> str:
    """
    Return a path for messages, without the secrets that a URL may have.

    >>> shown("s3://key:secret@bucket/a.csv?region=eu"), shown("a@b?c=d.csv")
    ('s3://bucket/a.csv', 'a@b?c=d.csv')
    """
    url = _URL(path)
    return f"{url[1].partition('://')[0]}://{url[2]}" if url else path


def _local_files(path: str, format_: FileFormat | None) -> Iterator[str]:
    # The name of a file may look like a pattern.
    is_pattern = _WILD(path) and not os.path.exists(path)  # noqa: PTH110
    for each in glob.glob(path, recursive=True) if is_pattern else [path]:  # noqa: PTH207
        if not os.path.exists(each):  # noqa: PTH110
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), each)
        if not os.path.isdir(each):  # noqa: PTH112
            yield each
            continue
        for folder, _, names in os.walk(each, onerror=_raise):
            within = pathlib.Path(folder).relative_to(each).parts
            for name in names:
                if _is_change_file([*within, name], format_):
                    yield os.path.join(folder, name)  # noqa: PTH118


def _raise(error: OSError) -> None:
    raise error


def _remote_files(url: str, format_: FileFormat | None) -> Iterator[str]:
    found = _URL(url)
    assert found is not None  # noqa: S101 - it has a scheme.
    prefix, place, query = found[1], found[2].rstrip("/"), found[3] or ""
    parts = place.split("/")
    fixed = "/".join(itertools.takewhile(lambda part: not _WILD(part), parts))
    pattern = parts[len(fixed.split("/")) :]
    system, root = file_system(f"{prefix}{fixed}{query}")
    info = system.get_file_info(root)
    if info.is_file:
        yield url
        return
    if info.type.name == "NotFound":
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), shown(url))
    from pyarrow import fs  # noqa: PLC0415 - an extra. # pyright: ignore[reportMissingTypeStubs]

    selector = cast("Any", fs).FileSelector(root, recursive=True, allow_not_found=True)
    for each in system.get_file_info(selector):
        within = each.path[len(root) :].strip("/").split("/")
        rest = within[len(pattern) :]
        if (
            each.is_file
            and all(map(fnmatch.fnmatchcase, within, pattern))
            and (len(within) == len(pattern) or (rest and _is_change_file(rest, format_)))
        ):
            yield f"{prefix}{fixed}/{urllib.parse.quote('/'.join(within), _SAFE)}{query}"


def _is_change_file(within: Sequence[str], format_: FileFormat | None) -> bool:
    """Say whether a file in a folder has changes; others, such as `_SUCCESS`, have not."""
    if any(part.startswith(_HIDDEN) for part in within):
        return False
    try:
        return format_ is not None or format_of(within[-1], ROW_FORMATS) in ROW_FORMATS
    except InputError:
        return False


def file_system(url: str) -> tuple[Any, str]:
    """Return the file system of pyarrow for a URL, and the path there."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra. # pyright: ignore[reportMissingTypeStubs]
        from pyarrow import fs  # noqa: PLC0415 # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        reason = "is a URL, which pyarrow reads: pip install 'chatmark[parquet]'"
        raise InputError("path", reason, shown(url)) from None
    try:
        quoted = urllib.parse.quote(url, f"{_SAFE}%?")
        return cast("tuple[Any, str]", cast("Any", fs).FileSystem.from_uri(quoted))
    except cast("Any", pa).ArrowInvalid as error:
        # Arrow's text repeats the URL.
        reason = str(error).partition(" URI: ")[0].partition(": ")[0]
        raise InputError("path", f"cannot be opened: {reason}", shown(url)) from None
