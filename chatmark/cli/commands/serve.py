"""`chatmark serve`: run the emulator."""

import asyncio
import contextlib
import itertools
import json
import pathlib
import secrets
import shlex
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from urllib.parse import urlsplit

import attrs
import click

from chatmark import InputError, MarkNames, Region
from chatmark.cli.options.access import Access
from chatmark.cli.options.groups import (
    GroupedCommand,
    file_option,
    group,
    option,
    options_of,
    refuse,
    refuse_usage,
    takes_options,
)
from chatmark.cli.options.names import NAMES
from chatmark.cli.render.console import clean
from chatmark.cli.running.signals import call_on_signals
from chatmark.jobs import ChangeFile
from chatmark.jobs.sources.formats import FileFormat
from chatmark.jobs.sources.users import read_users
from chatmark.regions import check_base_url, is_loopback

if TYPE_CHECKING:
    from chatmark.emulator import Call, Emulator, EmulatorOptions

_KEY_BYTES: Final = 32
_MOST_VIOLATIONS: Final = 100
# One fault each for a server, a gateway and a connection that fail.
_FAULTS: Final = (
    {"name": "Status", "status": 502, "html": True},
    *("ResetBefore", "ResetAfter", "CutBody"),
    {"name": "Refuse", "code": 60007},
    {"name": "Refuse", "code": 60008},
    "Html",
)
_ACCESS: Final = group(Access, *options_of(Access, ("sdkappid", "identifier", "secret_key_file")))


@attrs.frozen(kw_only=True)
class _Options:
    host: str = option("The address to listen on.", "127.0.0.1")
    port: int = option(
        "The port to listen on; 0 for a free one.", 8085, type=click.IntRange(0, 65_535)
    )
    name: str | None = option(
        "The name of the host in the printed URL, for other machines of a private network."
    )
    tls_cert: str | None = file_option("The certificate for https, with its chain, in PEM.")
    tls_key: str | None = file_option("The key of the certificate, unless its file holds it.")
    access: Access = _ACCESS
    names: MarkNames = NAMES
    users: str | None = file_option("The accounts that exist, one id a line.  [default: all]")
    groups: str | None = file_option(
        "The groups that exist: a JSON object of ids and their members, an array or null for all "
        "users.  [default: all, with all users]"
    )
    rows: str | None = file_option("Changes that apply would read, to start with.")
    edition: Literal["standard", "pro"] = option(
        "The edition of the application; standard has neither standard marks nor groups (51013).",
        "pro",
        type=click.Choice(["standard", "pro"]),
    )
    calls_per_second: int = option(
        "Answer further calls of a command with 60007; 0 for no limit.", 200
    )
    page_size: int = option("The conversations of a page.", 100, type=click.IntRange(1))
    max_marked: int = option("The most conversations of a user (51008 beyond).", 1000)
    pool: Literal["marks", "shared"] = option(
        "Whether marks and groups have that number each, or together.",
        "marks",
        type=click.Choice(["marks", "shared"]),
    )
    max_group_name: int = option(
        "The most bytes of a group's name; older pages say 32, newer ones 64.",
        32,
        type=click.IntRange(1),
    )
    lenient: bool = option("Leave out the emulator's own rules beyond the vendor's.", False)
    request_ids: bool = option("Answer with a RequestId.", False)
    round_trip: float = option("The time to an answer.", 0.0, metavar="SECONDS")
    faults: str | None = file_option(
        'Faults to come, a JSON array such as [{"fault": "Hang", "times": 2}].'
    )
    fault_rate: float = option(
        "The share of requests that fail: resets, 502, HTML, cut bodies, 60007, 60008.",
        0.0,
        type=click.FloatRange(0, 1),
    )
    item_fault_rate: float = option(
        "The share of items that fail with 50004 or 50005.", 0.0, type=click.FloatRange(0, 1)
    )
    shuffle: bool = option("Answer with the lines in another order.", False)
    seed: int = option("The seed of all random decisions.", 0, type=int)
    log: bool = option("Write a line for each call to standard error.", False)

    def settings(self) -> "EmulatorOptions":
        """Return the settings of the emulator."""
        if self.name is not None:
            check_base_url(f"https://{self.name}")
            if self.tls_cert is None and any(self.name in region.value for region in Region):
                refuse("--name", "needs --tls-cert: chatmark calls hosts of Chat by https only")
        same = ("host", "port", "name", "page_size", "max_marked", "pool", "max_group_name")
        more = ("lenient", "request_ids", "round_trip", "seed")
        made: Any = {name: getattr(self, name) for name in (*same, *more)} | {
            "ssl_context": self._tls(),
            # Marks of a test are worth nothing, but a known key would let every page write them.
            "secret_key": self.access.secret_key() or secrets.token_hex(_KEY_BYTES),
            "users": self._users(),
            "groups": self._groups(),
            "standard_marks": self.edition != "standard",
            "calls_per_second": self.calls_per_second or None,
            "mark_names": {bit: name for name, bit in self.names.own.items()},
            "keep_calls": 1,
            "on_call": _log if self.log else _show_violations(),
        }
        if self.access.identifier:
            made["admins"] = self.access.identifier.split(",")
        sdkappid = self.access.sdkappid
        if sdkappid:
            if not (sdkappid.isascii() and sdkappid.isdigit()):
                refuse("--sdkappid", f"{sdkappid!r} must be a number")
            made["sdkappid"] = int(sdkappid)
        return cast("EmulatorOptions", made)

    def prepare(self, emulator: "Emulator") -> None:
        """Give the emulator its faults and rows, at the start and after each reset."""
        from chatmark.emulator import load_faults  # noqa: PLC0415 - it loads aiohttp.

        script = emulator.script
        script.shuffle_lines = self.shuffle
        if self.fault_rate:
            drawn = {"when": "randomly", "probability": self.fault_rate, "faults": _FAULTS}
            load_faults(script, [drawn | {"rng": self.seed}])
        if self.item_fault_rate:
            script.items_randomly(self.item_fault_rate, (50004, 50005), rng=self.seed)
        if self.faults is not None:
            try:
                load_faults(script, _json(self.faults))
            except ValueError as error:
                raise InputError("faults", f"{self.faults}: {error}") from None
        if self.rows is None:
            return
        for change in ChangeFile.of(self.rows, names=self.names).changes():
            bits = int(change.set_mark), int(change.clear_mark)
            code, info = emulator.state.apply(
                change.from_account, change.conversation, *bits, change.custom_mark
            )
            if code:
                place = f"{change.conversation} of {change.from_account}"
                raise InputError("rows", f"{self.rows}: {place}: {code}, {info}")

    def _tls(self) -> ssl.SSLContext | None:
        if self.tls_cert is None:
            return None if self.tls_key is None else refuse_usage("give --tls-cert with --tls-key")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.tls_cert, self.tls_key)
        except ssl.SSLError as error:
            refuse("--tls-cert", f"not a certificate in PEM with its key: {error.reason}")
        return context

    def _users(self) -> list[str] | None:
        if self.users is None:
            return None
        with pathlib.Path(self.users).open("rb") as stream:
            return list(read_users(stream, self.users, FileFormat.LINES, "users"))

    def _groups(self) -> dict[str, list[str] | None] | None:
        if self.groups is None:
            return None
        try:
            groups = cast("dict[str, Any]", _json(self.groups))
        except ValueError as error:
            raise InputError("groups", f"{self.groups}: {error}") from None
        if not isinstance(groups, dict) or not all(
            each is None or isinstance(each, list) for each in groups.values()
        ):
            reason = "must be a JSON object of group ids, each with an array of users or null"
            raise InputError("groups", f"{self.groups}: {reason}")
        return groups


