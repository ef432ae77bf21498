"""
The values that callers give and get: conversations, changes, results and reports.

All are frozen, and checked when they are made, so that nothing further down checks again.
"""

import datetime as dt
import enum
import operator
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from chatmark.errors import ChangesFailedError, ChatmarkError, InputError, WithdrawnError
from chatmark.marks import RESERVED, ConversationMark

# https://www.tencentcloud.com/document/product/1047/34381 names these limits. A group id has 48
# bytes at most, but the id of a topic inside a group has 96, and no page says that a mark may not
# name a topic.
MAX_USER_ID_BYTES: Final = 32
MAX_GROUP_ID_BYTES: Final = 96
# https://www.tencentcloud.com/document/product/1047/53438
MAX_CUSTOM_MARK_BYTES: Final = 256

_NOTHING: Final = ConversationMark()


class ConversationType(enum.IntEnum):
    """
    `ContactItem.Type` of the wire.
    """

    ONE_TO_ONE = 1
    GROUP = 2


class OptType(enum.IntEnum):
    """
    `MarkItem.OptType` of the wire: which of the two marks a change touches.
    """

    STANDARD = 1
    CUSTOM = 2
    BOTH = 3


def check_id(field: str, value: object, limit: int) -> None:
    """
    Refuse an id that no account or group can have.

    Raises:
        InputError: It is no text, is empty, has more bytes than *limit*, or is not printable ASCII.
    """
    # One look for the millions that are well; what is wrong with the others is found out below.
    if type(value) is str and value.isascii() and value.isprintable() and 0 < len(value) <= limit:
        return
    if not isinstance(value, str):
        raise InputError(field, f"must be text, not {type(value).__name__}", value)
    if not value:
        raise InputError(field, "is empty")
    # The pages disagree on the characters; printable ASCII is the widest of them (error text of
    # 7003).
    if not (value.isascii() and value.isprintable()):
        raise InputError(field, "has characters other than printable ASCII", value)
    if len(value) > limit:
        raise InputError(field, f"has {len(value)} bytes, {limit} are allowed", value)


def exact(value: Any) -> Any:
    """
    Return text as an exact `str`.

    A member of a `str` enumeration equals its text and has another hash: as a key it would be
    another conversation.
    """
    return str.__str__(value) if isinstance(value, str) else value


# Conversations and changes are made by the million, so both are made by hand. attrs stores by
# `object.__setattr__` (53 ns for each attribute, CPython 3.11; the slot's own descriptor takes 31)
# and reads back what is to be checked; a class that is called costs a call more than a method. A
# hundred changes with their conversations take 84 us by hand, and took 143 by attrs. The quick look
# passes over nothing: what it does not know to be good, `__attrs_post_init__` checks, which says
# what is wrong, and which attrs calls for subclasses that it makes.


