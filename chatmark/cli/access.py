"""A server with credentials for it: their options, and sessions with it."""

import contextlib
import functools
import os
import pathlib
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs
import click

import chatmark
from chatmark import Credentials, InputError, Region
from chatmark.cli import terminal
from chatmark.cli.options import group, option, options_of, refuse_usage
from chatmark.pacing.window import parse_rate
from chatmark.regions import check_base_url, resolve_base_url

if TYPE_CHECKING:
    from chatmark.redis import RedisBudget

_REGIONS = {region.name.lower(): region for region in Region}
_TARGETS = ("region", "base_url", "local")
_server = functools.partial(option, title="Server")
_credentials = functools.partial(option, title="Credentials")
_secret = functools.partial(_credentials, metavar="FILE")
_call = functools.partial(option, title="Calls")


@attrs.frozen
class Target:
    """A server and the credentials for it: without any the emulator in this process."""

    name: str = ""
    credentials: Credentials | None = attrs.field(default=None, repr=False)
    # The URL of the shared budget, and the options of a session; both may hold a password.
    pace: str | None = attrs.field(default=None, repr=False)
    way: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False)

    @contextlib.asynccontextmanager
    async def session(
        self,
        *,
        rate: float | None = 190.0,
        priority: Literal["normal", "low"] = "normal",
        # A person waits at the terminal.
        deadline: float = 15.0,
        **options: Any,
    ) -> AsyncGenerator["chatmark.MarkSession"]:
        """Open a session with the server; a local emulator runs as long as the session."""
        options |= {**self.way, "deadline": deadline}
        async with contextlib.AsyncExitStack() as stack:
            credentials = self.credentials
            if credentials is None:
                from chatmark.emulator import Emulator  # noqa: PLC0415 - it loads the server of aiohttp.

                emulator = Emulator(calls_per_second=None, keep_calls=1)
                await stack.enter_async_context(emulator)
                options["base_url"] = emulator.url
                credentials = Credentials.from_env(emulator.credentials_environment())
            if self.pace is None:
                options["calls_per_second"] = rate
            else:
                make = shared_budget(self.pace, credentials.sdkappid, rate, priority)
                options["budget"] = await stack.enter_async_context(make())
                # A wrong password is an error before anything is read or sent.
                await options["budget"].connect()
            yield await stack.enter_async_context(chatmark.MarkSession(credentials, **options))


def shared_budget(
    url: str, sdkappid: int, rate: float | None, priority: Literal["normal", "low"]
) -> "Callable[[], RedisBudget]":
    """Return the function that makes the shared budget in each process."""
    from chatmark.redis import RedisBudget  # noqa: PLC0415 - few commands need it.

    if rate is None:
        raise InputError("rate", "must be above 0 with --pace")
    key = f"chatmark:{sdkappid}"
    return functools.partial(
        RedisBudget.from_url, url, key=key, calls_per_second=rate, priority=priority
    )


