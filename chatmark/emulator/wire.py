"""The JSON of the calls: fields that are read as strictly as the wire allows, and refusals."""

import json
from collections.abc import Set as AbstractSet
from typing import Any, Final, Never, Protocol

Key = tuple[int, str]
"""A conversation: its Type (1 one-to-one, 2 group) and the id of the peer or group."""

Line = dict[str, object]
"""One line of an answer: of ResultItem, ContactItem or ContactResultItem."""

Result = tuple[int, str]
"""The ResultCode and ResultInfo of one conversation."""

Answer = dict[str, object]
"""A whole answer before it is written as JSON."""

ONE_TO_ONE: Final = 1
GROUP: Final = 2
OWN_RULE: Final = " (a rule of the emulator beyond the vendor's; lenient emulators have none)"
# The emulator's texts for the codes that it gives, which are those of
# https://www.tencentcloud.com/document/product/1047/34348.
_ADVICE: Final = {
    50001: "the user account is not imported",
    50002: "a request parameter is wrong",
    50004: "server fault",
    50005: "server-side timeout",
    51006: "the number of conversations of the request is 0 or above the limit",
    51007: "the group does not exist or the user is not in it",
    51008: "the user has the maximum of marked or grouped conversations",
    51009: "the user has no conversation group of this name",
    51010: "the user has the maximum of conversation groups",
    51011: "the name of the conversation group is too long",
    51013: "the edition has no standard marks and no conversation groups",
    60002: "the HTTP request could not be parsed",
    60003: "the body is not valid JSON",
    60006: "the SDKAppID is not valid",
    60007: "too many calls of this API in one second",
    60008: "the request did not arrive in time",
    60009: "unknown request path, or a call of Chat that the emulator does not have",
    60010: "the identifier is not an app admin",
    60012: "sdkappid is missing",
    60015: "a user id is not a string",
    60025: "a query parameter is missing or wrong",
    70001: "the UserSig has expired",
    70002: "the UserSig is empty",
    70003: "the UserSig is malformed",
    70009: "the UserSig was signed with another key",
    70013: "the UserSig was made for another identifier",
    70014: "the UserSig was made for another SDKAppID",
    70402: "a parameter is wrong",
    93000: "the body is too long",
}

# https://www.tencentcloud.com/document/product/1047/34381: UserIDs have 32 bytes. Group ids
# have 48, topic ids, which take the same field, 96.
_MAX_USER_ID: Final = 32
_MAX_GROUP_ID: Final = 96
_HIGHEST_BIT: Final = 63
_CONTACT: Final = frozenset({"Type", "To_Account", "ToGroupId"})


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


def advice(code: int) -> str:
    """Return the emulator's text for *code*, also for codes of a script; "" for 0."""
    return _ADVICE.get(code, f"refused with {code}" if code else "")


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not an error of the emulator.
    """Ends the handling of a request; *violation* is an act that no correct client does."""

    def __init__(self, code: int, info: str = "", *, violation: str | None = None) -> None:
        super().__init__(code, info)
        self.code = code
        self.info = info or advice(code)
        self.violation = violation


def require(holds: object, code: int, info: str = "") -> None:
    """Refuse the request unless the condition *holds*."""
    if not holds:
        raise Refusal(code, info)


