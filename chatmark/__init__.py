"""
Conversation marks of Tencent Cloud Chat: set, cleared and read back, in batches and without loss.

Everything is loaded when it is first used: who only handles marks needs no aiohttp, and who asks
for the version needs nothing at all.
"""

from typing import TYPE_CHECKING

from chatmark.lazy import lazily as _lazily

if TYPE_CHECKING:
    from chatmark.changes import MarkChange as MarkChange
    from chatmark.changes import OptType as OptType
    from chatmark.codes import Command as Command
    from chatmark.conversations import Conversation as Conversation
    from chatmark.conversations import ConversationType as ConversationType
    from chatmark.credentials import Credentials as Credentials
    from chatmark.errors import ChatmarkError as ChatmarkError
    from chatmark.errors import InputError as InputError
    from chatmark.errors import redact_url as redact_url
    from chatmark.events import ChangesSettled as ChangesSettled
    from chatmark.events import Event as Event
    from chatmark.events import Hook as Hook
    from chatmark.events import Paused as Paused
    from chatmark.events import RequestEnded as RequestEnded
    from chatmark.events import RetryPlanned as RetryPlanned
    from chatmark.events import SessionStats as SessionStats
    from chatmark.events import SignatureRenewed as SignatureRenewed
    from chatmark.failures import AnswerError as AnswerError
    from chatmark.failures import ApplicationRefusedError as ApplicationRefusedError
    from chatmark.failures import AttemptTimeoutError as AttemptTimeoutError
    from chatmark.failures import BudgetError as BudgetError
    from chatmark.failures import ChangesFailedError as ChangesFailedError
    from chatmark.failures import DeadlineExceededError as DeadlineExceededError
    from chatmark.failures import ItemRefusedError as ItemRefusedError
    from chatmark.failures import OutcomeUnknownError as OutcomeUnknownError
    from chatmark.failures import QueueFullError as QueueFullError
    from chatmark.failures import RefusedError as RefusedError
    from chatmark.failures import SessionBrokenError as SessionBrokenError
    from chatmark.failures import SessionClosedError as SessionClosedError
    from chatmark.failures import SessionError as SessionError
    from chatmark.failures import SignatureError as SignatureError
    from chatmark.failures import TransportError as TransportError
    from chatmark.failures import UnsentError as UnsentError
    from chatmark.failures import WithdrawnError as WithdrawnError
    from chatmark.http.transport import Transport as Transport
    from chatmark.marks import ConversationMark as ConversationMark
    from chatmark.marks import MarkNames as MarkNames
    from chatmark.pacing.budget import Budget as Budget
    from chatmark.pacing.budget import CallBudget as CallBudget
    from chatmark.pacing.budget import CallOutcome as CallOutcome
    from chatmark.pacing.budget import Permit as Permit
    from chatmark.regions import Region as Region
    from chatmark.results import ConversationGroup as ConversationGroup
    from chatmark.results import GroupReport as GroupReport
    from chatmark.results import GroupResult as GroupResult
    from chatmark.results import MarkedConversation as MarkedConversation
    from chatmark.results import MarkedPage as MarkedPage
    from chatmark.results import MarkReport as MarkReport
    from chatmark.results import MarkResult as MarkResult
    from chatmark.session.feed import Changes as Changes
    from chatmark.session.groups import ConversationGroups as ConversationGroups
    from chatmark.session.handles import MarkHandle as MarkHandle
    from chatmark.session.session import MarkSession as MarkSession
    from chatmark.usersig import UserSigContent as UserSigContent
    from chatmark.usersig import make_usersig as make_usersig
    from chatmark.usersig import read_usersig as read_usersig
    from chatmark.wire.messages import HttpAnswer as HttpAnswer
    from chatmark.wire.messages import NoAnswer as NoAnswer
    from chatmark.wire.messages import Reply as Reply

__version__ = "0.2.0"

_NAMES = {
    "changes": "MarkChange OptType",
    "codes": "Command",
    "conversations": "Conversation ConversationType",
    "credentials": "Credentials",
    "errors": "ChatmarkError InputError redact_url",
    "events": (
        "ChangesSettled Event Hook Paused RequestEnded RetryPlanned SessionStats SignatureRenewed"
    ),
    "failures": (
        "AnswerError ApplicationRefusedError AttemptTimeoutError BudgetError ChangesFailedError "
        "DeadlineExceededError ItemRefusedError OutcomeUnknownError QueueFullError RefusedError "
        "SessionBrokenError SessionClosedError SessionError SignatureError TransportError "
        "UnsentError WithdrawnError"
    ),
    "http.transport": "Transport",
    "marks": "ConversationMark MarkNames",
    "pacing.budget": "Budget CallBudget CallOutcome Permit",
    "regions": "Region",
    "results": (
        "ConversationGroup GroupReport GroupResult MarkReport MarkResult MarkedConversation "
        "MarkedPage"
    ),
    "session.feed": "Changes",
    "session.groups": "ConversationGroups",
    "session.handles": "MarkHandle",
    "session.session": "MarkSession",
    "usersig": "UserSigContent make_usersig read_usersig",
    "wire.messages": "HttpAnswer NoAnswer Reply",
}
_HOMES = {name: f"chatmark.{module}" for module, names in _NAMES.items() for name in names.split()}

__getattr__, __dir__ = _lazily(__name__, _HOMES)
