"""Finds the units of a job that would change nothing, so that they need not be sent."""

import contextlib
from collections.abc import AsyncGenerator, Iterable
from typing import TYPE_CHECKING, Final, final

from chatmark import ChatmarkError
from chatmark.jobs.grouping.units import Unit
from chatmark.jobs.server.reading import read_units

if TYPE_CHECKING:
    from chatmark import MarkSession

_MOST_KEPT: Final = 20


@final
class Sieve:
    """
    Finds the units that would change nothing.

    Where a user's conversations cannot be read, the units are to be sent as if nothing were known:
    sending a mark that the server has already does no harm.

    Args:
        session: The session that reads.

    Attributes:
        unchanged: How many units would change nothing.
        unread: How many units could not be read.
        errors: Why not, of the first users with such units.
    """

    def __init__(self, session: "MarkSession") -> None:
        self._session = session
        self.unchanged = 0
        self.unread = 0
        self.errors: dict[str, ChatmarkError] = {}

    async def sift(self, units: Iterable[Unit]) -> AsyncGenerator[tuple[Unit, bool], None]:
        """
        Yield each unit, in their order, and whether it would change nothing.

        Up to 1,200 units of a user come without a wait between them, so that they fill requests.

        Args:
            units: Grouped by user; read no further than needed.

        Raises:
            ApplicationRefusedError: The server refuses the application.
            SessionError: The session is closed or broken.
        """
        async with contextlib.aclosing(read_units(self._session, units)) as found_units:
            async for unit, found in found_units:
                if isinstance(found, ChatmarkError):
                    self.unread += 1
                    if len(self.errors) < _MOST_KEPT:
                        self.errors.setdefault(unit.change.from_account, found)
                    yield unit, False
                else:
                    is_unchanged = found.satisfies(unit.change)
                    self.unchanged += is_unchanged
                    yield unit, is_unchanged
