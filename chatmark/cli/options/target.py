"""
Who calls which server, as the shared options and the environment say.
"""

import contextlib
import functools
import logging
import os
import pathlib
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs
import click

from chatmark.cli.options.shared import REGIONS, kept
from chatmark.cli.render.console import Warnings
from chatmark.credentials import Credentials
from chatmark.errors import InputError
from chatmark.regions import Region, check_base_url, resolve_base_url

if TYPE_CHECKING:
    from chatmark.redis import RedisBudget
    from chatmark.session import MarkSession

# The documented ceiling, which the emulator holds callers to.
_CALLS_PER_SECOND: Final = 200
_TARGETS: Final = ("region", "base_url", "local")


@attrs.frozen
class Target:
    """
    Which server to call, and as whom.

    Args:
        region: A data centre.
        base_url: Another server.
        credentials: Who calls; None for the emulator in this process, which makes them up.
        pace: The URL of what keeps a budget for many processes; it may hold a password.
    """

    region: Region | None = None
    base_url: str | None = None
    credentials: Credentials | None = attrs.field(default=None, repr=False)
    pace: str | None = attrs.field(default=None, repr=False)

    @classmethod
    def of(cls, ctx: click.Context) -> "Target":
        """
        Return what the options name; the command line goes before the environment.

        Raises:
            UsageError: Not exactly one server is named.
            InputError: The base URL or the credentials will not do.
            OSError: A file with a secret cannot be read.
        """
        name, pace = _chosen(ctx), pace_of(ctx)
        if name == "local":
            return cls(pace=pace)
        credentials = credentials_of(ctx)
        if name == "region":
            return cls(region=REGIONS[kept(ctx, name)], credentials=credentials, pace=pace)
        base_url = check_base_url(kept(ctx, name))
        return cls(base_url=base_url, credentials=credentials, pace=pace)

    @property
    def name(self) -> str:
        """
        Which application of which server it is; "" for the emulator in this process.
        """
        if self.credentials is None:
            return ""
        url = resolve_base_url(self.region, self.base_url)
        return f"{self.credentials.sdkappid} at {url}"

    def shared_budget(
        self, *, rate: float | None, priority: Literal["normal", "low"]
    ) -> "Callable[[], RedisBudget] | None":
        """
        Return what makes the budget in each process of a cluster, None where it is not shared.

        Args:
            rate: Calls a second.
            priority: Whether it goes before others that share it, or behind them.

        Raises:
            InputError: It cannot be made.
        """
        if self.pace is None or self.credentials is None:
            return None
        make = _shared_budget(self.pace, self.credentials.sdkappid, rate, priority)
        # What is wrong with it is wrong here; it connects to nothing yet.
        make()
        return make

    @contextlib.asynccontextmanager
    async def session(
        self,
        *,
        rate: float | None = 190.0,
        priority: Literal["normal", "low"] = "normal",
        **options: Any,
    ) -> AsyncGenerator["MarkSession"]:
        """
        Open a session with the server; the emulator runs as long as that.

        Args:
            rate: Calls a second, None for as many as go.
            priority: Whether it goes before others that share its pace, or behind them.
            **options: Those of `MarkSession`.
        """
        from chatmark.session import MarkSession  # noqa: PLC0415 - it loads aiohttp.

        async with contextlib.AsyncExitStack() as stack:
            credentials, base_url = self.credentials, self.base_url
            if credentials is None:
                from chatmark.emulator import Emulator  # noqa: PLC0415 - and this its server.

                paced = rate is not None and rate <= _CALLS_PER_SECOND
                emulator = Emulator(
                    calls_per_second=_CALLS_PER_SECOND if paced else None, keep_calls=1
                )
                await stack.enter_async_context(emulator)
                base_url = emulator.url
                credentials = Credentials.from_env(emulator.credentials_environment())
            if self.pace is not None:
                warnings = Warnings(logging.WARNING)
                logging.getLogger("chatmark").addHandler(warnings)
                stack.callback(logging.getLogger("chatmark").removeHandler, warnings)
                make = _shared_budget(self.pace, credentials.sdkappid, rate, priority)
                budget = await stack.enter_async_context(make())
                # A wrong password is known before anything is read or sent.
                await budget.connect()
                options["budget"] = budget
            yield await stack.enter_async_context(
                MarkSession(
                    credentials,
                    region=self.region,
                    base_url=base_url,
                    calls_per_second=rate,
                    **options,
                )
            )


