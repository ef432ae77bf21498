"""Streams that may be compressed: with gzip, or with zstd."""

import gzip
import io
import re
import sys
import zlib
from typing import Any, BinaryIO, Final, cast, final

from chatmark.jobs.sources.formats import Compression
from chatmark.jobs.sources.lines import UnreadableError

_BUFFER_BYTES: Final = 1 << 17
_MAGIC_BYTES: Final = 4
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
# A skippable frame; parallel compressors begin with one.
_ZSTD_SKIPPABLE: Final = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")


def decompressed(stream: BinaryIO, claimed: Compression | None) -> BinaryIO:
    """
    Return the decompressed stream.

    The first bytes decide, and the name must not say otherwise. Several members or frames are one
    after another. Reading it raises UnreadableError where the data is damaged or ends early. A
    stream that cannot be read twice must be buffered.
    """
    found = _compression_of(_first_bytes(stream))
    if claimed is not None and found is not claimed:
        has = "" if found is None else f" but {found.value}"
        raise UnreadableError(f"the name says {claimed.value}, the data is none{has}")
    if found is None:
        return stream
    return io.BufferedReader(_Inflated(stream, found), _BUFFER_BYTES)


def _first_bytes(stream: BinaryIO) -> bytes:
    if stream.seekable():
        start = stream.tell()
        first = stream.read(_MAGIC_BYTES)
        stream.seek(start)
        return first
    # It does not wait for more bytes than there are: the input may be a terminal.
    return cast("io.BufferedReader", stream).peek(_MAGIC_BYTES)[:_MAGIC_BYTES]


def _compression_of(first: bytes) -> Compression | None:
    # None of these can begin a row: in UTF-8 they are half characters or out of place.
    if first.startswith(_GZIP_MAGIC):
        return Compression.GZIP
    if first == _ZSTD_MAGIC or _ZSTD_SKIPPABLE.match(first):
        return Compression.ZSTD
    return None


@final
class _Inflated(io.RawIOBase):
    """Reads compressed data; its errors are UnreadableError."""

    def __init__(self, stream: BinaryIO, compression: Compression) -> None:
        self._name = compression.value
        self._damage: tuple[type[Exception], ...] = (gzip.BadGzipFile, zlib.error)
        if compression is Compression.GZIP:
            self._file: Any = gzip.GzipFile(fileobj=stream, mode="rb")
        else:
            zstd = _zstd()
            self._damage = (zstd.ZstdError,)
            self._file = zstd.ZstdFile(stream, "rb")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        try:
            # Only available bytes, so that data before a damage is read.
            data = cast("bytes", self._file.read1(len(buffer)))
        except EOFError:
            raise UnreadableError(f"the {self._name} data ends early: the file was cut") from None
        except self._damage as error:
            raise UnreadableError(f"the {self._name} data cannot be read: {error}") from None
        buffer[: len(data)] = data
        return len(data)


def _zstd() -> Any:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd  # noqa: PLC0415 - Python may be built without.
        else:
            from backports import zstd  # noqa: PLC0415 - an extra.
    except ImportError:
        raise UnreadableError(
            "is compressed with zstd, which is not installed: pip install 'chatmark[zstd]'"
        ) from None
    return zstd
