"""
The converter: values of this package to and from what JSON holds. It is the only door of the wire.

It reads what decides strictly (a code must be a number), and what only describes leniently: unknown
fields are ignored, null is the same as an absent field. An element of a list that cannot be read
becomes an `Unreadable`, and the others stand.
"""

import datetime as dt
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast, get_args, get_origin

import attrs
import cattrs
import msgspec
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_structure_fn, override

from chatmark.changes import MarkChange, OptType
from chatmark.conversations import Conversation, ConversationType, check_id
from chatmark.errors import InputError
from chatmark.limits import MAX_USER_ID_BYTES
from chatmark.marks import ConversationMark
from chatmark.results import MarkedConversation
from chatmark.wire import messages
from chatmark.wire.messages import ContactItem, E, MarkedItem, Message, Unreadable, wire_name

T = TypeVar("T")
Hook = Callable[[Any, Any], Any]

# Fields that describe what `ErrorCode` and `ResultCode` decide.
_DESCRIBING: Final = frozenset(("action_status", "error_info", "request_id", "result_info"))
# A text of what is wrong need not be longer.
_MOST_SHOWN: Final = 200
# The year 5138: a later timestamp has milliseconds.
_LATEST_SECOND: Final = 1e11
# A signed number of 64 bits, as files of Parquet and the tables of other programs hold it.
_MOST_GROUP_ID: Final = 2**63 - 1
# A user has 1000 marked and 1000 grouped conversations; an answer that holds more is wrong, and
# reading it would hold up the event loop.
_MOST_ELEMENTS: Final = 5_000
# Elements that cannot be read, and of which the reason is told.
_MOST_TOLD: Final = 20
_PATH_WORD: Final = re.compile(r"(?<=\.)[a-z_]+")

CONVERTER: Final = cattrs.Converter()


def first_fault(error: Exception) -> tuple[str, str]:
    """Return what is wrong and where, of the first of the faults that cattrs found."""
    leaf: BaseException = error
    while isinstance(leaf, cattrs.BaseValidationError) and leaf.exceptions:
        leaf = leaf.exceptions[0]
    text = cattrs.transform_error(error)[0]
    reason, _, path = text.rpartition(" @ ")
    path = _PATH_WORD.sub(lambda word: wire_name(word[0]), path)
    if type(leaf) is TypeError:
        reason = str(leaf)
    elif isinstance(leaf, InputError):
        return leaf.reason, f"{path}.{wire_name(leaf.field)}"
    # A field's name may have half a character too.
    return reason.encode("utf-8", "backslashreplace").decode(), path


def _exactly(kind: type[T], name: str) -> Callable[[Any, Any], T]:
    """Return what takes exactly this type: a bool is not a number."""

    def structure(value: Any, _: Any) -> T:
        if type(value) is not kind:
            raise TypeError(f"expected {name}")
        return value

    return structure


_asked_str: Final = _exactly(str, "text")
_list: Final = _exactly(cast("type[list[Any]]", list), "a list")
CONVERTER.register_structure_hook(int, _exactly(int, "a number"))


@CONVERTER.register_structure_hook
def read_str(value: Any, kind: Any) -> str:
    text = _asked_str(value, kind)
    # JSON can name half a character, which no output of ours could print.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def described(value: Any, kind: Any) -> str:
    """Return a describing text of an answer. A value of another type is shown as text."""
    # The code beside it decides: a text of another type must not hide the code.
    return read_str(value if type(value) is str else repr(value)[:_MOST_SHOWN], kind)


@CONVERTER.register_structure_hook
def read_time(value: Any, _: Any) -> dt.datetime | None:
    if type(value) not in (int, float) or value <= 0:
        return None
    try:
        # The servers of sibling APIs were seen to give milliseconds.
        seconds = value / 1000 if value > _LATEST_SECOND else value
        return dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is list


@CONVERTER.register_structure_hook_factory(_is_list)
def list_reader(kind: Any, converter: cattrs.Converter) -> Hook:
    read: Hook = list_structure_factory(kind, converter)
    return lambda value, _: read(_list(value, kind), kind)


def _salvaging(kind: Any, name: str) -> Hook:
    (element,) = get_args(kind)
    readable = get_args(element)[0]

    def structure(value: Any, _: Any) -> list[Any]:
        values = _list(value, kind)
        if len(values) > _MOST_ELEMENTS:
            raise TypeError(f"has {len(values):,} elements, {_MOST_ELEMENTS:,} are possible")
        elements: list[Any] = []
        told = 0
        for index, each in enumerate(values):
            try:
                elements.append(CONVERTER.structure(each, readable))
            except Exception as error:  # noqa: BLE001 - hostile input is one fault.
                reason, path = "cannot be read", "$"
                # The text of a fault takes longer than all else; the first few tell enough.
                if told < _MOST_TOLD:
                    reason, path = first_fault(error)
                    told += 1
                text = f"$.{name}[{index}]{path[1:]}: {reason}"
                elements.append(Unreadable(text[:_MOST_SHOWN], _named(each)))
        return elements

    return structure


