"""
The wire: JSON bytes to and from the values of this package.

This is the only module that knows a JSON field by its name, and the only one that imports cattrs.
It reads what decides strictly (a code must be a number), and what only describes leniently: unknown
fields are ignored, null is the same as an absent field. An element of a list that cannot be read
becomes an `Unread`, and the others stand.

- https://www.tencentcloud.com/document/product/1047/53438 mark_contact
- https://www.tencentcloud.com/document/product/1047/53440 get_contact_group
- https://www.tencentcloud.com/document/product/1047/53442 search_contact_group
"""

import datetime as dt
import enum
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NoReturn, TypeVar, cast, get_args, get_origin

import attrs
import cattrs
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_structure_fn, override

from chatmark.errors import AnswerError, InputError
from chatmark.fastwire import MOST_TEXT
from chatmark.marks import ConversationMark
from chatmark.models import (
    MAX_USER_ID_BYTES,
    Conversation,
    ConversationType,
    MarkChange,
    MarkedConversation,
    OptType,
    check_id,
)

T = TypeVar("T")
E = TypeVar("E", bound="Envelope")


class Command(enum.Enum):
    """
    The calls of the API that chatmark makes, by their path.
    """

    MARK_CONTACT = "v4/recentcontact/mark_contact"
    GET_CONTACT_GROUP = "v4/recentcontact/get_contact_group"
    SEARCH_CONTACT_GROUP = "v4/recentcontact/search_contact_group"

    def __str__(self) -> str:
        return self.value.rpartition("/")[2]


def _short(text: str) -> str:
    """
    Cut a text of the server, which goes into errors, results, logs and reports.
    """
    return text[:MOST_TEXT]


@attrs.frozen
class Envelope:
    """
    What every answer says of the whole call. `error_code` decides, the texts describe.
    """

    error_code: int
    action_status: str = attrs.field(default="", converter=_short)
    error_info: str = attrs.field(default="", converter=_short)
    request_id: str = attrs.field(default="", converter=_short)


@attrs.frozen
class Unread:
    """
    An element of a list of an answer that cannot be read.

    Args:
        reason: Where it is and what is wrong with it.
        conversation: The conversation that it names, None where that cannot be read.
    """

    reason: str
    conversation: Conversation | None = None


@attrs.frozen
class ResultLine:
    """
    What an answer of mark_contact says of one conversation, None where it names none.
    """

    result_code: int
    contact_item: Conversation | None = None
    result_info: str = attrs.field(default="", converter=_short)


@attrs.frozen
class MarkAnswer(Envelope):
    """
    An answer of mark_contact. A refused call may have no lines, or not all.
    """

    result_item: list[ResultLine | Unread] = attrs.field(factory=list, kw_only=True)


@attrs.frozen
class _MarkedItem:
    type: int
    to_account: str = ""
    to_group_id: str = ""
    standard_mark: str = ""
    custom_mark: str = ""
    contact_group_id: list[int] = attrs.field(factory=list)
    timestamp: dt.datetime | None = None


@attrs.frozen
class Page(Envelope):
    """
    An answer of get_contact_group. The last page may have no `next_start_index`.
    """

    contact_item: list[MarkedConversation | Unread] = attrs.field(factory=list, kw_only=True)
    complete_flag: int = attrs.field(default=1, kw_only=True)
    next_start_index: int = attrs.field(default=0, kw_only=True)
    complete_time: dt.datetime | None = attrs.field(default=None, kw_only=True)


@attrs.frozen
class Found(Envelope):
    """
    An answer of search_contact_group.
    """

    contact_result_item: list[MarkedConversation | Unread] = attrs.field(factory=list, kw_only=True)


@attrs.frozen
class _MarkItem:
    opt_type: int
    contact_item: Conversation
    set_mark: list[int] = attrs.field(factory=list)
    clear_mark: list[int] = attrs.field(factory=list)
    custom_mark: str | None = None


@attrs.frozen
class _MarkRequest:
    from_account: str
    mark_item: list[_MarkItem]


@attrs.frozen
class _ContactItem:
    type: int
    to_account: str | None = None
    to_group_id: str | None = None


_NAMES: Final = {
    "action_status": "ActionStatus",
    "clear_mark": "ClearMark",
    "complete_flag": "CompleteFlag",
    "contact_group_id": "ContactGroupId",
    "contact_item": "ContactItem",
    "contact_result_item": "ContactResultItem",
    "custom_mark": "CustomMark",
    "error_code": "ErrorCode",
    "error_info": "ErrorInfo",
    "from_account": "From_Account",
    "mark_item": "MarkItem",
    "next_start_index": "NextStartIndex",
    "opt_type": "OptType",
    "request_id": "RequestId",
    "result_code": "ResultCode",
    "result_info": "ResultInfo",
    "result_item": "ResultItem",
    "set_mark": "SetMark",
    "standard_mark": "StandardMark",
    "timestamp": "Timestamp",
    "complete_time": "CompleteTime",
    "to_account": "To_Account",
    "to_group_id": "ToGroupId",
    "type": "Type",
}


