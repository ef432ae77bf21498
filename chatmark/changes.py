"""A change of a conversation's marks, and the merger of several."""

import enum
from collections.abc import Sequence
from typing import Any, Final, overload

import attrs

from chatmark.conversations import (
    CONVERSATION_EXAMPLE,
    Conversation,
    check_id,
    check_text,
    exact,
    is_id,
    setter,
)
from chatmark.errors import InputError
from chatmark.lazy import publish
from chatmark.limits import MAX_CUSTOM_MARK_BYTES, MAX_USER_ID_BYTES
from chatmark.marks import RESERVED, ConversationMark

NO_MARK: Final = ConversationMark(0)
_MARK_EXAMPLE: Final = "must be a ConversationMark, for example ConversationMark.FAVORITE"
#: An example for error messages.
CHANGE_EXAMPLE: Final = (
    "for example MarkChange('alice', Conversation.one_to_one('bob'), ConversationMark.FAVORITE)"
)


class OptType(enum.IntEnum):
    """`MarkItem.OptType` of the wire: which of the two marks a change touches."""

    STANDARD = 1
    CUSTOM = 2
    BOTH = 3


@attrs.frozen
class MarkChange:
    """
    A change of the marks of one conversation of one user.

    Args:
        from_account: The user whose conversation list is marked.
        conversation: The conversation.
        set_mark: Bits to set.
        clear_mark: Bits to clear.
        custom_mark: The custom mark, at most 256 bytes of UTF-8; None leaves it, "" clears it.
        allow_reserved: Let through bits 4 to 31, which belong to Chat.
        tag: Any object of the caller's. It is neither compared nor sent, and comes back on
            `MarkResult.change`.

    Raises:
        InputError: There is nothing to change, bits are both set and cleared, bits are Chat's own,
            the custom mark is too long, or no account can have this id.
    """

    from_account: str
    conversation: Conversation
    set_mark: ConversationMark = NO_MARK
    clear_mark: ConversationMark = NO_MARK
    custom_mark: str | None = None
    allow_reserved: bool = attrs.field(default=False, kw_only=True, eq=False, repr=False)
    tag: Any = attrs.field(default=None, kw_only=True, eq=False, repr=False)

    def __init__(
        self,
        from_account: str,
        conversation: Conversation,
        set_mark: ConversationMark = NO_MARK,
        clear_mark: ConversationMark = NO_MARK,
        custom_mark: str | None = None,
        *,
        allow_reserved: bool = False,
        tag: Any = None,
    ) -> None:
        _set_from_account(self, from_account)
        _set_conversation(self, conversation)
        _set_set_mark(self, set_mark)
        _set_clear_mark(self, clear_mark)
        _set_custom_mark(self, custom_mark)
        _set_allow_reserved(self, allow_reserved)
        _set_tag(self, tag)
        if not (
            is_id(from_account, MAX_USER_ID_BYTES)
            and type(conversation) is Conversation
            and (
                (set_mark is not NO_MARK or clear_mark is not NO_MARK)
                if custom_mark is None
                else type(custom_mark) is str
                and len(custom_mark) <= MAX_CUSTOM_MARK_BYTES
                and custom_mark.isascii()
            )
            and (
                set_mark is NO_MARK
                or (type(set_mark) is ConversationMark and not set_mark._value_ & RESERVED)
            )
            and (
                clear_mark is NO_MARK
                or (
                    type(clear_mark) is ConversationMark
                    and not clear_mark._value_ & (RESERVED | set_mark._value_)
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
                f"must be a Conversation, {CONVERSATION_EXAMPLE}",
                self.conversation,
            )
        set_mark, clear_mark, custom_mark = self.set_mark, self.clear_mark, self.custom_mark
        if type(set_mark) is not ConversationMark:
            raise InputError("set_mark", _MARK_EXAMPLE, set_mark)
        if type(clear_mark) is not ConversationMark:
            raise InputError("clear_mark", _MARK_EXAMPLE, clear_mark)
        set_bits, clear_bits = set_mark._value_, clear_mark._value_
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
            check_text("custom_mark", custom_mark, MAX_CUSTOM_MARK_BYTES)
        elif not (set_bits or clear_bits):
            raise InputError(
                "set_mark", "nothing to change: no set_mark, clear_mark or custom_mark"
            )

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


_set_from_account = setter(MarkChange, "from_account")
_set_conversation = setter(MarkChange, "conversation")
_set_set_mark = setter(MarkChange, "set_mark")
_set_clear_mark = setter(MarkChange, "clear_mark")
_set_custom_mark = setter(MarkChange, "custom_mark")
_set_allow_reserved = setter(MarkChange, "allow_reserved")
_set_tag = setter(MarkChange, "tag")


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
        newer_set, newer_clear = change.set_mark._value_, change.clear_mark._value_
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


class AlikeChanges(Sequence[MarkChange]):
    """
    One change of many conversations of a user: a sequence of changes that are made when asked for.

    Args:
        change: The change of one of them.
        conversations: All of them, each once.
    """

    __slots__ = ("change", "conversations")

    def __init__(self, change: MarkChange, conversations: list[Conversation]) -> None:
        self.change = change
        self.conversations = conversations

    def __len__(self) -> int:
        return len(self.conversations)

    @overload
    def __getitem__(self, index: int) -> MarkChange: ...
    @overload
    def __getitem__(self, index: slice) -> "AlikeChanges": ...
    def __getitem__(self, index: int | slice) -> "MarkChange | AlikeChanges":
        if isinstance(index, slice):
            return AlikeChanges(self.change, self.conversations[index])
        return attrs.evolve(self.change, conversation=self.conversations[index])


def conversations_of(changes: Sequence[MarkChange]) -> list[Conversation]:
    """Return the conversation of each change."""
    if isinstance(changes, AlikeChanges):
        return changes.conversations
    return [change.conversation for change in changes]


publish(__name__)
