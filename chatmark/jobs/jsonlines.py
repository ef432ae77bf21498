"""
JSON Lines: one row a line.
"""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NoReturn

from chatmark.errors import InputError
from chatmark.jobs.lines import MAX_LINE_BYTES, decode_line, numbered_lines
from chatmark.jobs.rows import Row, RowError, RowParser


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise InputError(next(name for name in names if names.count(name) > 1), "stands twice")
    return made


def _constant(name: str) -> NoReturn:
    raise InputError("row", f"is no JSON: {name} is none of its numbers")


_decode: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant).decode


def _load(line: bytes) -> Any:
    try:
        return _decode(decode_line(line).rstrip())
    except json.JSONDecodeError as error:
        raise InputError("row", f"is no JSON: {error.msg} at column {error.colno}") from None
    except InputError:
        raise
    except (ValueError, RecursionError):
        # A number of thousands of digits, or nesting without end.
        raise InputError("row", "is no JSON that can be read") from None


def read_json_lines(stream: BinaryIO, file: str, parser: RowParser) -> Iterator[Row | RowError]:
    """
    Yield each row, or what is wrong with it; blank lines are none.
    """
    parse = parser.parse
    for number, line in numbered_lines(stream):
        # What is left of a line that is too long may look blank.
        if not line.strip() and len(line) <= MAX_LINE_BYTES:
            continue
        try:
            yield Row(number, parse(_load(line)))
        except InputError as error:
            yield RowError(file, number, error.field, error.reason)