# Fields that describe what `ErrorCode` and `ResultCode` decide.
_DESCRIBING: Final = frozenset(("action_status", "error_info", "request_id", "result_info"))
# A text of what is wrong need not be longer.
_MOST_SHOWN: Final = 200
# The year 5138: a later timestamp has milliseconds.
_LATEST_SECOND: Final = 1e11
# A signed number of 64 bits, as files of Parquet and the tables of other programs hold it.
_MOST_GROUP_ID: Final = 2**63 - 1


def _strict_int(value: Any, _: Any) -> int:
    if type(value) is not int:
        raise TypeError("expected a number")
    return value


def _asked_str(value: Any, _: Any) -> str:
    if type(value) is not str:
        raise TypeError("expected text")
    return value


def _strict_str(value: Any, kind: Any) -> str:
    text = _asked_str(value, kind)
    if text.isascii():
        return text
    # JSON can name half a character, which no output of ours could print.
    return text.encode("utf-8", "replace").decode()


def _described(value: Any, kind: Any) -> str:
    # The code beside it decides: a text of another type must not hide the code.
    return _strict_str(value if type(value) is str else repr(value)[:_MOST_SHOWN], kind)


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is list


def _strict_list(kind: Any, converter: cattrs.BaseConverter) -> Callable[[Any, Any], Any]:
    read: Callable[[Any, Any], Any] = list_structure_factory(kind, converter)

    def structure(value: Any, _: Any) -> Any:
        if type(value) is not list:
            raise TypeError("expected a list")
        return read(value, kind)

    return structure


def _salvaged_list(kind: Any, name: str, converter: cattrs.BaseConverter) -> Callable[..., Any]:
    (element,) = get_args(kind)
    readable = get_args(element)[0]

    def structure(value: Any, _: Any) -> list[Any]:
        if type(value) is not list:
            raise TypeError("expected a list")
        values: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        if len(values) > _MOST_ELEMENTS:
            raise TypeError(f"has {len(values):,} elements, {_MOST_ELEMENTS:,} are possible")
        elements: list[Any] = []
        unread = 0
        for index, each in enumerate(values):
            try:
                elements.append(converter.structure(each, readable))
            except Exception as error:  # noqa: BLE001 - hostile input is one fault.
                unread += 1
                # The text of a fault takes longer than all else; the first few tell enough.
                is_told = unread <= _MOST_TOLD
                reason, path = _first_fault(error) if is_told else ("cannot be read", "$")
                text = f"$.{name}[{index}]{path[1:]}: {reason}"
                elements.append(Unread(text[:_MOST_SHOWN], _named(each, converter)))
        return elements

    return structure


def _named(value: Any, converter: cattrs.BaseConverter) -> Conversation | None:
    """
    Return the conversation that an unreadable element names, None where none can be read.
    """
    if type(value) is not dict:
        return None
    item = cast("dict[str, Any]", value)
    try:
        contact = item.get(_NAMES["contact_item"], item)
        named: Conversation = converter.structure(contact, cast("Any", Conversation | None))
    except Exception:  # noqa: BLE001
        return None
    return named


def _conversation(item: _ContactItem) -> Conversation:
    if item.type == ConversationType.ONE_TO_ONE and item.to_account is not None:
        return Conversation.one_to_one(item.to_account)
    if item.type == ConversationType.GROUP and item.to_group_id is not None:
        return Conversation.group(item.to_group_id)
    raise InputError("Type", "names no conversation: 1 needs To_Account, 2 needs ToGroupId")


def _marked(item: _MarkedItem) -> MarkedConversation:
    if any(abs(number) > _MOST_GROUP_ID for number in item.contact_group_id):
        raise InputError("ContactGroupId", "has more than 64 bits")
    return MarkedConversation(
        _conversation(_ContactItem(item.type, item.to_account or None, item.to_group_id or None)),
        ConversationMark.from_wire(item.standard_mark),
        item.custom_mark,
        tuple(item.contact_group_id),
        item.timestamp,
    )


