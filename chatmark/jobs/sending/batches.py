"""
Units in the portions in which a session is given them, so that they fill requests.
"""

import contextlib
import itertools
from collections.abc import AsyncGenerator, Iterable
from operator import attrgetter
from typing import Final

from chatmark.jobs.grouping.spool import Unit
from chatmark.lane import MAX_ITEMS

# Units that are under way at once: enough for lanes that go in parallel, little enough to hold.
MOST_UNDER_WAY: Final = 10_000

_account_of = attrgetter("change.from_account")


async def in_portions(units: AsyncGenerator[Unit | None]) -> AsyncGenerator[list[Unit]]:
    """
    Yield the units of one user together, as many as a request holds.

    Args:
        units: Grouped by user; None where a user has no more, if the next may be long in coming.
    """
    portion: list[Unit] = []
    async with contextlib.aclosing(units):
        async for unit in units:
            if portion and (unit is None or not _go_together(portion, unit)):
                yield portion
                portion = []
            if unit is not None:
                portion.append(unit)
    if portion:
        yield portion


async def ready_portions(units: Iterable[Unit]) -> AsyncGenerator[list[Unit]]:
    """
    Yield the same of units that nobody has to wait for.
    """
    for _, of_user in itertools.groupby(units, _account_of):
        while portion := list(itertools.islice(of_user, MAX_ITEMS)):
            yield portion


async def one_by_one(units: AsyncGenerator[Unit]) -> AsyncGenerator[list[Unit]]:
    """
    Yield each unit as it comes.
    """
    async with contextlib.aclosing(units):
        async for unit in units:
            yield [unit]


def _go_together(portion: list[Unit], unit: Unit) -> bool:
    same = portion[0].change.from_account == unit.change.from_account
    return same and len(portion) < MAX_ITEMS
