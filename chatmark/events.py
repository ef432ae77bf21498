"""
What a session tells those who watch it: typed events, and a snapshot of its counters.
"""

import asyncio
import collections
import logging
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from chatmark.models import MarkResult
from chatmark.wire import Command

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
                # Whatever it is, it is the hook's affair: nobody cancels a task while it does not
                # wait.
                logger.error("a hook raised %s", type(error).__name__)  # noqa: TRY400