def _chosen(ctx: click.Context) -> str:
    # An option that was not given is None, a flag False.
    given = [name for name in _TARGETS if kept(ctx, name)]
    typed = [
        name
        for name in given
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    if len(typed or given) != 1:
        known = {option.name for option in ctx.command.params}
        options = ", ".join(f"--{each.replace('_', '-')}" for each in _TARGETS if each in known)
        raise click.UsageError(f"exactly one of {options} is needed", ctx)
    return (typed or given)[0]


def _shared_budget(
    url: str, sdkappid: int, rate: float | None, priority: Literal["normal", "low"]
) -> "Callable[[], RedisBudget]":
    try:
        from chatmark.redis import RedisBudget  # noqa: PLC0415 - an extra.
    except ModuleNotFoundError:
        raise InputError("pace", "needs more: pip install 'chatmark[redis]'") from None
    if rate is None:
        raise InputError("rate", "cannot be 0 where calls are counted")
    return functools.partial(
        RedisBudget.from_url,
        url,
        key=f"chatmark:{sdkappid}",
        calls_per_second=rate,
        priority=priority,
    )


def pace_of(ctx: click.Context) -> str | None:
    """
    Return where the calls of all processes are counted, None without.

    Raises:
        UsageError: Its password stands on the command line, where other users of the machine see
            it.
    """
    url: str | None = kept(ctx, "pace")
    typed = ctx.get_parameter_source("pace") is click.core.ParameterSource.COMMANDLINE
    # Whatever stands before an @ or after a ? may be one.
    if url and typed and set(url) & {*"@?"}:
        raise click.UsageError("a URL with a password is given as CHATMARK_PACE", ctx)
    return url or None


def credentials_of(ctx: click.Context) -> Credentials:
    """
    Return the credentials; a file that is named goes before a secret in the environment.

    Raises:
        InputError: Something is missing or will not do.
        OSError: A file cannot be read.
    """
    key_file, usersig_file = kept(ctx, "secret_key_file"), kept(ctx, "usersig_file")
    if key_file and usersig_file:
        raise click.UsageError("give one of --secret-key-file and --usersig-file", ctx)
    environment = {
        "CHATMARK_SDKAPPID": kept(ctx, "sdkappid") or "",
        "CHATMARK_IDENTIFIER": kept(ctx, "identifier") or "",
    }
    if usersig_file:
        environment["CHATMARK_USERSIG"] = _read_secret(usersig_file)
    else:
        environment["CHATMARK_SECRET_KEY"] = secret_key_of(ctx) or ""
        if not key_file:
            environment["CHATMARK_USERSIG"] = os.environ.get("CHATMARK_USERSIG", "")
    if not (environment.get("CHATMARK_SECRET_KEY") or environment.get("CHATMARK_USERSIG")):
        raise InputError(
            "credentials", "set CHATMARK_SECRET_KEY or CHATMARK_USERSIG, or name a file with one"
        )
    return Credentials.from_env(environment)


def secret_key_of(ctx: click.Context) -> str | None:
    """
    Return the secret key of the file that is named or else of the environment, None without.

    Raises:
        InputError: The file has none.
        OSError: The file cannot be read.
    """
    path = kept(ctx, "secret_key_file")
    return _read_secret(path) if path else os.environ.get("CHATMARK_SECRET_KEY") or None


def _read_secret(path: str) -> str:
    try:
        secret = pathlib.Path(path).read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        secret = ""
    if not secret:
        raise InputError("credentials", "there is no secret in the file", path)
    return secret
