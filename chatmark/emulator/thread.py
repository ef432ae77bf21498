"""Run the emulator in a thread of its own."""

import asyncio
import threading
from collections import Counter
from collections.abc import Coroutine
from types import TracebackType
from typing import Self, Unpack

from chatmark.emulator.calls import Call
from chatmark.emulator.faults.script import FaultScript
from chatmark.emulator.server import Emulator
from chatmark.emulator.settings import EmulatorOptions, Settings
from chatmark.emulator.state import ChatState


class EmulatorThread:
    """
    An `Emulator` whose event loop runs in a thread of its own.

    It serves synchronous tests, and asynchronous ones whose loop comes and goes. ``with`` calls
    `start` and `close`.

    Args:
        **options: See `chatmark.emulator.settings.Settings`.
    """

    def __init__(self, **options: Unpack[EmulatorOptions]) -> None:
        self._emulator = Emulator(**options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """
        Listen; after a stop, on the same port as before.

        Raises:
            RuntimeError: If it listens already.
            OSError: If the port is taken.
        """
        started_here = self._loop is None
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="chatmark-emulator", daemon=True
            )
            self._thread.start()
        try:
            self._run(self._emulator.start())
        except BaseException:
            if started_here:
                self.close()
            raise

    def stop(self) -> None:
        """
        Stop listening and break all connections at once; stopping again does nothing.
        """
        if self._loop is not None:
            self._run(self._emulator.stop())

    def close(self) -> None:
        """
        Stop, and end the thread; closing again does nothing.
        """
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

    @property
    def settings(self) -> Settings:
        """
        How it is set up.
        """
        return self._emulator.settings

    @property
    def state(self) -> ChatState:
        """
        Users, groups and marks.
        """
        return self._emulator.state

    @property
    def script(self) -> FaultScript:
        """
        The faults to come.
        """
        return self._emulator.script

    @property
    def url(self) -> str:
        """
        Where it listens, such as ``http://127.0.0.1:49152``; known from the first start.
        """
        return self._emulator.url

    @property
    def calls(self) -> list[Call]:
        """
        The last calls, oldest first; as many as the setting ``keep_calls`` says.
        """
        return self._emulator.calls

    @property
    def counts(self) -> Counter[str]:
        """
        How many calls there were of each command, kept or not.
        """
        return self._emulator.counts

    @property
    def violations(self) -> list[str]:
        """
        What the client did that a correct client never does, in words.
        """
        return self._emulator.violations

    def reset(self) -> None:
        """
        Forget marks, contact groups, faults, calls and violations.
        """
        self._emulator.reset()

    def credentials_environment(self) -> dict[str, str]:
        """
        Return the environment variables with which chatmark finds and enters the emulator.
        """
        return self._emulator.credentials_environment()

    def _run(self, coroutine: Coroutine[None, None, None]) -> None:
        if self._loop is None:
            raise RuntimeError("the emulator's thread is not running")
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