def _json(path: str) -> object:
    return json.loads(pathlib.Path(path).read_text("utf-8-sig"))


@click.command(
    cls=GroupedCommand,
    help="""
    Run a server that behaves as Chat does for conversation marks, until Ctrl-C.

    It prints the environment variables with which chatmark finds it, and shows itself on a page at
    its URL. The secret key is a new one for each start unless one is given, and all marks are in
    memory only.
    """,
)
@takes_options(_Options)
def serve(options: _Options) -> int:
    from chatmark.emulator import Emulator  # noqa: PLC0415 - it loads aiohttp.

    settings = options.settings()
    try:
        emulator = Emulator(**settings)
    except ValueError as error:
        return refuse_usage(str(error))
    emulator.on_reset = lambda: options.prepare(emulator)
    options.prepare(emulator)
    asyncio.run(_serve(emulator))
    # Ctrl-C is the normal end, so the status is success.
    return 0


async def _serve(emulator: "Emulator") -> None:
    stop = asyncio.Event()
    call_on_signals(stop.set)
    async with emulator:
        its = emulator.settings
        environment = emulator.credentials_environment()
        host = urlsplit(emulator.url).hostname or ""
        if its.ssl_context is None and not is_loopback(host):
            environment["CHATMARK_HTTP_HOSTS"] = host
        if not is_loopback(its.host):
            click.echo(
                f"warning: {its.host} is not a loopback address: other machines can see the page "
                "and reset the emulator",
                err=True,
            )
        for name, value in environment.items():
            click.echo(f"export {name}={shlex.quote(value)}")
        click.echo(f"# listening on {emulator.url}; Ctrl-C ends it")
        await stop.wait()
    click.echo(f"# answered {sum(emulator.counts.values()):,} calls")
    if emulator.violations:
        click.echo(f"# {len(emulator.violations):,} violations: acts that no correct client does")


def _log(call: "Call") -> None:
    seconds = (call.finished or call.started) - call.started
    code = "no code" if call.code is None else str(call.code)
    parts = [time.strftime("%H:%M:%S"), call.command, call.account or "-", code]
    parts += [f"conversations={len(call.conversations)}", f"{seconds * 1000:.1f} ms"]
    parts += [repr(call.fault)] if call.fault else []
    _write("  ".join([*parts, *call.notes]))


def _write(line: str) -> None:
    # A call is answered even if nothing reads the log any longer.
    with contextlib.suppress(OSError):
        click.echo(clean(line), err=True)


def _show_violations() -> "Callable[[Call], None]":
    shown = itertools.count(1)

    def show(call: "Call") -> None:
        for note in call.notes:
            # A reader that never reads must not stop the server.
            if note.startswith("violation") and (number := next(shown)) <= _MOST_VIOLATIONS:
                _write(f"call {call.sequence} ({call.command}): {note}")
                if number == _MOST_VIOLATIONS:
                    _write("further violations are on the page alone")

    return show