def _setter(owner: type, name: str) -> Callable[[Any, Any], None]:
    """
    Return what stores an attribute of a frozen class with slots.
    """
    store: Callable[[Any, Any], None] = vars(owner)[name].__set__
    return store


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
        _set_type(self, type)
        _set_id(self, id)
        self.__attrs_post_init__()

    def __attrs_post_init__(self) -> None:
        _set_id(self, exact(self.id))
        if type(self.type) is not ConversationType:
            _set_type(self, _type_of(self.type))
        if self.type is _ONE_TO_ONE:
            check_id("to_account", self.id, MAX_USER_ID_BYTES)
            _set_key(self, self.id)
        else:
            check_id("to_group_id", self.id, MAX_GROUP_ID_BYTES)
            # No id has a line feed.
            _set_key(self, f"\n{self.id}")

    def __hash__(self) -> int:
        return hash(self.key)

    @classmethod
    def one_to_one(cls, user_id: str) -> "Conversation":
        """
        Return the conversation with a user.

        Raises:
            InputError: No account can have this id (1 to 32 bytes of printable ASCII).
        """
        if (
            cls is Conversation
            and type(user_id) is str
            and user_id.isascii()
            and user_id.isprintable()
            and 0 < len(user_id) <= MAX_USER_ID_BYTES
        ):
            made = _new(Conversation)
            _set_type(made, _ONE_TO_ONE)
            _set_id(made, user_id)
            _set_key(made, user_id)
            return made
        return cls(_ONE_TO_ONE, user_id)

    @classmethod
    def group(cls, group_id: str) -> "Conversation":
        """
        Return the conversation of a group.

        Raises:
            InputError: No group can have this id (1 to 96 bytes of printable ASCII).
        """
        if (
            cls is Conversation
            and type(group_id) is str
            and group_id.isascii()
            and group_id.isprintable()
            and 0 < len(group_id) <= MAX_GROUP_ID_BYTES
        ):
            made = _new(Conversation)
            _set_type(made, _GROUP)
            _set_id(made, group_id)
            _set_key(made, f"\n{group_id}")
            return made
        return cls(_GROUP, group_id)

    @classmethod
    def parse(cls, conversation_id: str) -> "Conversation":
        """
        Read a conversation id of the client SDKs.

        The native ones write `c2c_<user>` and `group_<group>`, the web one `C2C<user>` and
        `GROUP<group>`.

        Raises:
            InputError: It has none of these forms, or the id in it cannot be.

        >>> Conversation.parse("GROUP@TGS#1N3RSUYG2").id
        '@TGS#1N3RSUYG2'
        """
        if not isinstance(conversation_id, str):
            raise InputError("conversation", "is not text", conversation_id)
        for prefix, make in (
            ("c2c_", cls.one_to_one),
            ("group_", cls.group),
            ("C2C", cls.one_to_one),
            ("GROUP", cls.group),
        ):
            if conversation_id.startswith(prefix):
                return make(conversation_id.removeprefix(prefix))
        raise InputError(
            "conversation", "starts with none of c2c_, group_, C2C, GROUP", conversation_id
        )

    def __str__(self) -> str:
        return f"{'c2c' if self.type is ConversationType.ONE_TO_ONE else 'group'}_{self.id}"


