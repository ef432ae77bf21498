"""Read the bodies of requests about marks by hand into small values, or refuse them."""

from typing import Final

import attrs

from chatmark.emulator.settings import Settings
from chatmark.emulator.wire.fields import (
    Key,
    break_own_rule,
    is_array,
    malformed,
    read_array,
    read_body,
    read_choice,
    read_contact,
    read_number,
    read_object,
    read_user_id,
)
from chatmark.emulator.wire.refusals import Refusal

_MARK_FIELDS: Final = frozenset({"From_Account", "MarkItem"})
_ITEM_FIELDS: Final = frozenset({"OptType", "ContactItem", "SetMark", "ClearMark", "CustomMark"})
_PAGE_FIELDS: Final = frozenset({"From_Account", "StartIndex"})
_LIST_FIELDS: Final = frozenset(
    {"From_Account", "TimeStamp", "StartIndex", "TopTimeStamp", "TopStartIndex", "AssistFlags"}
)
# A captured answer to these flags has no marks; those of 2026 are 63, and answers have them.
_FLAGS_WITHOUT_MARKS: Final = 15
_DELETE_FIELDS: Final = frozenset(
    {"From_Account", "Type", "To_Account", "ToGroupid", "ClearRamble"}
)
_SEARCH_FIELDS: Final = frozenset({"From_Account", "ContactItem"})

_STANDARD: Final = 1
_CUSTOM: Final = 2
_OPT_TYPES: Final = range(1, 4)

_HIGHEST_BIT: Final = 63
_MAX_CUSTOM_MARK: Final = 256


@attrs.frozen
class MarkItem:
    """
    One item of mark_contact: a change of the marks of one conversation.

    Args:
        opt_type: 1 standard bits, 2 custom mark, 3 both.
        conversation: The conversation.
        set_bits: Bits to turn on, as a mask.
        clear_bits: Bits to turn off, as a mask.
        custom_mark: The new custom mark, or None to leave it.
    """

    opt_type: int
    conversation: Key
    set_bits: int
    clear_bits: int
    custom_mark: str | None


@attrs.frozen
class Request:
    """The fields of all bodies."""

    from_account: str
    conversations: tuple[Key, ...]


@attrs.frozen
class MarkRequest(Request):
    """A body of mark_contact."""

    items: list[MarkItem]


@attrs.frozen
class PageRequest(Request):
    """A body of get_contact_group."""

    start_index: int


@attrs.frozen
class ListRequest(PageRequest):
    """A body of get_list; flags of 2026 ask for the marks of the conversations too."""

    marks: bool


def read_mark_request(body: bytes, its: Settings) -> MarkRequest:
    """Read a body of https://www.tencentcloud.com/document/product/1047/53438."""
    raw, from_account = read_request(body, _MARK_FIELDS, its)
    rows = read_array(raw, "MarkItem")
    if not 0 < len(rows) <= its.max_items:
        raise too_many("MarkItem", len(rows), its)
    items = [_read_item(row, index, strict=its.strict) for index, row in enumerate(rows)]
    conversations = tuple([item.conversation for item in items])
    check_distinct(from_account, conversations, "MarkItem", its)
    return MarkRequest(from_account, conversations, items)


def too_many(name: str, count: int, its: Settings) -> Refusal:
    """Return the refusal of *count* items."""
    info = f"{name}: {count} items, must be 1 to {its.max_items}"
    return Refusal(51006, info, violation=f"{count} items in one request")


def check_distinct(
    from_account: str, conversations: tuple[Key, ...], name: str, its: Settings
) -> None:
    """
    Refuse a second item of a conversation in field *name*.

    The vendor does not document such an item, so no client may send one.
    """
    if its.strict and len(set(conversations)) < len(conversations):
        index, key = next(
            (index, key) for index, key in enumerate(conversations) if key in conversations[:index]
        )
        break_own_rule(
            f"{name}[{index}].ContactItem",
            "must not name the conversation of an earlier item",
            violation=f"conversation {key} twice in a request of {from_account}",
        )


def read_page_request(body: bytes, its: Settings) -> PageRequest:
    """Read a body of https://www.tencentcloud.com/document/product/1047/53440."""
    raw, from_account = read_request(body, _PAGE_FIELDS, its)
    return PageRequest(from_account, (), read_number(raw, "StartIndex"))


def read_list_request(body: bytes, its: Settings) -> ListRequest:
    """Read a body of https://www.tencentcloud.com/document/product/1047/43087."""
    raw, from_account = read_request(body, _LIST_FIELDS, its)
    numbers = {name: read_number(raw, name) for name in sorted(_LIST_FIELDS - {"From_Account"})}
    marks = bool(numbers["AssistFlags"] & ~_FLAGS_WITHOUT_MARKS)
    return ListRequest(from_account, (), numbers["StartIndex"], marks)


