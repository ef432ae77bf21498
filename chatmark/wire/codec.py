"""
Messages of the API to and from JSON bytes.

- https://www.tencentcloud.com/document/product/1047/53438 mark_contact
- https://www.tencentcloud.com/document/product/1047/53440 get_contact_group
- https://www.tencentcloud.com/document/product/1047/53442 search_contact_group
- https://www.tencentcloud.com/document/product/1047/53437 create_contact_group
- https://www.tencentcloud.com/document/product/1047/53439 update_contact_group
- https://www.tencentcloud.com/document/product/1047/53441 del_contact_group
"""

import json
import re
from typing import Any, Final, NoReturn, cast

import attrs
import msgspec

from chatmark.changes import MarkChange, OptType
from chatmark.conversations import check_id
from chatmark.errors import InputError
from chatmark.failures import AnswerError
from chatmark.limits import MAX_USER_ID_BYTES
from chatmark.marks import ConversationMark
from chatmark.wire.converter import CONVERTER, described, first_fault
from chatmark.wire.fast import Confirmation
from chatmark.wire.messages import E, Envelope, MarkItem, MarkRequest, Message, wire_name

_HEAD: Final = 4096
# Lists and objects of an answer; many more would hold up the event loop.
_MOST_NODES: Final = 100_000
_QUERY: Final = re.compile(rb"\?[^\s\"'<>]*")
_CONFIRMATION: Final[Any] = Confirmation | None
_confirmation: Final = CONVERTER.get_structure_hook(_CONFIRMATION)


def to_json(request: Message) -> bytes:
    """Return the body of a request."""
    return msgspec.json.encode(CONVERTER.unstructure(request))


def confirmation(body: bytes) -> Confirmation | None:
    """
    Return an answer of mark_contact in which every line is a success, None if there may be others.
    """
    return _confirmation(body, _CONFIRMATION)  # type: ignore[no-any-return]


def from_json(body: bytes, kind: type[E], *, status: int = 200) -> E:
    """
    Read the body of an answer as *kind*: `MarkAnswer`, `GroupAnswer`, `Page` or `Found`.

    A refusal needs a readable code only.

    Raises:
        AnswerError: It is not JSON, or not of that shape; the error names the JSON path.
    """
    if body.count(b"{") + body.count(b"[") > _MOST_NODES:
        raise AnswerError(
            f"the answer has more than {_MOST_NODES:,} lists and objects", status=status
        )
    try:
        document = json.loads(body.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        kind_of = "a page, not JSON; check the base URL" if is_page(body) else "not JSON"
        reason = f"the answer is {kind_of}: it starts with {_head(body)}"
        raise AnswerError(reason, status=status) from None
    if type(document) is not dict:
        raise AnswerError("the answer is not a JSON object", status=status)
    fields = cast("dict[str, Any]", document)
    try:
        return CONVERTER.structure(fields, kind)
    except Exception as error:  # noqa: BLE001 - hostile input is one fault.
        refusal = _refusal(fields, kind)
        if refusal is not None:
            return refusal
        reason, path = first_fault(error)
        request_id = described(fields.get("RequestId") or "", str)
        raise AnswerError(reason, status=status, path=path, request_id=request_id) from None


def _refusal(document: dict[str, Any], kind: type[E]) -> E | None:
    try:
        envelope = CONVERTER.structure(document, Envelope)
    except Exception:  # noqa: BLE001
        return None
    return kind(**attrs.asdict(envelope)) if envelope.error_code else None


def is_page(body: bytes) -> bool:
    """Whether the body of an answer is a page of HTML or XML, which the API never sends."""
    return body[:_HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def _no_constant(name: str) -> NoReturn:
    message = f"{name} is not JSON"
    raise ValueError(message)


def _head(body: bytes) -> str:
    # A page that repeats the URL repeats the signature in its query.
    text = _QUERY.sub(b"?...", body[:_HEAD])[:60].decode("utf-8", "replace")
    return repr(text) if text else "nothing: it is empty"


def read_request(document: Any) -> list[MarkChange]:
    """
    Read a request body of mark_contact that a person wrote, already parsed, strictly as changes.

    Raises:
        InputError: It is not of that shape, or a change in it could not be sent; `field` is its
            path.
    """
    if type(document) is not dict:
        raise InputError("$", "is not a JSON object")
    try:
        request = CONVERTER.structure(document, MarkRequest)
    except Exception as error:  # noqa: BLE001
        reason, path = first_fault(error)
        raise InputError(path, reason) from None
    check_id("$.From_Account", request.from_account, MAX_USER_ID_BYTES)
    changes: list[MarkChange] = []
    for index, item in enumerate(request.mark_item):
        try:
            changes.append(_change(request.from_account, item))
        except InputError as error:
            field = f"$.MarkItem[{index}].{wire_name(error.field)}"
            raise InputError(field, error.reason) from None
    return changes


def _change(from_account: str, item: MarkItem) -> MarkChange:
    change = MarkChange(
        from_account,
        item.contact_item,
        _mark_of("set_mark", item.set_mark),
        _mark_of("clear_mark", item.clear_mark),
        item.custom_mark,
    )
    if item.opt_type != change.opt_type:
        fields = OptType(change.opt_type)
        raise InputError("OptType", f"is {item.opt_type}, the fields are those of {fields}")
    return change


def _mark_of(field: str, numbers: list[int]) -> ConversationMark:
    try:
        return ConversationMark.from_bits(numbers)
    except InputError as error:
        raise InputError(field, error.reason) from None
