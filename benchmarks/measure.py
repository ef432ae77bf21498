"""
Ratios that a busy machine does not bend.

What is compared runs in turns in one process, A B C A B C, each round in another order. A figure
is the median over the rounds of the ratio within a round, so that a neighbour who slows the machine
for a while slows both sides of the ratio.

Throughput is compared by the work of the process, its CPU time. Where nothing else runs it is the
time by the clock, for a client with many requests in flight never waits. Where something else does,
whoever needs less work waits more for a far end that is held up, and the clock would flatter us.
"""

import gc
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import attrs

_FEW: Final = 4


@attrs.frozen
class Spread:
    """A median with its quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of some values."""
        if len(values) < _FEW:
            return cls(statistics.median(values), min(values), max(values))
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(middle, low, high)


@attrs.frozen
class Side:
    """
    One of the things that are compared.

    Args:
        things: How many things a run does; times are told for one of them.
        run: Does them.
    """

    things: int
    run: Callable[[], Awaitable[object]]


@attrs.frozen
class Times:
    """
    How long one thing took, round by round.

    Args:
        wall: Seconds by the clock.
        cpu: Seconds of this process's own work.
    """

    wall: list[float] = attrs.field(factory=list)
    cpu: list[float] = attrs.field(factory=list)

    def over(self, other: "Times") -> Spread:
        """Return how many times more work than *other* it took, round by round."""
        return ratio(self.cpu, other.cpu)

    def longer_than(self, other: "Times") -> float:
        """Return how many times longer than *other* it took by the clock."""
        return ratio(self.wall, other.wall).median

    @property
    def work(self) -> float:
        """The microseconds of this process's own work for one thing."""
        return statistics.median(self.cpu) * 1e6


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Return the spread of the ratio of two sides that were measured round by round."""
    return Spread.of([a / b for a, b in zip(above, below, strict=True)])


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def in_turns(sides: Mapping[str, Side], count: int) -> dict[str, Times]:
    """Run the sides in turns, and return how long each took; a first round is not counted."""
    names = list(sides)
    times = {name: Times() for name in names}
    for number in range(count + 1):
        for name in _turned(names, number):
            side = sides[name]
            # The garbage of one side is not the other's to collect.
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            await side.run()
            if number:
                times[name].cpu.append((time.process_time() - cpu) / side.things)
                times[name].wall.append((time.perf_counter() - wall) / side.things)
    return times


def in_turns_sync(sides: Mapping[str, Callable[[], float]], count: int) -> dict[str, list[float]]:
    """Call the sides in turns, and return the seconds that each of them measured of itself."""
    names = list(sides)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(count + 1):
        for name in _turned(names, number):
            seconds = sides[name]()
            if number:
                times[name].append(seconds)
    return times


def _turned(names: list[str], number: int) -> list[str]:
    first = number % len(names)
    return names[first:] + names[:first]


def stay_on_first_core() -> None:
    """Keep this process and its children on one core, so that the far end has another."""
    cores = _cores()
    if len(cores) > 1:
        os.sched_setaffinity(0, cores[:1])


def stay_off_first_core(cores: Sequence[int]) -> None:
    """Keep this process, a far end, on the other cores of those that the machine gives."""
    if len(cores) > 1:
        os.sched_setaffinity(0, cores[1:])


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


ALL_CORES: Final = _cores()