def _type_of(value: object) -> ConversationType:
    try:
        return ConversationType(operator.index(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError("type", "must be a ConversationType", value) from None


_ONE_TO_ONE: Final = ConversationType.ONE_TO_ONE
_GROUP: Final = ConversationType.GROUP
_new = object.__new__
_set_type = _setter(Conversation, "type")
_set_id = _setter(Conversation, "id")
_set_key = _setter(Conversation, "key")


@attrs.frozen
class MarkChange:
    """
    What one caller wants of one conversation of one user.

    Args:
        from_account: The user whose conversation list is marked.
        conversation: The conversation.
        set_mark: Bits to set.
        clear_mark: Bits to clear.
        custom_mark: The custom mark, at most 256 bytes of UTF-8; None leaves it, "" clears it.
        allow_reserved: Let through bits 4 to 31, which belong to Chat.

    Raises:
        InputError: There is nothing to change, bits are both set and cleared, bits are Chat's own,
            the custom mark is too long, or the account cannot be.
    """

    from_account: str
    conversation: Conversation
    set_mark: ConversationMark = _NOTHING
    clear_mark: ConversationMark = _NOTHING
    custom_mark: str | None = None
    allow_reserved: bool = attrs.field(default=False, kw_only=True, eq=False, repr=False)

    def __init__(
        self,
        from_account: str,
        conversation: Conversation,
        set_mark: ConversationMark = _NOTHING,
        clear_mark: ConversationMark = _NOTHING,
        custom_mark: str | None = None,
        *,
        allow_reserved: bool = False,
    ) -> None:
        _set_from_account(self, from_account)
        _set_conversation(self, conversation)
        _set_set_mark(self, set_mark)
        _set_clear_mark(self, clear_mark)
        _set_custom_mark(self, custom_mark)
        _set_allow_reserved(self, allow_reserved)
        if not (
            type(from_account) is str
            and from_account.isascii()
            and from_account.isprintable()
            and 0 < len(from_account) <= MAX_USER_ID_BYTES
            and type(conversation) is Conversation
            and (
                (set_mark is not _NOTHING or clear_mark is not _NOTHING)
                if custom_mark is None
                else type(custom_mark) is str
                and len(custom_mark) <= MAX_CUSTOM_MARK_BYTES
                and custom_mark.isascii()
            )
            and (
                set_mark is _NOTHING
                or (type(set_mark) is ConversationMark and not set_mark.value & RESERVED)
            )
            and (
                clear_mark is _NOTHING
                or (
                    type(clear_mark) is ConversationMark
                    and not clear_mark.value & (RESERVED | set_mark.value)
                )
            )
        ):
            self.__attrs_post_init__()

    def __attrs_post_init__(self) -> None:
        _set_from_account(self, exact(self.from_account))
        _set_custom_mark(self, exact(self.custom_mark))
        check_id("from_account", self.from_account, MAX_USER_ID_BYTES)
        if not isinstance(self.conversation, Conversation):
            raise InputError(
                "conversation",
                "must be a Conversation, for example Conversation.one_to_one('bob')",
                self.conversation,
            )
        set_mark, clear_mark, custom_mark = self.set_mark, self.clear_mark, self.custom_mark
        if type(set_mark) is not ConversationMark:
            raise InputError("set_mark", "is no ConversationMark", set_mark)
        if type(clear_mark) is not ConversationMark:
            raise InputError("clear_mark", "is no ConversationMark", clear_mark)
        set_bits, clear_bits = set_mark.value, clear_mark.value
        # The vendor does not say which of the two would win.
        if set_bits & clear_bits:
            both = list((set_mark & clear_mark).bits)
            raise InputError("clear_mark", "has bits of set_mark", both)
        if (set_bits | clear_bits) & RESERVED and not self.allow_reserved:
            field, mark = (
                ("set_mark", set_mark) if set_mark.reserved else ("clear_mark", clear_mark)
            )
            raise InputError(field, "bits 4 to 31 belong to Chat", list(mark.reserved.bits))
        if custom_mark is not None:
            self._check_custom_mark(custom_mark)
        elif not (set_bits or clear_bits):
            raise InputError(
                "set_mark", "nothing to change: no set_mark, clear_mark or custom_mark"
            )

    @staticmethod
    def _check_custom_mark(custom_mark: object) -> None:
        if not isinstance(custom_mark, str):
            raise InputError(
                "custom_mark", f"must be text, not {type(custom_mark).__name__}", custom_mark
            )
        if custom_mark.isascii() and len(custom_mark) <= MAX_CUSTOM_MARK_BYTES:
            return
        try:
            size = len(custom_mark.encode())
        except UnicodeEncodeError:
            raise InputError("custom_mark", "is not UTF-8: it has half a character") from None
        if size > MAX_CUSTOM_MARK_BYTES:
            raise InputError("custom_mark", f"has {size} bytes of UTF-8, 256 are allowed")

    @property
    def opt_type(self) -> OptType:
        """
        The `OptType` that this change has on the wire.

        BOTH is never used without a custom mark: the server might blank it.
        """
        if self.custom_mark is None:
            return OptType.STANDARD
        return OptType.BOTH if self.set_mark or self.clear_mark else OptType.CUSTOM

    def then(self, newer: "MarkChange") -> "MarkChange":
        """
        Return the one change that has the effect of this change followed by *newer*.

        Raises:
            InputError: The two are not of the same user's same conversation.
        """
        if (self.from_account, self.conversation) != (newer.from_account, newer.conversation):
            raise InputError("conversation", "changes of two conversations cannot be merged")
        return merge((self, newer))


_set_from_account = _setter(MarkChange, "from_account")
_set_conversation = _setter(MarkChange, "conversation")
_set_set_mark = _setter(MarkChange, "set_mark")
_set_clear_mark = _setter(MarkChange, "clear_mark")
_set_custom_mark = _setter(MarkChange, "custom_mark")
_set_allow_reserved = _setter(MarkChange, "allow_reserved")


def merge(changes: Sequence[MarkChange]) -> MarkChange:
    """
    Return the one change that has the effect of *changes*, all of one conversation, in their order.

    A bit goes where the newest change that names it sends it, so set and clear stay disjoint.
    """
    if len(changes) == 1:
        return changes[0]
    set_bits = clear_bits = 0
    custom_mark: str | None = None
    for change in changes:
        newer_set, newer_clear = change.set_mark.value, change.clear_mark.value
        set_bits = set_bits & ~newer_clear | newer_set
        clear_bits = clear_bits & ~newer_set | newer_clear
        if change.custom_mark is not None:
            custom_mark = change.custom_mark
    newest = changes[-1]
    return MarkChange(
        newest.from_account,
        newest.conversation,
        ConversationMark(set_bits),
        ConversationMark(clear_bits),
        custom_mark,
        allow_reserved=any(change.allow_reserved for change in changes),
    )


@attrs.frozen
class MarkResult:
    """
    The fate of one change.

    Args:
        change: The change.
        code: The vendor's code: 0 when it took effect, None when the server never gave one.
        info: The server's own text, or why there is none.
        attempts: In how many requests it was sent.
        error: What `MarkSession.mark` would raise, None when it took effect.
        sent: Whether the change may have reached the server.
    """

    change: MarkChange
    code: int | None
    info: str = ""
    attempts: int = 1
    # Each caller gets an error of its own, and those have no equality.
    error: ChatmarkError | None = attrs.field(default=None, eq=False)
    sent: bool = attrs.field(default=True, kw_only=True)

    @property
    def ok(self) -> bool:
        """
        Whether the change took effect.
        """
        return self.error is None

    @property
    def withdrawn(self) -> bool:
        """
        Whether the change was withdrawn before it was sent.
        """
        return isinstance(self.error, WithdrawnError)

    def raise_for_failure(self) -> None:
        """
        Raise the error if the change did not take effect.

        Raises:
            ChatmarkError: It failed or was withdrawn.
        """
        if self.error is not None:
            raise self.error.fresh()


@attrs.frozen
class MarkReport:
    """
    What became of many changes.

    Args:
        succeeded: Changes that took effect.
        failed: Changes that failed; those in flight at a failure may have taken effect.
        withdrawn: Changes that nobody waited for any more before they were sent.
        calls: Requests made, retries among them.
        retries: Changes sent again, counted each time.
        failures: The first failures; `failed` has the true total.
        failures_by_code: How many failed by code; None is the key of those without one.
        elapsed: Wall time in seconds.
    """

    succeeded: int = 0
    failed: int = 0
    withdrawn: int = 0
    calls: int = 0
    retries: int = 0
    failures: tuple[MarkResult, ...] = ()
    failures_by_code: dict[int | None, int] = attrs.field(factory=dict)
    elapsed: float = 0.0

    @property
    def total(self) -> int:
        """
        How many changes these are.
        """
        return self.succeeded + self.failed + self.withdrawn

    @property
    def ok(self) -> bool:
        """
        Whether every change took effect.
        """
        return not (self.failed or self.withdrawn)

    def raise_for_failures(self) -> None:
        """
        Raise the failures that are kept as one group, if there are any.

        Raises:
            ChangesFailedError: Something failed.
        """
        if self.failed:
            total = self.succeeded + self.failed + self.withdrawn
            message = f"{self.failed} of {total} changes failed"
            errors = [result.error.fresh() for result in self.failures if result.error is not None]
            # A group cannot be empty, and a report may have kept none of its failures.
            raise ChangesFailedError(message, errors or [ChatmarkError(message)], self.failed)


@attrs.frozen
class MarkedConversation:
    """
    A conversation's marks as the server has them.

    Args:
        conversation: The conversation.
        mark: Its standard mark, bits that belong to Chat included.
        custom_mark: Its custom mark, "" when there is none.
        group_ids: The conversation groups that it is in.
        updated_at: When it was last changed, UTC; None when the server did not say.
    """

    conversation: Conversation
    mark: ConversationMark = _NOTHING
    custom_mark: str = ""
    group_ids: tuple[int, ...] = ()
    updated_at: dt.datetime | None = None

    def satisfies(self, change: MarkChange) -> bool:
        """
        Whether *change* would leave this conversation as it is.
        """
        return (
            change.set_mark in self.mark
            and not change.clear_mark & self.mark
            and change.custom_mark in (None, self.custom_mark)
        )


@attrs.frozen
class MarkedPage:
    """
    One answer of get_contact_group.

    Args:
        conversations: Some of a user's marked conversations.
        is_last: Whether there are no more of them.
        unreadable: Where and why others could not be read; those are left out.
        has_moved: Whether the user's marks changed since the first page was read. The pages are in
            the order of the last change, so that others may stand on no page that was read.
    """

    conversations: tuple[MarkedConversation, ...]
    is_last: bool
    unreadable: tuple[str, ...] = ()
    has_moved: bool = False
