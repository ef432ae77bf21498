"""The permit server: one actor lends the calls of a cluster's budget to the workers."""

import asyncio
import contextlib
import math
from collections.abc import Sequence
from typing import Final, Protocol

import attrs

from chatmark.commands import Command
from chatmark.ray.budget.window import PermitWindow

# Seconds for which a successor lends nothing: permits of the lost server may still be in use.
_SUCCESSOR_WAITS: Final = 1.1


@attrs.frozen
class PermitReport:
    """
    A worker's report on its permits.

    Args:
        settled: Permits whose calls reached the server, each with the seconds since then. Clocks
            differ from machine to machine, durations do not.
        unused: Permits with which no call was made.
    """

    settled: Sequence[tuple[int, float]] = ()
    unused: Sequence[int] = ()

    def __bool__(self) -> bool:
        return bool(self.settled or self.unused)


class PermitServerLostError(ConnectionError):
    """The permit server cannot be reached; the next answer may come from a successor."""


class PermitSource(Protocol):
    """The permit server as a worker sees it, for one command of the API."""

    def of(self, command: str) -> "PermitSource":
        """Return the source of the permits of another command."""
        ...

    async def take(self, wanted: int, report: PermitReport, *, after_loss: bool) -> Sequence[int]:
        """
        Wait until some of the permits are free, and return their numbers.

        Args:
            wanted: The most permits that the worker would use at once.
            report: The report on earlier permits.
            after_loss: Whether the last call failed: permits that the report does not name will
                never be reported.
        """
        ...

    def note(self, report: PermitReport) -> None:
        """Send a report without waiting."""

    def pause(self, seconds: float) -> None:
        """Stop the calls of all workers for that time."""


class PermitServer:
    """
    The actor: it lends the calls of each command of the API. See `PermitSource` for its methods.

    Args:
        calls_per_second: The most calls of a command of all workers in any one-second window.
        is_successor: Whether it replaces a lost server, and knows nothing of the permits lent.
    """

    def __init__(self, calls_per_second: float, *, is_successor: bool = False) -> None:
        self.commands = {
            str(command): CommandPermits(calls_per_second, is_successor=is_successor)
            for command in Command
        }

    async def take(
        self,
        command: str,
        worker: str,
        wanted: int,
        report: PermitReport,
        *,
        after_loss: bool = False,
    ) -> list[int]:
        """Lend permits to a worker; first come, first served."""
        return await self.commands[command].take(worker, wanted, report, after_loss=after_loss)

    async def note(self, command: str, report: PermitReport) -> None:
        """Accept a report."""
        self.commands[command].note(report)

    async def pause(self, command: str, seconds: float) -> None:
        """Lend nothing for that time."""
        self.commands[command].pause(seconds)

    async def dismiss(self, worker: str) -> None:
        """Lend nothing more to a worker that is gone."""
        for permits in self.commands.values():
            permits.dismiss(worker)


class CommandPermits:
    """Lends the calls of one command; see `PermitServer` for the arguments."""

    def __init__(self, calls_per_second: float, *, is_successor: bool = False) -> None:
        self._window = PermitWindow(calls_per_second)
        self._queue = asyncio.Lock()
        self._changed = asyncio.Event()
        self._is_successor = is_successor
        self._paused_until = -math.inf

    async def take(
        self, worker: str, wanted: int, report: PermitReport, *, after_loss: bool = False
    ) -> list[int]:
        """Lend permits to a worker; first come, first served."""
        if after_loss:
            self._window.forget(worker, self._now())
        self.note(report)
        count = min(wanted, self._window.at_once)
        async with self._queue:
            while (delay := self._delay(count)) > 0:
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if math.isinf(delay) else delay):
                        await self._changed.wait()
            return self._window.lend(self._now(), worker, count)

    def note(self, report: PermitReport) -> None:
        """Accept a report."""
        now = self._now()
        for number, age in report.settled:
            self._window.settle(number, now - age)
        for number in report.unused:
            self._window.take_back(number)
        self._changed.set()

    def pause(self, seconds: float) -> None:
        """Lend nothing for that time."""
        self._paused_until = max(self._paused_until, self._now() + seconds)

    def dismiss(self, worker: str) -> None:
        """Lend nothing more to a worker that is gone."""
        self._window.dismiss(worker, self._now())
        self._changed.set()

    def _now(self) -> float:
        now = asyncio.get_running_loop().time()
        if self._is_successor:
            # The wait starts with the first call: the actor is made outside its event loop.
            self._is_successor = False
            self._paused_until = now + _SUCCESSOR_WAITS
        return now

    def _delay(self, count: int) -> float:
        now = self._now()
        return max(self._window.delay(now, count), self._paused_until - now)
