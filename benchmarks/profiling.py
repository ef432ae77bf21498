"""
`python -m benchmarks.profiling`: where the session's own time goes, by function and by line.

cProfile makes small functions look dearer than they are; their order is what it is good for. With
`--lines`, line_profiler (dependency group `bench`) shows the lines of the hottest.
"""

import argparse
import asyncio
import cProfile
import importlib
import operator
import pathlib
import pstats
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from benchmarks import farend, loads
from benchmarks.measure import stay_on_first_core
from benchmarks.throughput import open_session

_USERS: Final = 250
_CONVERSATIONS: Final = 200
_REQUESTS: Final = _USERS * _CONVERSATIONS // loads.ITEMS
_HOT: Final = (
    "chatmark.session.feed:_Feed._submit",
    "chatmark.session.dispatcher:Dispatcher._tell",
    "chatmark.core.engine:Engine.admit_many",
    "chatmark.core.engine:Engine.take",
    "chatmark.core.scheduler:Scheduler.refresh",
    "chatmark.core.ledger:Ledger.succeed_many",
    "chatmark.changes:MarkChange.__init__",
    "chatmark.wire.classify:classify_marks",
    "chatmark.core.item_outcomes:decide",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile the throughput run of the session, changes built on the way."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profiling", description=__doc__)
    parser.add_argument("--top", type=int, default=30, help="how many functions")
    parser.add_argument("--lines", action="store_true", help="by line, with line_profiler")
    options = parser.parse_args(arguments)
    stay_on_first_core()
    with farend.fast() as far:
        if options.lines:
            _by_line(far.url)
        else:
            _by_function(far.url, options.top)
    return 0


def _apply(url: str) -> None:
    async def apply() -> None:
        async with open_session(url) as session:
            await session.apply(loads.changes(loads.rows(_USERS, _CONVERSATIONS)))

    asyncio.run(apply())


def _by_function(url: str, top: int) -> None:
    profile = cProfile.Profile()
    profile.runcall(_apply, url)
    found: dict[tuple[str, int, str], Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    rows = [
        (own / _REQUESTS * 1e6, whole / _REQUESTS * 1e6, count / _REQUESTS, _place(*place))
        for place, (_, count, own, whole, _) in found.items()
    ]
    print("| own us | with callees us | calls | function |\n| --: | --: | --: | --- |")
    for own, whole, count, place in sorted(rows, reverse=True)[:top]:
        print(f"| {own:.0f} | {whole:.0f} | {count:.1f} | {place} |")


def _place(file: str, line: int, name: str) -> str:
    return name if line == 0 else f"{pathlib.Path(file).name}:{line} {name}"


def hot_functions() -> list[Callable[..., Any]]:
    """Return the functions that are shown by line."""
    named = (hot.partition(":") for hot in _HOT)
    return [operator.attrgetter(path)(importlib.import_module(module)) for module, _, path in named]


def _by_line(url: str) -> None:
    line_profiler = importlib.import_module("line_profiler")
    profiler = line_profiler.LineProfiler()
    for function in hot_functions():
        profiler.add_function(function)
    profiler.runcall(_apply, url)
    profiler.print_stats(stream=sys.stdout, output_unit=1e-6)


if __name__ == "__main__":
    sys.exit(main())
