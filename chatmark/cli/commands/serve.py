"""`chatmark serve`: run the emulator."""

import asyncio
import contextlib
import json
import pathlib
import secrets
import shlex
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import attrs
import click

from chatmark import InputError, Region
from chatmark.cli import endings, reading, terminal
from chatmark.cli.access import Access
from chatmark.cli.options import Names, command, file_option, option, refuse, refuse_usage
from chatmark.jobs import ChangeFile, FileFormat
from chatmark.regions import check_base_url, is_loopback

if TYPE_CHECKING:
    from chatmark.emulator import Call, Emulator

_MOST_VIOLATIONS: Final = 100


def _read_json(name: str, path: str) -> Any:
    try:
        return json.loads(pathlib.Path(path).read_text("utf-8-sig"))
    except ValueError as error:
        raise InputError(name, f"{path}: {error}") from None


def _users(_: object, __: object, path: str | None) -> list[str] | None:
    return None if path is None else list(reading.read_ids(path, "users", FileFormat.LINES))


def _groups(_: object, __: object, path: str | None) -> Any:
    return None if path is None else _read_json("groups", path)


@attrs.frozen(kw_only=True, slots=False)
class _Settings:
    """The settings of the emulator that options give as they are."""

    host: str = option("The address to listen on.", "127.0.0.1")
    port: int = option("The port; 0 for a free one.", 8085, type=click.IntRange(0, 65_535))
    name: str | None = option("The name of the host in the printed URL, on a private network.")
    users: list[str] | None = file_option(
        "The accounts that exist, one id a line.  [default: all]", callback=_users
    )
    groups: dict[str, list[str] | None] | None = file_option(
        "A JSON object of groups: their members, or null for all users.", callback=_groups
    )
    page_size: int = option("The conversations of a page.", 100, type=click.IntRange(1))
    max_marked: int = option("The most conversations of a user (51008 beyond).", 1000)
    pool: str = option(
        "Whether groups share that number.", "marks", type=click.Choice(["marks", "shared"])
    )
    max_group_name: int = option(
        "The bytes of a group's name; newer pages say 64.", 32, type=click.IntRange(1)
    )
    lenient: bool = option("Leave out the emulator's own rules beyond the vendor's.", False)
    request_ids: bool = option("Answer with a RequestId.", False)
    round_trip: float = option("The time to an answer.", 0.0, metavar="SECONDS")


@attrs.frozen(kw_only=True)
class _Options(_Settings, Access, Names):
    # A server has a key, and no option for a signature.
    usersig_file: None = None
    tls_cert: str | None = file_option("The certificate for https, with its chain, in PEM.")
    tls_key: str | None = file_option("The key of the certificate, unless its file holds it.")
    rows: str | None = file_option("Changes that apply would read, to start with.")
    edition: str = option(
        "standard has neither marks nor groups (51013).",
        "pro",
        type=click.Choice(["standard", "pro"]),
    )
    calls_per_second: int = option("The most calls of a command (60007); 0 for no limit.", 200)
    faults: str | None = file_option('Faults to come: [{"fault": "Hang", "times": 2}].')
    log: bool = option("Write a line for each call to standard error.", False)

    def settings(self) -> dict[str, Any]:
        if self.name is not None:
            check_base_url(f"https://{self.name}")
            if self.tls_cert is None and any(self.name in region.value for region in Region):
                refuse("--name", "needs --tls-cert: chatmark calls hosts of Chat by https only")
        settings = {each.name: getattr(self, each.name) for each in attrs.fields(_Settings)}
        settings |= {
            "ssl_context": self._tls(),
            # Marks of a test are worth nothing, but a known key would let every page write them.
            "secret_key": self.secret_key() or secrets.token_hex(32),
            "standard_marks": self.edition != "standard",
            "calls_per_second": self.calls_per_second or None,
            "mark_names": {bit: name for name, bit in self.names.own.items()},
            "keep_calls": 1,
            "on_call": _log if self.log else _violation_log(),
        }
        if self.identifier:
            settings["admins"] = self.identifier.split(",")
        if self.sdkappid is not None:
            settings["sdkappid"] = self.sdkappid
        return settings

    def _tls(self) -> ssl.SSLContext | None:
        if self.tls_cert is None:
            return None if self.tls_key is None else refuse_usage("give --tls-cert with --tls-key")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.tls_cert, self.tls_key)
        except ssl.SSLError as error:
            refuse("--tls-cert", f"must be a certificate in PEM with its key: {error.reason}")
        return context

    def prepare(self, emulator: "Emulator") -> None:
        """Give the emulator its faults and rows, at the start and after each reset."""
        from chatmark.emulator import load_faults  # noqa: PLC0415 - it loads aiohttp.

        if self.faults is not None:
            orders = _read_json("faults", self.faults)
            try:
                load_faults(emulator.script, orders)
            except ValueError as error:
                raise InputError("faults", f"{self.faults}: {error}") from None
        file = None if self.rows is None else ChangeFile.of(self.rows, names=self.names)
        for change in () if file is None else file.changes():
            bits = int(change.set_mark), int(change.clear_mark)
            user, other = change.from_account, change.conversation
            code, info = emulator.state.apply(user, other, *bits, change.custom_mark)
            if code:
                raise InputError("rows", f"{self.rows}: {other} of {user}: {code}, {info}")


