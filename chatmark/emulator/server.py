"""The emulator, in the event loop of its caller or in a thread of its own."""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final, Self, Unpack

from aiohttp import web
from aiohttp.http import HttpProcessingError

from chatmark.emulator.calls import Call, CallBook
from chatmark.emulator.handler import ChatApp
from chatmark.emulator.script import FaultScript
from chatmark.emulator.settings import EmulatorOptions, Settings
from chatmark.emulator.state import ChatState
from chatmark.emulator.web import Page

# The time for handlers to notice that their connections are gone; aiohttp waits for 60 s.
_SHUTDOWN_SECONDS: Final = 0.2
# A client reaches a server that listens everywhere by these addresses.
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - no bind.
# What a client cannot say in HTTP is its own fault, and needs no traceback.
_LOGGER: Final = logging.getLogger("chatmark.emulator")
_NOT_HTTP: Final = (HttpProcessingError, web.RequestPayloadError)
_LOGGER.addFilter(lambda it: not (it.exc_info and isinstance(it.exc_info[1], _NOT_HTTP)))


class _Server:
    """
    The base of both emulators, with the options of `chatmark.emulator.Settings`.

    The state, the script and the calls survive a stop.

    Attributes:
        settings: The settings.
        state: Users, groups and marks.
        script: The faults to come.
        on_reset: Called at the end of `reset`, for example to load marks again.
    """

    def __init__(self, **options: Unpack[EmulatorOptions]) -> None:
        self.settings = settings = Settings(**options)
        self.state = ChatState(settings)
        self.script = FaultScript()
        self._book = CallBook(settings)
        self._app = ChatApp(settings, self.state, self.script, self._book)
        self._page = Page(settings, self.state, self.script, self._book, self.reset)
        self.on_reset: Callable[[], object] | None = None
        self._port = settings.port
        self._server: web.Server | None = None
        self._listener: asyncio.Server | None = None

    async def _listen(self) -> None:
        if self._listener is not None:
            raise RuntimeError("the emulator is running already; stop it first")
        server = web.Server(
            self._handle,
            access_log=None,
            logger=_LOGGER,
            handler_cancellation=True,
            keepalive_timeout=self.settings.keep_alive,
        )
        self._listener = await asyncio.get_running_loop().create_server(
            server, self.settings.host, self._port, ssl=self.settings.ssl_context
        )
        self._server = server
        self._port = self._listener.sockets[0].getsockname()[1]

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._page.handle(request) or await self._app.handle(request)

    async def _shut(self) -> None:
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
        The address, such as ``http://127.0.0.1:49152``; it is known from the first start.

        Raises:
            RuntimeError: If the emulator was never started and has no fixed port.
        """
        if not self._port:
            raise RuntimeError("the emulator has no port yet; start it first")
        scheme = "http" if self.settings.ssl_context is None else "https"
        host = self.settings.name or _LOOPBACK.get(self.settings.host, self.settings.host)
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self._port}"

    @property
    def calls(self) -> list[Call]:
        """The last calls, oldest first; the setting ``keep_calls`` limits them."""
        return list(self._book.calls)

    @property
    def counts(self) -> Counter[str]:
        """The number of calls of each command, kept or not."""
        return Counter(self._book.counts)

    @property
    def violations(self) -> list[str]:
        """The acts of the client that a correct client never does, in words."""
        return list(self._book.violations)

    def reset(self) -> None:
        """Forget marks, conversation groups, faults, calls and violations."""
        self.state.clear()
        self.script.clear()
        self._book.clear()
        if self.on_reset is not None:
            self.on_reset()

    def credentials_environment(self) -> dict[str, str]:
        """Return the environment variables that let chatmark use the emulator."""
        return {
            "CHATMARK_SDKAPPID": str(self.settings.sdkappid),
            "CHATMARK_IDENTIFIER": next(iter(self.settings.admins)),
            "CHATMARK_SECRET_KEY": self.settings.secret_key,
            "CHATMARK_BASE_URL": self.url,
        }


class Emulator(_Server):
    """
    A server that behaves as Chat does for the marks of conversations, in the loop of its caller.

    It listens between `start` and `stop`, which ``async with`` calls.
    """

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """
        Listen; after a stop, on the same port as before.

        Raises:
            RuntimeError: If the emulator runs already.
            OSError: If the port is taken.
        """
        await self._listen()

    async def stop(self) -> None:
        """Stop listening and break all connections at once; stopping again does nothing."""
        await self._shut()


class EmulatorThread(_Server):
    """
    The same server, whose event loop runs in a thread of its own.

    It serves synchronous tests, and asynchronous tests with a loop each. ``with`` calls `start` and
    `close`.
    """

    def __init__(self, **options: Unpack[EmulatorOptions]) -> None:
        super().__init__(**options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen, as `Emulator.start` does, and fail as it does; begin the thread if need be."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=loop.run_forever, name="chatmark-emulator", daemon=True
            )
            self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._listen(), loop).result()
        except BaseException:
            if self._listener is None:
                self.close()
            raise

    def stop(self) -> None:
        """Stop listening and break all connections at once; stopping again does nothing."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()

    def close(self) -> None:
        """Stop, and end the thread; closing again does nothing."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        try:
            self.stop()
        finally:
            self._loop = self._thread = None
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
