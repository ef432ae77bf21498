"""Log lines of failures: those that no caller looked at, and outages."""

import asyncio
import collections
import logging
from collections.abc import Callable
from typing import Any, Final

from chatmark.codes import Handling
from chatmark.core.breaker import Breaker
from chatmark.events import logger
from chatmark.results import MarkResult
from chatmark.wire.classify import Verdict

# Seconds for which failures that no caller looks at are collected into one line.
_COLLECTED_FOR: Final = 1.0
# Requests that fail for so many seconds, while none succeeds, are an outage.
_OUTAGE: Final = 2.0


logger.addHandler(logging.NullHandler())


class UnseenFailures:
    """
    Failures that no caller looked at, logged together.

    Args:
        loop: The loop in which lines are collected for a second.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._counts: collections.Counter[int | None] = collections.Counter()
        self._first: MarkResult | None = None
        self._timer: asyncio.Handle | None = None
        self._is_closed = False

    def add(self, result: MarkResult) -> None:
        """Note a failure; it is logged within a second."""
        self._first = self._first or result
        self._counts[result.code] += 1
        if not self._loop.is_running():
            self.report()
        elif self._timer is None:
            # A session that is closed leaves no timer behind.
            later = self._loop.call_soon if self._is_closed else self._call_later
            self._timer = later(self.report)

    def report(self, *, is_last: bool = False) -> None:
        """Log what was noted, if anything was, as one WARNING."""
        self._is_closed = self._is_closed or is_last
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._first is None:
            return
        codes = ", ".join(
            f"{count:,} with {'no code' if code is None else code}"
            for code, count in self._counts.most_common()
        )
        logger.warning(
            "failed changes whose result no caller read: %s; the first: %s",
            codes,
            self._first.error,
        )
        self._first = None
        self._counts.clear()

    def _call_later(self, report: Callable[[], None]) -> asyncio.Handle:
        return self._loop.call_later(_COLLECTED_FOR, report)


class OutageLog:
    """
    Logs when the server stops answering, and when it answers again.

    Args:
        what: The calls that it does not answer.
        breaker: Is told of each request before this is.
    """

    def __init__(self, what: str, breaker: Breaker) -> None:
        self._what = what
        self._breaker = breaker
        self._since: float | None = None

    def note(self, verdict: Verdict[Any], now: float) -> None:
        """
        Note what came of a request.

        The few requests of a small service never make the breaker hold requests back.
        """
        error = verdict.error if verdict.handling is Handling.RETRY else None
        breaker = self._breaker
        failing_since = now if breaker.failing_since is None else breaker.failing_since
        is_outage = breaker.held_since is not None or now - failing_since >= _OUTAGE
        if is_outage and error is not None and self._since is None:
            self._since = failing_since
            logger.warning("an outage has begun: %s fails: %s", self._what, error)
        elif self._since is not None and error is None and not is_outage:
            logger.warning(
                "the outage is over: %s succeeds again after %.1f s", self._what, now - self._since
            )
            self._since = None
