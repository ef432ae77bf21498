"""Read the bodies of requests about conversation groups by hand, or refuse them."""

from typing import Final

import attrs

from chatmark.emulator.settings import Settings
from chatmark.emulator.wire.fields import (
    Key,
    malformed,
    read_array,
    read_choice,
    read_contact,
    read_object,
)
from chatmark.emulator.wire.refusals import Refusal
from chatmark.emulator.wire.requests import (
    Request,
    check_distinct,
    read_contacts,
    read_request,
    too_many,
)

RENAME: Final = 1
MEMBERS: Final = 2
ADD: Final = 1
_ONE_OR_TWO: Final = range(1, 3)

_CREATE_FIELDS: Final = frozenset({"From_Account", "GroupContactItem"})
_NEW_GROUP_FIELDS: Final = frozenset({"GroupName", "ContactItem"})
_UPDATE_FIELDS: Final = frozenset({"From_Account", "UpdateType", "UpdateGroup"})
_GROUP_FIELDS: Final = frozenset(
    {"UpdateGroupType", "OldGroupName", "NewGroupName", "ContactUpdateItem"}
)
_MEMBER_FIELDS: Final = frozenset({"ContactOptType", "ContactItem"})
_DELETE_FIELDS: Final = frozenset({"From_Account", "GroupName"})


@attrs.frozen
class GroupRequest(Request):
    """
    A body of create_contact_group, update_contact_group or del_contact_group.

    Args:
        name: The name of the conversation group.
        new_name: The name to give it, None to leave it.
        opt_types: For each conversation of an update whether to add (1) or remove (2) it.
    """

    name: str
    new_name: str | None = None
    opt_types: tuple[int, ...] = ()


def read_create_request(body: bytes, its: Settings) -> GroupRequest:
    """Read a body of https://www.tencentcloud.com/document/product/1047/53437."""
    raw, from_account = read_request(body, _CREATE_FIELDS, its)
    only = _only_one(raw, "GroupContactItem")
    group = read_object(only, _NEW_GROUP_FIELDS, "GroupContactItem[0].", strict=its.strict)
    rows = read_array(group, "ContactItem") if "ContactItem" in group else []
    if len(rows) > its.max_items:
        raise too_many("ContactItem", len(rows), its)
    conversations = read_contacts(rows, its)
    check_distinct(from_account, conversations, "ContactItem", its)
    return GroupRequest(from_account, conversations, _read_name(group.get("GroupName")))


def read_update_request(body: bytes, its: Settings) -> GroupRequest:
    """Read a body of https://www.tencentcloud.com/document/product/1047/53439."""
    raw, from_account = read_request(body, _UPDATE_FIELDS, its)
    read_choice(raw, "UpdateType", range(1, 2))
    group = read_object(raw.get("UpdateGroup"), _GROUP_FIELDS, "UpdateGroup.", strict=its.strict)
    name = _read_name(group.get("OldGroupName"), "OldGroupName")
    if read_choice(group, "UpdateGroupType", _ONE_OR_TWO) == RENAME:
        new_name = _read_name(group.get("NewGroupName"), "NewGroupName")
        return GroupRequest(from_account, (), name, new_name)
    rows = read_array(group, "ContactUpdateItem")
    if not 0 < len(rows) <= its.max_items:
        raise too_many("ContactUpdateItem", len(rows), its)
    members = [_read_member(row, index, strict=its.strict) for index, row in enumerate(rows)]
    conversations = tuple([conversation for _, conversation in members])
    check_distinct(from_account, conversations, "ContactUpdateItem", its)
    return GroupRequest(from_account, conversations, name, None, tuple([opt for opt, _ in members]))


def read_delete_request(body: bytes, its: Settings) -> GroupRequest:
    """Read a body of https://www.tencentcloud.com/document/product/1047/53441."""
    raw, from_account = read_request(body, _DELETE_FIELDS, its)
    return GroupRequest(from_account, (), _read_name(_only_one(raw, "GroupName"), "GroupName[0]"))


def _only_one(raw: dict[str, object], name: str) -> object:
    rows = read_array(raw, name)
    if len(rows) != 1:
        malformed(name, f"{len(rows)} conversation groups, must be 1")
    return rows[0]


def _read_member(raw: object, index: int, *, strict: bool) -> tuple[int, Key]:
    where = f"ContactUpdateItem[{index}]."
    fields = read_object(raw, _MEMBER_FIELDS, where, strict=strict)
    opt_type = read_choice(fields, "ContactOptType", _ONE_OR_TWO, where)
    return opt_type, read_contact(fields.get("ContactItem"), f"{where}ContactItem.", strict=strict)


def _read_name(name: object, field: str = "GroupName") -> str:
    if type(name) is not str or not name:
        malformed(field, "must be a string that is not empty")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise Refusal(50002, f"{field}: must be valid Unicode") from None
    return name
