"""Lines of a stream of bytes, with a limit of their length."""

import codecs
import io
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast, final

from chatmark import InputError

# A request body of 100 items has some 200 kB; no row is longer.
MAX_LINE_BYTES: Final = 1 << 20
_BUFFER_BYTES: Final = 1 << 16
# The mark of UTF-32 begins as that of UTF-16. Without a mark, ASCII shows by its zeros.
_FIRST_BYTES: Final = (
    ("utf-8", re.compile(b"\xef\xbb\xbf")),
    ("utf-32", re.compile(rb"\xff\xfe\0\0|\0\0\xfe\xff")),
    ("utf-16", re.compile(rb"\xff\xfe|\xfe\xff")),
    ("utf-16-le", re.compile(rb"[^\0]\0[^\0]\0")),
    ("utf-16-be", re.compile(rb"\0[^\0]\0[^\0]")),
)


class UnreadableError(InputError):
    """A file, or the rest of it from a line on, that cannot be read."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__("file", reason)
        self.line = line


def first_bytes(stream: BinaryIO, count: int) -> bytes:
    """Return the first bytes of a stream, which stays where it is."""
    if stream.seekable():
        start = stream.tell()
        first = stream.read(count)
        stream.seek(start)
        return first
    # It does not wait for more bytes than there are: the input may be a terminal.
    return cast("io.BufferedReader", stream).peek(count)[:count]


def as_utf8(stream: BinaryIO, encoding: str | None) -> BinaryIO:
    """Return the text of a stream as UTF-8; what its first bytes say overrides *encoding*."""
    first = first_bytes(stream, 4)
    encoding = next((name for name, mark in _FIRST_BYTES if mark.match(first)), encoding)
    if encoding is None or codecs.lookup(encoding).name == "utf-8":
        return stream
    return io.BufferedReader(_Recoded(stream, encoding), _BUFFER_BYTES)


@final
class _Recoded(io.RawIOBase):
    """Text of another encoding as UTF-8."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream = cast("io.BufferedReader", stream)
        self._encoding = encoding
        self._decode = codecs.getincrementaldecoder(encoding)().decode
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._rest:
            data = self._stream.read1(_BUFFER_BYTES)
            try:
                self._rest = self._decode(data, not data).encode()
            except UnicodeError as error:
                reason = f"is not {self._encoding} ({error}): --encoding names another"
                raise UnreadableError(reason) from None
            if not data:
                break
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def numbered_lines(
    stream: BinaryIO, number: int = 0, line: bytes = b""
) -> Iterator[tuple[int, bytes]]:
    """
    Yield each line with its number, without a byte order mark.

    A line that is too long comes cut, one byte longer than `MAX_LINE_BYTES`.

    Args:
        stream: The stream.
        number: The number of *line*.
        line: A line that was read before.
    """
    readline = stream.readline
    if not line:
        number, line = 1, readline(MAX_LINE_BYTES + 1)
    while line:
        yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = readline(MAX_LINE_BYTES + 1)
        line = readline(MAX_LINE_BYTES + 1)
        number += 1


def decode_line(line: bytes) -> str:
    """Return the text of a line."""
    if len(line) > MAX_LINE_BYTES:
        raise InputError("row", f"is longer than {MAX_LINE_BYTES} bytes")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        wrong = f"byte {line[error.start]:#04x} at position {error.start + 1}"
        likely = f"add its encoding, such as --encoding {_likely_encoding(line)}"
        raise InputError("row", f"is not UTF-8: {wrong}; {likely}") from None


def _likely_encoding(line: bytes) -> str:
    """
    Return the likely encoding of a line that is not UTF-8.

    Chinese text has pairs of bytes; letters with accents mostly stand alone.

    >>> _likely_encoding("Müller, café".encode("cp1252")), _likely_encoding("你好".encode("gbk"))
    ('cp1252', 'gb18030')
    """
    if all(len(run) % 2 == 0 for run in re.findall(rb"[\x80-\xff]+", line)):
        try:
            line.decode("gb18030")
        except UnicodeDecodeError:
            return "cp1252"
        return "gb18030"
    return "cp1252"


def raw_text(lines: bytes) -> str:
    r"""Return lines of the file, with bytes that are not UTF-8 written as `\xff`."""
    return lines.decode("utf-8", "backslashreplace").rstrip("\r\n")