@attrs.frozen(kw_only=True, repr=False)
class Access:
    region: str | None = _server(
        f"The application's data centre: {', '.join(_REGIONS)}.",
        metavar="REGION",
        type=click.Choice(list(_REGIONS), case_sensitive=False),
    )
    base_url: str | None = _server("A server outside the regions.", metavar="URL")
    pace: str | None = _server(
        "A Redis for the calls of all processes; with a password CHATMARK_PACE.", metavar="URL"
    )
    proxy: str | None = _server(
        "An HTTP proxy on the way to https; with a password CHATMARK_PROXY.", metavar="URL"
    )
    trust_env: bool = _server("Use the proxies of HTTPS_PROXY and NO_PROXY.", False)
    local: bool = _server("The emulator, in this process; its marks end with the process.", False)
    sdkappid: str | None = _credentials("The application.")
    identifier: str | None = _credentials("Its administrator.  [default: administrator]")
    # Other users of the machine see command lines, so no option takes a secret.
    secret_key_file: str | None = _secret("Holds the secret key instead of CHATMARK_SECRET_KEY.")
    usersig_file: str | None = _secret("Holds the UserSig instead of CHATMARK_USERSIG.")

    def target(self) -> Target:
        name = self._chosen()
        for given in ("pace", "proxy"):
            # Text before @ or behind ? may be secret.
            if _is_typed(given) and set(getattr(self, given)) & {*"@?"}:
                refuse_usage(f"give a URL with a password as CHATMARK_{given.upper()}")
        if name == "local":
            return Target(pace=self.pace or None)
        region = _REGIONS[(self.region or "").lower()] if name == "region" else None
        base_url = check_base_url(self.base_url or "") if name == "base_url" else None
        credentials = self.credentials()
        name = f"{credentials.sdkappid} at {resolve_base_url(region, base_url)}"
        terminal.LOG.target = name
        way: dict[str, Any] = {"region": region, "base_url": base_url}
        way |= {"proxy": self.proxy or None, "trust_env": self.trust_env}
        return Target(name, credentials, self.pace or None, way)

    def _chosen(self) -> str:
        given = [name for name in _TARGETS if getattr(self, name)]
        typed = [name for name in given if _is_typed(name)]
        if len(typed or given) != 1:
            known = {option.name for option in click.get_current_context().command.params}
            options = ", ".join(f"--{each.replace('_', '-')}" for each in _TARGETS if each in known)
            refuse_usage(f"give exactly one of {options}")
        return (typed or given)[0]

    def credentials(self) -> Credentials:
        """Return the credentials; a named file overrides a secret in the environment."""
        if self.secret_key_file and self.usersig_file:
            refuse_usage("give one of --secret-key-file and --usersig-file")
        environ = dict(os.environ)
        if self.usersig_file:
            environ["CHATMARK_SECRET_KEY"] = ""
            environ["CHATMARK_USERSIG"] = _read_secret(self.usersig_file)
        elif self.secret_key_file:
            environ["CHATMARK_SECRET_KEY"] = _read_secret(self.secret_key_file)
            environ["CHATMARK_USERSIG"] = ""
        if not (environ.get("CHATMARK_SECRET_KEY") or environ.get("CHATMARK_USERSIG")):
            reason = "set CHATMARK_SECRET_KEY or CHATMARK_USERSIG, or name a file with one"
            raise InputError("credentials", reason)
        environ["CHATMARK_SDKAPPID"] = self.sdkappid or ""
        environ["CHATMARK_IDENTIFIER"] = self.identifier or ""
        return Credentials.from_env(environ)

    def secret_key(self) -> str | None:
        path = self.secret_key_file
        return _read_secret(path) if path else os.environ.get("CHATMARK_SECRET_KEY") or None


def _is_typed(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def _read_secret(path: str) -> str:
    try:
        secret = pathlib.Path(path).read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        secret = ""
    except OSError as error:
        # The message does not repeat the name: some users give the secret itself.
        reason = f"the file with the secret cannot be read: {error.strerror}"
        raise InputError("credentials", reason) from None
    if not secret:
        raise InputError("credentials", "the file with the secret is empty or not UTF-8 text")
    return secret


def access_options(*only: str) -> Any:
    return group(Access, *options_of(Access, *only))


def _rate(_: object, __: object, rate: str) -> float | None:
    return parse_rate(rate, "--rate") or None


SERVER: Any = group(Access, *(each for each in options_of(Access) if each.field != "local"))


@attrs.frozen
class Calling:
    """The calls of a session: their rate (None without a limit), their times and their number."""

    rate: float | None = _call(
        "Calls a second, 0 without a limit, or a share such as 190/8.",
        "190",
        "RATE",
        callback=_rate,
    )
    timeout: float = _call(
        "The time of one attempt.", 10.0, "SECONDS", type=click.FloatRange(min=0.001)
    )
    deadline: float = _call("The time of a change or reading call.", 60.0, "SECONDS")
    max_in_flight: int | None = _call(
        "The most requests at once.  [default: as needed]", None, "N", type=click.IntRange(min=1)
    )


CALLING: Any = group(Calling, *options_of(Calling))
