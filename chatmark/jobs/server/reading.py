"""
Reads the conversations of units ahead, and yields them in the order of the units.

The units of a user are read together: few calls, none for the user's other conversations. Memory
holds only units that are read ahead.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import TYPE_CHECKING, Final

import attrs

from chatmark import AnswerError, ChatmarkError, Conversation, MarkedConversation
from chatmark.jobs.grouping.units import Unit
from chatmark.jobs.server.lookup import LOOKED_UP_AT_ONCE, Lookup
from chatmark.jobs.server.prefetch import OutageGuard, read_ahead

if TYPE_CHECKING:
    from chatmark import MarkSession

# The error of a unit that could not be read although others of its user could.
_UNREADABLE: Final = AnswerError("the server's answer about a conversation cannot be read")
_PARTS_AT_ONCE: Final = 32


@attrs.frozen(eq=False)
class _Part:
    """Some units of one user."""

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
    Yield each unit with its conversation on the server, or the error of reading it.

    The units are grouped by user, and read no further than needed.
    """
    parts = read_ahead(_Part.find, _parts(session, units), OutageGuard(), at_once=_PARTS_AT_ONCE)
    async with contextlib.aclosing(parts):
        async for part, found in parts:
            for unit in part.units:
                if isinstance(found, ChatmarkError):
                    yield unit, found
                else:
                    yield unit, found.get(unit.change.conversation, _UNREADABLE)


def _parts(session: "MarkSession", units: Iterable[Unit]) -> Iterator[_Part]:
    for account, of_user in itertools.groupby(units, lambda unit: unit.change.from_account):
        lookup, turn = Lookup(session, account), asyncio.Lock()
        parts = _divided(of_user)
        part = next(parts)
        for after in parts:
            yield _Part(part, lookup, turn, is_last=False)
            part = after
        yield _Part(part, lookup, turn, is_last=True)


def _divided(units: Iterator[Unit]) -> Iterator[list[Unit]]:
    while part := list(itertools.islice(units, LOOKED_UP_AT_ONCE)):
        yield part
