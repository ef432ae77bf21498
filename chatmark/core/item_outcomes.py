"""The outcome of each conversation of a request, as its answer tells it."""

from collections.abc import Mapping, Sequence
from typing import Final, Generic, Protocol, TypeVar

import attrs

from chatmark.codes import Handling, code_of
from chatmark.conversations import Conversation
from chatmark.core.pending import SUCCESS, Outcome, failure
from chatmark.errors import ChatmarkError
from chatmark.failures import OutcomeUnknownError, RefusedError
from chatmark.wire.classify import Verdict, lines_by_conversation, refusal
from chatmark.wire.messages import MarkAnswer, ResultLine

# Answers without a line for a conversation, before its outcome is reported as unknown.
_MOST_MISSING: Final = 3


class Judged(Protocol):
    """A conversation of a request, on which a line of the answer decides."""

    conversation: Conversation
    missing: int
    retries: int
    has_used_retry_once: bool

    @property
    def has_standard(self) -> bool: ...


J = TypeVar("J", bound=Judged)


@attrs.define
class ItemOutcomes(Generic[J]):
    """
    How the items of a request end, or why they are sent again.

    Args:
        ended: Items that are done, with their outcome.
        again: Items that are to be sent again, with the reason.
        refused: The refusal of the whole application, if there was one.
        refused_standard: The refusal of all changes of the standard mark, if there was one; those
            of the items in `again` are still to be ended.
        slow_down: Whether an item was told to slow down.
    """

    ended: list[tuple[J, Outcome]] = attrs.field(factory=list)
    again: list[tuple[J, ChatmarkError]] = attrs.field(factory=list)
    refused: ChatmarkError | None = None
    refused_standard: ChatmarkError | None = None
    slow_down: bool = False

    def add_fault(self, item: J, fault: ChatmarkError) -> None:
        handling = code_of(fault.code).handling if isinstance(fault, RefusedError) else None
        if handling is Handling.REFUSE_APPLICATION:
            self.refused = fault
        self.slow_down = self.slow_down or handling is Handling.SLOW_DOWN
        if handling is Handling.REFUSE_STANDARD and item.has_standard:
            self.refused_standard = fault
        elif not _may_retry(item, handling):
            self.ended.append((item, failure(fault)))
            return
        item.retries += 1
        item.has_used_retry_once = item.has_used_retry_once or handling is Handling.RETRY_ONCE
        self.again.append((item, fault))


def decide(items: Sequence[J], verdict: Verdict[MarkAnswer]) -> ItemOutcomes[J]:
    """
    Return the outcome of each item of a request that is not to be repeated as a whole.

    Of a call that was refused as a whole, the code stands for all conversations whose lines do not
    refuse them themselves: a line that claims success is not believed there. A refusal of the
    standard mark does not concern the custom marks beside it, which are sent again without it.
    """
    outcomes = ItemOutcomes[J]()
    if verdict.handling is Handling.REFUSE_APPLICATION:
        outcomes.refused = verdict.error
    elif verdict.handling is Handling.REFUSE_STANDARD and any(i.has_standard for i in items):
        outcomes.refused_standard = verdict.error
    lines: Mapping[Conversation, ResultLine] = {}
    if verdict.answer is not None:
        lines = lines_by_conversation(verdict.answer)
    whole = _whole(verdict.error)
    for item in items:
        line = lines.get(item.conversation)
        if whole is not None and (line is None or line.result_code == 0):
            if outcomes.refused_standard is None:
                outcomes.ended.append((item, whole))
            else:
                item.retries += 1
                outcomes.again.append((item, outcomes.refused_standard))
        elif line is None:
            item.missing += 1
            unknown = OutcomeUnknownError(item.missing, request_id=verdict.request_id)
            outcomes.add_fault(item, unknown)
        elif line.result_code == 0:
            outcomes.ended.append((item, SUCCESS))
        else:
            fault = refusal(line.result_code, line.result_info, verdict.request_id)
            fault.names_peer = True
            outcomes.add_fault(item, fault)
    if outcomes.refused is not None:
        outcomes.ended.extend((item, failure(outcomes.refused)) for item, _ in outcomes.again)
        outcomes.again.clear()
    return outcomes


def _whole(error: ChatmarkError | None) -> Outcome | None:
    if isinstance(error, RefusedError):
        error.names_peer = False
    return None if error is None else failure(error)


def reason_of(fault: ChatmarkError) -> str:
    """Return in one word why an item is sent again."""
    return str(fault.code) if isinstance(fault, RefusedError) else "missing line"


def _may_retry(item: Judged, handling: Handling | None) -> bool:
    if handling is None:
        return item.missing < _MOST_MISSING
    if handling is Handling.RETRY_ONCE:
        return not item.has_used_retry_once
    return handling in (Handling.RETRY, Handling.SLOW_DOWN, Handling.RENEW_SIGNATURE)
