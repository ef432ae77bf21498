"""Units: all changes of one conversation as one."""

from typing import final

import attrs

from chatmark import MarkChange
from chatmark.jobs.counting import Addable
from chatmark.limits import MAX_ITEMS


@final
@attrs.define
class Unit:
    """
    All changes of one conversation, as one.

    Args:
        position: Its number in the job, from 0.
        change: The change that has the effect of all of them.
        rows: How many changes it was merged from.
        line: The line of the first of them.
        contradicts: Whether a later one undoes something of an earlier one.
    """

    position: int
    change: MarkChange
    rows: int
    line: int
    contradicts: bool


@final
@attrs.define
class UserUnits:
    """
    The units of one user: *count* of them from the position *first* on.

    The digest is a hash of 8 bytes over all of them.
    """

    account: str
    first: int
    count: int
    digest: bytes

    @property
    def calls(self) -> int:
        """The fewest calls that can send them."""
        return calls_for(self.count)


@attrs.frozen
class Size(Addable):
    """The changes of an input, the units and users that they make, and the fewest calls."""

    changes: int = 0
    units: int = 0
    users: int = 0
    calls: int = 0


def calls_for(units: int) -> int:
    """Return the fewest calls that can send units of one user."""
    return -(-units // MAX_ITEMS)
