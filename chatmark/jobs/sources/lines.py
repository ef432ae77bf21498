"""Lines of a stream of bytes, with a limit of their length."""

import codecs
from collections.abc import Iterator
from typing import BinaryIO, Final

from chatmark import InputError

# A request body of 100 items has some 200 kB; no row is longer.
MAX_LINE_BYTES: Final = 1 << 20


class UnreadableError(InputError):
    """A file, or the rest of it, that cannot be read."""

    def __init__(self, reason: str) -> None:
        super().__init__("file", reason)


def numbered_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """
    Yield each line with its number, without a byte order mark.

    A line that is too long comes cut, one byte longer than `MAX_LINE_BYTES`.
    """
    readline = stream.readline
    number = 0
    while line := readline(MAX_LINE_BYTES + 1):
        number += 1
        yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = readline(MAX_LINE_BYTES + 1)


def decode_line(line: bytes) -> str:
    """Return the text of a line."""
    if len(line) > MAX_LINE_BYTES:
        raise InputError("row", f"is longer than {MAX_LINE_BYTES} bytes")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise InputError("row", "is UTF-16, not UTF-8") from None
        wrong = f"byte {line[error.start]:#04x} at position {error.start + 1}"
        raise InputError("row", f"is not UTF-8: {wrong}") from None


def raw_text(lines: bytes) -> str:
    r"""Return lines of the file, with bytes that are not UTF-8 written as `\xff`."""
    return lines.decode("utf-8", "backslashreplace").rstrip("\r\n")
