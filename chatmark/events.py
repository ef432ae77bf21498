"""The events that a session tells its hooks, and the snapshot of its counters."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from chatmark.codes import Command
from chatmark.lazy import publish
from chatmark.results import MarkResult

logger: Final = logging.getLogger("chatmark")


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
        server: The base URL of the server, or the type of the session's transport.
        status: The HTTP status of the answer, None without one.
        callers: The objects that `caller` of a hook returned for the callers of the changes.
    """

    command: Command
    account: str
    items: int
    reason: str
    duration: float
    request_id: str = ""
    server: str = ""
    status: int | None = None
    callers: tuple[Any, ...] = attrs.field(default=(), repr=False)


@attrs.frozen
class RetryPlanned:
    """
    Items of a request go back to their lane.

    Args:
        account: The From_Account.
        items: How many.
        reason: As in `RequestEnded`.
    """

    account: str
    items: int
    reason: str


@attrs.frozen
class Paused:
    """
    The server asked to slow down.

    Args:
        seconds: How long no call is made.
        reason: The code or status.
        command: The call that is held back.
    """

    seconds: float
    reason: str
    command: Command = Command.MARK_CONTACT


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
    """Changes have their outcome; a withdrawn one has a `WithdrawnError`."""

    results: tuple[MarkResult, ...]


Event = RequestEnded | RetryPlanned | Paused | SignatureRenewed | ChangesSettled
# Called with each event. A hook may have a method `caller()`: the session calls it in the task that
# submits changes or reads, and gives `RequestEnded.callers` each object once, and not None.
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


publish(__name__)
