"""
Conversation marks of Tencent Cloud Chat: set, cleared and read back, in batches and without loss.

`MarkSession` and what it needs of aiohttp are loaded when they are first used, so that programs
which only handle marks start fast.
"""

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

from chatmark.credentials import Credentials
from chatmark.errors import (
    AnswerError,
    ApplicationRefusedError,
    AttemptTimeoutError,
    ChangesFailedError,
    ChatmarkError,
    DeadlineExceededError,
    InputError,
    ItemRefusedError,
    OutcomeUnknownError,
    QueueFullError,
    RefusedError,
    SessionBrokenError,
    SessionClosedError,
    SessionError,
    SignatureError,
    TransportError,
    UnsentError,
    WithdrawnError,
)
from chatmark.marks import ConversationMark
from chatmark.models import (
    Conversation,
    ConversationType,
    MarkChange,
    MarkedConversation,
    MarkedPage,
    MarkReport,
    MarkResult,
    OptType,
)
from chatmark.names import MarkNames
from chatmark.redact import redact_url
from chatmark.regions import Region
from chatmark.usersig import UserSigContent, make_usersig, read_usersig

if TYPE_CHECKING:
    from chatmark.events import (
        ChangesSettled,
        Event,
        Paused,
        RequestEnded,
        RetryPlanned,
        SessionStats,
        SignatureRenewed,
    )
    from chatmark.handles import MarkHandle
    from chatmark.pacing import Budget, CallBudget
    from chatmark.session import MarkSession

_LAZY = {
    "Budget": "chatmark.pacing",
    "CallBudget": "chatmark.pacing",
    "ChangesSettled": "chatmark.events",
    "Event": "chatmark.events",
    "MarkHandle": "chatmark.handles",
    "MarkSession": "chatmark.session",
    "Paused": "chatmark.events",
    "RequestEnded": "chatmark.events",
    "RetryPlanned": "chatmark.events",
    "SessionStats": "chatmark.events",
    "SignatureRenewed": "chatmark.events",
}

__all__ = [
    "AnswerError",
    "ApplicationRefusedError",
    "AttemptTimeoutError",
    "Budget",
    "CallBudget",
    "ChangesFailedError",
    "ChangesSettled",
    "ChatmarkError",
    "Conversation",
    "ConversationMark",
    "ConversationType",
    "Credentials",
    "DeadlineExceededError",
    "Event",
    "InputError",
    "ItemRefusedError",
    "MarkChange",
    "MarkHandle",
    "MarkNames",
    "MarkReport",
    "MarkResult",
    "MarkSession",
    "MarkedConversation",
    "MarkedPage",
    "OptType",
    "OutcomeUnknownError",
    "Paused",
    "QueueFullError",
    "RefusedError",
    "Region",
    "RequestEnded",
    "RetryPlanned",
    "SessionBrokenError",
    "SessionClosedError",
    "SessionError",
    "SessionStats",
    "SignatureError",
    "SignatureRenewed",
    "TransportError",
    "UnsentError",
    "UserSigContent",
    "WithdrawnError",
    "make_usersig",
    "read_usersig",
    "redact_url",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = globals()[name] = getattr(import_module(_LAZY[name]), name)
        return value
    if name == "__version__":
        return _version("chatmark")
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
