"""Conversations, checked when they are made, so that nothing further down checks again."""

import enum
import operator
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs

from chatmark.errors import InputError
from chatmark.lazy import publish
from chatmark.limits import MAX_GROUP_ID_BYTES, MAX_USER_ID_BYTES

_SEVERAL: Final = "for example [Conversation.one_to_one('bob')]"


class ConversationType(enum.IntEnum):
    """`ContactItem.Type` of the wire."""

    ONE_TO_ONE = 1
    GROUP = 2


def is_id(value: object, limit: int) -> bool:
    """Whether an account or a group can have this id."""
    return (
        type(value) is str and value.isascii() and value.isprintable() and 0 < len(value) <= limit
    )


def check_id(field: str, value: object, limit: int) -> None:
    """
    Refuse an id that no account or group can have.

    Raises:
        InputError: It is not text, empty, longer than *limit* bytes, or not printable ASCII.
    """
    if is_id(value, limit):
        return
    if not isinstance(value, str):
        raise InputError(field, f"must be text, not {type(value).__name__}", value)
    if not value:
        raise InputError(field, "is empty")
    # The pages disagree on the characters; printable ASCII is the widest (error text of 7003).
    if not (value.isascii() and value.isprintable()):
        raise InputError(field, "has characters other than printable ASCII", value)
    if len(value) > limit:
        raise InputError(field, f"has {len(value)} bytes, {limit} are allowed", value)


def check_text(field: str, value: object, limit: int, *, least: int = 0) -> None:
    """
    Refuse what is not text of *least* to *limit* bytes of UTF-8.

    Raises:
        InputError: It is not.
    """
    if not isinstance(value, str):
        raise InputError(field, f"must be text, not {type(value).__name__}", value)
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InputError(field, "is not UTF-8: it has half a character") from None
    if size < least:
        raise InputError(field, "is empty")
    if size > limit:
        raise InputError(field, f"has {size} bytes of UTF-8, {limit} are allowed")


def exact(value: Any) -> Any:
    """
    Return text as an exact `str`.

    A member of a `str` enumeration equals its text and has another hash: as a key it would be
    another conversation.
    """
    return str.__str__(value) if isinstance(value, str) else value


def setter(owner: type, name: str) -> Callable[[Any, Any], None]:
    """Return what stores an attribute of a frozen class with slots."""
    return vars(owner)[name].__set__  # type: ignore[no-any-return]


@attrs.frozen(order=True)
class Conversation:
    """
    A conversation as its owner sees it: with a user, or of a group.

    Args:
        type: Whether it is one-to-one or a group's.
        id: The peer's user id, or the group id.

    Raises:
        InputError: No account or group can have this id.
    """

    type: ConversationType
    id: str
    #: Text that no other conversation of the same user has: nothing is found faster than by text.
    key: str = attrs.field(init=False, eq=False, order=False, repr=False)

    def __init__(self, type: ConversationType, id: str) -> None:  # noqa: A002 - as the fields.
        is_group = type is _GROUP
        if not is_group and type is not _ONE_TO_ONE:
            type = _type_of(type)  # noqa: A001
            is_group = type is _GROUP
        limit = MAX_GROUP_ID_BYTES if is_group else MAX_USER_ID_BYTES
        # By hand for the reason in `MarkChange`: 0.42 µs, where attrs would take 0.59.
        if not (id.__class__ is str and id.isascii() and id.isprintable() and 0 < len(id) <= limit):
            id = exact(id)  # noqa: A001
            check_id("to_group_id" if is_group else "to_account", id, limit)
        _set_type(self, type)
        _set_id(self, id)
        # No id has a line feed.
        _set_key(self, f"\n{id}" if is_group else id)

    def __attrs_post_init__(self) -> None:
        # The constructor that attrs makes of a subclass has checked nothing.
        Conversation.__init__(self, self.type, self.id)

    def __hash__(self) -> int:
        return hash(self.key)

    @classmethod
    def one_to_one(cls, user_id: str) -> "Conversation":
        """
        Return the conversation with a user.

        Raises:
            InputError: No account can have this id (1 to 32 bytes of printable ASCII).
        """
        return cls(_ONE_TO_ONE, user_id)

    @classmethod
    def group(cls, group_id: str) -> "Conversation":
        """
        Return the conversation of a group.

        Raises:
            InputError: No group can have this id (1 to 96 bytes of printable ASCII).
        """
        return cls(_GROUP, group_id)

    @classmethod
    def parse(cls, conversation_id: str) -> "Conversation":
        """
        Read a conversation id of a client SDK: `c2c_…`, `group_…` (native), `C2C…`, `GROUP…` (web).

        Raises:
            InputError: It has none of these forms, or no account or group can have its id.

        >>> Conversation.parse("GROUP@TGS#1N3RSUYG2").id
        '@TGS#1N3RSUYG2'
        """
        if not isinstance(conversation_id, str):
            raise InputError("conversation", "must be text, for example 'c2c_bob'", conversation_id)
        for prefix in ("c2c_", "group_", "C2C", "GROUP"):
            if conversation_id.startswith(prefix):
                make = cls.one_to_one if prefix[0] in "cC" else cls.group
                return make(conversation_id.removeprefix(prefix))
        reason = "must start with c2c_, group_, C2C or GROUP, for example 'c2c_bob'"
        raise InputError("conversation", reason, conversation_id)

    def __str__(self) -> str:
        return f"{'c2c' if self.type is _ONE_TO_ONE else 'group'}_{self.id}"


def distinct(conversations: Iterable[Conversation]) -> list[Conversation]:
    """
    Return each conversation once, in their order.

    Raises:
        InputError: Something else is among them.
    """
    if not isinstance(conversations, Iterable):
        raise InputError("conversations", f"must be a list, {_SEVERAL}", conversations)
    listed = list(conversations)
    for kind in set(map(type, listed)):
        if not issubclass(kind, Conversation):
            wrong = next(each for each in listed if type(each) is kind)
            raise InputError("conversations", f"must hold Conversation objects, {_SEVERAL}", wrong)
    return list({each.key: each for each in listed}.values())


def _type_of(value: object) -> ConversationType:
    try:
        number: Any = None if isinstance(value, bool) else value
        return ConversationType(operator.index(number))
    except (TypeError, ValueError):
        reason = "must be a ConversationType, for example ConversationType.GROUP"
        raise InputError("type", reason, value) from None


_ONE_TO_ONE: Final = ConversationType.ONE_TO_ONE
_GROUP: Final = ConversationType.GROUP
_set_type = setter(Conversation, "type")
_set_id = setter(Conversation, "id")
_set_key = setter(Conversation, "key")


publish(__name__)
