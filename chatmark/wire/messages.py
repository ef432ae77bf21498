"""
The messages of the API as values: replies of the network, answers, and requests.

- https://www.tencentcloud.com/document/product/1047/53438 mark_contact
- https://www.tencentcloud.com/document/product/1047/53440 get_contact_group
- https://www.tencentcloud.com/document/product/1047/53442 search_contact_group
- https://www.tencentcloud.com/document/product/1047/53437 create_contact_group
- https://www.tencentcloud.com/document/product/1047/53439 update_contact_group
- https://www.tencentcloud.com/document/product/1047/53441 del_contact_group
"""

import datetime as dt
import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from json.encoder import encode_basestring as quoted
from typing import Any, ClassVar, Final, TypeVar

import attrs

from chatmark.changes import AlikeChanges, MarkChange, conversations_of
from chatmark.codes import Command
from chatmark.conversations import Conversation, ConversationType
from chatmark.errors import ChatmarkError
from chatmark.lazy import publish
from chatmark.limits import MOST_TEXT
from chatmark.marks import ConversationMark
from chatmark.results import MarkedConversation

E = TypeVar("E", bound="Envelope")

_ONE_TO_ONE: Final = ConversationType.ONE_TO_ONE
# A program uses few combinations of marks, but may well use more of them than are worth keeping.
_MOST_FRAMES: Final = 4096


@attrs.frozen
class HttpAnswer:
    """
    An answer as it came.

    Args:
        status: The HTTP status.
        body: The body, whole.
        retry_after: The header of that name.
        date: The header of that name.
    """

    status: int
    body: bytes
    retry_after: str | None = None
    date: str | None = None


@attrs.frozen
class NoAnswer:
    """
    Why no answer came.

    Args:
        error: The error for callers, without a URL.
        reason: One word for the counters: "connection", "dropped", "timeout", "size", "tls",
            "signature".
        dropped: The connection was lost, so that another is worth an attempt at once.
        final: Another attempt cannot fare better.
        sent: The request may have reached the server. False means that it certainly did not.
    """

    error: ChatmarkError
    reason: str
    dropped: bool = False
    final: bool = False
    sent: bool = True


Reply = HttpAnswer | NoAnswer


def short(text: str) -> str:
    """Cut a text of the server, which goes into errors, results, logs and reports."""
    return text[:MOST_TEXT]


@attrs.frozen
class Envelope:
    """
    The part of every answer that is about the whole call. `error_code` decides.

    `group_item` has the names of conversation groups by their id.
    """

    error_code: int
    action_status: str = attrs.field(default="", converter=short)
    error_info: str = attrs.field(default="", converter=short)
    request_id: str = attrs.field(default="", converter=short)
    group_item: Mapping[int, str] = attrs.field(factory=dict[int, str])


@attrs.frozen
class Unreadable:
    """An element of an answer that cannot be read; the reason says where it is, too."""

    reason: str
    conversation: Conversation | None = None


MarkedElements = list[MarkedConversation | Unreadable]


@attrs.frozen
class ResultLine:
    """The part of an answer about one conversation, None where it names none."""

    result_code: int
    contact_item: Conversation | None = None
    result_info: str = attrs.field(default="", converter=short)


@attrs.frozen
class MarkAnswer(Envelope):
    """An answer of mark_contact. A refused call may have no lines, or not all."""

    result_item: list[ResultLine | Unreadable] = attrs.field(factory=list, kw_only=True)


@attrs.frozen
class GroupAnswer(MarkAnswer):
    """
    An answer of create_contact_group, update_contact_group or del_contact_group.

    The first two have the group and the lines one level deeper.
    """


@attrs.frozen
class Page(Envelope):
    """An answer of get_contact_group. The last page may have no `next_start_index`."""

    contact_item: MarkedElements = attrs.field(factory=list, kw_only=True)
    complete_flag: int = attrs.field(default=1, kw_only=True)
    next_start_index: int = attrs.field(default=0, kw_only=True)
    complete_time: dt.datetime | None = attrs.field(default=None, kw_only=True)


@attrs.frozen
class Found(Envelope):
    contact_result_item: MarkedElements = attrs.field(factory=list, kw_only=True)


@attrs.frozen
class Message:
    """A request, as a session sends it; `size` is the number of conversations that it names."""

    command: ClassVar[Command]

    from_account: str

    @property
    def size(self) -> int:
        lists = (getattr(self, name, ()) for name in (*_LISTS, "changes", "contact_update_item"))
        return sum(map(len, lists))


