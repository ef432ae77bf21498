"""Streams that are compressed: with gzip, zstd, bzip2 or xz."""

import bz2
import gzip
import io
import lzma
import re
import sys
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Final, Literal, cast, final

from chatmark.jobs.sources.formats import Compression
from chatmark.jobs.sources.lines import UnreadableError, first_bytes

_BUFFER_BYTES: Final = 1 << 17
_MOST_MEMORY: Final = 1 << 27
_MAGIC_BYTES: Final = 6
# A zstd file may begin with a skippable frame, as parallel compressors write.
_MAGIC: Final = {
    Compression.GZIP: re.compile(rb"\x1f\x8b"),
    Compression.ZSTD: re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
    Compression.BZIP2: re.compile(rb"BZh[1-9]"),
    Compression.XZ: re.compile(rb"\xfd7zXZ\x00"),
}
_DECOMPRESSORS: Final[dict[Compression, Callable[[], Any]]] = {
    Compression.BZIP2: bz2.BZ2Decompressor,
    Compression.XZ: lambda: lzma.LZMADecompressor(memlimit=_MOST_MEMORY),
}


def decompressed(stream: BinaryIO, claimed: Compression | None) -> BinaryIO:
    """
    Return the decompressed stream.

    The first bytes decide, and the name must not say otherwise. Several members or frames are one
    after another. Reading it raises UnreadableError where the data is damaged or ends early. A
    stream that cannot be read twice must be buffered.
    """
    first = first_bytes(stream, _MAGIC_BYTES)
    # None of these can begin a row.
    found = next((each for each, magic in _MAGIC.items() if magic.match(first)), None)
    if claimed is not None and found is not claimed:
        has = "" if found is None else f" but {found.value}"
        raise UnreadableError(f"the name says {claimed.value}, the data is none{has}")
    if found is None:
        return stream
    return io.BufferedReader(_Inflated(stream, found), _BUFFER_BYTES)


class _Members:
    """Members one after another. Python's own files pass over what follows, and bound no memory."""

    def __init__(self, stream: BinaryIO, make: Callable[[], Any]) -> None:
        self._stream = cast("io.BufferedReader", stream)
        self._make = make
        self._member: Any = None
        self._rest = b""

    def read1(self, size: int) -> bytes:
        while True:
            data = b""
            if self._member is None or self._member.needs_input:
                data, self._rest = self._rest or self._stream.read1(_BUFFER_BYTES), b""
                if not data and self._member is None:
                    return b""
                if not data:
                    raise EOFError
            if self._member is None:
                # Zeros fill up blocks.
                self._rest = data.lstrip(b"\0")
                self._member = self._make() if self._rest else None
                continue
            made = cast("bytes", self._member.decompress(data, size))
            if self._member.eof:
                self._rest, self._member = self._member.unused_data, None
            if made:
                return made


@final
class _Inflated(io.RawIOBase):
    """Reads compressed data; its errors are UnreadableError."""

    def __init__(self, stream: BinaryIO, compression: Compression) -> None:
        open_, self._damage = _codec(compression)
        self._name = compression.value
        make = _DECOMPRESSORS.get(compression)
        self._file = open_(stream, "rb") if make is None else _Members(stream, make)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        try:
            # Only available bytes, so that data before a damage is read.
            data = cast("bytes", self._file.read1(len(buffer)))
        except EOFError:
            raise UnreadableError(f"the {self._name} data ends early: the file was cut") from None
        except self._damage as error:
            if getattr(error, "errno", None) is not None:
                # Of the disk, not of the data.
                raise
            raise UnreadableError(f"the {self._name} data cannot be read: {error}") from None
        buffer[: len(data)] = data
        return len(data)


def compressed(stream: BinaryIO, compression: Compression | None) -> BinaryIO:
    """Return a stream that writes compressed data; closing it leaves the other open."""
    return stream if compression is None else cast("BinaryIO", _codec(compression)[0](stream, "wb"))


def _codec(compression: Compression) -> tuple[Callable[..., Any], tuple[type[Exception], ...]]:
    """Return what opens a stream in a mode, and the errors of damaged data."""
    if compression is Compression.GZIP:
        return _open_gzip, (gzip.BadGzipFile, zlib.error)
    if compression is Compression.BZIP2:
        return bz2.BZ2File, (OSError,)
    if compression is Compression.XZ:
        return lzma.LZMAFile, (lzma.LZMAError,)
    zstd = _zstd()
    return zstd.ZstdFile, (zstd.ZstdError,)


def _open_gzip(stream: BinaryIO, mode: Literal["rb", "wb"]) -> gzip.GzipFile:
    # No name and no time in the header: the same rows make the same file.
    return gzip.GzipFile("", mode, fileobj=stream, mtime=0)


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
