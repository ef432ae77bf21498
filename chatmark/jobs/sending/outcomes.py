"""
What may become of a unit, and which of it is settled for good.
"""

import enum
from http import HTTPStatus
from typing import Final

from chatmark.errors import (
    AnswerError,
    ApplicationRefusedError,
    ChatmarkError,
    ItemRefusedError,
    SignatureError,
    TransportError,
)
from chatmark.models import MarkResult


class Fate(enum.IntEnum):
    """
    What became of a unit; the numbers are those of the journal, which knows the first four.

    `OPEN` is none yet. `APPLIED`, `UNCHANGED` (the server had it so already) and `REFUSED` (the
    server said no to this very conversation) are final: a job that goes on does not send such units
    again. The others are sent again: `UNCONFIRMED` was sent, but no answer said what became of it;
    `REJECTED` was in a request that the server refused because of the application; `NOT_SENT` was
    not sent.
    """

    OPEN = 0
    APPLIED = 1
    UNCHANGED = 2
    REFUSED = 3
    UNCONFIRMED = 4
    REJECTED = 5
    NOT_SENT = 6


FINAL: Final = frozenset((Fate.APPLIED, Fate.UNCHANGED, Fate.REFUSED))


def fate_of(result: MarkResult) -> Fate:
    """
    Return what became of a change that a session took.
    """
    if result.error is None:
        return Fate.APPLIED
    if not result.attempts:
        return Fate.NOT_SENT
    if isinstance(result.error, ItemRefusedError):
        return Fate.REFUSED
    if isinstance(result.error, ApplicationRefusedError):
        return Fate.REJECTED
    return Fate.UNCONFIRMED


def refuses_all(error: ChatmarkError | None) -> bool:
    """
    Whether the error of one change says that no other would fare better.

    What may pass is tried until a change's deadline, and is then the cause of another error; these
    come as they are only where another attempt is in vain.
    """
    if isinstance(error, AnswerError):
        return error.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return isinstance(error, ApplicationRefusedError | SignatureError | TransportError)
