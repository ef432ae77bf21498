"""`chatmark explain`: the meaning of a code, a bit string or a mark."""

import re
from collections.abc import Iterator
from typing import Any, Final

import attrs
import click

from chatmark import ConversationMark, InputError, MarkNames
from chatmark.cli.options.groups import GroupedCommand, option, refuse_usage, takes_options
from chatmark.cli.options.names import NAMES
from chatmark.cli.render.console import print_json, stdout_console
from chatmark.codes import CODES, code_of
from chatmark.marks import VENDOR

_BITS: Final = re.compile(r"(?:0b)?([01]{1,64})")
_HEXADECIMAL: Final = re.compile(r"0x([0-9a-f]{1,16})")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_LAST_BIT: Final = 63

Reading = dict[str, Any]


@attrs.frozen
class _Options:
    names: MarkNames = NAMES
    all: bool = option("List all codes of the server.", False)
    as_json: bool = option("Print the meanings as JSON.", False, names=["--json"])


@click.command(
    cls=GroupedCommand,
    help="""
    Explain a result code, a bit string or a mark.

    BITS is a StandardMark such as 111001, 0b111001 or 0x39. MARK is a name, a bit number (0 to 63),
    or several of them joined by "|". All meanings of a word are printed.
    """,
)
@click.argument("word", metavar="CODE|BITS|MARK", default="")
@takes_options(_Options)
def explain(word: str, options: _Options) -> None:
    word, names = word.strip(), options.names
    if word and options.all:
        refuse_usage("give one of CODE|BITS|MARK and --all")
    if options.all and not options.as_json:
        rows = [(str(code), row.meaning, row.handling.value) for code, row in CODES.items()]
        stdout_console().print_table("", ("code", "meaning", "chatmark"), rows, numbers=["code"])
        return
    readings = [_code(code) for code in CODES] if options.all else _readings(word, names)
    if options.as_json:
        print_json({"readings": readings})
    else:
        click.echo("\n\n".join("\n".join(_lines(each)) for each in readings))


def _readings(word: str, names: MarkNames) -> list[Reading]:
    found: list[Reading] = []
    number = int(word) if _NUMBER.fullmatch(word) else None
    bits = _BITS.fullmatch(word)
    # 1000 is a bit string, unless a code has that number.
    if number is not None and (number in CODES or (number > _LAST_BIT and bits is None)):
        found.append(_code(number))
    if bits:
        found.append(_mark(f"bit string {bits[1]}", ConversationMark.from_wire(bits[1]), names))
    elif value := _HEXADECIMAL.fullmatch(word.lower()):
        found.append(_mark(f"value {word}", ConversationMark(int(value[1], 16)), names))
    try:
        mark = names.parse_all(word.split("|"))
    except InputError as error:
        if found:
            return found
        if len(word) > _LAST_BIT and set(word) <= {"0", "1"}:
            raise InputError("BITS", f"must have 64 characters at most, not {len(word)}") from None
        raise InputError("MARK", f"no code, bit string or mark: {error.reason}") from None
    single = f"bit number {number}" if number is not None else f"mark {word}"
    return [*found, _mark(single, mark, names)]


def _code(number: int) -> Reading:
    row = code_of(number)
    return {
        "code": number,
        "meaning": row.meaning,
        "advice": row.advice,
        "handling": row.handling.value,
        "pause": row.pause,
        "page": row.page,
    }


def _mark(title: str, mark: ConversationMark, names: MarkNames) -> Reading:
    return {
        "mark": title,
        "bits": [
            {"bit": bit, "name": label, "owner": _owner(ConversationMark.from_bits([bit]))}
            for bit, label in zip(mark.bits, names.labels(mark), strict=True)
        ],
        "wire": mark.to_wire(),
        "value": f"{int(mark):#x}",
    }


def _lines(reading: Reading) -> Iterator[str]:
    if "code" in reading:
        yield f"code {reading['code']}: {reading['meaning']}"
        yield f"  what to do  {reading['advice']}"
        yield f"  chatmark    {reading['handling']}"
        if reading["pause"]:
            yield f"  pause       {reading['pause']:g} s at least"
        yield f"  page        {reading['page']}"
        return
    bits = reading["bits"]
    yield f"{reading['mark']}: {', '.join(each['name'] for each in bits) or 'no mark'}"
    for each in bits:
        yield f"  bit {each['bit']:<2}  {each['name']:<14}  {each['owner']}"
    yield f"  to set or clear  {[each['bit'] for each in bits]}"
    yield f'  as read back     "{reading["wire"]}" ({reading["value"]})'


def _owner(bit: ConversationMark) -> str:
    if bit in VENDOR:
        return "one of Chat's four, for every application"
    if bit.reserved:
        return "reserved for Chat: chatmark does not change it"
    return "an extension bit: yours"
