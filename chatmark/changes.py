"""A change of a conversation's marks, and the merger of several."""

import enum
from collections.abc import AsyncIterable, Iterable, Sequence
from typing import Any, Final, overload

import attrs

from chatmark.conversations import Conversation, check_id, check_text, exact, is_id, setter
from chatmark.errors import InputError
from chatmark.lazy import publish
from chatmark.limits import MAX_CUSTOM_MARK_BYTES, MAX_USER_ID_BYTES
from chatmark.marks import RESERVED, ConversationMark

NO_MARK: Final = ConversationMark(0)
_CONVERSATION_EXAMPLE: Final = "must be a Conversation, for example Conversation.one_to_one('bob')"
_MARK_EXAMPLE: Final = "must be a ConversationMark, for example ConversationMark.FAVORITE"
CHANGE_EXAMPLE: Final = (
    "for example MarkChange('alice', Conversation.one_to_one('bob'), ConversationMark.FAVORITE)"
)


def check_source(name: str, changes: object) -> None:
    """Refuse a source of changes that cannot be read; the message has its name."""
    if not isinstance(changes, Iterable | AsyncIterable):
        reason = "must be an iterable or async iterable of MarkChange objects"
        raise InputError(name, f"{reason}, for example [MarkChange(...)]", changes)


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
        # By hand, as attrs would take 0.86 µs for its 0.68, and bulk jobs make millions. The first
        # check is that of `is_id`, without the call.
        if not (
            type(from_account) is str
            and from_account.isascii()
            and from_account.isprintable()
            and 0 < len(from_account) <= MAX_USER_ID_BYTES
        ):
            from_account = exact(from_account)
            check_id("from_account", from_account, MAX_USER_ID_BYTES)
        if not isinstance(conversation, Conversation):
            raise InputError("conversation", _CONVERSATION_EXAMPLE, conversation)
        if type(set_mark) is not ConversationMark:
            raise InputError("set_mark", _MARK_EXAMPLE, set_mark)
        if type(clear_mark) is not ConversationMark:
            raise InputError("clear_mark", _MARK_EXAMPLE, clear_mark)
        set_bits, clear_bits = set_mark._value_, clear_mark._value_
        if set_bits & clear_bits or ((set_bits | clear_bits) & RESERVED and not allow_reserved):
            raise _fault_of_bits(set_mark, clear_mark)
        if custom_mark is None:
            if not (set_bits or clear_bits):
                reason = "nothing to change: no set_mark, clear_mark or custom_mark"
                raise InputError("set_mark", reason)
        elif not is_id(custom_mark, MAX_USER_ID_BYTES):
            # Texts that are not as plain as an id.
            custom_mark = exact(custom_mark)
            check_text("custom_mark", custom_mark, MAX_CUSTOM_MARK_BYTES)
        _set_from_account(self, from_account)
        _set_conversation(self, conversation)
        _set_set_mark(self, set_mark)
        _set_clear_mark(self, clear_mark)
        _set_custom_mark(self, custom_mark)
        _set_allow_reserved(self, allow_reserved)
        _set_tag(self, tag)

    def __attrs_post_init__(self) -> None:
        # The constructor that attrs makes of a subclass has checked nothing.
        marks = self.set_mark, self.clear_mark, self.custom_mark
        more = {"allow_reserved": self.allow_reserved, "tag": self.tag}
        MarkChange.__init__(self, self.from_account, self.conversation, *marks, **more)

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


def _fault_of_bits(set_mark: ConversationMark, clear_mark: ConversationMark) -> InputError:
    both = set_mark & clear_mark
    # The vendor does not say which of the two would win.
    if both:
        return InputError("clear_mark", "has bits of set_mark", list(both.bits))
    field, mark = ("set_mark", set_mark) if set_mark.reserved else ("clear_mark", clear_mark)
    return InputError(field, "bits 4 to 31 belong to Chat", list(mark.reserved.bits))


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
    set_bits, clear_bits, allowed = 0, 0, False
    custom_mark: str | None = None
    for change in changes:
        newer_set, newer_clear = change.set_mark._value_, change.clear_mark._value_
        set_bits = set_bits & ~newer_clear | newer_set
        clear_bits = clear_bits & ~newer_set | newer_clear
        allowed = allowed or change.allow_reserved
        if change.custom_mark is not None:
            custom_mark = change.custom_mark
    newest = changes[-1]
    marks = ConversationMark(set_bits), ConversationMark(clear_bits), custom_mark
    return MarkChange(newest.from_account, newest.conversation, *marks, allow_reserved=allowed)


@attrs.frozen(eq=False)
class AlikeChanges(Sequence[MarkChange]):
    """One change of many conversations of a user, as a sequence that makes each when asked for."""

    change: MarkChange
    conversations: list[Conversation]

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
