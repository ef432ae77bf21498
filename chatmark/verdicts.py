"""
What an answer means: for the request as a whole, and for each conversation in it.

https://www.tencentcloud.com/document/product/1047/34620: every outcome of the API comes with HTTP
status 200, another status is the network's or a gateway's; the call as a whole failed when
`ErrorCode` is not 0 or `ActionStatus` is not "OK".
"""

import email.utils
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, Generic, TypeVar

import attrs

from chatmark.codes import Handling, code_of
from chatmark.errors import (
    AnswerError,
    ApplicationRefusedError,
    ChatmarkError,
    ItemRefusedError,
    RefusedError,
)
from chatmark.exchange import HttpAnswer, Reply
from chatmark.fastwire import confirms_all
from chatmark.models import Conversation, MarkChange
from chatmark.wire import Envelope, MarkAnswer, ResultLine, decode_answer

E = TypeVar("E", bound=Envelope)

# A hint beyond this is not meant for us: the computed backoff is better than an hour of silence.
_LONGEST_HINT: Final = 60.0


#: The answer of a request all of whose items took effect; their lines are not kept.
CONFIRMED: Final = MarkAnswer("OK", 0)


@attrs.frozen
class Verdict(Generic[E]):
    """
    What a reply means for its request as a whole.

    Args:
        handling: What to do; DONE means that the lines of `answer` decide.
        answer: The answer, where it could be read.
        error: Why it is not done.
        reason: One word for counters and logs: a code, an HTTP status, or a kind of network fault.
        pause: The least time in seconds that the server asks to wait, 0 where it does not.
        at_once: A first repetition needs no backoff.
        may_run: The server may still execute the request: nothing proves that it is over.
    """

    handling: Handling
    answer: E | None = None
    error: ChatmarkError | None = None
    reason: str = "0"
    pause: float = 0.0
    at_once: bool = False
    may_run: bool = False


def judge_marks(reply: Reply, changes: Sequence[MarkChange]) -> Verdict[MarkAnswer]:
    """
    Say what a reply to a request of mark_contact with these changes means.
    """
    if (
        isinstance(reply, HttpAnswer)
        and reply.status == HTTPStatus.OK
        and confirms_all(reply.body, changes)
    ):
        return _CONFIRMED
    return judge(reply, MarkAnswer)


def judge(reply: Reply, kind: type[E]) -> Verdict[E]:
    """
    Say what a reply means that should hold an answer of *kind*.
    """
    if not isinstance(reply, HttpAnswer):
        handling = Handling.REFUSE_APPLICATION if reply.final else Handling.RETRY
        return Verdict(
            handling, None, reply.error, reply.reason, at_once=reply.dropped, may_run=reply.sent
        )
    if reply.status != HTTPStatus.OK:
        return _judge_status(reply)
    try:
        answer = decode_answer(reply.body, kind)
    except AnswerError as error:
        # A gateway's page, or an answer that was cut: the call may be repeated, and will be.
        return Verdict(Handling.RETRY, None, error, "unreadable", may_run=True)
    if answer.error_code == 0 and answer.action_status != "OK":
        failed = AnswerError(f"ActionStatus is {answer.action_status!r} without an ErrorCode")
        return Verdict(Handling.RETRY, answer, failed, "FAIL")
    row = code_of(answer.error_code)
    if row.handling is Handling.DONE:
        return Verdict(Handling.DONE, answer)
    refused = refusal(answer.error_code, answer.error_info)
    return Verdict(
        row.handling, answer, refused, str(answer.error_code), max(row.pause, _hint(reply))
    )


_CONFIRMED: Final = Verdict(Handling.DONE, CONFIRMED)


def refusal(code: int, info: str) -> RefusedError:
    """
    Return the error for a code of the server.
    """
    if code_of(code).handling is Handling.REFUSE_APPLICATION:
        return ApplicationRefusedError(code, info)
    return ItemRefusedError(code, info)


def lines_by_conversation(answer: MarkAnswer) -> dict[Conversation, ResultLine]:
    """
    Return the line of each conversation, found by its name and never by its position.

    The vendor does not state an order. Of two lines for one conversation a failure counts: success
    is claimed only where nothing speaks against it.
    """
    lines: dict[Conversation, ResultLine] = {}
    for line in answer.result_item:
        conversation = line.contact_item
        if conversation is not None:
            earlier = lines.get(conversation)
            if earlier is None or earlier.result_code == 0:
                lines[conversation] = line
    return lines


def _judge_status(reply: HttpAnswer) -> Verdict[E]:
    status = reply.status
    reason = str(status)
    pause = _hint(reply)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        error = AnswerError("too many requests", status=status)
        return Verdict(Handling.SLOW_DOWN, None, error, reason, pause)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in (
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
    ):
        error = AnswerError("a gateway or the network failed", status=status)
        return Verdict(Handling.RETRY, None, error, reason, pause, may_run=True)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return Verdict(Handling.SPLIT, None, AnswerError("too large", status=status), reason)
    # The API itself always says 200: this is another server, or something between.
    error = AnswerError("this is no answer of the API; check the base URL", status=status)
    return Verdict(Handling.REFUSE_APPLICATION, None, error, reason)


def _hint(reply: HttpAnswer) -> float:
    """
    Return the seconds that `Retry-After` asks for, 0 where it is absent, absurd or cannot be read.
    """
    text = (reply.retry_after or "").strip()
    if not text:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        try:
            # The server's own clock is the one its date is meant for.
            until = email.utils.parsedate_to_datetime(text)
            seconds = (until - email.utils.parsedate_to_datetime(reply.date or "")).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return seconds if 0 < seconds <= _LONGEST_HINT else 0.0
