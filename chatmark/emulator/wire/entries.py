"""Marked conversations as the reading calls return them."""

import attrs

from chatmark.emulator.wire.fields import Key


@attrs.frozen
class Entry:
    """
    One conversation of a reading call.

    Args:
        conversation: The conversation.
        bits: The standard mark.
        custom_mark: The custom mark, "" without one.
        contact_group_ids: Ids of the contact groups that hold it.
        timestamp: Last change of the marks in seconds since 1970, 0 without one.
    """

    conversation: Key
    bits: int = 0
    custom_mark: str = ""
    contact_group_ids: tuple[int, ...] = ()
    timestamp: int = 0


@attrs.frozen
class Page:
    """
    One page of a user's marked conversations.

    Args:
        entries: The conversations of this page.
        contact_groups: Names of the user's contact groups by id.
        next_index: StartIndex of the next page, or None on the last one.
        complete_time: When the newest of the conversations changed, in seconds since 1970.
    """

    entries: list[Entry]
    contact_groups: dict[int, str]
    next_index: int | None
    complete_time: int
