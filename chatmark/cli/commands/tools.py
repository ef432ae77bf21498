"""`chatmark explain`, `chatmark usersig` and `chatmark check`."""

import datetime as dt
import pathlib
import re
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import attrs
import click

from chatmark import (
    ChatmarkError,
    Conversation,
    ConversationMark,
    InputError,
    ItemRefusedError,
    MarkNames,
    RefusedError,
    make_usersig,
    read_usersig,
)
from chatmark.cli import endings, terminal
from chatmark.cli.access import Access, Server, Target
from chatmark.cli.options import Names, command, file_option, json_option, option, refuse_usage
from chatmark.codes import CODES, code_of
from chatmark.marks import VENDOR
from chatmark.usersig import verify_usersig

_BITS: Final = re.compile(r"(?:0b)?([01]{1,64})")
_HEXADECIMAL: Final = re.compile(r"0x([0-9a-f]{1,16})")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_LAST_BIT: Final = 63
_DAY: Final = 86_400

Reading = dict[str, Any]


@attrs.frozen(kw_only=True)
class _ExplainOptions(Names):
    all: bool = option("List all codes of the server.", False)
    as_json: bool = json_option("Print the meanings as JSON.")


@command(
    _ExplainOptions,
    """
    Explain a result code, a bit string or a mark.

    BITS is a StandardMark such as 111001, 0b111001 or 0x39. MARK is a name, a bit number (0 to 63),
    or several of them joined by "|". All meanings of a word are printed.
    """,
)
@click.argument("word", metavar="CODE|BITS|MARK", default="")
def explain(word: str, options: _ExplainOptions) -> None:
    word = word.strip()
    if bool(word) == options.all:
        refuse_usage("give one of CODE|BITS|MARK and --all")
    if options.all and not options.as_json:
        rows = [(str(code), row.meaning, row.handling.value) for code, row in CODES.items()]
        columns = ("code", "meaning", "chatmark")
        terminal.Console(sys.stdout).print_table("", columns, rows, numbers=["code"])
        return
    found = [_code(code) for code in CODES] if options.all else _readings(word, options.names)
    lines = ["\n".join(_lines(each)) for each in found]
    terminal.tell({"readings": found}, "\n\n".join(lines).splitlines(), as_json=options.as_json)


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
        raise InputError("MARK", f"no code, bit string or mark: {error.reason}") from None
    single = f"bit number {number}" if number is not None else f"mark {word}"
    return [*found, _mark(single, mark, names)]


def _code(number: int) -> Reading:
    row = code_of(number)
    texts = {"meaning": row.meaning, "advice": row.advice, "handling": row.handling.value}
    return {"code": number} | texts | {"pause": row.pause, "page": row.page}


def _mark(title: str, mark: ConversationMark, names: MarkNames) -> Reading:
    bits: list[Reading] = []
    for bit, label in zip(mark.bits, names.labels(mark), strict=True):
        single = ConversationMark.from_bits([bit])
        owner = "an extension bit: yours"
        if single in VENDOR:
            owner = "one of Chat's four, for every application"
        elif single.reserved:
            owner = "reserved for Chat: chatmark does not change it"
        bits.append({"bit": bit, "name": label, "owner": owner})
    return {"mark": title, "bits": bits, "wire": mark.to_wire(), "value": f"{int(mark):#x}"}


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


@attrs.frozen(kw_only=True)
class _UsersigOptions(Access):
    expire: int = option("Its lifetime.", _DAY, "SECONDS", type=click.IntRange(min=1))
    source: str | None = file_option("Describe the UserSig in FILE instead.", names=["--read"])
    as_json: bool = json_option("Print the result as JSON.")


