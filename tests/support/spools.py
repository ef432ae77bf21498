"""Spools for tests: of changes as they stand, and of users with so many conversations each."""

from collections.abc import Iterable, Mapping

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation
from chatmark.jobs.grouping import Spool
from chatmark.marks import ConversationMark

FAVORITE = ConversationMark.FAVORITE


def peer(number: int) -> Conversation:
    """Return one of many conversations."""
    return Conversation.one_to_one(f"peer_{number:05}")


def spool_of(changes: Iterable[MarkChange]) -> Spool:
    """Return a spool of changes, each on a line of its own."""
    spool = Spool()
    for line, change in enumerate(changes, 1):
        spool.add(change, line)
    spool.group()
    return spool


def spool_of_sizes(sizes: Mapping[str, int]) -> Spool:
    """Return a spool of users who mark so many conversations as favorites."""
    return spool_of(
        MarkChange(user, peer(number), FAVORITE)
        for user, size in sizes.items()
        for number in range(size)
    )
