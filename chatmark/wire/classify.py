"""
The meaning of an answer: for the request as a whole, and for each conversation in it.

https://www.tencentcloud.com/document/product/1047/34620: every outcome of the API comes with HTTP
status 200, another status is the network's or a gateway's. `ErrorCode` says whether the call as a
whole failed; `ActionStatus` repeats it, and was seen to be absent.
"""

import email.utils
import json
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, Generic, Literal, NoReturn, cast

import attrs
import msgspec

from chatmark.changes import MarkChange, conversations_of
from chatmark.codes import Handling, code_of
from chatmark.conversations import Conversation, ConversationType
from chatmark.errors import ChatmarkError
from chatmark.failures import AnswerError, ApplicationRefusedError, ItemRefusedError, RefusedError
from chatmark.wire.converter import CONVERTER, described, first_fault
from chatmark.wire.messages import (
    E,
    Envelope,
    HttpAnswer,
    MarkAnswer,
    Reply,
    ResultLine,
    short,
    unread_of,
)

# A longer hint is cut to this: an hour of silence would outlast every deadline.
_LONGEST_HINT: Final = 60.0
# So many faults of a gateway in a row do not pass.
_MOST_GATEWAY_FAULTS: Final = 5
_ONE_TO_ONE: Final = ConversationType.ONE_TO_ONE
_HEAD: Final = 4096
# Lists and objects of an answer; many more would hold up the event loop.
_MOST_NODES: Final = 100_000
_QUERY: Final = re.compile(rb"\?[^\s\"'<>]*")
_PASSING: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY)

#: The answer of a request all of whose items took effect; their lines are not kept.
CONFIRMED: Final = MarkAnswer(0, "OK")


