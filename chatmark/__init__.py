"""
Conversation marks of Tencent Cloud Chat: set, cleared and read back, in batches and without loss.

Everything is loaded when it is first used: who only handles marks needs no aiohttp, and who asks
for the version needs nothing at all.
"""

from typing import TYPE_CHECKING

from chatmark.lazy import lazily as _lazily

if TYPE_CHECKING:
    from chatmark.credentials import Credentials
    from chatmark.errors import (
        AnswerError,
        ApplicationRefusedError,
        AttemptTimeoutError,
        BudgetError,
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
    from chatmark.pacing import Budget, CallBudget
    from chatmark.redact import redact_url
    from chatmark.regions import Region
    from chatmark.session import MarkSession
    from chatmark.usersig import UserSigContent, make_usersig, read_usersig

__version__ = "0.1.0"

_HOMES = {
    "AnswerError": "chatmark.errors",
    "ApplicationRefusedError": "chatmark.errors",
    "AttemptTimeoutError": "chatmark.errors",
    "Budget": "chatmark.pacing",
    "BudgetError": "chatmark.errors",
    "CallBudget": "chatmark.pacing",
    "ChangesFailedError": "chatmark.errors",
    "ChangesSettled": "chatmark.events",
    "ChatmarkError": "chatmark.errors",
    "Conversation": "chatmark.models",
    "ConversationMark": "chatmark.marks",
    "ConversationType": "chatmark.models",
    "Credentials": "chatmark.credentials",
    "DeadlineExceededError": "chatmark.errors",
    "Event": "chatmark.events",
    "InputError": "chatmark.errors",
    "ItemRefusedError": "chatmark.errors",
    "MarkChange": "chatmark.models",
    "MarkHandle": "chatmark.handles",
    "MarkNames": "chatmark.names",
    "MarkReport": "chatmark.models",
    "MarkResult": "chatmark.models",
    "MarkSession": "chatmark.session",
    "MarkedConversation": "chatmark.models",
    "MarkedPage": "chatmark.models",
    "OptType": "chatmark.models",
    "OutcomeUnknownError": "chatmark.errors",
    "Paused": "chatmark.events",
    "QueueFullError": "chatmark.errors",
    "RefusedError": "chatmark.errors",
    "Region": "chatmark.regions",
    "RequestEnded": "chatmark.events",
    "RetryPlanned": "chatmark.events",
    "SessionBrokenError": "chatmark.errors",
    "SessionClosedError": "chatmark.errors",
    "SessionError": "chatmark.errors",
    "SessionStats": "chatmark.events",
    "SignatureError": "chatmark.errors",
    "SignatureRenewed": "chatmark.events",
    "TransportError": "chatmark.errors",
    "UnsentError": "chatmark.errors",
    "UserSigContent": "chatmark.usersig",
    "WithdrawnError": "chatmark.errors",
    "make_usersig": "chatmark.usersig",
    "read_usersig": "chatmark.usersig",
    "redact_url": "chatmark.redact",
}

__all__ = [
    "AnswerError",
    "ApplicationRefusedError",
    "AttemptTimeoutError",
    "Budget",
    "BudgetError",
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

__getattr__, __dir__ = _lazily(__name__, _HOMES)
