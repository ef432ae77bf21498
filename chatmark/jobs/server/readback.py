"""Reads the conversations of a job back and compares them."""

import contextlib
import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import attrs

from chatmark import ChatmarkError, ConversationMark, MarkChange, MarkedConversation
from chatmark.jobs.counting import Addable
from chatmark.jobs.grouping import Spool, Unit
from chatmark.jobs.server.lookup import read_marks, read_units
from chatmark.jobs.sources.row import row_of

if TYPE_CHECKING:
    from chatmark import MarkSession

_MOST_KEPT: Final = 20
# The vendor's user interfaces clear these when a message comes or a conversation is opened.
CLEARED_BY_CLIENTS: Final = ConversationMark.HIDDEN | ConversationMark.UNREAD


@attrs.frozen
class Difference:
    """A conversation that is not as the file wants it; *line* is that of the first of its rows."""

    wanted: MarkChange
    found: MarkedConversation
    line: int = 0
    rows: int = 1

    @property
    def missing(self) -> ConversationMark:
        """The bits that are to be set, and are not."""
        return self.wanted.set_mark & ~self.found.mark

    @property
    def extra(self) -> ConversationMark:
        """The bits that are to be clear, and are set."""
        return self.wanted.clear_mark & self.found.mark

    @property
    def has_other_custom_mark(self) -> bool:
        return self.wanted.custom_mark not in (None, self.found.custom_mark)

    @property
    def cleared_by_clients(self) -> ConversationMark:
        """Those of the missing bits that the vendor's own clients clear."""
        return self.missing & CLEARED_BY_CLIENTS

    @property
    def is_of_clients(self) -> bool:
        """Whether only bits differ that the vendor's own clients clear."""
        others = self.missing & ~self.cleared_by_clients
        return not (others or self.extra or self.has_other_custom_mark)

    def row(self) -> dict[str, Any]:
        """Return a row that asks for the same, with notes on the conversation found."""
        return row_of(self.wanted) | {
            "_found_bits": list(self.found.mark.bits),
            "_found_custom_mark": self.found.custom_mark,
            "_cleared_by_clients": list(self.cleared_by_clients.bits),
        }

    def document(self) -> dict[str, Any]:
        return {
            "line": self.line,
            "rows": self.rows,
            "wanted": row_of(self.wanted),
            "found": {"mark": list(self.found.mark.bits), "custom_mark": self.found.custom_mark},
            "missing": list(self.missing.bits),
            "extra": list(self.extra.bits),
            "cleared_by_clients": list(self.cleared_by_clients.bits),
        }


@attrs.define
class ReadBack(Addable):
    """
    The result of reading back.

    Args:
        conversations: How many the file has.
        differing: How many are not as the file wants them.
        of_clients: How many of those lack nothing but bits that the vendor's own clients clear.
        unread: How many could not be read.
        differences: The first that differ.
        errors: Why the conversations of the first users that could not be read were not.
    """

    conversations: int = 0
    differing: int = 0
    of_clients: int = 0
    unread: int = 0
    differences: list[Difference] = attrs.field(factory=list[Difference])
    errors: dict[str, ChatmarkError] = attrs.field(factory=dict[str, ChatmarkError])

    @property
    def ok(self) -> bool:
        """Whether all conversations were read, and are as the file wants them."""
        return not (self.differing or self.unread)

    @property
    def as_wanted(self) -> int:
        """How many conversations are as the file wants them."""
        return self.conversations - self.differing - self.unread

    def add(self, unit: Unit, found: MarkedConversation | ChatmarkError) -> Difference | None:
        """Compare one conversation; return the difference, None without one or with an error."""
        self.conversations += 1
        if isinstance(found, ChatmarkError):
            self.unread += 1
            if len(self.errors) < _MOST_KEPT:
                self.errors.setdefault(unit.change.from_account, found)
            return None
        if found.satisfies(unit.change):
            return None
        difference = Difference(unit.change, found, unit.line, unit.rows)
        self.differing += 1
        self.of_clients += difference.is_of_clients
        if len(self.differences) < _MOST_KEPT:
            self.differences.append(difference)
        return difference

    def document(self) -> dict[str, Any]:
        """Return it for `json.dumps`."""
        return {
            "conversations": self.conversations,
            "differing": self.differing,
            "cleared_by_clients": self.of_clients,
            "unread": self.unread,
            "differences": [each.document() for each in self.differences],
            "errors": [
                {"from_account": account, "error": str(error)}
                for account, error in self.errors.items()
            ],
        }


async def read_back_exactly(
    session: "MarkSession",
    spool: Spool,
    result: ReadBack,
    on_difference: Callable[[Difference], object],
) -> None:
    """
    Read all marked conversations of the users of a file, and compare them with its rows alone.

    A conversation has the marks that its rows set and no others, one without a row has none. The
    other arguments and the errors are those of `read_back`.
    """

    def compare(unit: Unit, found: MarkedConversation) -> None:
        change = unit.change
        surplus = found.mark & ~change.set_mark & ~found.mark.reserved
        exact = attrs.evolve(change, clear_mark=surplus, custom_mark=change.custom_mark or "")
        difference = result.add(attrs.evolve(unit, change=exact), found)
        if difference is not None:
            on_difference(difference)

    users, read = itertools.tee(spool.by_user())
    reading = read_marks(session, (user.account for user in read))
    async with contextlib.aclosing(reading):
        async for account, marked in reading:
            user = next(users)
            units = spool.read(user.first, user.count)
            if isinstance(marked, ChatmarkError):
                for unit in units:
                    result.add(unit, marked)
                continue
            left = {each.conversation: each for each in marked}
            for unit in units:
                conversation = unit.change.conversation
                compare(unit, left.pop(conversation, MarkedConversation(conversation)))
            for conversation, found in left.items():
                if found.mark & ~found.mark.reserved or found.custom_mark:
                    nothing = MarkChange(account, conversation, custom_mark="")
                    compare(Unit(-1, nothing, 0, 0), found)


async def read_back(
    session: "MarkSession",
    units: Iterable[Unit],
    result: ReadBack | None = None,
    on_difference: Callable[[Difference], object] | None = None,
) -> ReadBack:
    """
    Read the conversations of all *units* back and compare them.

    Args:
        session: The session.
        units: The units, grouped by user.
        result: Filled while it is read, for progress; a new one by default.
        on_difference: Called with each conversation that differs.

    Raises:
        ApplicationRefusedError: The server refuses the application.
        SessionError: The session is closed or broken.
    """
    result = ReadBack() if result is None else result
    async with contextlib.aclosing(read_units(session, units)) as found_units:
        async for unit, found in found_units:
            difference = result.add(unit, found)
            if difference is not None and on_difference is not None:
                on_difference(difference)
    return result
