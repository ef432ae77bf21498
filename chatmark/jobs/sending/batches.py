"""Batches of units, as a session is given them, so that they fill requests."""

import contextlib
import itertools
from collections.abc import AsyncGenerator, Iterable
from operator import attrgetter
from typing import Final

from chatmark.jobs.grouping.units import Unit
from chatmark.limits import MAX_ITEMS

# Units in flight at once: enough for parallel lanes, few enough for memory.
MOST_IN_FLIGHT: Final = 10_000

_account_of = attrgetter("change.from_account")


async def batches_as_read(units: AsyncGenerator[Unit | None]) -> AsyncGenerator[list[Unit]]:
    """
    Yield the units of one user together, as many as a request holds.

    A None ends a batch at once, because the next unit may take long.
    """
    batch: list[Unit] = []
    async with contextlib.aclosing(units):
        async for unit in units:
            if batch and (
                unit is None
                or len(batch) >= MAX_ITEMS
                or _account_of(batch[0]) != _account_of(unit)
            ):
                yield batch
                batch = []
            if unit is not None:
                batch.append(unit)
    if batch:
        yield batch


async def batches_of(units: Iterable[Unit]) -> AsyncGenerator[list[Unit]]:
    """Yield batches of units that are read without a wait."""
    for _, of_user in itertools.groupby(units, _account_of):
        while batch := list(itertools.islice(of_user, MAX_ITEMS)):
            yield batch


async def one_by_one(units: AsyncGenerator[Unit]) -> AsyncGenerator[list[Unit]]:
    """Yield each unit as it comes."""
    async with contextlib.aclosing(units):
        async for unit in units:
            yield [unit]
