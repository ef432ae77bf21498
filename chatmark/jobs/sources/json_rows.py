"""JSON: one row a line, rows in an array, or rows over several lines."""

import codecs
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, NoReturn, cast

import msgspec
from msgspec.structs import astuple

from chatmark import InputError
from chatmark.jobs.sources.formats import (
    MAX_LINE_BYTES,
    UnreadableError,
    decode_line,
    numbered_lines,
    raw_text,
)
from chatmark.jobs.sources.parser import RowParser, wrapped
from chatmark.jobs.sources.row import Record, Row, RowError

_Marks = list[str | int] | str | int
# A repeated name makes more of these than there are names; text in a mark may, too.
_NAME_ENDS: Final = re.compile(rb'"\s*:').findall
_CHUNK_BYTES: Final = 1 << 16
# What may stand between values: an array is read row by row.
_BETWEEN: Final = re.compile(r"[ \t\r\n,\[\]]*").match
# A key with what it opens, an end, or a text.
_TOKENS: Final = re.compile(r'"([^"\\]+)"\s*:\s*(\{|\[\s*\{)|\}|"(?:[^"\\]|\\.)*"').finditer
_HEAD_BYTES: Final = 1_000


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


def _load_json(line: bytes) -> Any:
    if len(line) > MAX_LINE_BYTES:
        _refuse_wrapped(line)
    text = decode_line(line).rstrip()
    try:
        return _DECODER.decode(text)
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


def _no_value(_: bytes, __: int) -> None: ...


def _refuse_wrapped(value: bytes) -> None:
    keys: list[str] = []
    for found in _TOKENS(value[:_HEAD_BYTES].decode("utf-8", "replace")):
        key, opening = found.groups()
        if found[0] == "}":
            keys = keys[:-1]
        elif opening:
            keys.append(key)
            if opening != "{" and key != "MarkItem":
                raise wrapped(*keys)


def read_json(stream: BinaryIO, file: str, parser: RowParser) -> Iterator[Row | RowError]:
    """Yield each row, or its error; a FileError is the last. Blank lines are skipped."""
    number = 0
    try:
        for number, line, value in json_values(stream, _fast_reader(parser)):
            try:
                if type(value) is tuple:
                    row = Row(number, None, cast("Record", value))
                elif isinstance(value, InputError):
                    raise value
                else:
                    row = parser.row(value, number)
            except InputError as error:
                yield RowError.of(file, number, error, raw_text(line))
            else:
                yield row
    except UnreadableError as error:
        yield RowError.of(file, number + 1, error)


def json_values(
    stream: BinaryIO, read_fast: Callable[[bytes, int], Any] = _no_value
) -> Iterator[tuple[int, bytes, Any]]:
    """
    Yield the line, the text and the value of each row; the value is an InputError if it has none.

    *read_fast* returns the value of a line and its number, or None to let `json` decide.
    """
    lines = (each for each in numbered_lines(stream) if not _is_blank(each[1]))
    start, first = next(lines, (1, b""))
    # Printers end the first line of a value with one of these.
    if first.lstrip()[:1] == b"[" or first.rstrip()[-1:] in (b"{", b"[", b","):
        yield from _spread_values(stream, start, first)
        return
    for number, line in numbered_lines(stream, start, first):
        value = read_fast(line, number)
        if not value:
            if _is_blank(line):
                continue
            try:
                value = _load_json(line)
            except InputError as error:
                value = error
        yield number, line, value


def _is_blank(line: bytes) -> bool:
    # The rest of a line that is too long may look blank.
    return not line.strip() and len(line) <= MAX_LINE_BYTES


def _spread_values(stream: BinaryIO, number: int, chunk: bytes) -> Iterator[tuple[int, bytes, Any]]:
    """Yield the values of an array, or values over several lines, in the form of `json_values`."""
    decode = codecs.getincrementaldecoder("utf-8")().decode
    text, wanted, depth, is_last = "", 0, 0, False
    try:
        while not is_last:
            is_last = not chunk
            text += decode(chunk, is_last)
            place = 0
            while True:
                found = _BETWEEN(text, place)
                between = found[0] if found else ""
                number += between.count("\n")
                depth += between.count("[") - between.count("]")
                place += len(between)
                size = len(text) - place
                if not size or (size < wanted and not is_last):
                    break
                try:
                    value, end = _DECODER.raw_decode(text, place)
                except json.JSONDecodeError as error:
                    if is_last or size > MAX_LINE_BYTES:
                        number += text.count("\n", place, error.pos)
                        _refuse_wrapped(text[place:].encode())
                        raise
                    # To try it at each line would take a long value many times.
                    wanted = 2 * size
                    break
                yield number, text[place:end].encode(), value
                number += text.count("\n", place, end)
                place, wanted = end, 0
            text = text[place:]
            chunk = stream.readline(_CHUNK_BYTES)
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


def _fast_reader(parser: RowParser) -> Callable[[bytes, int], Record | None]:
    """
    Return a function that reads a line, or returns None for `RowParser.parse` to decide.

    `json` makes a dict, whose names, types and values are checked one by one. msgspec reads a line
    into fields of known types in a third of the time. It accepts less than `json` does, and reads
    it alike, but for a repeated name.
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

    # It knows no other names.
    return _no_value if parser.is_renaming else read