def _time(value: Any, _: Any) -> dt.datetime | None:
    if type(value) not in (int, float) or value <= 0:
        return None
    try:
        # The servers of sibling APIs were seen to give milliseconds.
        seconds = value / 1000 if value > _LATEST_SECOND else value
        return dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _write_conversation(conversation: Conversation) -> dict[str, Any]:
    if conversation.type is ConversationType.ONE_TO_ONE:
        return {"Type": 1, "To_Account": conversation.id}
    return {"Type": 2, "ToGroupId": conversation.id}


def _reader(
    kind: type[T], converter: cattrs.Converter, *, closed: bool = False
) -> Callable[[Any, Any], T]:
    """
    Return what reads an object as *kind*: strictly what a person wrote (*closed*), else leniently.
    """
    fields: Sequence[attrs.Attribute[Any]] = attrs.fields(kind)  # type: ignore[arg-type]
    renames = {
        field.name: override(
            rename=_NAMES[field.name], struct_hook=_hook(field, converter, closed=closed)
        )
        for field in fields
    }
    read = make_dict_structure_fn(
        kind,
        converter,
        _cattrs_forbid_extra_keys=closed,
        **renames,  # type: ignore[arg-type]
    )

    def structure(value: Any, _: Any) -> T:
        if type(value) is not dict:
            raise TypeError("expected an object")
        given = cast("dict[str, Any]", value)
        if not closed and None in given.values():
            given = {name: each for name, each in given.items() if each is not None}
        return read(given, kind)

    return structure


def _hook(
    field: "attrs.Attribute[Any]", converter: cattrs.Converter, *, closed: bool
) -> Callable[[Any, Any], Any] | None:
    if closed:
        # What a person wrote is not mended.
        return _asked_str if field.type == (str | None) else None
    if field.name in _DESCRIBING:
        return _described
    if _is_list(field.type) and Unread in get_args(get_args(field.type)[0]):
        return _salvaged_list(field.type, _NAMES[field.name], converter)
    return None


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_structure_hook(int, _strict_int)
    converter.register_structure_hook(str, _strict_str)
    converter.register_structure_hook_factory(_is_list)(_strict_list)
    converter.register_structure_hook(dt.datetime | None, _time)
    # A class freezes the hooks of its fields when its own is made: inner ones come first.
    read_contact = _reader(_ContactItem, converter)
    read_closed_contact = _reader(_ContactItem, converter, closed=True)
    read_marked = _reader(_MarkedItem, converter)

    def asked_conversation(value: Any, _: Any) -> Conversation:
        item = read_closed_contact(value, _ContactItem)
        if item.to_account is not None and item.to_group_id is not None:
            raise InputError("to_group_id", "stands beside To_Account: a conversation has one")
        return _conversation(item)

    converter.register_structure_hook(Conversation, asked_conversation)
    converter.register_structure_hook(
        MarkedConversation, lambda value, _: _marked(read_marked(value, _MarkedItem))
    )
    converter.register_structure_hook(
        Conversation | None, lambda value, _: _conversation(read_contact(value, _ContactItem))
    )
    converter.register_structure_hook(str | None, _strict_str)
    for kind in (ResultLine, Envelope, MarkAnswer, Page, Found):
        converter.register_structure_hook(kind, _reader(kind, converter))
    for asked in (_MarkItem, _MarkRequest):
        converter.register_structure_hook(asked, _reader(asked, converter, closed=True))
    return converter


_CONVERTER: Final = _make_converter()
_HEAD: Final = 4096
# A user has 1000 marked and 1000 grouped conversations; an answer that holds more is no answer, and
# reading it would hold up the event loop.
_MOST_ELEMENTS: Final = 5_000
_MOST_NODES: Final = 100_000
_MOST_TOLD: Final = 20
_QUERY: Final = re.compile(rb"\?[^\s\"'<>]*")
_PATH_WORD: Final = re.compile(r"(?<=\.)[a-z_]+")


