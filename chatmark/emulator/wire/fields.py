"""Check single JSON fields by hand, as strictly as the wire allows."""

import json
from typing import Final, Never, TypeGuard

from chatmark.emulator.wire.refusals import Refusal

Key = tuple[int, str]
"""A conversation: its Type (1 one-to-one, 2 group) and the id of the peer or group."""

ONE_TO_ONE: Final = 1
GROUP: Final = 2

# https://www.tencentcloud.com/document/product/1047/34381: UserIDs have 32 bytes. Group ids
# have 48, topic ids, which take the same field, 96.
_MAX_USER_ID: Final = 32
_MAX_GROUP_ID: Final = 96

_CONTACT_FIELDS: Final = frozenset({"Type", "To_Account", "ToGroupId"})


def malformed(field: str, reason: str, *, violation: str | None = None) -> Never:
    """Refuse the request because of *field*."""
    raise Refusal(50002, f"{field}: {reason}", violation=violation)


def is_object(value: object) -> TypeGuard[dict[str, object]]:
    """Tell whether *value* is a JSON object."""
    return type(value) is dict


def is_array(value: object) -> TypeGuard[list[object]]:
    """Tell whether *value* is a JSON array."""
    return type(value) is list


def _refuse_constant(constant: str) -> Never:
    raise ValueError(constant)


def read_body(body: bytes) -> dict[str, object]:
    """Return the JSON object that *body* is."""
    if not body:
        raise Refusal(60003, "the body is empty")
    try:
        # json.loads would also guess at UTF-16 and UTF-32, and read NaN.
        value: object = json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Refusal(60003) from None
    if not is_object(value):
        malformed("body", "must be an object")
    return value


def check_names(raw: dict[str, object], known: frozenset[str], where: str) -> None:
    """
    Refuse names that the vendor's page does not list.

    The vendor says nothing of unknown fields; the emulator is strict so that a misspelt name
    is found.
    """
    if not raw.keys() <= known:
        unknown = min(raw.keys() - known)
        malformed(f"{where}{unknown[:40]}", "unknown field")


def read_user_id(raw: dict[str, object], name: str, where: str = "") -> str:
    """Return the user id in field *name*: 1 to 32 bytes of printable ASCII."""
    if name not in raw:
        malformed(f"{where}{name}", "missing")
    value = raw[name]
    if type(value) is not str:
        raise Refusal(60015, f"{where}{name}: must be a string")
    if not (0 < len(value) <= _MAX_USER_ID and value.isascii() and value.isprintable()):
        malformed(f"{where}{name}", f"must be 1 to {_MAX_USER_ID} bytes of printable ASCII")
    return value


def _read_group_id(raw: dict[str, object], where: str) -> str:
    value = raw.get("ToGroupId")
    if type(value) is not str:
        malformed(f"{where}ToGroupId", "must be a string" if "ToGroupId" in raw else "missing")
    if not (0 < len(value) <= _MAX_GROUP_ID and value.isascii() and value.isprintable()):
        malformed(f"{where}ToGroupId", f"must be 1 to {_MAX_GROUP_ID} bytes of printable ASCII")
    return value


def read_contact(raw: object, where: str) -> Key:
    """
    Return the conversation that the ContactItem *raw* names.

    Args:
        raw: The JSON value.
        where: Path of the value and a full stop, such as ``MarkItem[3].ContactItem.``.
    """
    if not is_object(raw):
        malformed(where.removesuffix("."), "must be an object")
    check_names(raw, _CONTACT_FIELDS, where)
    type_ = raw.get("Type")
    if type(type_) is not int or type_ not in (ONE_TO_ONE, GROUP):
        malformed(f"{where}Type", "must be 1 or 2")
    if type_ == ONE_TO_ONE:
        if "ToGroupId" in raw:
            malformed(f"{where}ToGroupId", "does not go with Type 1")
        return type_, read_user_id(raw, "To_Account", where)
    if "To_Account" in raw:
        malformed(f"{where}To_Account", "does not go with Type 2")
    return type_, _read_group_id(raw, where)