@attrs.frozen
class Verdict(Generic[E]):
    """
    The meaning of a reply for its request as a whole.

    Args:
        handling: The way to handle it; DONE means that the lines of `answer` decide.
        reason: One word for counters and logs: a code, an HTTP status, or a kind of network fault.
        pause: The least time in seconds that the server asks to wait, 0 where it does not.
        at_once: A first repetition needs no backoff.
        is_paced: The budget has slowed down already: nothing else needs to hold back.
        may_run: The server may still execute the request: nothing proves that it is over.
        of_gateway: The reply is not the API's: a status, a page or a certificate of something else.
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


_ALL_DONE: Final = Verdict(Handling.DONE, CONFIRMED)


# Instances hold numbers and text only, so that the garbage collector need not know them.
class _User(msgspec.Struct, gc=False, tag_field="Type", tag=1):
    To_Account: str
    ToGroupId: str = ""


class _Group(msgspec.Struct, gc=False, tag_field="Type", tag=2):
    ToGroupId: str
    To_Account: str = ""


class _Line(msgspec.Struct, gc=False):
    ResultCode: Literal[0]
    ContactItem: _User | _Group


class Confirmation(msgspec.Struct, gc=False):
    """An answer of mark_contact in which every line is a success."""

    ErrorCode: Literal[0]
    ResultItem: list[_Line]
    ActionStatus: Literal["OK", ""] | None = None
    RequestId: str | None = None

    def names(self, changes: Sequence[MarkChange]) -> bool:
        """
        Whether it names the conversations of just these changes, in their order.

        The server answers in this order. If it does not, the reader by the book matches the lines
        by their names.
        """
        if len(self.ResultItem) != len(changes):
            return False
        for line, conversation in zip(self.ResultItem, conversations_of(changes), strict=True):
            contact = line.ContactItem
            if conversation.type is _ONE_TO_ONE:
                if type(contact) is not _User or contact.To_Account != conversation.id:
                    return False
            elif type(contact) is not _Group or contact.ToGroupId != conversation.id:
                return False
        return True


_DECODER: Final = msgspec.json.Decoder(Confirmation)


@CONVERTER.register_structure_hook
def read_confirmation(body: bytes, _: Any = None) -> Confirmation | None:
    """Return a confirmation, None where the reader by the book decides."""
    try:
        # Decoded first: msgspec does not check UTF-8 in unknown fields.
        return _DECODER.decode(body.decode())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def classify_marks(reply: Reply, changes: Sequence[MarkChange]) -> Verdict[MarkAnswer]:
    if isinstance(reply, HttpAnswer) and reply.status == HTTPStatus.OK:
        all_done = read_confirmation(reply.body)
        if all_done is not None and all_done.names(changes):
            if not all_done.RequestId:
                return _ALL_DONE
            return attrs.evolve(_ALL_DONE, request_id=short(all_done.RequestId))
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
        of_gateway = _is_page(reply.body)
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


def from_json(body: bytes, kind: type[E]) -> E:
    """
    Read the body of an answer as *kind*: `MarkAnswer`, `GroupAnswer`, `Page` or `Found`.

    A refusal needs a readable code only.

    Raises:
        AnswerError: It is not JSON, or not of that shape; the error names the JSON path.
    """
    if body.count(b"{") + body.count(b"[") > _MOST_NODES:
        raise AnswerError(f"the answer has more than {_MOST_NODES:,} lists and objects")
    try:
        document = json.loads(body.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        kind_of = "a page, not JSON; check the base URL" if _is_page(body) else "not JSON"
        raise AnswerError(f"the answer is {kind_of}: it starts with {_head(body)}") from None
    if type(document) is not dict:
        raise AnswerError("the answer is not a JSON object")
    fields = cast("dict[str, Any]", document)
    try:
        return CONVERTER.structure(fields, kind)
    except Exception as error:  # noqa: BLE001 - hostile input is one fault.
        refusal = _refusal(fields, kind)
        if refusal is not None:
            return refusal
        reason, path = first_fault(error)
        request_id = described(fields.get("RequestId") or "", str)
        raise AnswerError(reason, path=path, request_id=request_id) from None


def _refusal(document: dict[str, Any], kind: type[E]) -> E | None:
    try:
        envelope = CONVERTER.structure(document, Envelope)
    except Exception:  # noqa: BLE001
        return None
    return kind(**attrs.asdict(envelope)) if envelope.error_code else None


def _is_page(body: bytes) -> bool:
    """Whether the body of an answer is a page of HTML or XML, which the API never sends."""
    return body[:_HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def _no_constant(name: str) -> NoReturn:
    message = f"{name} is not JSON"
    raise ValueError(message)


def _head(body: bytes) -> str:
    # A page that repeats the URL repeats the signature in its query.
    text = _QUERY.sub(b"?...", body[:_HEAD])[:60].decode("utf-8", "replace")
    return repr(text) if text else "nothing: it is empty"


@attrs.define
class GatewayFaults:
    """
    Tells the passing fault of a gateway from a server that is not the API.

    Once the API has answered, a status, a page or a certificate of something else is worth another
    attempt; several in a row are the end. Those of calls that were under way together count once.
    """

    _served: bool = False
    _in_a_row: int = 0
    _counted_at: int = 0

    def weigh(self, verdict: Verdict[E], number: int, latest: int) -> Verdict[E]:
        """Return the verdict on call *number* of *latest*, milder where the fault may pass."""
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
    for line in answer.result_item:
        if isinstance(line, ResultLine) and line.contact_item is not None:
            earlier = lines.get(line.contact_item)
            if earlier is None or earlier.result_code == 0:
                lines[line.contact_item] = line
    unread = {each.conversation for each in unread_of(answer)}
    return {
        each: line for each, line in lines.items() if line.result_code != 0 or each not in unread
    }


def _classify_status(reply: HttpAnswer) -> Verdict[E]:
    status, pause = reply.status, _hint(reply)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        handling, text = Handling.SLOW_DOWN, "too many requests"
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING:
        handling, text = Handling.RETRY, "a gateway or the network failed"
    elif status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        handling, text, pause = Handling.SPLIT, "too large", 0.0
    else:
        # The API itself always says 200: this is another server, or something between.
        handling = Handling.REFUSE_APPLICATION
        text = "this is not an answer of the API; check the base URL"
    may_run, of_gateway = handling is Handling.RETRY, handling is Handling.REFUSE_APPLICATION
    error = AnswerError(text, status=status)
    return Verdict(
        handling, None, error, str(status), pause, may_run=may_run, of_gateway=of_gateway
    )


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
