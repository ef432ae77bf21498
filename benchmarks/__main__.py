"""`python -m benchmarks`: run all benchmarks, or those that are named."""

import argparse
import importlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

from benchmarks.figures import Figure, table, write_json
from benchmarks.measure import stay_on_first_core

GROUPS: Final = (
    "throughput",
    "peers",
    "calls",
    "ceiling",
    "latency",
    "memory",
    "growth",
    "start",
    "flags",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that are named, print their table, and return 0: a goal is no test."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"any of {', '.join(GROUPS)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that all runs")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    parser.add_argument("--plot", metavar="FILE", help="draw them; needs matplotlib")
    options = parser.parse_args(arguments)
    unknown = set(options.groups) - set(GROUPS)
    if unknown:
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    stay_on_first_core()
    figures = list(_run(options.groups or GROUPS, quick=options.quick))
    print(table(figures))
    if options.json:
        write_json(options.json, figures)
    if options.plot:
        from benchmarks.plot import draw  # noqa: PLC0415 - matplotlib is not for everyone.

        draw(options.plot, figures)
    return 0


def _run(groups: Sequence[str], *, quick: bool) -> Iterator[Figure]:
    for group in groups:
        started = time.monotonic()
        module = importlib.import_module(f"benchmarks.{group}")
        for figure in module.run(quick=quick):
            print("  ".join(filter(None, figure.cells)), file=sys.stderr, flush=True)
            yield figure
        print(f"{group}: {time.monotonic() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
