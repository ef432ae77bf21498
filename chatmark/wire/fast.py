"""
The fast forms of two hooks of the converter: the items of a request, and an answer of successes.

By the book, cattrs takes 2.0 µs to write an item and 3.0 µs to read its line. A request of a
hundred items then costs more here than in aiohttp. Joined text takes 0.3 µs an item, and msgspec's
typed decoder 0.2 µs. The tests compare both with the form by the book.

https://www.tencentcloud.com/document/product/1047/53438
"""

import functools
from collections.abc import Iterable, Sequence
from json.encoder import encode_basestring as quoted
from typing import Final, Literal

import msgspec

from chatmark.changes import AlikeChanges, MarkChange, conversations_of
from chatmark.conversations import ConversationType
from chatmark.marks import ConversationMark

_ONE_TO_ONE: Final = ConversationType.ONE_TO_ONE
# A program uses few combinations of marks, but may well use more of them than are worth keeping.
_MOST_FRAMES: Final = 4096


def encode_marks(from_account: str, changes: Iterable[MarkChange]) -> bytes:
    """Return the body of a mark_contact request."""
    parts: list[str] = []
    if isinstance(changes, AlikeChanges):
        parts = _alike_items(changes)
        changes = ()
    for change in changes:
        conversation, custom_mark = change.conversation, change.custom_mark
        head, tail = _frame(
            conversation.type,
            change.set_mark._value_,
            change.clear_mark._value_,
            custom_mark is None,
        )
        if custom_mark is None:
            parts += head, quoted(conversation.id), tail
        else:
            parts += head, quoted(conversation.id), tail, quoted(custom_mark), "},"
    items = "".join(parts)[:-1]
    return f'{{"From_Account":{quoted(from_account)},"MarkItem":[{items}]}}'.encode()


def _alike_items(changes: AlikeChanges) -> list[str]:
    change, custom_mark = changes.change, changes.change.custom_mark
    marks = change.set_mark._value_, change.clear_mark._value_, custom_mark is None
    custom = "" if custom_mark is None else f"{quoted(custom_mark)}}},"
    (user_head, user_tail), (group_head, group_tail) = (
        _frame(kind, *marks) for kind in ConversationType
    )
    user_tail, group_tail = user_tail + custom, group_tail + custom
    return [
        f"{user_head}{quoted(each.id)}{user_tail}"
        if each.type is _ONE_TO_ONE
        else f"{group_head}{quoted(each.id)}{group_tail}"
        for each in changes.conversations
    ]


@functools.lru_cache(_MOST_FRAMES)
def _frame(kind: int, set_bits: int, clear_bits: int, standard: bool) -> tuple[str, str]:
    """Return what stands before and behind the id of an item's conversation."""
    marks = ""
    for name, value in (("SetMark", set_bits), ("ClearMark", clear_bits)):
        if value:
            numbers = ",".join(map(str, ConversationMark(value).bits))
            marks += f',"{name}":[{numbers}]'
    opt_type = 1 if standard else 3 if marks else 2
    field = "To_Account" if kind == _ONE_TO_ONE else "ToGroupId"
    head = f'{{"OptType":{opt_type},"ContactItem":{{"Type":{int(kind)},"{field}":'
    return head, f"}}{marks}}}," if standard else f'}}{marks},"CustomMark":'


# Instances hold numbers and text only, so that the garbage collector need not know them.
class _User(msgspec.Struct, gc=False, tag_field="Type", tag=1):
    To_Account: str
    ToGroupId: str = ""


class _Group(msgspec.Struct, gc=False, tag_field="Type", tag=2):
    ToGroupId: str
    To_Account: str = ""


class _Line(msgspec.Struct, gc=False):
    ResultCode: Literal[0]
    ContactItem: _User | _Group


class Confirmation(msgspec.Struct, gc=False):
    """An answer of mark_contact in which every line is a success."""

    ErrorCode: Literal[0]
    ResultItem: list[_Line]
    ActionStatus: Literal["OK", ""] | None = None
    RequestId: str | None = None

    def names(self, changes: Sequence[MarkChange]) -> bool:
        """
        Whether it names the conversations of just these changes, in their order.

        The server answers in this order. If it does not, the reader by the book matches the lines
        by their names.
        """
        if len(self.ResultItem) != len(changes):
            return False
        for line, conversation in zip(self.ResultItem, conversations_of(changes), strict=True):
            contact = line.ContactItem
            if conversation.type is _ONE_TO_ONE:
                if type(contact) is not _User or contact.To_Account != conversation.id:
                    return False
            elif type(contact) is not _Group or contact.ToGroupId != conversation.id:
                return False
        return True


_DECODER: Final = msgspec.json.Decoder(Confirmation)


def read_confirmation(body: bytes) -> Confirmation | None:
    """
    Return an answer in which every line is a success, None where the reader by the book decides.
    """
    try:
        # Decoded first: msgspec does not check UTF-8 in unknown fields.
        return _DECODER.decode(body.decode())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
