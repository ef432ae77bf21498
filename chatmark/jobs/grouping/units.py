"""Units: all changes of one conversation as one."""

from typing import final

import attrs

from chatmark.changes import MarkChange
from chatmark.core.lane import MAX_ITEMS
from chatmark.jobs.counting import Addable


@final
@attrs.define
class Unit:
    """
    All changes of one conversation, as one.

    Args:
        position: Its number in the job, from 0.
        change: The one that has the effect of all of them.
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
    The units of one user, which are consecutive.

    Args:
        account: The user.
        first: The position of the first.
        count: How many there are.
        digest: Identifies them: 8 bytes of a hash over all of them.
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
    """
    How much there is to send.

    Args:
        changes: Changes of rows.
        units: Conversations of users.
        users: Users.
        calls: The fewest calls that can send them.
    """

    changes: int = 0
    units: int = 0
    users: int = 0
    calls: int = 0


def calls_for(units: int) -> int:
    """Return the fewest calls that can send units of one user."""
    return -(-units // MAX_ITEMS)