@command(
    _UsersigOptions,
    """
    Make a UserSig from the secret key, or describe one.

    --read does not print the UserSig itself. The exit status is 1 if it has expired or was made
    with another key.
    """,
)
def usersig(options: _UsersigOptions) -> int:
    source = options.source
    if source is not None:
        data = sys.stdin.buffer.read() if source == "-" else pathlib.Path(source).read_bytes()
        text = data.decode("ascii", "replace")
        return _describe(text, options.secret_key(), as_json=options.as_json)
    credentials = options.credentials()
    if credentials.secret_key is None:
        raise InputError("credentials", "a UserSig needs CHATMARK_SECRET_KEY or --secret-key-file")
    key = credentials.secret_key.reveal()
    made = make_usersig(
        credentials.sdkappid, credentials.identifier, key, now=time.time(), expire=options.expire
    )
    terminal.tell({"usersig": made}, [made], as_json=options.as_json)
    return 0


def _describe(text: str, secret_key: str, *, as_json: bool) -> int:
    content = read_usersig(text)
    left = content.expires_at - time.time()
    genuine = verify_usersig(text, secret_key.strip()) if secret_key else None
    document = {
        "application": content.sdkappid,
        "identifier": content.identifier,
        "made": content.time,
        "expires": content.expires_at,
        "seconds_left": round(left),
        "made_with_this_key": genuine,
    }
    expiry = _moment(content.expires_at) + ("" if left >= 0 else ", EXPIRED")
    signature = f"made with {'this' if genuine else 'ANOTHER'} secret key"
    if genuine is None:
        signature = "not checked: no secret key is given"
    lines = (
        f"application  {content.sdkappid}",
        f"identifier   {content.identifier}",
        f"made         {_moment(content.time)}",
        f"expires      {expiry}",
        f"signature    {signature}",
    )
    terminal.tell(document, lines, as_json=as_json)
    return endings.FAILED if genuine is False or left < 0 else 0


def _moment(seconds: int) -> str:
    try:
        return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s since 1970"


@attrs.frozen(kw_only=True)
class _CheckOptions(Server):
    user: str | None = option("A user.  [default: the identifier]", metavar="USER")
    deadline: float = option("The time of the call with its retries.", 15.0, metavar="SECONDS")
    as_json: bool = json_option("Print the result as JSON.")


@command(
    _CheckOptions,
    """
    Prove credentials, region and plan with one call.

    The call clears bit 63 of the conversation of a user with itself: that of the identifier, or of
    --user. If the server does not know the user, the call proves the credentials and the region.
    """,
)
def check(options: _CheckOptions) -> int:
    target = options.choose_target()
    started = time.monotonic()
    error = endings.run_to_end(_ask(target, options))
    seconds = time.monotonic() - started
    # A refusal of the user comes from a server that has taken the application.
    is_served = error is None or isinstance(error, ItemRefusedError)
    document = {
        "ok": is_served,
        "target": target.name,
        "plan_proven": error is None,
        "code": error.code if isinstance(error, RefusedError) else 0,
        "error": None if error is None else str(error),
        "seconds": round(seconds, 3),
    }
    if options.as_json or is_served:
        lines = [target.name, f"  credentials and region are right ({seconds:.2f} s)"]
        lines += [] if error else ["  the plan includes standard marks"]
        terminal.tell(document, lines, as_json=options.as_json)
    if error is not None and not options.as_json:
        if is_served:
            text = "the plan is not proven, because the call was refused: give --user."
            terminal.warn(f"{text} {error}")
        else:
            terminal.complain(f"{target.name}: {error}")
    return 0 if error is None or is_served else endings.status_of(error)


async def _ask(target: Target, options: _CheckOptions) -> ChatmarkError | None:
    assert target.credentials is not None, "the command has no --local"  # noqa: S101
    account = options.user or target.credentials.identifier
    bit = ConversationMark.extension(_LAST_BIT)
    try:
        async with target.session(deadline=options.deadline) as session:
            await session.mark(account, Conversation.one_to_one(account), clear_mark=bit)
    except InputError:
        raise
    except ChatmarkError as error:
        error.change = None
        return error
    return None
