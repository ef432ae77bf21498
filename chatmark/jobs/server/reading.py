"""
Reads the conversations of units ahead, and yields them in the order of the units.

The units of a user are read together: few calls, none for the user's other
conversations. Memory holds only units that are read ahead.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import TYPE_CHECKING, Final

import attrs

from chatmark.conversations import Conversation
from chatmark.errors import ChatmarkError
from chatmark.failures import AnswerError
from chatmark.jobs.grouping.units import Unit
from chatmark.jobs.server.lookup import SEARCHED_AT_ONCE, Lookup
from chatmark.jobs.server.prefetch import OutageGuard, map_ahead
from chatmark.results import MarkedConversation

if TYPE_CHECKING:
    from chatmark.session.session import MarkSession

# The error of a unit that could not be read although others of its user could.
_UNREADABLE: Final = AnswerError("what the server has of a conversation cannot be read")
_GROUPS_AT_ONCE: Final = 32
# Most users have some hundred units; those with more are read in parts.
_UNITS_AT_ONCE: Final = 4 * SEARCHED_AT_ONCE


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
) -> AsyncGenerator[tuple[Unit, MarkedConversation | ChatmarkError], None]:
    """
    Yield each unit, in their order, with its conversation on the server or the error of reading it.

    Args:
        session: The session.
        units: Grouped by user; read no further than needed.
    """
    guard = OutageGuard()

    async def ask(group: _Group) -> dict[Conversation, MarkedConversation] | ChatmarkError:
        return await guard.ask(group.find)

    groups = map_ahead(ask, _groups(session, units), at_once=_GROUPS_AT_ONCE)
    async with contextlib.aclosing(groups):
        async for group, found in groups:
            for unit in group.units:
                if isinstance(found, ChatmarkError):
                    yield unit, found
                else:
                    yield unit, found.get(unit.change.conversation, _UNREADABLE)


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
