"""A server with credentials for it, and sessions with it."""

import contextlib
import functools
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from chatmark import Credentials, InputError, Region
from chatmark.regions import resolve_base_url

if TYPE_CHECKING:
    from chatmark import MarkSession
    from chatmark.redis import RedisBudget

# The documented limit, which the emulator enforces.
_CALLS_PER_SECOND: Final = 200


@attrs.frozen
class Target:
    """
    A server and the credentials for it.

    Args:
        region: A data centre.
        base_url: Another server.
        credentials: None for the emulator in this process, which invents them.
        pace: The URL of a store for a budget of many processes; it may hold a password.
        proxy: The URL of an HTTP proxy; it may hold a password.
        trust_env: Whether the proxies of the environment are used.
    """

    region: Region | None = None
    base_url: str | None = None
    credentials: Credentials | None = attrs.field(default=None, repr=False)
    pace: str | None = attrs.field(default=None, repr=False)
    proxy: str | None = attrs.field(default=None, repr=False)
    trust_env: bool = False

    @property
    def name(self) -> str:
        """The application and its server; "" for the emulator in this process."""
        if self.credentials is None:
            return ""
        url = resolve_base_url(self.region, self.base_url)
        return f"{self.credentials.sdkappid} at {url}"

    @property
    def way(self) -> dict[str, Any]:
        """The options of a session for the way to the server."""
        return {"proxy": self.proxy, "trust_env": self.trust_env}

    def shared_budget(
        self, *, rate: float | None, priority: Literal["normal", "low"]
    ) -> "Callable[[], RedisBudget] | None":
        """Return the function that makes the shared budget in each process, None without one."""
        if self.pace is None or self.credentials is None:
            return None
        make = _shared_budget(self.pace, self.credentials.sdkappid, rate, priority)
        # Wrong arguments fail here; the budget does not connect yet.
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
        """Open a session with the server; a local emulator runs as long as the session."""
        from chatmark import MarkSession  # noqa: PLC0415 - it loads aiohttp.

        async with contextlib.AsyncExitStack() as stack:
            credentials, base_url = self.credentials, self.base_url
            if credentials is None:
                from chatmark.emulator import Emulator  # noqa: PLC0415 - it loads the server of aiohttp.

                paced = rate is not None and rate <= _CALLS_PER_SECOND
                emulator = Emulator(
                    calls_per_second=_CALLS_PER_SECOND if paced else None, keep_calls=1
                )
                await stack.enter_async_context(emulator)
                base_url = emulator.url
                credentials = Credentials.from_env(emulator.credentials_environment())
            if self.pace is not None:
                make = _shared_budget(self.pace, credentials.sdkappid, rate, priority)
                budget = await stack.enter_async_context(make())
                # A wrong password is an error before anything is read or sent.
                await budget.connect()
                options["budget"] = budget
            else:
                options["calls_per_second"] = rate
            options |= self.way
            session = MarkSession(credentials, region=self.region, base_url=base_url, **options)
            yield await stack.enter_async_context(session)


def _shared_budget(
    url: str, sdkappid: int, rate: float | None, priority: Literal["normal", "low"]
) -> "Callable[[], RedisBudget]":
    from chatmark.redis import RedisBudget  # noqa: PLC0415 - few commands need it.

    if rate is None:
        raise InputError("rate", "must be above 0 with --pace")
    return functools.partial(
        RedisBudget.from_url,
        url,
        key=f"chatmark:{sdkappid}",
        calls_per_second=rate,
        priority=priority,
    )
