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
    """Return True if *value* is a JSON object."""
    return type(value) is dict


def is_array(value: object) -> TypeGuard[list[object]]:
    """Return True if *value* is a JSON array."""
    return type(value) is list


def _refuse_constant(constant: str) -> Never:
    raise ValueError(constant)


def read_body(body: bytes) -> dict[str, object]:
    """Return the JSON object in *body*."""
    if not body:
        raise Refusal(60003, "the body is empty")
    try:
        # json.loads alone would also accept UTF-16, UTF-32 and NaN.
        value: object = json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Refusal(60003) from None
    if not is_object(value):
        malformed("body", "must be an object")
    return value


def check_names(raw: dict[str, object], known: frozenset[str], where: str) -> None:
    """
    Refuse names that the vendor's page does not list.

    The vendor does not mention unknown fields. The emulator is strict, to find misspelt names.
    """
    if not raw.keys() <= known:
        unknown = min(raw.keys() - known)
        malformed(f"{where}{unknown[:40]}", "unknown field")


def read_user_id(raw: dict[str, object], name: str, where: str = "") -> str:
    """Return the user id in field *name*: 1 to 32 bytes of printable ASCII."""
    return _read_id(raw, name, where, _MAX_USER_ID, 60015)


def _read_id(raw: dict[str, object], name: str, where: str, most: int, not_text: int) -> str:
    if name not in raw:
        malformed(f"{where}{name}", "missing")
    value = raw[name]
    if type(value) is not str:
        raise Refusal(not_text, f"{where}{name}: must be a string")
    if not (0 < len(value) <= most and value.isascii() and value.isprintable()):
        malformed(f"{where}{name}", f"must be 1 to {most} bytes of printable ASCII")
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
    other = "ToGroupId" if type_ == ONE_TO_ONE else "To_Account"
    if other in raw:
        malformed(f"{where}{other}", f"must be absent with Type {type_}")
    if type_ == ONE_TO_ONE:
        return type_, read_user_id(raw, "To_Account", where)
    return type_, _read_id(raw, "ToGroupId", where, _MAX_GROUP_ID, 50002)