def _named(value: Any) -> Conversation | None:
    """Return the conversation that an unreadable element names, None where none can be read."""
    try:
        return read_contact(value.get("ContactItem", value), Conversation)
    except Exception:  # noqa: BLE001
        return None


def _reader(kind: type[T], *, closed: bool = False) -> Callable[[Any, Any], T]:
    """Return what reads an object: strictly what a person wrote (*closed*), else leniently."""
    renames: dict[str, Any] = {
        field.name: override(rename=wire_name(field.name), struct_hook=_hook(field, closed=closed))
        for field in attrs.fields(kind)  # type: ignore[arg-type]
    }
    read = make_dict_structure_fn(kind, CONVERTER, _cattrs_forbid_extra_keys=closed, **renames)

    def structure(value: Any, _: Any) -> T:
        if type(value) is not dict:
            raise TypeError("expected an object")
        given = cast("dict[str, Any]", value)
        if not closed and None in given.values():
            given = {name: each for name, each in given.items() if each is not None}
        return read(given, kind)

    return structure


def _hook(field: "attrs.Attribute[Any]", *, closed: bool) -> Hook | None:
    if closed:
        # A body that a person wrote is not mended.
        return _asked_str if field.type == (str | None) else None
    if field.name in _DESCRIBING:
        return described
    if field.name == "group_item":
        return _group_names
    if _is_list(field.type) and Unreadable in get_args(get_args(field.type)[0]):
        return _salvaging(field.type, wire_name(field.name))
    return None


# A class freezes the hooks of its fields when its own is made: inner ones come first.
CONVERTER.register_structure_hook(str | None, read_str)
_read_item: Final = _reader(ContactItem)
_read_asked_item: Final = _reader(ContactItem, closed=True)
_read_marked_item: Final = _reader(MarkedItem)


def _conversation(item: ContactItem) -> Conversation:
    if item.type == ConversationType.ONE_TO_ONE and item.to_account:
        return Conversation.one_to_one(item.to_account)
    if item.type == ConversationType.GROUP and item.to_group_id:
        return Conversation.group(item.to_group_id)
    raise InputError("Type", "names no conversation: 1 needs To_Account, 2 needs ToGroupId")


@CONVERTER.register_structure_hook
def read_contact(value: Any, _: Any) -> Conversation | None:
    return _conversation(_read_item(value, ContactItem))


@CONVERTER.register_structure_hook
def read_asked_contact(value: Any, _: Any) -> Conversation:
    item = _read_asked_item(value, ContactItem)
    if item.to_account is not None and item.to_group_id is not None:
        raise InputError("to_group_id", "stands beside To_Account: a conversation has one")
    return _conversation(item)


@CONVERTER.register_structure_hook
def read_marked(value: Any, _: Any) -> MarkedConversation:
    item = _read_marked_item(value, MarkedItem)
    if any(abs(number) > _MOST_GROUP_ID for number in item.contact_group_id):
        raise InputError("ContactGroupId", "has more than 64 bits")
    return MarkedConversation(
        _conversation(item),
        ConversationMark.from_wire(item.standard_mark),
        item.custom_mark,
        tuple(item.contact_group_id),
        item.timestamp,
    )


