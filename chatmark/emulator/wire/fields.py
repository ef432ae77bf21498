"""Check single JSON fields by hand, as strictly as the wire allows."""

import json
from typing import Final, Never, Protocol, TypeGuard

from chatmark.emulator.wire.refusals import Refusal

Key = tuple[int, str]
"""A conversation: its Type (1 one-to-one, 2 group) and the id of the peer or group."""


class Named(Protocol):
    """The fields of chatmark's Conversation; the emulator shares no code with it."""

    @property
    def type(self) -> int:
        """1 one-to-one, 2 group."""
        ...

    @property
    def id(self) -> str:
        """The id of the peer or group."""
        ...


def key_of(conversation: Key | Named) -> Key:
    """Return the key of a conversation that a test names by its key or as a Conversation."""
    if isinstance(conversation, tuple):
        return conversation
    try:
        return int(conversation.type), conversation.id
    except AttributeError:
        reason = f"must be a Conversation or a tuple of type and id, not {conversation!r}"
        raise TypeError(reason) from None


ONE_TO_ONE: Final = 1
GROUP: Final = 2
_TYPES: Final = range(ONE_TO_ONE, GROUP + 1)
_CONTACT_FIELDS: Final = frozenset({"Type", "To_Account", "ToGroupId"})

# https://www.tencentcloud.com/document/product/1047/34381: UserIDs have 32 bytes. Group ids
# have 48, topic ids, which take the same field, 96.
_MAX_USER_ID: Final = 32
_MAX_GROUP_ID: Final = 96

OWN_RULE: Final = " (a rule of the emulator beyond the vendor's; lenient emulators have none)"


def malformed(field: str, reason: str, *, violation: str | None = None) -> Never:
    """Refuse the request because of *field*."""
    raise Refusal(50002, f"{field}: {reason}", violation=violation)


def break_own_rule(field: str, reason: str, *, violation: str | None = None) -> Never:
    """Refuse the request because of *field*, which the vendor's pages neither allow nor forbid."""
    malformed(field, reason + OWN_RULE, violation=violation)


def is_object(value: object) -> TypeGuard[dict[str, object]]:
    """Return True if *value* is a JSON object."""
    return type(value) is dict


def is_array(value: object) -> TypeGuard[list[object]]:
    """Return True if *value* is a JSON array."""
    return type(value) is list


def _refuse_constant(constant: str) -> Never:
    raise ValueError(constant)


def read_body(body: bytes, known: frozenset[str], *, strict: bool = True) -> dict[str, object]:
    """Return the JSON object in *body*, with the fields *known*."""
    if not body:
        raise Refusal(60003, "the body is empty")
    try:
        # json.loads alone would also accept UTF-16, UTF-32 and NaN.
        value: object = json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Refusal(60003) from None
    return read_object(value, known, strict=strict)


def read_object(
    raw: object, known: frozenset[str], where: str = "", *, strict: bool = True
) -> dict[str, object]:
    """
    Return the JSON object *raw*, whose path is *where*, and refuse names beyond the vendor's page.

    The vendor does not mention unknown fields. The emulator is strict, to find misspelt names.
    """
    if not is_object(raw):
        malformed(where.removesuffix(".") or "body", "must be an object")
    if strict and not raw.keys() <= known:
        break_own_rule(f"{where}{min(raw.keys() - known)[:40]}", "unknown field")
    return raw


def read_choice(raw: dict[str, object], name: str, choices: range, where: str = "") -> int:
    """Return the number in field *name*, one of *choices*."""
    number = raw.get(name)
    if type(number) is not int or number not in choices:
        listed = ", ".join(map(str, choices[:-1]))
        malformed(f"{where}{name}", f"must be {f'{listed} or ' if listed else ''}{choices[-1]}")
    return number


def read_array(raw: dict[str, object], name: str) -> list[object]:
    """Return the array in field *name*."""
    rows = raw.get(name)
    if not is_array(rows):
        malformed(name, "must be an array" if name in raw else "missing")
    return rows


def read_number(raw: dict[str, object], name: str) -> int:
    """Return the integer from 0 in field *name*."""
    number = raw.get(name)
    if type(number) is not int or number < 0:
        malformed(name, "must be an integer from 0")
    return number


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


def read_contact(
    raw: object, where: str = "", *, strict: bool = True, group_field: str = "ToGroupId"
) -> Key:
    """Return the conversation that the ContactItem *raw*, whose path is *where*, names."""
    known = _CONTACT_FIELDS if group_field == "ToGroupId" else _CONTACT_FIELDS | {group_field}
    fields = read_object(raw, known, where, strict=strict)
    type_ = read_choice(fields, "Type", _TYPES, where)
    other = group_field if type_ == ONE_TO_ONE else "To_Account"
    if strict and other in fields:
        break_own_rule(f"{where}{other}", f"must be absent with Type {type_}")
    if type_ == ONE_TO_ONE:
        return type_, read_user_id(fields, "To_Account", where)
    return type_, _read_id(fields, group_field, where, _MAX_GROUP_ID, 50002)
