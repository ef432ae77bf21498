"""
The figures of docs/scale.md: computed, simulated, and compared with the page.

    python tests/long/scale.py [REPLICAS [SECONDS]]

Replicas, 100 unless told otherwise, share the budget for 20 seconds of virtual time: the real
script on a real Redis or Valkey, by a made-up clock, with round trips of 50 to 150 ms to Chat.
Exits 0 when the page says what comes out.
"""

import math
import random
import re
import sys
from collections.abc import Iterator

import attrs
from paths import ROOT
from redis_server import MISSING, RedisServer
from rig import windows

from chatmark.pacing.window import Pace, parse_rate

PAGE = ROOT / "docs" / "scale.md"
RATE = 190
ROWS = 1_000_000_000
# What comes before shares are counted: everybody finds its place. In seconds.
_SETTLING = 2.0


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
        pace = Pace(parse_rate(f"{RATE}/{workers}"))
        each = pace.most / pace.period
        numbers = f"{each:g} | {each * workers:g} | {100 * each:,.0f} | {1000 * pace.spacing:,.0f}"
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


def main() -> int:
    """Simulate, print and compare."""
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
