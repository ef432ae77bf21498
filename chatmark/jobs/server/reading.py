"""
What the server has of each unit of a job, asked for ahead and given in the order of the units.

The units of a user stand together, and are asked for together: few calls, none for the user's other
conversations. Memory holds what is asked ahead, whatever the size of the job.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from chatmark.errors import AnswerError, ChatmarkError
from chatmark.jobs.grouping.spool import Unit
from chatmark.jobs.server.lookup import SEARCHED_AT_ONCE, Lookup
from chatmark.jobs.server.prefetch import OutageGuard, map_ahead
from chatmark.models import Conversation, MarkedConversation

if TYPE_CHECKING:
    from chatmark.session import MarkSession

#: Why a unit could not be read beside others of its user that could.
UNREADABLE: Final = AnswerError("what the server has of a conversation cannot be read")
_GROUPS_AT_ONCE: Final = 32
# A user has some hundred units; who has more than this is asked for in parts.
_UNITS_AT_ONCE: Final = 4 * SEARCHED_AT_ONCE


@attrs.frozen
class UnitsRead:
    """
    Some units of one user, and what the server has of them.

    Args:
        units: The units.
        found: What the server has of each, in their order, None where that could not be read; empty
            where none could be read.
        error: Why none could be read.
    """

    units: Sequence[Unit]
    found: Sequence[MarkedConversation | None] = ()
    error: ChatmarkError | None = None


@attrs.frozen(eq=False)
class _Group:
    units: list[Unit]
    lookup: Lookup
    turn: asyncio.Lock
    is_last: bool

    async def find(self) -> dict[Conversation, MarkedConversation]:
        # The parts of one user go one after another: a page that came for one serves the next.
        async with self.turn:
            try:
                return await self.lookup.find(unit.change.conversation for unit in self.units)
            finally:
                if self.is_last:
                    await self.lookup.aclose()


async def read_units(
    session: "MarkSession", units: Iterable[Unit]
) -> AsyncGenerator[UnitsRead, None]:
    """
    Yield all units with what the server has of them, in their order, a user's together.

    Args:
        session: Where to read.
        units: Read no further than needed; those of a user stand together.
    """
    guard = OutageGuard()

    async def ask(group: _Group) -> UnitsRead:
        found = await guard.ask(group.find)
        if isinstance(found, ChatmarkError):
            return UnitsRead(group.units, error=found)
        return UnitsRead(group.units, [found.get(unit.change.conversation) for unit in group.units])

    groups = map_ahead(ask, _groups(session, units), at_once=_GROUPS_AT_ONCE)
    async with contextlib.aclosing(groups):
        async for _, looked in groups:
            yield looked


def in_parts(units: Iterable[Unit]) -> Iterator[list[Unit]]:
    """
    Yield the units of one user in the parts in which they are asked for.
    """
    coming = iter(units)
    while part := list(itertools.islice(coming, _UNITS_AT_ONCE)):
        yield part


def _groups(session: "MarkSession", units: Iterable[Unit]) -> Iterator[_Group]:
    for account, of_user in itertools.groupby(units, lambda unit: unit.change.from_account):
        lookup, turn = Lookup(session, account), asyncio.Lock()
        parts = in_parts(of_user)
        part = next(parts, None)
        while part is not None:
            after = next(parts, None)
            yield _Group(part, lookup, turn, is_last=after is None)
            part = after