class Fields:
    """
    A JSON object of a request, or an array, whose items have names such as ``MarkItem[0]``.

    Each method returns one field, or refuses the request and names the field with its path
    *where*. The vendor does not mention names beyond those *known* from its pages; only a *lenient*
    emulator accepts them.
    """

    def __init__(
        self, raw: object, known: AbstractSet[str] | None, where: str = "", *, lenient: bool
    ) -> None:
        if type(raw) is not dict:
            raise Refusal(50002, f"{where.removesuffix('.') or 'body'}: must be an object")
        self.raw: dict[str, Any] = raw
        self.where = where
        self.lenient = lenient
        if known is not None and not self.raw.keys() <= known:
            self.own_rule(min(self.raw.keys() - known)[:40], "unknown field")

    def refuse(self, name: str, reason: str, code: int = 50002) -> Never:
        raise Refusal(code, f"{self.where}{name}: {reason}")

    def own_rule(self, name: str, reason: str, *, violation: str | None = None) -> None:
        """Refuse what the vendor's pages neither allow nor forbid."""
        if not self.lenient:
            raise Refusal(50002, f"{self.where}{name}: {reason}{OWN_RULE}", violation=violation)

    def object(self, name: str, known: AbstractSet[str]) -> "Fields":
        return Fields(self.raw.get(name), known, f"{self.where}{name}.", lenient=self.lenient)

    def array(self, name: str, most: int, code: int = 50002, *, least: int = 1) -> "Fields":
        """Return the array of *least* to *most* items in field *name*; *code* refuses others."""
        if least and name not in self.raw:
            self.refuse(name, "missing")
        rows = self._list(name)
        if not least <= len(rows) <= most:
            info = f"{self.where}{name}: {len(rows)} items, must be {least} to {most}"
            raise Refusal(code, info, violation=f"{len(rows)} items in one request")
        items = {f"{name}[{index}]": row for index, row in enumerate(rows)}
        return Fields(items, None, self.where, lenient=self.lenient)

    def choice(self, name: str, *choices: int) -> int:
        number = self.raw.get(name)
        if type(number) is not int or number not in choices:
            self.refuse(name, f"must be {' or '.join(map(str, choices))}")
        return number

    def number(self, name: str) -> int:
        number = self.raw.get(name)
        if type(number) is not int or number < 0:
            self.refuse(name, "must be an integer from 0")
        return number

    def bits(self, name: str) -> int:
        mask = 0
        for number in self._list(name):
            if type(number) is not int or not 0 <= number <= _HIGHEST_BIT:
                self.refuse(name, f"must hold integers from 0 to {_HIGHEST_BIT}")
            mask |= 1 << number
        return mask

    def text(self, name: str) -> str:
        text = self.raw.get(name)
        if type(text) is not str:
            self.refuse(name, "must be a string")
        try:
            text.encode()
        except UnicodeEncodeError:
            self.refuse(name, "must be valid Unicode")
        return text

    def name(self, name: str) -> str:
        text = self.text(name)
        if not text:
            self.own_rule(name, "must not be empty")
        return text

    def user(self, name: str) -> str:
        return self._id(name, _MAX_USER_ID, 60015)

    def contact(self, name: str) -> Key:
        return self.object(name, _CONTACT).conversation()

    def conversation(self, group_field: str = "ToGroupId") -> Key:
        type_ = self.choice("Type", ONE_TO_ONE, GROUP)
        other = group_field if type_ == ONE_TO_ONE else "To_Account"
        if other in self.raw:
            self.own_rule(other, f"must be absent with Type {type_}")
        if type_ == ONE_TO_ONE:
            return type_, self.user("To_Account")
        return type_, self._id(group_field, _MAX_GROUP_ID, 50002)

    def _list(self, name: str) -> list[Any]:
        values: list[Any] = self.raw.get(name, [])
        if type(values) is not list:
            self.refuse(name, "must be an array")
        return values

    def _id(self, name: str, most: int, not_text: int) -> str:
        if name not in self.raw:
            self.refuse(name, "missing")
        value = self.raw[name]
        if type(value) is not str:
            self.refuse(name, "must be a string", not_text)
        if not (0 < len(value) <= most and value.isascii() and value.isprintable()):
            self.refuse(name, f"must be 1 to {most} bytes of printable ASCII")
        return value


def parse(body: bytes) -> object:
    """Return the JSON of a request, or refuse it."""

    def refuse_constant(constant: str) -> Never:
        raise ValueError(constant)

    require(body, 60003, "the body is empty")
    try:
        # json.loads alone would also accept UTF-16, UTF-32 and NaN.
        return json.loads(body.decode(), parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        raise Refusal(60003) from None


def contact(key: Key) -> Line:
    type_, id_ = key
    return {"Type": type_, "To_Account" if type_ == ONE_TO_ONE else "ToGroupId": id_}


def envelope(code: int = 0, info: str = "") -> Answer:
    """Return the fields that every answer has."""
    return {
        "ActionStatus": "FAIL" if code else "OK",
        "ErrorCode": code,
        "ErrorInfo": info or advice(code),
    }
