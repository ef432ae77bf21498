"""
Conversation marks of Tencent Cloud Chat: set, cleared and read back, in batches and without loss.

Everything is loaded when it is first used: who only handles marks needs no aiohttp, and who asks
for the version needs nothing at all.
"""

from typing import TYPE_CHECKING

from chatmark.lazy import lazily as _lazily

if TYPE_CHECKING:
    from chatmark.changes import MarkChange, OptType
    from chatmark.commands import Command
    from chatmark.conversations import Conversation, ConversationType
    from chatmark.credentials import Credentials
    from chatmark.errors import ChatmarkError, InputError
    from chatmark.events import (
        ChangesSettled,
        Event,
        Hook,
        Paused,
        RequestEnded,
        RetryPlanned,
        SessionStats,
        SignatureRenewed,
    )
    from chatmark.failures import (
        AnswerError,
        ApplicationRefusedError,
        AttemptTimeoutError,
        BudgetError,
        ChangesFailedError,
        DeadlineExceededError,
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
    from chatmark.http.transport import Transport
    from chatmark.marks import ConversationMark
    from chatmark.names import MarkNames
    from chatmark.pacing.budget import Budget, CallBudget, CallOutcome, Permit
    from chatmark.redact import redact_url
    from chatmark.regions import Region
    from chatmark.results import (
        ConversationGroup,
        GroupReport,
        GroupResult,
        MarkedConversation,
        MarkedPage,
        MarkReport,
        MarkResult,
    )
    from chatmark.session.feed import Changes
    from chatmark.session.groups import ConversationGroups
    from chatmark.session.handles import MarkHandle
    from chatmark.session.session import MarkSession
    from chatmark.usersig import UserSigContent, make_usersig, read_usersig
    from chatmark.wire.replies import HttpAnswer, NoAnswer, Reply

__version__ = "0.2.0"

_HOMES = {
    "AnswerError": "chatmark.failures",
    "ApplicationRefusedError": "chatmark.failures",
    "AttemptTimeoutError": "chatmark.failures",
    "Budget": "chatmark.pacing.budget",
    "BudgetError": "chatmark.failures",
    "CallBudget": "chatmark.pacing.budget",
    "CallOutcome": "chatmark.pacing.budget",
    "Changes": "chatmark.session.feed",
    "ChangesFailedError": "chatmark.failures",
    "ChangesSettled": "chatmark.events",
    "ChatmarkError": "chatmark.errors",
    "Command": "chatmark.commands",
    "Conversation": "chatmark.conversations",
    "ConversationGroup": "chatmark.results",
    "ConversationGroups": "chatmark.session.groups",
    "ConversationMark": "chatmark.marks",
    "ConversationType": "chatmark.conversations",
    "Credentials": "chatmark.credentials",
    "DeadlineExceededError": "chatmark.failures",
    "Event": "chatmark.events",
    "GroupReport": "chatmark.results",
    "GroupResult": "chatmark.results",
    "Hook": "chatmark.events",
    "HttpAnswer": "chatmark.wire.replies",
    "InputError": "chatmark.errors",
    "ItemRefusedError": "chatmark.failures",
    "MarkChange": "chatmark.changes",
    "MarkHandle": "chatmark.session.handles",
    "MarkNames": "chatmark.names",
    "MarkReport": "chatmark.results",
    "MarkResult": "chatmark.results",
    "MarkSession": "chatmark.session.session",
    "MarkedConversation": "chatmark.results",
    "MarkedPage": "chatmark.results",
    "NoAnswer": "chatmark.wire.replies",
    "OptType": "chatmark.changes",
    "OutcomeUnknownError": "chatmark.failures",
    "Paused": "chatmark.events",
    "Permit": "chatmark.pacing.budget",
    "QueueFullError": "chatmark.failures",
    "RefusedError": "chatmark.failures",
    "Region": "chatmark.regions",
    "Reply": "chatmark.wire.replies",
    "RequestEnded": "chatmark.events",
    "RetryPlanned": "chatmark.events",
    "SessionBrokenError": "chatmark.failures",
    "SessionClosedError": "chatmark.failures",
    "SessionError": "chatmark.failures",
    "SessionStats": "chatmark.events",
    "SignatureError": "chatmark.failures",
    "SignatureRenewed": "chatmark.events",
    "Transport": "chatmark.http.transport",
    "TransportError": "chatmark.failures",
    "UnsentError": "chatmark.failures",
    "UserSigContent": "chatmark.usersig",
    "WithdrawnError": "chatmark.failures",
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
    "CallOutcome",
    "Changes",
    "ChangesFailedError",
    "ChangesSettled",
    "ChatmarkError",
    "Command",
    "Conversation",
    "ConversationGroup",
    "ConversationGroups",
    "ConversationMark",
    "ConversationType",
    "Credentials",
    "DeadlineExceededError",
    "Event",
    "GroupReport",
    "GroupResult",
    "Hook",
    "HttpAnswer",
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
    "NoAnswer",
    "OptType",
    "OutcomeUnknownError",
    "Paused",
    "Permit",
    "QueueFullError",
    "RefusedError",
    "Region",
    "Reply",
    "RequestEnded",
    "RetryPlanned",
    "SessionBrokenError",
    "SessionClosedError",
    "SessionError",
    "SessionStats",
    "SignatureError",
    "SignatureRenewed",
    "Transport",
    "TransportError",
    "UnsentError",
    "UserSigContent",
    "WithdrawnError",
    "make_usersig",
    "read_usersig",
    "redact_url",
]

__getattr__, __dir__ = _lazily(__name__, _HOMES)
