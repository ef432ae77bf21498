"""JSON Lines: one row a line."""

import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, NoReturn

from chatmark.changes import MarkChange
from chatmark.errors import InputError
from chatmark.jobs.sources.fast import fast_line_reader
from chatmark.jobs.sources.lines import (
    MAX_LINE_BYTES,
    UnreadableError,
    decode_line,
    numbered_lines,
    raw_text,
)
from chatmark.jobs.sources.parser import RowParser
from chatmark.jobs.sources.row import FileError, Row, RowError


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise InputError(next(name for name in names if names.count(name) > 1), "appears twice")
    return made


def _constant(name: str) -> NoReturn:
    raise InputError("row", f"is not JSON: {name} is not one of its numbers")


_decode: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant).decode


def load_json(line: str) -> Any:
    """Return the value of a line of JSON, in which no name may stand twice."""
    try:
        return _decode(line)
    except json.JSONDecodeError as error:
        raise InputError("row", f"is not JSON: {error.msg} at column {error.colno}") from None
    except InputError:
        raise
    except (ValueError, RecursionError):
        # A number of thousands of digits, or nesting without end.
        raise InputError("row", "cannot be read as JSON") from None


def read_json_lines(stream: BinaryIO, file: str, parser: RowParser) -> Iterator[Row | RowError]:
    """Yield each row, or its error; a FileError is the last. Blank lines are skipped."""
    parse = parser.parse
    read_fast: Callable[[bytes], MarkChange | None] = fast_line_reader(parser.marks)
    if parser.is_renaming:
        read_fast = lambda _: None  # noqa: E731 - the fast reader knows no other names.
    number = 0
    try:
        for number, line in numbered_lines(stream):
            change = read_fast(line)
            if change is not None:
                yield Row(number, [change])
                continue
            # The rest of a line that is too long may look blank.
            if not line.strip() and len(line) <= MAX_LINE_BYTES:
                continue
            try:
                row = Row(number, parse(load_json(decode_line(line).rstrip())))
            except InputError as error:
                yield RowError.of(file, number, error, raw_text(line))
            else:
                yield row
    except UnreadableError as error:
        yield FileError.of(file, number + 1, error)