@command(
    _Options,
    """
    Run a server that behaves as Chat does for conversation marks, until Ctrl-C.

    It prints the environment variables with which chatmark finds it, and has a page at its URL.
    Each start has a new secret key unless one is given. All marks are in memory only.
    """,
)
def serve(options: _Options) -> None:
    from chatmark.emulator import Emulator  # noqa: PLC0415 - it loads aiohttp.

    settings = options.settings()
    try:
        emulator = Emulator(**settings)
    except ValueError as error:
        refuse_usage(str(error))
    emulator.on_reset = lambda: options.prepare(emulator)
    options.prepare(emulator)
    # Ctrl-C is the normal end, so the status is success.
    asyncio.run(_serve(emulator))


async def _serve(emulator: "Emulator") -> None:
    stop = asyncio.Event()
    with endings.listening(stop.set):
        async with emulator:
            _introduce(emulator)
            await stop.wait()
    click.echo(f"# answered {sum(emulator.counts.values()):,} calls")
    if emulator.violations:
        click.echo(f"# {len(emulator.violations):,} violations: acts that no correct client does")


def _introduce(emulator: "Emulator") -> None:
    settings, environment = emulator.settings, emulator.credentials_environment()
    host = urlsplit(emulator.url).hostname or ""
    if settings.ssl_context is None and not is_loopback(host):
        environment["CHATMARK_HTTP_HOSTS"] = host
    if not is_loopback(settings.host):
        text = "is not a loopback address: other machines can see the page and reset the emulator"
        click.echo(f"warning: {settings.host} {text}", err=True)
    for name, value in environment.items():
        click.echo(f"export {name}={shlex.quote(value)}")
    click.echo(f"# listening on {emulator.url}; Ctrl-C ends it")


def _log(call: "Call") -> None:
    seconds = (call.finished or call.started) - call.started
    code = "no code" if call.code is None else str(call.code)
    parts = [time.strftime("%H:%M:%S"), call.command, call.account or "-", code]
    parts += [f"conversations={len(call.conversations)}", f"{seconds * 1000:.1f} ms"]
    parts += [repr(call.fault)] if call.fault else []
    _write("  ".join([*parts, *call.notes]))


def _violation_log() -> "Callable[[Call], None]":
    left = _MOST_VIOLATIONS

    def log(call: "Call") -> None:
        nonlocal left
        # A reader that never reads must not stop the server; the page has all violations.
        found = [each for each in call.notes if each.startswith("violation")][:left]
        left -= len(found)
        for each in found:
            _write(f"call {call.sequence} ({call.command}): {each}")

    return log


def _write(line: str) -> None:
    # A call is answered even if nothing reads the log any longer.
    with contextlib.suppress(OSError):
        click.echo(terminal.clean(line), err=True)
