"""Formats, compressions and encodings of files, by their names and first bytes; lines of text."""

import bz2
import codecs
import enum
import functools
import gzip
import io
import itertools
import json
import lzma
import pathlib
import re
import shlex
import sys
import zlib
from collections.abc import Callable, Collection, Iterator
from typing import Any, BinaryIO, Final, cast, final

from chatmark import InputError


class UnreadableError(InputError):
    """A file, or the rest of it from a line on, that cannot be read."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__("file", reason)
        self.line = line


class FileFormat(enum.Enum):
    """
    The format of rows or users in a file; `LINES` is one user id a line.

    As an input, `JSON_LINES` is any JSON: a row a line, an array, or values over several lines.
    """

    JSON_LINES = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    LINES = "lines"

    @classmethod
    def _missing_(cls, value: object) -> "FileFormat | None":
        return cls.JSON_LINES if value == "json" else None


#: Formats of rows, in files of changes and in exports.
ROW_FORMATS: Final = (FileFormat.JSON_LINES, FileFormat.CSV, FileFormat.TSV, FileFormat.PARQUET)
#: Formats of lists of users.
USER_FORMATS: Final = (FileFormat.LINES, *ROW_FORMATS[:-1])
#: The character between the cells of a format of text.
DELIMITERS: Final = {FileFormat.CSV: ",", FileFormat.TSV: "\t"}
# A request body of 100 items has some 200 kB; no row is longer.
MAX_LINE_BYTES: Final = 1 << 20
# Formats, and compressions as text.
_SUFFIXES: Final[dict[str, FileFormat | str]] = {
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), FileFormat.JSON_LINES),
    ".csv": FileFormat.CSV,
    ".tsv": FileFormat.TSV,
    ".parquet": FileFormat.PARQUET,
    ".gz": "gzip",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".bz2": "bzip2",
    ".xz": "xz",
}
# What other files are, and the command that writes their rows as text to standard output.
_EXCEL: Final = ("an Excel workbook; with csvkit", "in2csv {}")
_SQLITE: Final = ("a SQLite database", "sqlite3 -csv -header {} 'SELECT * FROM changes'")
_ZIP: Final = ("a zip archive (of a workbook: in2csv in place of unzip -p)", "unzip -p {}")
_FOREIGN: Final = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", b"\xd0\xcf\x11\xe0"), _EXCEL),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3", b"SQLi"), _SQLITE),
    **dict.fromkeys((".zip", b"PK\x03\x04"), _ZIP),
}
_BUFFER_BYTES: Final = 1 << 17
# None of these can begin a row.
_MAGIC: Final = {
    "gzip": re.compile(rb"\x1f\x8b"),
    # A zstd file may begin with a skippable frame, as parallel compressors write.
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
    "bzip2": re.compile(rb"BZh[1-9]"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
}


def compression_of(path: str) -> str | None:
    """Return the compression that the last suffix of a file's name tells."""
    found = _SUFFIXES.get(_plain(path).suffix.lower())
    return found if isinstance(found, str) else None


def told_format(path: str) -> FileFormat | None:
    """Return the format that a file's name tells, compressed or not."""
    found = _SUFFIXES.get(_suffix_of(path))
    return found if isinstance(found, FileFormat) else None


def format_of(
    path: str,
    formats: Collection[FileFormat],
    default: FileFormat | None = None,
    *,
    is_output: bool = False,
) -> FileFormat:
    """Return the format that a file's name tells; without a default it must be one of *formats*."""
    found, suffix = told_format(path), _suffix_of(path)
    if found is FileFormat.PARQUET and compression_of(path) is not None:
        raise InputError("format", "Parquet is compressed inside, not as a whole", path)
    if found in formats:
        return cast("FileFormat", found)
    if suffix in _FOREIGN and not is_output:
        raise InputError("format", _how_to_convert(path, _FOREIGN[suffix]))
    if default is not None and suffix not in _FOREIGN:
        return default
    known = ", ".join(suffix for suffix, each in _SUFFIXES.items() if each in formats)
    raise InputError("format", f"the name ends in none of {known}: give the format", path)


def _suffix_of(path: str) -> str:
    name = _plain(path)
    return (name if compression_of(path) is None else name.with_suffix("")).suffix.lower()


def _plain(path: str) -> pathlib.PurePath:
    # A URL may have a query.
    return pathlib.PurePath(path.partition("?")[0] if "://" in path else path)


def _how_to_convert(path: str, foreign: tuple[str, str]) -> str:
    kind, command = foreign
    inner = _SUFFIXES.get(_plain(path).with_suffix("").suffix.lower())
    form = inner.value if isinstance(inner, FileFormat) else FileFormat.CSV.value
    # Standard input was read already, and the programs know no URLs.
    name = "FILE" if path == "-" or "://" in path else shlex.quote(path)
    return f"is {kind}: {command.format(name)} | chatmark apply - --format {form}"


