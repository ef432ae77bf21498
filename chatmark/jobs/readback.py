"""
Whether the server has what a file wants: the conversations of the file are read back and compared.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

import attrs

from chatmark.models import Conversation, MarkChange, MarkedConversation

if TYPE_CHECKING:
    from chatmark.session import MarkSession

_USERS_AT_ONCE: Final = 16
_CHANGES_AT_ONCE: Final = 500_000
_MOST_KEPT: Final = 20

Wanted = dict[str, dict[Conversation, MarkChange]]


@attrs.frozen
class Difference:
    """
    A conversation that is not as the file wants it.

    Args:
        wanted: The net effect of the file's changes of it.
        found: What the server has.
    """

    wanted: MarkChange
    found: MarkedConversation


@attrs.define
class ReadBack:
    """
    What reading back found.

    Args:
        conversations: How many were read.
        differing: How many are not as the file wants them.
        differences: The first of those.
    """

    conversations: int = 0
    differing: int = 0
    differences: list[Difference] = attrs.field(factory=list[Difference])

    def add(self, wanted: MarkChange, found: MarkedConversation) -> None:
        """
        Compare one conversation.
        """
        self.conversations += 1
        if not found.satisfies(wanted):
            self.differing += 1
            if len(self.differences) < _MOST_KEPT:
                self.differences.append(Difference(wanted, found))


def net_effects(changes: Iterable[MarkChange]) -> Wanted:
    """
    Return the one change of each conversation that has the effect of all, by user.
    """
    wanted: Wanted = {}
    for change in changes:
        of_user = wanted.setdefault(change.from_account, {})
        older = of_user.get(change.conversation)
        of_user[change.conversation] = change if older is None else older.then(change)
    return wanted


async def read_back(
    session: "MarkSession", changes: Callable[[], Iterable[MarkChange]], count: int
) -> ReadBack:
    """
    Read the conversations of all *changes* back and compare them with their net effect.

    The changes are gone through several times where they are many, so that memory holds few.

    Args:
        session: Where to read.
        changes: Begins the changes anew.
        count: How many there are.

    Raises:
        ChatmarkError: The server could not be asked.
    """
    result = ReadBack()
    parts = max(1, -(-count // _CHANGES_AT_ONCE))
    for part in range(parts):
        wanted = net_effects(each for each in changes() if hash(each.from_account) % parts == part)
        users = iter(wanted.items())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(_USERS_AT_ONCE, len(wanted))):
                    group.create_task(_compare(session, users, result))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
    return result


async def _compare(
    session: "MarkSession",
    users: Iterator[tuple[str, dict[Conversation, MarkChange]]],
    result: ReadBack,
) -> None:
    for user, wanted in users:
        found = await session.search(user, wanted)
        for conversation, change in wanted.items():
            result.add(change, found[conversation])
