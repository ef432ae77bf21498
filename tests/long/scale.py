"""
The figures of docs/scale.md: computed, simulated, and compared with the page.

    python tests/long/scale.py [REPLICAS [SECONDS]]
    python tests/long/scale.py group [ROWS...]

Replicas, 100 unless told otherwise, share the budget for 20 seconds of virtual time: the real
script on a real Redis or Valkey, by a made-up clock, with round trips of 50 to 150 ms to Chat.
Exits 0 when the page says what comes out. `group` checks and groups files of 3, 10 and 30 million
rows in random order, each in a process of its own, and extrapolates to a billion.
"""

import concurrent.futures
import math
import multiprocessing
import os
import pathlib
import random
import re
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator

import attrs
from paths import ROOT
from redis_server import MISSING, RedisServer
from rig import windows

from chatmark.jobs import ChangeFile
from chatmark.jobs.grouping import load
from chatmark.pacing.window import CallWindow, parse_rate

PAGE = ROOT / "docs" / "scale.md"
RATE = 190
ROWS = 1_000_000_000
# What comes before shares are counted: everybody finds its place. In seconds.
_SETTLING = 2.0
# Without a divisor in common with the sizes.
_STEP = 7_368_787


@attrs.frozen
class Simulated:
    """
    What a simulation gave.

    Args:
        used: The share of the budget that was used.
        fullest: The most calls in any one-second window.
        spread: The calls of the busiest replica over those of the idlest.
        waits: Seconds that a service's single call waited among bulk jobs, at p99.
    """

    used: float
    fullest: int
    spread: float
    wait: float


def table() -> Iterator[str]:
    """Yield the rows of the page on a job of a billion rows, and on shares of workers."""
    for items in (100, 50, 10, 1):
        calls = ROWS / items
        hours = calls / RATE / 3600
        time = f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
        yield f"| {items} | {calls:,.0f} | {RATE * items:,} | {time} |"
    for workers in (1, 2, 4, 8, 16, 32, 64, 100, 200):
        window = CallWindow(parse_rate(f"{RATE}/{workers}"))
        each = window.most / window.period
        numbers = f"{each:g} | {each * workers:g} | {100 * each:,.0f} | {1000 / each:,.0f}"
        yield f"| {workers} | {numbers} |"


def simulate(replicas: int, seconds: float) -> Simulated:
    """Let replicas share the budget, first all busy, then with a service among bulk jobs."""
    from shared_rig import BEGIN, Fleet, terms  # noqa: PLC0415 - it needs the extra.

    rng = random.Random(0)

    def latency() -> float:
        return rng.uniform(0.05, 0.15)

    with RedisServer() as server:
        fleet = Fleet(server)
        # Any way may be as long as the round trip: so that the window is that of any way.
        busy = [fleet.add(terms(RATE, most_way=0.05), latency=latency) for _ in range(replicas)]
        fleet.run(_SETTLING + seconds)
        since = BEGIN + _SETTLING
        counts = [sum(since <= at < since + seconds for at in each.arrivals) for each in busy]
        fullest = windows(fleet.arrivals())
        fleet.script.close()
        fleet = Fleet(server)
        for _ in range(replicas):
            fleet.add(terms(RATE, rank=1, most_way=0.05), latency=latency)
        service = fleet.add(terms(RATE), latency=latency, wants=lambda now: now % 0.1 < 0.001)
        fleet.run(_SETTLING + seconds)
        fleet.script.close()
    waits = sorted(service.waits)
    return Simulated(
        sum(counts) / seconds / RATE,
        fullest,
        max(counts) / max(1, min(counts)),
        waits[math.ceil(len(waits) * 0.99) - 1],
    )


def promised(name: str) -> float:
    """Return a figure of the page: the number in the row that the name begins."""
    found = re.search(rf"^\| {re.escape(name)} \| ([\d.]+)", PAGE.read_text("utf-8"), re.MULTILINE)
    assert found is not None, f"the page does not say: {name}"
    return float(found[1])


def check(simulated: Simulated) -> list[str]:
    """Return where the page and a simulation differ."""
    text = PAGE.read_text("utf-8")
    wrong = [f"not on the page: {row}" for row in table() if row not in text]
    if abs(100 * simulated.used - promised("used, %")) > 1:
        wrong.append(f"used: {simulated.used:.1%}")
    if simulated.fullest > promised("fullest window, calls"):
        wrong.append(f"fullest window: {simulated.fullest}")
    if simulated.spread > promised("busiest over idlest, at most"):
        wrong.append(f"busiest over idlest: {simulated.spread:.3f}")
    if 1000 * simulated.wait > promised("single call among bulk jobs, p99 at most, ms"):
        wrong.append(f"a single call waits {1000 * simulated.wait:.0f} ms")
    return wrong


def write(path: pathlib.Path, rows: int) -> None:
    """Write rows of JSON Lines in an order that scatters the hundred rows of each user."""
    users = rows // 100
    with path.open("w") as file:
        for number in range(rows):
            place = number * _STEP % rows
            file.write(
                f'{{"from_account": "user_{place % users:08}", '
                f'"to_account": "peer_{place // users}", '
                f'"set_mark": ["favorite", {32 + place % 32}]}}\n'
            )


def measure(path: pathlib.Path) -> tuple[float, float, float]:
    """Check and group a file, and return the seconds of both, and the most memory in MB."""
    with load(path.name, ChangeFile.of(str(path)).rows()) as loaded:
        assert loaded.spool.size.users * 100 == loaded.rows
        check, grouping = (phase.seconds for phase in loaded.phases)
    return check, grouping, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def group(sizes: list[int]) -> int:
    """Measure files of these sizes, and print what a billion rows would take."""
    context = multiprocessing.get_context("spawn")
    for rows in sizes:
        with (
            tempfile.TemporaryDirectory() as folder,
            concurrent.futures.ProcessPoolExecutor(1, context) as executor,
        ):
            path = pathlib.Path(folder, "rows.jsonl")
            write(path, rows)
            os.environ["SQLITE_TMPDIR"] = folder
            free = most = shutil.disk_usage(folder).free
            work = executor.submit(measure, path)
            while not work.done():
                most = min(most, shutil.disk_usage(folder).free)
                time.sleep(0.5)
            check, grouping, memory = work.result()
        print(
            f"{rows:,} rows: checked in {check:.0f} s, grouped in {grouping:.0f} s, "
            f"{memory:.0f} MB of memory, {(free - most) / 1e9:.1f} GB of disk; a billion rows: "
            f"{(check + grouping) / rows * ROWS / 3600:.1f} hours, "
            f"{(free - most) / rows * ROWS / 1e9:.0f} GB",
            flush=True,
        )
    return 0


def main() -> int:
    """Simulate, print and compare."""
    if sys.argv[1:2] == ["group"]:
        return group([int(each) for each in sys.argv[2:]] or [3_000_000, 10_000_000, 30_000_000])
    if MISSING is not None:
        print(MISSING)
        return 2
    replicas = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    print("\n".join(table()))
    simulated = simulate(replicas, seconds)
    print(f"{replicas} replicas, {seconds:g} s: {simulated}")
    wrong = check(simulated)
    print("\n".join(["WRONG", *wrong]) if wrong else "the page is right")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