def _objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list; a value of another type has none."""
    elements: list[Any] = value if type(value) is list else []  # pyright: ignore[reportUnknownVariableType]
    return [each for each in elements if type(each) is dict]


def _group_names(value: Any, _: Any) -> dict[int, str]:
    """Return the names of groups by id. They describe: one that cannot be read is left out."""
    return {
        each["GroupId"]: read_str(each["GroupName"], str)
        for each in _objects(value)
        if type(each.get("GroupId")) is int and type(each.get("GroupName")) is str
    }


def _naming(read: Callable[[Any, Any], E], field: str) -> Callable[[Any, Any], E]:
    def structure(value: Any, kind: Any) -> E:
        answer = read(value, kind)
        names = answer.group_item
        named = [
            attrs.evolve(each, group_names=tuple(names.get(id_, "") for id_ in each.group_ids))
            if isinstance(each, MarkedConversation) and each.group_ids
            else each
            for each in getattr(answer, field)
        ]
        return attrs.evolve(answer, **{field: named})  # type: ignore[arg-type]

    return structure


def _lifted(answer: Any) -> Any:
    """Return an answer with the lines and groups that it has one level deeper."""
    (given,) = _objects([answer]) or [dict[str, Any]()]
    parts = _objects(given.get("GroupResultItem") or [given.get("UpdateGroupResult")])
    if not parts:
        return answer
    lines = [each.get("ResultItem") or each.get("ContactResultItem") for each in parts]
    return given | {
        "ResultItem": [line for some in lines for line in _objects(some)],
        "GroupItem": [each.get("GroupItem") or each for each in parts],
    }


for _kind in (messages.ResultLine, messages.Envelope, messages.MarkAnswer):
    CONVERTER.register_structure_hook(_kind, _reader(_kind))
for _page, _field in ((messages.Page, "contact_item"), (messages.Found, "contact_result_item")):
    CONVERTER.register_structure_hook(_page, _naming(_reader(_page), _field))
for _asked in (messages.MarkItem, messages.MarkRequest):
    CONVERTER.register_structure_hook(_asked, _reader(_asked, closed=True))
_read_group_answer: Final = _reader(messages.GroupAnswer)
CONVERTER.register_structure_hook(
    messages.GroupAnswer, lambda value, kind: _read_group_answer(_lifted(value), kind)
)


@CONVERTER.register_unstructure_hook
def write_contact(conversation: Conversation) -> dict[str, Any]:
    if conversation.type is ConversationType.ONE_TO_ONE:
        return {"Type": 1, "To_Account": conversation.id}
    return {"Type": 2, "ToGroupId": conversation.id}


@CONVERTER.register_unstructure_hook
def write_marked(marked: MarkedConversation) -> dict[str, Any]:
    item = write_contact(marked.conversation) | {"StandardMark": marked.mark.to_wire()}
    if marked.custom_mark:
        item["CustomMark"] = marked.custom_mark
    if marked.group_ids:
        item["ContactGroupId"] = list(marked.group_ids)
    if marked.group_names:
        item["GroupNames"] = list(marked.group_names)
    if marked.updated_at is not None:
        seconds = marked.updated_at.timestamp()
        item["Timestamp"] = int(seconds) if seconds.is_integer() else seconds
    return item


@CONVERTER.register_unstructure_hook
def write_mark_contact(request: messages.MarkContact) -> msgspec.Raw:
    return msgspec.Raw(messages.encode_marks(request.from_account, request.changes))


@CONVERTER.register_unstructure_hook
def write_request(request: Message) -> dict[str, Any]:
    fields: dict[str, Any]
    match request:
        case messages.GetContactGroup():
            fields = {"StartIndex": request.start_index}
        case messages.SearchContactGroup():
            fields = {"ContactItem": list(map(write_contact, request.contact_item))}
        case messages.CreateContactGroup():
            group: dict[str, Any] = {"GroupName": request.group_name}
            if request.contact_item:
                group["ContactItem"] = list(map(write_contact, request.contact_item))
            fields = {"GroupContactItem": [group]}
        case messages.UpdateContactGroup():
            group = {"UpdateGroupType": 2, "OldGroupName": request.old_group_name}
            if request.new_group_name is not None:
                group |= {"UpdateGroupType": 1, "NewGroupName": request.new_group_name}
            else:
                group["ContactUpdateItem"] = [
                    {"ContactOptType": opt_type, "ContactItem": write_contact(conversation)}
                    for opt_type, conversation in request.contact_update_item
                ]
            fields = {"UpdateType": 1, "UpdateGroup": group}
        case _:
            fields = {"GroupName": [cast("messages.DeleteContactGroup", request).group_name]}
    return {"From_Account": request.from_account, **fields}


def to_json(request: Message) -> bytes:
    return msgspec.json.encode(CONVERTER.unstructure(request))


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
        request = CONVERTER.structure(document, messages.MarkRequest)
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


def _change(from_account: str, item: messages.MarkItem) -> MarkChange:
    marks = _mark_of("set_mark", item.set_mark), _mark_of("clear_mark", item.clear_mark)
    change = MarkChange(from_account, item.contact_item, *marks, item.custom_mark)
    if item.opt_type != change.opt_type:
        fields = OptType(change.opt_type)
        raise InputError("OptType", f"is {item.opt_type}, the fields are those of {fields}")
    return change


def _mark_of(field: str, numbers: list[int]) -> ConversationMark:
    try:
        return ConversationMark.from_bits(numbers)
    except InputError as error:
        raise InputError(field, error.reason) from None
