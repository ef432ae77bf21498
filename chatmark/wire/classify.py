"""
The meaning of an answer: for the request as a whole, and for each conversation in it.

https://www.tencentcloud.com/document/product/1047/34620: every outcome of the API comes with HTTP
status 200, another status is the network's or a gateway's. `ErrorCode` says whether the call as a
whole failed; `ActionStatus` repeats it, and was seen to be absent.
"""

import email.utils
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, Generic, TypeVar

import attrs

from chatmark.changes import MarkChange
from chatmark.codes import Handling, code_of
from chatmark.conversations import Conversation
from chatmark.errors import ChatmarkError
from chatmark.failures import AnswerError, ApplicationRefusedError, ItemRefusedError, RefusedError
from chatmark.wire.codec import confirmation, from_json, is_page
from chatmark.wire.messages import (
    Envelope,
    HttpAnswer,
    MarkAnswer,
    Reply,
    ResultLine,
    Unreadable,
    short,
)

E = TypeVar("E", bound=Envelope)

# A longer hint is cut to this: an hour of silence would outlast every deadline.
_LONGEST_HINT: Final = 60.0
# So many faults of a gateway in a row do not pass.
_MOST_GATEWAY_FAULTS: Final = 5

#: The answer of a request all of whose items took effect; their lines are not kept.
CONFIRMED: Final = MarkAnswer(0, "OK")


@attrs.frozen
class Verdict(Generic[E]):
    """
    The meaning of a reply for its request as a whole.

    Args:
        handling: The way to handle it; DONE means that the lines of `answer` decide.
        answer: The answer, where it could be read.
        error: Why it is not done.
        reason: One word for counters and logs: a code, an HTTP status, or a kind of network fault.
        pause: The least time in seconds that the server asks to wait, 0 where it does not.
        at_once: A first repetition needs no backoff.
        is_paced: The budget has slowed down already: nothing else needs to hold back.
        may_run: The server may still execute the request: nothing proves that it is over.
        of_gateway: The reply is not the API's: a status, a page or a certificate of something else.
        request_id: The `RequestId` of the answer, "" where it has none.
    """

    handling: Handling
    answer: E | None = None
    error: ChatmarkError | None = None
    reason: str = "0"
    pause: float = 0.0
    at_once: bool = False
    is_paced: bool = False
    may_run: bool = False
    of_gateway: bool = False
    request_id: str = ""


def classify_marks(reply: Reply, changes: Sequence[MarkChange]) -> Verdict[MarkAnswer]:
    """Say what a reply to a request of mark_contact with these changes means."""
    if isinstance(reply, HttpAnswer) and reply.status == HTTPStatus.OK:
        all_done = confirmation(reply.body)
        if all_done is not None and all_done.names(changes):
            request_id = short(all_done.RequestId or "")
            return Verdict(Handling.DONE, CONFIRMED, request_id=request_id)
    return classify(reply, MarkAnswer)


def classify(reply: Reply, kind: type[E]) -> Verdict[E]:
    """Say what a reply means that should hold an answer of *kind*."""
    if not isinstance(reply, HttpAnswer):
        return Verdict(
            Handling.REFUSE_APPLICATION if reply.final else Handling.RETRY,
            None,
            reply.error,
            reply.reason,
            at_once=reply.dropped,
            may_run=reply.sent,
            of_gateway=reply.final and reply.reason == "tls",
        )
    if reply.status != HTTPStatus.OK:
        return _classify_status(reply)
    try:
        answer = from_json(reply.body, kind)
    except AnswerError as error:
        # An answer that was cut, or another server's: the call may be repeated.
        of_gateway = is_page(reply.body)
        return Verdict(
            Handling.REFUSE_APPLICATION if of_gateway else Handling.RETRY,
            None,
            error,
            "unreadable",
            may_run=True,
            of_gateway=of_gateway,
            request_id=error.request_id,
        )
    code, request_id = answer.error_code, answer.request_id
    if code == 0 and answer.action_status not in ("OK", ""):
        failed = AnswerError(
            f"ActionStatus is {answer.action_status!r} without an ErrorCode", request_id=request_id
        )
        return Verdict(Handling.RETRY, answer, failed, "FAIL", request_id=request_id)
    row = code_of(code)
    if row.handling is Handling.DONE:
        return Verdict(Handling.DONE, answer, request_id=request_id)
    refused = refusal(code, answer.error_info, request_id)
    pause = max(row.pause, _hint(reply))
    return Verdict(row.handling, answer, refused, str(code), pause, request_id=request_id)


class GatewayFaults:
    """
    Tells the passing fault of a gateway from a server that is not the API.

    Once the API has answered, a status, a page or a certificate of something else is worth another
    attempt; several in a row are the end. Those of calls that were under way together count once.
    """

    __slots__ = ("_counted_at", "_in_a_row", "_served")

    def __init__(self) -> None:
        self._served = False
        self._in_a_row = 0
        self._counted_at = 0

    def weigh(self, verdict: Verdict[E], number: int, latest: int) -> Verdict[E]:
        """
        Return the verdict, which is milder where the fault may pass.

        Args:
            verdict: The meaning of the reply alone.
            number: Which call of the session it answers.
            latest: The number of the latest call.
        """
        if verdict.answer is not None:
            self._served = True
            self._in_a_row = 0
        elif verdict.of_gateway:
            if number > self._counted_at:
                self._in_a_row += 1
                self._counted_at = latest
            if self._served and self._in_a_row < _MOST_GATEWAY_FAULTS:
                return attrs.evolve(verdict, handling=Handling.RETRY)
        return verdict


def refusal(code: int, info: str, request_id: str = "") -> RefusedError:
    """Return the error for a code of the server."""
    if code_of(code).handling in (Handling.REFUSE_APPLICATION, Handling.REFUSE_STANDARD):
        return ApplicationRefusedError(code, info, request_id=request_id)
    return ItemRefusedError(code, info, request_id=request_id)


def lines_by_conversation(answer: MarkAnswer) -> dict[Conversation, ResultLine]:
    """
    Return the line of each conversation, found by its name and never by its position.

    The vendor does not state an order. Of two lines for one conversation a failure counts: success
    is claimed only where nothing speaks against it, an unreadable line among them.
    """
    lines: dict[Conversation, ResultLine] = {}
    unread: list[Unreadable] = []
    for line in answer.result_item:
        if isinstance(line, Unreadable):
            unread.append(line)
        elif line.contact_item is not None:
            earlier = lines.get(line.contact_item)
            if earlier is None or earlier.result_code == 0:
                lines[line.contact_item] = line
    for each in unread:
        if each.conversation in lines and lines[each.conversation].result_code == 0:
            del lines[each.conversation]
    return lines


def _classify_status(reply: HttpAnswer) -> Verdict[E]:
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
    error = AnswerError("this is not an answer of the API; check the base URL", status=status)
    return Verdict(Handling.REFUSE_APPLICATION, None, error, reason, pause, of_gateway=True)


def _hint(reply: HttpAnswer) -> float:
    """Return the seconds that `Retry-After` asks for, a minute at most; 0 where it names none."""
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
    # It may be no number at all.
    return min(seconds, _LONGEST_HINT) if seconds > 0 else 0.0
