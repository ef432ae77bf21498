"""Outcomes of units, and which of them are final."""

import enum
from http import HTTPStatus
from typing import Final

from chatmark import (
    AnswerError,
    ApplicationRefusedError,
    ChatmarkError,
    DeadlineExceededError,
    ItemRefusedError,
    MarkResult,
    RefusedError,
    SignatureError,
    TransportError,
)


class UnitOutcome(enum.IntEnum):
    """
    The outcome of a unit. The journal stores the numbers of the final ones.

    `APPLIED`, `UNCHANGED` (the server had it already) and `REFUSED` (the server refused this
    conversation) are final: later runs do not send such units again. They do send the others:
    `UNCONFIRMED` was sent, but no answer tells its effect; `REJECTED` was in a request that the
    server refused because of the application; `NOT_SENT` was not sent.
    """

    OPEN = 0
    APPLIED = 1
    UNCHANGED = 2
    REFUSED = 3
    UNCONFIRMED = 4
    REJECTED = 5
    NOT_SENT = 6


FINAL: Final = frozenset((UnitOutcome.APPLIED, UnitOutcome.UNCHANGED, UnitOutcome.REFUSED))


def outcome_of(result: MarkResult) -> UnitOutcome:
    """Return the outcome of a change that a session accepted."""
    if result.error is None:
        return UnitOutcome.APPLIED
    if not (result.attempts and result.sent):
        return UnitOutcome.NOT_SENT
    if isinstance(result.error, ItemRefusedError):
        return UnitOutcome.REFUSED
    if isinstance(result.error, ApplicationRefusedError):
        return UnitOutcome.REJECTED
    return UnitOutcome.UNCONFIRMED


def refuses_all(error: ChatmarkError | None) -> bool:
    """
    Whether the error of one change means that every other change would fail, too.

    The session retries passing faults until the deadline of a change. These errors arrive directly
    only if another attempt is useless.
    """
    if isinstance(error, AnswerError):
        return error.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return isinstance(error, ApplicationRefusedError | SignatureError | TransportError)


def is_unanswered(error: ChatmarkError | None) -> bool:
    """Whether the server gave no answer about a change before its deadline."""
    return isinstance(error, DeadlineExceededError) and not isinstance(error.last, RefusedError)
