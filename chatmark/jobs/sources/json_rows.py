"""JSON: one row a line, rows in an array, or rows over several lines."""

import codecs
import functools
import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, NoReturn

import msgspec
from msgspec.structs import astuple

from chatmark import InputError
from chatmark.jobs.sources.formats import (
    MAX_LINE_BYTES,
    UnreadableError,
    decode_line,
    numbered_lines,
)
from chatmark.jobs.sources.parser import RowParser, refuse_wrapped
from chatmark.jobs.sources.row import Found, Record, Row

_Marks = list[str | int] | str | int
# A repeated name makes more of these than there are names; text in a mark may, too.
_NAME_ENDS: Final = re.compile(rb'"\s*:').findall
_CHUNK_BYTES: Final = 1 << 16
# What may stand between values: an array is read row by row.
_BETWEEN: Final = re.compile(r"[ \t\r\n,\[\]]*").match


def _object(pairs: list[tuple[str, Any]]) -> Any:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise InputError(next(name for name in names if names.count(name) > 1), "appears twice")
    # MongoDB's numbers are texts in an object.
    if len(pairs) == 1 and pairs[0][0] in {"$numberInt", "$numberLong"}:
        return int(pairs[0][1])
    return made


def _constant(name: str) -> NoReturn:
    raise InputError("row", f"is not JSON: {name} is not one of its numbers")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def load_json(line: bytes) -> Any:
    try:
        if len(line) > MAX_LINE_BYTES:
            refuse_wrapped(line.decode("utf-8", "replace"))
        return _DECODER.decode(decode_line(line).rstrip())
    except InputError:
        raise
    except json.JSONDecodeError as error:
        raise InputError("row", f"is not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise InputError("row", f"cannot be read as JSON: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if "integer string conversion" in str(error):
        return "a number has too many digits"
    return str(getattr(error, "msg", "") or getattr(error, "reason", error))


def read_json(stream: BinaryIO) -> Iterator[Found]:
    """Yield each row: a line, which `load_json` or `json_parser` reads, or a value."""
    lines = numbered_lines(stream)
    first = next(lines, (1, b""))
    # Printers end the first line of a value with one of these.
    if first[1].lstrip()[:1] == b"[" or first[1].rstrip()[-1:] in (b"{", b"[", b","):
        yield from _spread_values(stream, *first)
        return
    for number, line in itertools.chain([first] if first[1] else [], lines):
        yield number, line, line


def _spread_values(stream: BinaryIO, number: int, first: bytes) -> Iterator[Found]:
    """Yield the values of an array, or values over several lines."""
    decode = codecs.getincrementaldecoder("utf-8")().decode
    chunks = iter(functools.partial(stream.readline, _CHUNK_BYTES), b"")
    text, place, wanted, depth = "", 0, 0, 0
    try:
        for chunk in itertools.chain([first], chunks, [b""]):
            text, place = text[place:] + decode(chunk, not chunk), 0
            while (between := _BETWEEN(text, place)) is not None:
                number += between[0].count("\n")
                depth += between[0].count("[") - between[0].count("]")
                place = between.end()
                size = len(text) - place
                if not size or (chunk and size < wanted):
                    break
                try:
                    value, end = _DECODER.raw_decode(text, place)
                except json.JSONDecodeError as error:
                    if chunk and size <= MAX_LINE_BYTES:
                        # To try it at each line would take a long value many times.
                        wanted = 2 * size
                        break
                    number += text.count("\n", place, error.pos)
                    refuse_wrapped(text[place:])
                    raise
                yield number, text[place:end].encode(), value
                number += text.count("\n", place, end)
                place, wanted = end, 0
    except UnreadableError:
        raise
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"cannot be read as JSON: {_reason(error)}", number) from None
    if depth:
        missing = "end" if depth > 0 else "beginning"
        raise UnreadableError(f"cannot be read as JSON: the array has no {missing}", number)


class _PlainRow(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The fields of `OWN_FIELDS`, None where they are absent; null is none of their values."""

    from_account: str
    to_account: str = None  # type: ignore[assignment]
    to_group_id: str = None  # type: ignore[assignment]
    set_mark: _Marks = None  # type: ignore[assignment]
    clear_mark: _Marks = None  # type: ignore[assignment]
    custom_mark: str = None  # type: ignore[assignment]


def json_parser(parser: RowParser) -> Callable[[Any, int], Row]:
    """Return a function that parses what `read_json` yields."""
    read_fast = _fast_reader(parser)

    def parse(value: Any, number: int) -> Row:
        if type(value) is not bytes:
            return parser.row(value, number)
        record = None if parser.is_renaming else read_fast(value, number)
        if record is None:
            return parser.row(load_json(value), number)
        return Row(number, None, record)

    return parse


def _fast_reader(parser: RowParser) -> Callable[[bytes, int], Record | None]:
    """
    Return a function that reads a line, or returns None for `RowParser.row` to decide.

    `json` makes a dict, whose names, types and values are checked one by one. msgspec reads a line
    into fields of known types in a third of the time. It accepts less than `json` does, and reads
    it alike, but for a repeated name. It knows no other names of fields.
    """
    decode = msgspec.json.Decoder(_PlainRow).decode

    def read(line: bytes, number: int) -> Record | None:
        try:
            values = astuple(decode(line))
        except (ValueError, RecursionError):
            return None
        names = len(values) - values.count(None)
        if line.count(b":") != names and len(_NAME_ENDS(line)) != names:
            return None
        return None if len(line) > MAX_LINE_BYTES else parser.record(values, number)

    return read
