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
from chatmark.cli.options import option, refuse_usage
from chatmark.pacing.window import parse_rate
from chatmark.regions import resolve_base_url

if TYPE_CHECKING:
    from chatmark.redis import RedisBudget

Priority = Literal["normal", "low"]

_REGIONS = [region.name.lower() for region in Region]
# A person waits at the terminal, where no option says otherwise.
_DEADLINE = 15.0
_server = functools.partial(option, title="Server")
_credentials = functools.partial(option, title="Credentials")
_secret = functools.partial(_credentials, metavar="FILE")
_call = functools.partial(option, title="Calls")


@attrs.frozen
class Target:
    """
    A server and the credentials for it: without any the emulator in this process.

    Args:
        name: The application and its server.
        pace: The URL of the shared budget, which may hold a password.
        rate: Calls a second, None without a limit.
        settings: Further options of a session; the URL of a proxy may hold a password.
    """

    name: str = ""
    credentials: Credentials | None = attrs.field(default=None, repr=False)
    pace: str | None = attrs.field(default=None, repr=False)
    rate: float | None = 190.0
    settings: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False)

    @contextlib.asynccontextmanager
    async def session(
        self, priority: Priority = "normal", **more: Any
    ) -> AsyncGenerator["chatmark.MarkSession"]:
        """Open a session with the server; a local emulator runs as long as the session."""
        options = {**self.settings, **more}
        async with contextlib.AsyncExitStack() as stack:
            credentials = self.credentials
            if credentials is None:
                from chatmark.emulator import Emulator  # noqa: PLC0415 - it loads the server of aiohttp.

                emulator = Emulator(calls_per_second=None, keep_calls=1)
                await stack.enter_async_context(emulator)
                options["base_url"] = emulator.url
                credentials = Credentials.from_env(emulator.credentials_environment())
            make_budget = self.shared_budget(credentials.sdkappid, priority)
            if make_budget is None:
                options["calls_per_second"] = self.rate
            else:
                options["budget"] = await stack.enter_async_context(make_budget())
                # A wrong password is an error before anything is read or sent.
                await options["budget"].connect()
            yield await stack.enter_async_context(chatmark.MarkSession(credentials, **options))

    def shared_budget(
        self, sdkappid: int, priority: Priority
    ) -> "Callable[[], RedisBudget] | None":
        """Return the function that makes the shared budget in each process, None without one."""
        if self.pace is None:
            return None
        from chatmark.redis import RedisBudget  # noqa: PLC0415 - few commands need it.

        if self.rate is None:
            raise InputError("rate", "must be above 0 with --pace")
        given: dict[str, Any] = {"key": f"chatmark:{sdkappid}", "calls_per_second": self.rate}
        return functools.partial(RedisBudget.from_url, self.pace, **given, priority=priority)


@attrs.frozen(kw_only=True, slots=False)
class Access:
    sdkappid: int | None = _credentials("The application.", metavar="N", type=int)
    identifier: str | None = _credentials("Its administrator.  [default: administrator]")
    # Other users of the machine see command lines, so no option takes a secret.
    secret_key_file: str | None = _secret("Holds the secret key instead of CHATMARK_SECRET_KEY.")
    usersig_file: str | None = _secret("Holds the UserSig instead of CHATMARK_USERSIG.")

    def secret_key(self) -> str:
        """Return the key of the file or of the environment, "" without any."""
        return _read_secret(self.secret_key_file) or os.environ.get("CHATMARK_SECRET_KEY", "")

    def credentials(self) -> Credentials:
        """Return the credentials; a named file overrides a secret in the environment."""
        if self.secret_key_file and self.usersig_file:
            refuse_usage("give one of --secret-key-file and --usersig-file")
        environ = dict(os.environ)
        if self.secret_key_file or self.usersig_file:
            environ["CHATMARK_SECRET_KEY"] = _read_secret(self.secret_key_file)
            environ["CHATMARK_USERSIG"] = _read_secret(self.usersig_file)
        if not (environ.get("CHATMARK_SECRET_KEY") or environ.get("CHATMARK_USERSIG")):
            reason = "set CHATMARK_SECRET_KEY or CHATMARK_USERSIG, or name a file with one"
            raise InputError("credentials", reason)
        environ["CHATMARK_SDKAPPID"] = str(self.sdkappid or "")
        environ["CHATMARK_IDENTIFIER"] = self.identifier or ""
        return Credentials.from_env(environ)


@attrs.frozen(kw_only=True, slots=False)
class Server(Access):
    region: str | None = _server(
        f"The application's data centre: {', '.join(_REGIONS)}.",
        metavar="REGION",
        type=click.Choice(_REGIONS, case_sensitive=False),
    )
    base_url: str | None = _server("A server outside the regions.", metavar="URL")
    pace: str | None = _server(
        "A Redis for the calls of all processes; with a password CHATMARK_PACE.", metavar="URL"
    )
    proxy: str | None = _server(
        "An HTTP proxy on the way to https; with a password CHATMARK_PROXY.", metavar="URL"
    )
    trust_env: bool = _server("Use the proxies of HTTPS_PROXY and NO_PROXY.", False)

    def choose_target(self) -> Target:
        for given in ("pace", "proxy"):
            # Text before @ or behind ? may be secret.
            if _is_typed(given) and set(getattr(self, given)) & {*"@?"}:
                refuse_usage(f"give a URL with a password as CHATMARK_{given.upper()}")
        chosen = self._chosen_server()
        if chosen == "local":
            return Target(pace=self.pace or None)
        is_region = chosen == "region"
        url = resolve_base_url(*((self.region, None) if is_region else (None, self.base_url)))
        credentials = self.credentials()
        terminal.LOG.target = name = f"{credentials.sdkappid} at {url}"
        settings: dict[str, Any] = {"base_url": url, "proxy": self.proxy or None}
        settings |= {"trust_env": self.trust_env, "deadline": _DEADLINE}
        return Target(name, credentials, self.pace or None, settings=settings)

    def _chosen_server(self) -> str:
        """Return the name of the option; the command line overrides the environment."""
        known = [name for name in ("region", "base_url", "local") if hasattr(self, name)]
        given = [name for name in known if getattr(self, name)]
        given = [name for name in given if _is_typed(name)] or given
        if len(given) != 1:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in known)
            variables = ", ".join(f"CHATMARK_{name.upper()}" for name in known)
            refuse_usage(f"give exactly one of {options}, or set one of {variables}")
        return given[0]


def _is_typed(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def _read_secret(path: str | None) -> str:
    if not path:
        return ""
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


def _rate(_: object, __: object, rate: str) -> float | None:
    return parse_rate(rate, "--rate") or None


@attrs.frozen(kw_only=True, slots=False)
class Calls(Server):
    """A server, and the calls of a session: their rate, their times and their number."""

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

    def choose_target(self) -> Target:
        target = super().choose_target()
        names = ("timeout", "deadline", "max_in_flight")
        settings = {**target.settings, **{name: getattr(self, name) for name in names}}
        return attrs.evolve(target, rate=self.rate, settings=settings)
