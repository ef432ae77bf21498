"""
The permit server: workers of a cluster borrow their calls from one actor.
"""

import asyncio
import contextlib
import math
from collections.abc import Sequence
from typing import Final, Protocol

import attrs

from chatmark.commands import Command
from chatmark.ray.budget.window import PermitWindow

# Seconds without permits while those of a lost server may be in use.
_NOTHING_FOR: Final = 1.1


@attrs.frozen
class PermitReport:
    """
    A worker's report on its permits.

    Args:
        settled: Permits whose calls were at the server, each with the seconds since then. Clocks
            differ from machine to machine, durations do not.
        unused: Permits with which no call was made.
    """

    settled: Sequence[tuple[int, float]] = ()
    unused: Sequence[int] = ()

    def __bool__(self) -> bool:
        return bool(self.settled or self.unused)


class PermitServerLostError(ConnectionError):
    """
    The permit server cannot be reached; the next answer may come from a successor.
    """


class PermitSource(Protocol):
    """
    The permit server as a worker sees it, for one command of the API.
    """

    def of(self, command: str) -> "PermitSource":
        """
        Return the source of the permits of another command.
        """
        ...

    async def take(self, wanted: int, account: PermitReport, *, anew: bool) -> Sequence[int]:
        """
        Wait for some of the permits wanted, and return their numbers.

        Args:
            wanted: How many would be used at once.
            account: The report on earlier ones.
            anew: Whether nothing more will be said of those that are not in the account.
        """
        ...

    def note(self, account: PermitReport) -> None:
        """
        Report on permits, without waiting.
        """

    def pause(self, seconds: float) -> None:
        """
        Stop all calls of the cluster for that time.
        """


class PermitServer:
    """
    The permit server, an actor: it lends the calls of each command of the API.

    Args:
        calls_per_second: The most calls of a command of all workers in any one-second window.
        is_successor: Whether it takes the place of one that is gone, with all that it had lent.
    """

    def __init__(self, calls_per_second: float, *, is_successor: bool = False) -> None:
        self.commands = {
            str(command): CommandPermits(calls_per_second, is_successor=is_successor)
            for command in Command
        }

    async def take(
        self, command: str, worker: str, wanted: int, account: PermitReport, *, anew: bool = False
    ) -> list[int]:
        """
        See `PermitSource.take`; first come, first served.
        """
        return await self.commands[command].take(worker, wanted, account, anew=anew)

    async def note(self, command: str, account: PermitReport) -> None:
        """
        See `PermitSource.note`.
        """
        self.commands[command].note(account)

    async def pause(self, command: str, seconds: float) -> None:
        """
        See `PermitSource.pause`.
        """
        self.commands[command].pause(seconds)

    async def part(self, worker: str) -> None:
        """
        Note that a worker is gone.
        """
        for permits in self.commands.values():
            permits.part(worker)


class CommandPermits:
    """
    Lends the calls of one command.

    Args:
        calls_per_second: The most calls of all workers in any one-second window.
        is_successor: Whether it takes the place of one that is gone, with all that it had lent.
    """

    def __init__(self, calls_per_second: float, *, is_successor: bool = False) -> None:
        self._window = PermitWindow(calls_per_second)
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        self._is_successor = is_successor
        self._closed_until = -math.inf

    async def take(
        self, worker: str, wanted: int, account: PermitReport, *, anew: bool = False
    ) -> list[int]:
        """
        See `PermitSource.take`; first come, first served.
        """
        if anew:
            self._window.forget(worker, self._now())
        self._enter(account)
        count = min(wanted, self._window.at_once)
        async with self._turn:
            while (delay := self._delay(count)) > 0:
                self._news.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if math.isinf(delay) else delay):
                        await self._news.wait()
            return self._window.lend(self._now(), worker, count)

    def note(self, account: PermitReport) -> None:
        """
        See `PermitSource.note`.
        """
        self._enter(account)

    def pause(self, seconds: float) -> None:
        """
        See `PermitSource.pause`.
        """
        self._closed_until = max(self._closed_until, self._now() + seconds)

    def part(self, worker: str) -> None:
        """
        Note that a worker is gone.
        """
        self._window.part(worker, self._now())
        self._news.set()

    def _now(self) -> float:
        now = asyncio.get_running_loop().time()
        if self._is_successor:
            self._is_successor = False
            self._closed_until = now + _NOTHING_FOR
        return now

    def _delay(self, count: int) -> float:
        now = self._now()
        return max(self._window.delay(now, count), self._closed_until - now)

    def _enter(self, account: PermitReport) -> None:
        now = self._now()
        for number, age in account.settled:
            self._window.settle(number, now - age)
        for number in account.unused:
            self._window.unused(number)
        self._news.set()