def _dump(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def encode_page(from_account: str, start_index: int) -> bytes:
    """
    Return the body of a get_contact_group request.
    """
    return _dump({"From_Account": from_account, "StartIndex": start_index})


def encode_search(from_account: str, conversations: Iterable[Conversation]) -> bytes:
    """
    Return the body of a search_contact_group request.
    """
    items = [_write_conversation(each) for each in conversations]
    return _dump({"From_Account": from_account, "ContactItem": items})


def decode_answer(body: bytes, kind: type[E], *, status: int = 200) -> E:
    """
    Read the body of an answer as *kind*: `MarkAnswer`, `Page` or `Found`.

    Of a refusal the code is enough, whatever else of it cannot be read.

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
        kind_of = "a page, no JSON; check the base URL" if is_page(body) else "no JSON"
        reason = f"the answer is {kind_of}: it starts with {_head(body)}"
        raise AnswerError(reason, status=status) from None
    if type(document) is not dict:
        raise AnswerError("the answer is no JSON object", status=status)
    fields = cast("dict[str, Any]", document)
    try:
        return _CONVERTER.structure(fields, kind)
    except Exception as error:  # noqa: BLE001 - hostile input is one fault.
        refusal = _refusal(fields, kind)
        if refusal is not None:
            return refusal
        reason, path = _first_fault(error)
        request_id = _described(fields.get(_NAMES["request_id"]) or "", str)
        raise AnswerError(reason, status=status, path=path, request_id=request_id) from None


def _refusal(document: dict[str, Any], kind: type[E]) -> E | None:
    try:
        envelope = _CONVERTER.structure(document, Envelope)
    except Exception:  # noqa: BLE001
        return None
    return kind(**attrs.asdict(envelope)) if envelope.error_code else None


def unread_of(answer: Envelope) -> list[Unread]:
    """
    Return the elements of an answer that cannot be read.
    """
    elements: Sequence[object] = ()
    if isinstance(answer, MarkAnswer):
        elements = answer.result_item
    elif isinstance(answer, Page):
        elements = answer.contact_item
    elif isinstance(answer, Found):
        elements = answer.contact_result_item
    return [each for each in elements if isinstance(each, Unread)]


def without_texts(answer: E, clean: Callable[[str], str]) -> E:
    """
    Return an answer whose texts, which are the server's own, have passed through *clean*.
    """
    changes: dict[str, Any] = {
        "error_info": clean(answer.error_info),
        "request_id": clean(answer.request_id),
    }
    if isinstance(answer, MarkAnswer):
        changes["result_item"] = [
            attrs.evolve(line, reason=clean(line.reason))
            if isinstance(line, Unread)
            else attrs.evolve(line, result_info=clean(line.result_info))
            for line in answer.result_item
        ]
    for name in ("contact_item", "contact_result_item"):
        if hasattr(answer, name):
            changes[name] = [
                attrs.evolve(each, reason=clean(each.reason)) if isinstance(each, Unread) else each
                for each in getattr(answer, name)
            ]
    return attrs.evolve(answer, **changes)


def is_page(body: bytes) -> bool:
    """
    Whether the body of an answer is a page of HTML or XML, which the API never sends.
    """
    return body[:_HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def decode_request(document: Any) -> list[MarkChange]:
    """
    Read a request body of mark_contact, already parsed, as changes.

    Raises:
        InputError: It is not of that shape, or a change in it could not be sent; `field` is its
            path.
    """
    if type(document) is not dict:
        raise InputError("$", "is no JSON object")
    try:
        request = _CONVERTER.structure(document, _MarkRequest)
    except Exception as error:  # noqa: BLE001
        reason, path = _first_fault(error)
        raise InputError(path, reason) from None
    check_id("$.From_Account", request.from_account, MAX_USER_ID_BYTES)
    changes: list[MarkChange] = []
    for index, item in enumerate(request.mark_item):
        try:
            changes.append(_change(request.from_account, item))
        except InputError as error:
            field = _NAMES.get(error.field, error.field)
            raise InputError(f"$.MarkItem[{index}].{field}", error.reason) from None
    return changes


def _change(from_account: str, item: _MarkItem) -> MarkChange:
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


def _first_fault(error: Exception) -> tuple[str, str]:
    """
    Return what is wrong and where, of the first of the faults that cattrs found.
    """
    leaf: BaseException = error
    while isinstance(leaf, cattrs.BaseValidationError) and leaf.exceptions:
        leaf = leaf.exceptions[0]
    text = cattrs.transform_error(error)[0]
    reason, _, path = text.rpartition(" @ ")
    if type(leaf) is TypeError:
        reason = str(leaf)
    elif isinstance(leaf, InputError):
        return leaf.reason, f"{_wire_path(path)}.{_NAMES.get(leaf.field, leaf.field)}"
    # A field's name may have half a character too.
    return reason.encode("utf-8", "backslashreplace").decode(), _wire_path(path)


def _wire_path(path: str) -> str:
    return _PATH_WORD.sub(lambda word: _NAMES.get(word[0], word[0]), path)


def _no_constant(name: str) -> NoReturn:
    message = f"{name} is no JSON"
    raise ValueError(message)


def _head(body: bytes) -> str:
    # A page that repeats the URL repeats the signature in its query.
    text = _QUERY.sub(b"?...", body[:_HEAD])[:60].decode("utf-8", "replace")
    return repr(text) if text else "nothing: it is empty"