def text_of(stream: BinaryIO, path: str, encoding: str | None) -> BinaryIO:
    """
    Return the text of a stream, which may be compressed, as UTF-8.

    Its first bytes decide on compression, where the name must not say otherwise, and on the
    encoding. Reading it raises UnreadableError where the data is damaged or ends early. A stream
    that cannot be read twice must be buffered.
    """
    claimed, first = compression_of(path), _first_bytes(stream, 6)
    found = next((name for name, magic in _MAGIC.items() if magic.match(first)), None)
    if claimed not in (None, found):
        has = "" if found is None else f" but {found}"
        raise UnreadableError(f"the name says {claimed}, the data is none{has}")
    if found is not None:
        stream = io.BufferedReader(_Chunks(_inflated(stream, found)), _BUFFER_BYTES)
    first = _first_bytes(stream, 4)
    if first in _FOREIGN:
        raise UnreadableError(_how_to_convert(path, _FOREIGN[first]))
    if first == b"PAR1":
        raise UnreadableError("is Parquet: add --format parquet")
    told = json.detect_encoding(first)
    if told == "utf-8-sig":
        stream.read(len(codecs.BOM_UTF8))
        return stream
    encoding = encoding if told == "utf-8" else told
    if encoding is None or codecs.lookup(encoding).name == "utf-8":
        return stream
    return io.BufferedReader(_Chunks(_recoded(stream, encoding)), _BUFFER_BYTES)


def compress(data: bytes, compression: str) -> bytes:
    return _codec(compression)[0](data)


def _codec(name: str) -> tuple[Callable[[bytes], bytes], Callable[[], Any], type[Exception]]:
    """Return what compresses, what decompresses a member, and the error of damaged data."""
    if name == "gzip":
        # No time in the header: the same rows make the same file.
        compress = functools.partial(gzip.compress, mtime=0)
        return compress, functools.partial(zlib.decompressobj, wbits=31), zlib.error
    if name == "bzip2":
        return bz2.compress, bz2.BZ2Decompressor, OSError
    if name == "xz":
        inflate = functools.partial(lzma.LZMADecompressor, memlimit=1 << 27)
        return lzma.compress, inflate, lzma.LZMAError
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd  # noqa: PLC0415 - Python may be built without.
        else:
            from backports import zstd  # noqa: PLC0415 - an extra.
    except ImportError:
        reason = "is compressed with zstd, which is not installed: pip install 'chatmark[zstd]'"
        raise UnreadableError(reason) from None
    return zstd.compress, zstd.ZstdDecompressor, zstd.ZstdError


def _first_bytes(stream: BinaryIO, count: int) -> bytes:
    if stream.seekable():
        start = stream.tell()
        first = stream.read(count)
        stream.seek(start)
        return first
    # It does not wait for more bytes than there are: the input may be a terminal.
    return cast("io.BufferedReader", stream).peek(count)[:count]


@final
class _Chunks(io.RawIOBase):
    """The bytes of chunks; an empty one is not the end."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = filter(None, chunks)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        self._rest = self._rest or next(self._chunks, b"")
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _inflated(stream: Any, name: str) -> Iterator[bytes]:
    """Yield decompressed data. Python's own files pass over what follows, and bound no memory."""
    _, make, damage = _codec(name)
    member: Any = None
    rest = b""
    while data := rest or stream.read1(_BUFFER_BYTES):
        if member is None:
            # Zeros fill up blocks.
            rest = data.lstrip(b"\0")
            member = make() if rest else None
            continue
        try:
            yield member.decompress(data, _BUFFER_BYTES)
            # What zlib does not take yet is its `unconsumed_tail`; the others keep it.
            while not (member.eof or getattr(member, "needs_input", True)):
                yield member.decompress(b"", _BUFFER_BYTES)
        except damage as error:
            raise UnreadableError(f"the {name} data cannot be read: {error}") from None
        rest = getattr(member, "unconsumed_tail", b"")
        if member.eof:
            rest, member = member.unused_data, None
    if member is not None:
        raise UnreadableError(f"the {name} data ends early: the file was cut")


def _recoded(stream: Any, encoding: str) -> Iterator[bytes]:
    decode = codecs.getincrementaldecoder(encoding)().decode
    chunks = iter(lambda: stream.read1(_BUFFER_BYTES), b"")
    try:
        for data in itertools.chain(chunks, [b""]):
            yield decode(data, not data).encode()
    except UnicodeError as error:
        reason = f"is not {encoding} ({error}): --encoding names another"
        raise UnreadableError(reason) from None


def numbered_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """
    Yield each line that is not blank with its number.

    A line that is too long comes cut, one byte longer than `MAX_LINE_BYTES`.
    """
    lines = iter(functools.partial(stream.readline, MAX_LINE_BYTES + 1), b"")
    for number, line in enumerate(lines, 1):
        # The rest of a line that is too long may look blank.
        if not line.isspace() or len(line) > MAX_LINE_BYTES:
            yield number, line
        part = line
        while len(part) > MAX_LINE_BYTES and not part.endswith(b"\n"):
            part = next(lines, b"")


def decode_line(line: bytes) -> str:
    if len(line) > MAX_LINE_BYTES:
        raise InputError("row", f"is longer than {MAX_LINE_BYTES} bytes")
    return decoded(line)


def decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        wrong = f"byte {data[error.start]:#04x} at position {error.start + 1}"
        # Chinese text has pairs of bytes; letters with accents mostly stand alone.
        is_paired = all(len(run) % 2 == 0 for run in re.findall(rb"[\x80-\xff]+", data))
        likely = f"add its encoding, such as --encoding {'gb18030' if is_paired else 'cp1252'}"
        raise InputError("row", f"is not UTF-8: {wrong}; {likely}") from None
