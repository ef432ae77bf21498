"""
Marked conversations as rows that `apply` reads again.

Notes hold values that a change cannot express: the conversation groups, the last update, and bits
that belong to Chat. A conversation that has nothing else is no row.
"""

from typing import Any, Final

from chatmark import MarkChange, MarkedConversation
from chatmark.jobs.sources.row import OWN_FIELDS, row_of

_GROUPS: Final = "_group_ids"
_NAMES: Final = "_group_names"
_UPDATED: Final = "_updated_at"
_RESERVED: Final = "_reserved_bits"
#: The columns; an export clears nothing.
COLUMNS: Final = (
    *(each for each in OWN_FIELDS if each != "clear_mark"),
    *(_GROUPS, _NAMES, _UPDATED, _RESERVED),
)


def marked_row(account: str, marked: MarkedConversation) -> dict[str, Any] | None:
    """Return the row of a conversation; None without own bits and a custom mark."""
    own = marked.mark & ~marked.mark.reserved
    if not (own or marked.custom_mark):
        return None
    # A native client's bytes may come as half a character, which UTF-8 has no bytes for.
    custom = marked.custom_mark.encode("utf-8", "replace").decode() or None
    row = row_of(MarkChange(account, marked.conversation, own, custom_mark=custom))
    if marked.group_ids:
        row[_GROUPS] = list(marked.group_ids)
    if any(marked.group_names):
        row[_NAMES] = list(marked.group_names)
    if marked.updated_at is not None:
        row[_UPDATED] = marked.updated_at.isoformat()
    if marked.mark.reserved:
        row[_RESERVED] = list(marked.mark.reserved.bits)
    return row