@attrs.frozen
class MarkContact(Message):
    command = Command.MARK_CONTACT

    changes: Sequence[MarkChange]


@attrs.frozen
class GetContactGroup(Message):
    command = Command.GET_CONTACT_GROUP

    start_index: int


@attrs.frozen
class SearchContactGroup(Message):
    command = Command.SEARCH_CONTACT_GROUP

    contact_item: Sequence[Conversation]


@attrs.frozen
class CreateContactGroup(Message):
    command = Command.CREATE_CONTACT_GROUP

    group_name: str
    contact_item: Sequence[Conversation]


# `ContactOptType` of the wire.
ADD: Final = 1
REMOVE: Final = 2


@attrs.frozen
class UpdateContactGroup(Message):
    """It renames a group, or adds and removes conversations."""

    command = Command.UPDATE_CONTACT_GROUP

    old_group_name: str
    contact_update_item: Sequence[tuple[int, Conversation]] = ()
    new_group_name: str | None = None


@attrs.frozen
class DeleteContactGroup(Message):
    command = Command.DELETE_CONTACT_GROUP

    group_name: str


@attrs.frozen
class MarkItem:
    opt_type: int
    contact_item: Conversation
    set_mark: list[int] = attrs.field(factory=list)
    clear_mark: list[int] = attrs.field(factory=list)
    custom_mark: str | None = None


@attrs.frozen
class MarkRequest:
    """A request of mark_contact, as a person wrote it."""

    from_account: str
    mark_item: list[MarkItem]


@attrs.frozen
class ContactItem:
    type: int
    to_account: str | None = None
    to_group_id: str | None = None


@attrs.frozen
class MarkedItem(ContactItem):
    standard_mark: str = ""
    custom_mark: str = ""
    contact_group_id: list[int] = attrs.field(factory=list)
    timestamp: dt.datetime | None = None


def wire_name(field: str) -> str:
    """
    Return the JSON name of a field.

    >>> wire_name("to_account"), wire_name("to_group_id")
    ('To_Account', 'ToGroupId')
    """
    if field in ("from_account", "to_account"):
        return field.title()
    return field.title().replace("_", "") if field.islower() else field


# The lists of answers whose elements may be unreadable.
_LISTS: Final = ("result_item", "contact_item", "contact_result_item")


def unread_of(answer: Envelope) -> list[Unreadable]:
    elements = [each for name in _LISTS for each in getattr(answer, name, ())]
    return [each for each in elements if isinstance(each, Unreadable)]


def without_texts(answer: E, clean: Callable[[str], str]) -> E:
    """Return an answer whose texts, which are the server's own, have passed through *clean*."""

    def cleaned(each: Any) -> Any:
        for name in ("error_info", "request_id", "reason", "result_info"):
            if hasattr(each, name):
                each = attrs.evolve(each, **{name: clean(getattr(each, name))})
        return each

    for name in _LISTS:
        if hasattr(answer, name):
            lines = [cleaned(each) for each in getattr(answer, name)]
            answer = attrs.evolve(answer, **{name: lines})  # type: ignore[arg-type]
    return cleaned(answer)  # type: ignore[no-any-return]


def encode_marks(from_account: str, changes: Sequence[MarkChange]) -> bytes:
    """
    Return the body of a request of mark_contact.

    By the book, cattrs takes 2.0 µs to write an item and 3.0 µs to read its line. A request of a
    hundred items then costs more here than in aiohttp. Joined text takes 0.3 µs an item, and
    msgspec's typed decoder (`wire/classify.py`) 0.2 µs. The tests compare both with the book.
    """
    marked = repeat(changes.change) if isinstance(changes, AlikeChanges) else changes
    items: list[str] = []
    for conversation, change in zip(conversations_of(changes), marked, strict=False):
        custom_mark = change.custom_mark
        set_bits, clear_bits = change.set_mark._value_, change.clear_mark._value_
        head, tail = _frame(conversation.type, set_bits, clear_bits, custom_mark is None)
        if custom_mark is not None:
            tail = f"{tail}{quoted(custom_mark)}}}"
        items.append(f"{head}{quoted(conversation.id)}{tail}")
    return f'{{"From_Account":{quoted(from_account)},"MarkItem":[{",".join(items)}]}}'.encode()


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
    return head, f"}}{marks}}}" if standard else f'}}{marks},"CustomMark":'


publish(__name__)
