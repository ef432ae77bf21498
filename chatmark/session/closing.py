"""
The end of a session: it takes no more changes, waits for the accepted ones, and fails the rest.
"""

import asyncio

from chatmark.failures import SessionClosedError, UnsentError
from chatmark.http.client import ApiClient
from chatmark.session.dispatcher import Dispatcher

# No timer goes off later than this, in seconds.
_LONGEST_TIMER = 86_400.0


class Closing:
    """
    Closes a session once, however many tasks ask for it.

    Args:
        client: Is closed at the end.
    """

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._task: asyncio.Task[None] | None = None
        self._waiting = 0
        # Set when the grace period ends early.
        self._hurry = asyncio.Event()

    @property
    def has_begun(self) -> bool:
        """Whether the session is closed, or being closed."""
        return self._task is not None

    def start(self, dispatcher: Dispatcher | None, grace: float, *, send_waiting: bool) -> None:
        loop = asyncio.get_running_loop()
        closing = self._close(dispatcher, grace, send_waiting=send_waiting)
        self._task = loop.create_task(closing, name="chatmark-close")

    def shorten(self, grace: float) -> None:
        """Let the grace period end after so many seconds at the latest."""
        task = self._task
        if task is not None and not task.done():
            loop = asyncio.get_running_loop()
            timer = loop.call_later(min(grace, _LONGEST_TIMER), self._hurry.set)
            task.add_done_callback(lambda _: timer.cancel())

    async def wait(self, dispatcher: Dispatcher | None) -> None:
        """
        Wait for the end; if the last task that waits is cancelled, the grace period ends at once.

        Raises:
            UnsentError: Accepted changes were given up.
        """
        task = self._task
        if task is None:
            return
        self._waiting += 1
        try:
            was_open = not task.done()
            if was_open:
                await asyncio.wait([task])
            if not task.cancelled():
                task.result()
            if was_open and dispatcher is not None and dispatcher.given_up:
                raise UnsentError(dispatcher.given_up, dispatcher.unconfirmed)
        except asyncio.CancelledError:
            if self._waiting == 1 and not task.done():
                self._hurry.set()
                await asyncio.wait([task])
            raise
        finally:
            self._waiting -= 1

    async def _close(
        self, dispatcher: Dispatcher | None, grace: float, *, send_waiting: bool
    ) -> None:
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
