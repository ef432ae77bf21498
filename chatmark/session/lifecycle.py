"""How a session begins and ends, where it may be used, and what it counted."""

import asyncio
import os
import sys
import warnings
from types import TracebackType
from typing import Self

from chatmark.core.engine import Engine
from chatmark.events import SessionStats
from chatmark.failures import SessionClosedError, SessionError, UnsentError
from chatmark.http.client import ApiClient, Hooks
from chatmark.session.arguments import check_seconds
from chatmark.session.dispatcher import Dispatcher

# No timer goes off later than this, in seconds.
_LONGEST_TIMER = 86_400.0


class Lifecycle:
    """
    The life of a session, which belongs to the event loop and the process of its first use.

    Args:
        engine: Decides on changes and requests.
        client: Makes the calls.
        hooks: Are told of events.
        target: Which application of which server it calls.
        max_pending: The most changes without an outcome.
        close_grace: Seconds that `close` waits for what was accepted.
    """

    def __init__(
        self,
        engine: Engine,
        client: ApiClient,
        hooks: Hooks,
        *,
        target: str,
        max_pending: int,
        close_grace: float,
    ) -> None:
        self._engine = engine
        self._client = client
        self._hooks = hooks
        self._target = target
        self._max_pending = max_pending
        self._close_grace = close_grace
        self._dispatcher: Dispatcher | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._closing: asyncio.Task[None] | None = None
        self._closers = 0
        # Set when the grace period ends early.
        self._hurry = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._use()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Another task that closes the session is told what it gave up.
        is_first = self._closing is None
        # Of a body that was cancelled what is in flight ends, and what waits is not begun.
        try:
            await self.close(send_waiting=not isinstance(error, asyncio.CancelledError))
        except UnsentError as unsent:
            if error is not None:
                error.add_note(str(unsent))
            elif is_first:
                raise

    async def flush(self) -> None:
        """
        Wait until everything accepted so far succeeded, failed or was withdrawn.

        Raises:
            SessionError: The session is closed or broken.
        """
        await self._use().flush()

    async def close(self, grace: float | None = None, *, send_waiting: bool = True) -> None:
        """
        Take no more changes, wait for the accepted ones, fail the rest with `UnsentError`.

        It may be called often and from several tasks; a later grace period that ends earlier counts
        for all. When it is cancelled it stops waiting at once, and still gives every handle its
        outcome.

        Args:
            grace: Seconds to wait, None for the session's *close_grace*.
            send_waiting: Whether changes that were not sent yet still are; else they fail at once.

        Raises:
            InputError: The grace period is not a number from 0 up.
            UnsentError: Accepted changes were given up; `unsent` has them.
            SessionError: The session belongs to another loop or process.
        """
        if grace is not None:
            check_seconds("grace", grace, endless=True)
        if self._closing is None:
            self._check_place()
            wait = self._close_grace if grace is None else grace
            closing = self._close(wait, send_waiting=send_waiting)
            self._closing = asyncio.create_task(closing, name="chatmark-close")
        elif grace is not None and not self._closing.done():
            loop = asyncio.get_running_loop()
            timer = loop.call_later(min(grace, _LONGEST_TIMER), self._hurry.set)
            self._closing.add_done_callback(lambda _: timer.cancel())
        await self._closed(self._closing)

    @property
    def target(self) -> str:
        """Which application of which server it calls."""
        return self._target

    @property
    def stats(self) -> SessionStats:
        """The counters at this moment."""
        ledger = self._engine.ledger
        return SessionStats(
            accepted=ledger.accepted,
            pending=ledger.pending,
            succeeded=ledger.succeeded,
            failed=ledger.failed,
            withdrawn=ledger.withdrawn,
            in_flight=self._engine.in_flight,
            calls=self._client.calls,
            retries=ledger.retries,
            retries_by_reason=dict(ledger.retries_by_reason),
            failures_by_code=dict(ledger.failures_by_code),
            pauses=self._client.pauses,
            paused=self._client.paused,
            renewals=self._client.renewals,
        )

    def __repr__(self) -> str:
        state = "open" if self._closing is None else "closed"
        return f"<MarkSession {state}, {self._engine.ledger.pending} pending>"

    def __del__(self) -> None:
        if sys.is_finalizing():
            return
        if getattr(self, "_loop", None) is not None and self._closing is None:
            broken = 0 if self._dispatcher is None else self._dispatcher.broken
            pending = self._engine.ledger.pending + broken
            warnings.warn(
                f"a MarkSession was not closed; {pending} changes are not settled",
                ResourceWarning,
                source=self,
                stacklevel=1,
            )

    def _use(self) -> Dispatcher:
        """Return the dispatcher, made when the session is first used."""
        self._check_place()
        if self._closing is not None:
            raise SessionClosedError
        if self._dispatcher is None:
            self._loop = asyncio.get_running_loop()
            self._dispatcher = Dispatcher(
                self._engine,
                self._client,
                max_pending=self._max_pending,
                hooks=self._hooks,
            )
        return self._dispatcher

    def _check_place(self) -> None:
        if os.getpid() != self._pid:
            raise SessionError("a session cannot be used after a fork; make one in each process")
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            raise SessionError("a session belongs to the event loop that it was first used in")

    async def _closed(self, closing: asyncio.Task[None]) -> None:
        """
        Wait for the end; if the last task that waits is cancelled, the grace period ends at once.
        """
        self._closers += 1
        try:
            was_open = not closing.done()
            if was_open:
                await asyncio.wait([closing])
            if not closing.cancelled():
                closing.result()
            dispatcher = self._dispatcher
            if was_open and dispatcher is not None and dispatcher.given_up:
                raise UnsentError(dispatcher.given_up, dispatcher.unconfirmed)
        except asyncio.CancelledError:
            if self._closers == 1 and not closing.done():
                self._hurry.set()
                await asyncio.wait([closing])
            raise
        finally:
            self._closers -= 1

    async def _close(self, grace: float, *, send_waiting: bool) -> None:
        dispatcher = self._dispatcher
        try:
            if dispatcher is not None:
                dispatcher.refuse(SessionClosedError())
                if not send_waiting:
                    dispatcher.drop_waiting()
                await self._drain(dispatcher, grace)
        finally:
            # A task may be cancelled more than once.
            try:
                if dispatcher is not None:
                    await dispatcher.end()
            finally:
                if dispatcher is not None:
                    dispatcher.unseen.report(is_last=True)
                await self._client.aclose()

    async def _drain(self, dispatcher: Dispatcher, grace: float) -> None:
        tasks = [
            asyncio.create_task(dispatcher.drain(), name="chatmark-drain"),
            asyncio.create_task(self._hurry.wait(), name="chatmark-hurry"),
        ]
        try:
            await asyncio.wait(tasks, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
