"""The messages of the API as values: what answers and requests say."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, TypeVar

import attrs

from chatmark.changes import MarkChange
from chatmark.commands import Command
from chatmark.conversations import Conversation
from chatmark.limits import MOST_TEXT
from chatmark.results import MarkedConversation

E = TypeVar("E", bound="Envelope")


def _short(text: str) -> str:
    """Cut a text of the server, which goes into errors, results, logs and reports."""
    return text[:MOST_TEXT]


@attrs.frozen
class Envelope:
    """
    The part of every answer that is about the whole call. `error_code` decides.

    `group_item` has the names of conversation groups by their id.
    """

    error_code: int
    action_status: str = attrs.field(default="", converter=_short)
    error_info: str = attrs.field(default="", converter=_short)
    request_id: str = attrs.field(default="", converter=_short)
    group_item: Mapping[int, str] = attrs.field(factory=dict[int, str])


@attrs.frozen
class Unreadable:
    """
    An element of a list of an answer that cannot be read.

    Args:
        reason: Where it is and what is wrong with it.
        conversation: The conversation that it names, None where that cannot be read.
    """

    reason: str
    conversation: Conversation | None = None


@attrs.frozen
class ResultLine:
    """The part of an answer about one conversation, None where it names none."""

    result_code: int
    contact_item: Conversation | None = None
    result_info: str = attrs.field(default="", converter=_short)


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
class MarkedItem:
    """One conversation of an answer that reads marks back."""

    type: int
    to_account: str = ""
    to_group_id: str = ""
    standard_mark: str = ""
    custom_mark: str = ""
    contact_group_id: list[int] = attrs.field(factory=list)
    timestamp: dt.datetime | None = None


@attrs.frozen
class Page(Envelope):
    """An answer of get_contact_group. The last page may have no `next_start_index`."""

    contact_item: list[MarkedConversation | Unreadable] = attrs.field(factory=list, kw_only=True)
    complete_flag: int = attrs.field(default=1, kw_only=True)
    next_start_index: int = attrs.field(default=0, kw_only=True)
    complete_time: dt.datetime | None = attrs.field(default=None, kw_only=True)


@attrs.frozen
class Found(Envelope):
    """An answer of search_contact_group."""

    contact_result_item: list[MarkedConversation | Unreadable] = attrs.field(
        factory=list, kw_only=True
    )


@attrs.frozen
class Message:
    """A request, as a session sends it; `size` is the number of conversations that it names."""

    command: ClassVar[Command]

    from_account: str

    @property
    def size(self) -> int:
        return 0


@attrs.frozen
class MarkContact(Message):
    """A request of mark_contact."""

    command = Command.MARK_CONTACT

    changes: Sequence[MarkChange]

    @property
    def size(self) -> int:
        return len(self.changes)


@attrs.frozen
class GetContactGroup(Message):
    """A request of get_contact_group."""

    command = Command.GET_CONTACT_GROUP

    start_index: int


@attrs.frozen
class SearchContactGroup(Message):
    """A request of search_contact_group."""

    command = Command.SEARCH_CONTACT_GROUP

    contact_item: Sequence[Conversation]

    @property
    def size(self) -> int:
        return len(self.contact_item)


@attrs.frozen
class CreateContactGroup(Message):
    """A request of create_contact_group."""

    command = Command.CREATE_CONTACT_GROUP

    group_name: str
    contact_item: Sequence[Conversation]

    @property
    def size(self) -> int:
        return len(self.contact_item)


# `ContactOptType` of the wire.
ADD: Final = 1
REMOVE: Final = 2


@attrs.frozen
class UpdateContactGroup(Message):
    """
    A request of update_contact_group: it renames a group, or adds and removes conversations.
    """

    command = Command.UPDATE_CONTACT_GROUP

    old_group_name: str
    contact_update_item: Sequence[tuple[int, Conversation]] = ()
    new_group_name: str | None = None

    @property
    def size(self) -> int:
        return len(self.contact_update_item)


@attrs.frozen
class DeleteContactGroup(Message):
    """A request of del_contact_group, which takes one group."""

    command = Command.DELETE_CONTACT_GROUP

    group_name: str


@attrs.frozen
class MarkItem:
    """One change in a request of mark_contact."""

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
    """The name of a conversation."""

    type: int
    to_account: str | None = None
    to_group_id: str | None = None


WIRE_NAMES: Final = {
    "action_status": "ActionStatus",
    "clear_mark": "ClearMark",
    "complete_flag": "CompleteFlag",
    "contact_group_id": "ContactGroupId",
    "contact_item": "ContactItem",
    "contact_result_item": "ContactResultItem",
    "custom_mark": "CustomMark",
    "error_code": "ErrorCode",
    "error_info": "ErrorInfo",
    "from_account": "From_Account",
    "group_item": "GroupItem",
    "mark_item": "MarkItem",
    "next_start_index": "NextStartIndex",
    "opt_type": "OptType",
    "request_id": "RequestId",
    "result_code": "ResultCode",
    "result_info": "ResultInfo",
    "result_item": "ResultItem",
    "set_mark": "SetMark",
    "start_index": "StartIndex",
    "standard_mark": "StandardMark",
    "timestamp": "Timestamp",
    "complete_time": "CompleteTime",
    "to_account": "To_Account",
    "to_group_id": "ToGroupId",
    "type": "Type",
}


# The lists of answers whose elements may be unreadable.
_LISTS: Final = ("result_item", "contact_item", "contact_result_item")


def unread_of(answer: Envelope) -> list[Unreadable]:
    """Return the elements of an answer that cannot be read."""
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
