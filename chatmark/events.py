"""
What a session tells those who watch it: typed events, and a snapshot of its counters.
"""

import asyncio
import collections
import logging
import traceback
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from chatmark.errors import ChatmarkError
from chatmark.models import MarkResult
from chatmark.wire import Command

# Seconds for which failures that nobody looks at are collected into one line.
_COLLECTED_FOR: Final = 1.0

logger: Final = logging.getLogger("chatmark")
logger.addHandler(logging.NullHandler())


@attrs.frozen
class RequestEnded:
    """
    One request, from its sending to its answer.

    Args:
        command: The call.
        account: Its From_Account.
        items: How many conversations it named.
        reason: "0" for success, else the code, HTTP status or kind of fault.
        duration: Seconds.
        request_id: The `RequestId` of the answer, "" where it has none.
    """

    command: Command
    account: str
    items: int
    reason: str
    duration: float
    request_id: str = ""


@attrs.frozen
class RetryPlanned:
    """
    Items go back to their lane.

    Args:
        account: The From_Account.
        items: How many.
        reason: Why.
    """

    account: str
    items: int
    reason: str


@attrs.frozen
class Paused:
    """
    The server asked to slow down: no calls for that time.

    Args:
        seconds: The time.
        reason: The code or status.
    """

    seconds: float
    reason: str


@attrs.frozen
class SignatureRenewed:
    """
    A UserSig was made.

    Args:
        number: Which one of this session it is, from 1.
        forced: Whether the server's refusal of its predecessor made it necessary.
    """

    number: int
    forced: bool


@attrs.frozen
class ChangesSettled:
    """
    Changes have their outcome.

    Args:
        results: The fate of each; a withdrawn one has a `WithdrawnError`.
    """

    results: tuple[MarkResult, ...]


Event = RequestEnded | RetryPlanned | Paused | SignatureRenewed | ChangesSettled
Hook = Callable[[Event], None]


@attrs.frozen
class SessionStats:
    """
    A session's counters at one moment; `accepted` is the sum of the next four.

    Args:
        accepted: Changes accepted.
        pending: Those without an outcome.
        succeeded: Those that took effect.
        failed: Those that failed.
        withdrawn: Those taken back before they were sent.
        in_flight: Requests of mark_contact under way.
        calls: Requests made, of every kind.
        retries: Items sent again, counted each time.
        retries_by_reason: The same by code, HTTP status or kind of fault.
        failures_by_code: Failed changes by the vendor's code, None for those without one.
        pauses: How often the server asked to slow down.
        paused: For how many seconds in all, those to come of a pause that lasts among them.
        renewals: UserSigs made.
    """

    accepted: int
    pending: int
    succeeded: int
    failed: int
    withdrawn: int
    in_flight: int
    calls: int
    retries: int
    retries_by_reason: Mapping[str, int]
    failures_by_code: Mapping[int | None, int]
    pauses: int
    paused: float
    renewals: int


class Watchers:
    """
    The hooks of a session; one that raises is logged, and hurts nobody.
    """

    __slots__ = ("_hooks", "_is_telling", "_untold")

    def __init__(self, hooks: tuple[Hook, ...] = ()) -> None:
        self._hooks = hooks
        self._untold: collections.deque[Event] = collections.deque()
        self._is_telling = False

    def __bool__(self) -> bool:
        return bool(self._hooks)

    @property
    def listen(self) -> bool:
        """
        Whether anybody wants to know of what is not amiss: a hook, or a log of DEBUG.
        """
        return bool(self._hooks) or logger.isEnabledFor(logging.DEBUG)

    def tell(self, event: Event) -> None:
        """
        Call every hook with the event, and log it: INFO where something is amiss, else DEBUG.
        """
        level = logging.INFO if isinstance(event, Paused | RetryPlanned) else logging.DEBUG
        if logger.isEnabledFor(level) and not isinstance(event, ChangesSettled):
            logger.log(level, "%s", event, extra={"chatmark_event": event})
        self._untold.append(event)
        if self._is_telling:
            # What a hook did made this event: it is told next, and not from inside the hook.
            return
        self._is_telling = True
        try:
            while self._untold:
                self._call_hooks(self._untold.popleft())
        finally:
            self._is_telling = False

    def _call_hooks(self, event: Event) -> None:
        for hook in self._hooks:
            try:
                hook(event)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
                # Nobody cancels a task while it does not wait: this too is the hook's own. Its text
                # may hold anything, so only the place is logged.
                *_, place = traceback.extract_tb(error.__traceback__)
                logger.error(  # noqa: TRY400
                    "a hook raised %s at %s:%s in %s",
                    type(error).__name__,
                    place.filename,
                    place.lineno,
                    place.name,
                )


class Unseen:
    """
    Failures that no caller looked at, logged together.

    Args:
        loop: The loop in which lines are collected for a second.
    """

    __slots__ = ("_counts", "_first", "_is_closed", "_loop", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._counts: collections.Counter[int | None] = collections.Counter()
        self._first: MarkResult | None = None
        self._timer: asyncio.Handle | None = None
        self._is_closed = False

    def add(self, result: MarkResult) -> None:
        """
        Note a failure; it is logged within a second.
        """
        self._first = self._first or result
        self._counts[result.code] += 1
        if not self._loop.is_running():
            self.report()
        elif self._timer is None:
            # A session that is closed leaves no timer behind.
            later = self._loop.call_soon if self._is_closed else self._call_later
            self._timer = later(self.report)

    def report(self, *, is_last: bool = False) -> None:
        """
        Log what was noted, if anything was, as one WARNING.
        """
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
            "changes that failed, and no caller looked at it: %s; the first: %s",
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
        what: What it does not answer.
    """

    __slots__ = ("_since", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._since: float | None = None

    def note(self, error: ChatmarkError | None, now: float, *, is_held: bool) -> None:
        """
        Note what came of a request.

        Args:
            error: Why the request failed in a way that may pass, None where it did not.
            now: The time.
            is_held: Whether requests are held back to one probe at a time.
        """
        if is_held and error is not None and self._since is None:
            self._since = now
            logger.warning(
                "an outage has begun: %s fails, and one request at a time looks for its end: %s",
                self._what,
                error,
            )
        elif self._since is not None and not is_held:
            logger.warning(
                "the outage is over: %s succeeds again after %.1f s", self._what, now - self._since
            )
            self._since = None
