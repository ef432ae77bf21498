"""Run the emulator in the event loop of its caller."""

import asyncio
from collections import Counter
from types import TracebackType
from typing import Final, Self, Unpack

from aiohttp import web

from chatmark.emulator.calls import Call, CallBook
from chatmark.emulator.faults.script import FaultScript
from chatmark.emulator.handler import ChatApp
from chatmark.emulator.rate import RateLimit
from chatmark.emulator.settings import EmulatorOptions, Settings
from chatmark.emulator.state import ChatState
from chatmark.emulator.wire.signature import Gatekeeper

# What a handler gets to notice that its connection is gone; aiohttp waits for 60 s by default.
_SHUTDOWN_SECONDS: Final = 0.2


class Emulator:
    """
    A server that behaves as Chat does for the marks of conversations.

    It listens only between `start` and `stop`, which ``async with`` calls. What it knows, what
    it is scripted to do and what it was asked outlive a stop.

    Args:
        **options: See `chatmark.emulator.settings.Settings`.

    Attributes:
        settings: How it is set up.
        state: Users, groups and marks.
        script: The faults to come.
    """

    def __init__(self, **options: Unpack[EmulatorOptions]) -> None:
        self.settings = settings = Settings(**options)
        self.state = ChatState(
            users=settings.users,
            groups=settings.groups,
            standard_marks=settings.standard_marks,
            max_marked=settings.max_marked,
            page_size=settings.page_size,
            return_unmarked=settings.return_unmarked,
            clock=settings.clock,
        )
        self.script = FaultScript(seed=settings.seed)
        self._book = CallBook(keep_calls=settings.keep_calls, monotonic=settings.monotonic)
        self._rate = RateLimit(settings.calls_per_second, monotonic=settings.monotonic)
        gatekeeper = Gatekeeper(
            sdkappid=settings.sdkappid,
            secret_key=settings.secret_key,
            admins=settings.admins,
            clock=settings.clock,
        )
        round_trip = settings.round_trip
        self._app = ChatApp(
            state=self.state,
            script=self.script,
            gatekeeper=gatekeeper,
            rate=self._rate,
            book=self._book,
            max_items=settings.max_items,
            max_contacts=settings.max_contacts,
            round_trip=round_trip if callable(round_trip) else lambda: round_trip,
            sleep=settings.sleep,
        )
        self._port = settings.port
        self._server: web.Server | None = None
        self._listener: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """
        Listen; after a stop, on the same port as before.

        Raises:
            RuntimeError: If it listens already.
            OSError: If the port is taken.
        """
        if self._listener is not None:
            raise RuntimeError("the emulator is running already")
        server = web.Server(
            self._app.handle,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=self.settings.keep_alive,
        )
        self._listener = await asyncio.get_running_loop().create_server(
            server, self.settings.host, self._port, ssl=self.settings.ssl_context
        )
        self._server = server
        self._port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """
        Stop listening and break all connections at once; stopping again does nothing.
        """
        listener, server = self._listener, self._server
        self._listener = self._server = None
        if listener is None or server is None:
            return
        listener.close()
        self._app.forget_late()
        for connection in server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await server.shutdown(_SHUTDOWN_SECONDS)
        await listener.wait_closed()

    @property
    def url(self) -> str:
        """
        Where it listens, such as ``http://127.0.0.1:49152``; known from the first start.

        Raises:
            RuntimeError: If it was never started and has no fixed port.
        """
        if not self._port:
            raise RuntimeError("the emulator has no port before its first start")
        scheme = "http" if self.settings.ssl_context is None else "https"
        host = self.settings.host
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self._port}"

    @property
    def calls(self) -> list[Call]:
        """
        The last calls, oldest first; as many as the setting ``keep_calls`` says.
        """
        return list(self._book.calls)

    @property
    def counts(self) -> Counter[str]:
        """
        How many calls there were of each command, kept or not.
        """
        return Counter(self._book.counts)

    @property
    def violations(self) -> list[str]:
        """
        What the client did that a correct client never does, in words.
        """
        return list(self._book.violations)

    def reset(self) -> None:
        """
        Forget marks, contact groups, faults, calls and violations.
        """
        self.state.clear()
        self.script.clear()
        self._book.clear()
        self._rate.clear()

    def credentials_environment(self) -> dict[str, str]:
        """
        Return the environment variables with which chatmark finds and enters the emulator.
        """
        return {
            "CHATMARK_SDKAPPID": str(self.settings.sdkappid),
            "CHATMARK_IDENTIFIER": min(self.settings.admins),
            "CHATMARK_SECRET_KEY": self.settings.secret_key,
            "CHATMARK_BASE_URL": self.url,
        }
