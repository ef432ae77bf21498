"""Read the three request bodies by hand into small values, or refuse them."""

from typing import Final

import attrs

from chatmark.emulator.wire.fields import (
    Key,
    check_names,
    is_array,
    is_object,
    malformed,
    read_body,
    read_contact,
    read_user_id,
)
from chatmark.emulator.wire.refusals import Refusal

_MARK_FIELDS: Final = frozenset({"From_Account", "MarkItem"})
_ITEM_FIELDS: Final = frozenset({"OptType", "ContactItem", "SetMark", "ClearMark", "CustomMark"})
_PAGE_FIELDS: Final = frozenset({"From_Account", "StartIndex"})
_SEARCH_FIELDS: Final = frozenset({"From_Account", "ContactItem"})

_STANDARD: Final = 1
_CUSTOM: Final = 2
_BOTH: Final = 3

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
class SearchRequest(Request):
    """A body of search_contact_group."""


def read_mark_request(body: bytes, *, max_items: int) -> MarkRequest:
    """Read a body of https://www.tencentcloud.com/document/product/1047/53438."""
    raw, from_account = _read(body, _MARK_FIELDS)
    rows = _read_array(raw, "MarkItem")
    if not 0 < len(rows) <= max_items:
        raise Refusal(
            51006,
            f"MarkItem: {len(rows)} items, must be 1 to {max_items}",
            violation=f"{len(rows)} items in one request",
        )
    items = [_read_item(row, index) for index, row in enumerate(rows)]
    conversations = tuple([item.conversation for item in items])
    if len(set(conversations)) < len(conversations):
        # The vendor does not document a second item of a conversation, so no client may send one.
        index, key = next(
            (index, key) for index, key in enumerate(conversations) if key in conversations[:index]
        )
        malformed(
            f"MarkItem[{index}].ContactItem",
            "must not name the conversation of an earlier item",
            violation=f"conversation {key} twice in a request of {from_account}",
        )
    return MarkRequest(from_account, conversations, items)


def read_page_request(body: bytes) -> PageRequest:
    """Read a body of https://www.tencentcloud.com/document/product/1047/53440."""
    raw, from_account = _read(body, _PAGE_FIELDS)
    start_index = raw.get("StartIndex")
    if type(start_index) is not int or start_index < 0:
        malformed("StartIndex", "must be an integer from 0")
    return PageRequest(from_account, (), start_index)


def read_search_request(body: bytes, *, max_contacts: int) -> SearchRequest:
    """Read a body of https://www.tencentcloud.com/document/product/1047/53442."""
    raw, from_account = _read(body, _SEARCH_FIELDS)
    rows = _read_array(raw, "ContactItem")
    if not 0 < len(rows) <= max_contacts:
        malformed(
            "ContactItem",
            f"{len(rows)} contacts, must be 1 to {max_contacts}",
            violation=f"{len(rows)} contacts in one request",
        )
    conversations = [read_contact(row, f"ContactItem[{i}].") for i, row in enumerate(rows)]
    return SearchRequest(from_account, tuple(conversations))


def _read(body: bytes, known: frozenset[str]) -> tuple[dict[str, object], str]:
    raw = read_body(body)
    check_names(raw, known, "")
    return raw, read_user_id(raw, "From_Account")


def _read_array(raw: dict[str, object], name: str) -> list[object]:
    rows = raw.get(name)
    if not is_array(rows):
        malformed(name, "must be an array" if name in raw else "missing")
    return rows


def _read_item(raw: object, index: int) -> MarkItem:
    where = f"MarkItem[{index}]."
    if not is_object(raw):
        malformed(where[:-1], "must be an object")
    check_names(raw, _ITEM_FIELDS, where)
    opt_type = raw.get("OptType")
    if type(opt_type) is not int or opt_type not in (_STANDARD, _CUSTOM, _BOTH):
        malformed(f"{where}OptType", "must be 1, 2 or 3")
    conversation = read_contact(raw.get("ContactItem"), f"{where}ContactItem.")
    set_bits, clear_bits = (_read_bits(raw, name, where) for name in ("SetMark", "ClearMark"))
    if set_bits & clear_bits:
        malformed(f"{where}ClearMark", "must have no bit of SetMark")
    custom_mark = _read_custom_mark(raw, where)
    _check_opt_type(raw, opt_type, set_bits | clear_bits, where)
    return MarkItem(opt_type, conversation, set_bits, clear_bits, custom_mark)


def _check_opt_type(raw: dict[str, object], opt_type: int, bits: int, where: str) -> None:
    """
    Refuse an item whose fields do not match its OptType.

    The vendor does not document such an item, so a client must never send one.
    """
    if opt_type == _STANDARD and "CustomMark" in raw:
        malformed(f"{where}CustomMark", "must be absent with OptType 1")
    if opt_type != _STANDARD and "CustomMark" not in raw:
        malformed(f"{where}CustomMark", f"missing, OptType is {opt_type}")
    if opt_type == _CUSTOM and ("SetMark" in raw or "ClearMark" in raw):
        name = "SetMark" if "SetMark" in raw else "ClearMark"
        malformed(f"{where}{name}", "must be absent with OptType 2")
    if opt_type != _CUSTOM and not bits:
        malformed(f"{where}SetMark", f"no bits to set or clear, OptType is {opt_type}")


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