def read_delete_request(body: bytes, its: Settings) -> Request:
    """Read a body of https://www.tencentcloud.com/document/product/1047/43088."""
    raw, from_account = read_request(body, _DELETE_FIELDS, its)
    contact = {n: v for n, v in raw.items() if n not in ("From_Account", "ClearRamble")}
    key = read_contact(contact, strict=its.strict, group_field="ToGroupid")
    return Request(from_account, (key,))


def read_search_request(body: bytes, its: Settings) -> Request:
    """Read a body of https://www.tencentcloud.com/document/product/1047/53442."""
    raw, from_account = read_request(body, _SEARCH_FIELDS, its)
    rows = read_array(raw, "ContactItem")
    if not 0 < len(rows) <= its.max_contacts:
        malformed(
            "ContactItem",
            f"{len(rows)} contacts, must be 1 to {its.max_contacts}",
            violation=f"{len(rows)} contacts in one request",
        )
    return Request(from_account, read_contacts(rows, its))


def read_contacts(rows: list[object], its: Settings) -> tuple[Key, ...]:
    """Read the conversations of a ContactItem array."""
    strict = its.strict
    return tuple(
        [read_contact(row, f"ContactItem[{i}].", strict=strict) for i, row in enumerate(rows)]
    )


def read_request(
    body: bytes, known: frozenset[str], its: Settings
) -> tuple[dict[str, object], str]:
    """Read a body with the fields *known*, and return it and its From_Account."""
    raw = read_body(body, known, strict=its.strict)
    return raw, read_user_id(raw, "From_Account")


def _read_item(raw: object, index: int, *, strict: bool) -> MarkItem:
    where = f"MarkItem[{index}]."
    fields = read_object(raw, _ITEM_FIELDS, where, strict=strict)
    opt_type = read_choice(fields, "OptType", _OPT_TYPES, where)
    contact = read_contact(fields.get("ContactItem"), f"{where}ContactItem.", strict=strict)
    set_bits, clear_bits = (_read_bits(fields, name, where) for name in ("SetMark", "ClearMark"))
    custom_mark = _read_custom_mark(fields, where)
    if strict:
        if set_bits & clear_bits:
            break_own_rule(f"{where}ClearMark", "must have no bit of SetMark")
        _check_opt_type(fields, opt_type, set_bits | clear_bits, where)
    if opt_type == _CUSTOM:
        set_bits = clear_bits = 0
    return MarkItem(
        opt_type, contact, set_bits, clear_bits, None if opt_type == _STANDARD else custom_mark
    )


def _check_opt_type(raw: dict[str, object], opt_type: int, bits: int, where: str) -> None:
    """
    Refuse an item whose fields do not match its OptType.

    The vendor does not document such an item, so a client must never send one.
    """
    if opt_type == _STANDARD and "CustomMark" in raw:
        break_own_rule(f"{where}CustomMark", "must be absent with OptType 1")
    if opt_type != _STANDARD and "CustomMark" not in raw:
        break_own_rule(f"{where}CustomMark", f"missing, OptType is {opt_type}")
    if opt_type == _CUSTOM and ("SetMark" in raw or "ClearMark" in raw):
        name = "SetMark" if "SetMark" in raw else "ClearMark"
        break_own_rule(f"{where}{name}", "must be absent with OptType 2")
    if opt_type != _CUSTOM and not bits:
        break_own_rule(f"{where}SetMark", f"no bits to set or clear, OptType is {opt_type}")


def _read_bits(raw: dict[str, object], name: str, where: str) -> int:
    if name not in raw:
        return 0
    numbers = raw[name]
    if not is_array(numbers):
        malformed(f"{where}{name}", "must be an array")
    mask = 0
    for number in numbers:
        if type(number) is not int or not 0 <= number <= _HIGHEST_BIT:
            malformed(f"{where}{name}", f"must hold integers from 0 to {_HIGHEST_BIT}")
        mask |= 1 << number
    return mask


def _read_custom_mark(raw: dict[str, object], where: str) -> str | None:
    if "CustomMark" not in raw:
        return None
    text = raw["CustomMark"]
    if type(text) is not str:
        malformed(f"{where}CustomMark", "must be a string")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        malformed(f"{where}CustomMark", "must be valid Unicode")
    if size > _MAX_CUSTOM_MARK:
        malformed(f"{where}CustomMark", f"must be {_MAX_CUSTOM_MARK} bytes at most, not {size}")
    return text
