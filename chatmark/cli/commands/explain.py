"""`chatmark explain`: the meaning of a code, a bit string or a mark."""

import re
from collections.abc import Iterator
from typing import Final, NoReturn

import attrs
import click

from chatmark import ConversationMark, InputError, MarkNames
from chatmark.cli.options.groups import GroupedCommand, takes_options
from chatmark.cli.options.names import NAMES
from chatmark.codes import CODES, code_of
from chatmark.marks import VENDOR

_BITS: Final = re.compile(r"(?:0b)?([01]{1,64})")
_HEXADECIMAL: Final = re.compile(r"0x([0-9a-f]{1,16})")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_LAST_BIT: Final = 63


@attrs.frozen
class _Options:
    names: MarkNames = NAMES


@click.command(
    cls=GroupedCommand,
    help="""
    Explain a result code, a bit string or a mark.

    BITS is a StandardMark such as 111001, 0b111001 or 0x39. MARK is a name, a bit number (0 to 63),
    or several of them joined by "|". All meanings of a word are printed.
    """,
)
@click.argument("word", metavar="CODE|BITS|MARK")
@takes_options(_Options)
def explain(word: str, options: _Options) -> None:
    word, names = word.strip(), options.names
    readings = ["\n".join(reading) for reading in _readings(word, names)]
    if not readings:
        _refuse(word, names)
    click.echo("\n\n".join(readings))


def _refuse(word: str, names: MarkNames) -> NoReturn:
    if len(word) > _LAST_BIT and set(word) <= {"0", "1"}:
        raise InputError("BITS", f"must have 64 characters at most, not {len(word)}")
    try:
        names.parse_all(word.split("|"))
    except InputError as error:
        raise InputError("MARK", f"no code, bit string or mark: {error.reason}") from None
    raise AssertionError


def _readings(word: str, names: MarkNames) -> Iterator[Iterator[str]]:
    number = int(word) if _NUMBER.fullmatch(word) else None
    if number is not None and (number in CODES or number > _LAST_BIT):
        bits = _BITS.fullmatch(word)
        # 1000 is a bit string, unless a code has that number.
        if number in CODES or bits is None:
            yield _code(number)
    if bits := _BITS.fullmatch(word):
        yield _mark(f"bit string {bits[1]}", ConversationMark.from_wire(bits[1]), names)
    elif value := _HEXADECIMAL.fullmatch(word.lower()):
        yield _mark(f"value {word}", ConversationMark(int(value[1], 16)), names)
    try:
        mark = names.parse_all(word.split("|"))
    except InputError:
        return
    single = f"bit number {number}" if number is not None else f"mark {word}"
    yield _mark(single, mark, names)


def _code(number: int) -> Iterator[str]:
    row = code_of(number)
    yield f"code {number}: {row.meaning}"
    yield f"  what to do  {row.advice}"
    yield f"  chatmark    {row.handling.value}"
    if row.pause:
        yield f"  pause       {row.pause:g} s at least"
    yield f"  page        {row.page}"


def _mark(title: str, mark: ConversationMark, names: MarkNames) -> Iterator[str]:
    yield f"{title}: {', '.join(names.labels(mark)) or 'no mark'}"
    for bit, label in zip(mark.bits, names.labels(mark), strict=True):
        yield f"  bit {bit:<2}  {label:<14}  {_owner(ConversationMark.from_bits([bit]))}"
    yield f"  to set or clear  {list(mark.bits)}"
    yield f'  as read back     "{mark.to_wire()}" ({int(mark):#x})'


def _owner(bit: ConversationMark) -> str:
    if bit in VENDOR:
        return "one of Chat's four, for every application"
    if bit.reserved:
        return "reserved for Chat: chatmark does not change it"
    return "an extension bit: yours"
