"""
The soak of the shared budget: processes, a real Redis or Valkey, and the emulator's own count.

    python tests/long/budget_soak.py [SECONDS [PART]]

Four parts, `busy`, `priorities`, `outage` and `failover`, of 30 seconds each unless told otherwise:
eight busy processes share 200 calls a second; eight bulk jobs of low priority meet a service that
sends single marks; eight busy processes meet a server that is killed, started again with nothing in
it, and hangs; eight busy processes meet a Sentinel trio whose primary is killed. Exits 0 when no
window of one second held more than 200 calls (in an outage: and a share), 95 % of them were used,
shares are within 10 %, a single mark waits under 100 ms more than its round trip at p99, and no
change is lost or applied twice.
"""

import asyncio
import collections
import itertools
import multiprocessing
import sys
import time
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self

import attrs
from job_rig import Server
from redis_server import MISSING, RedisServer, SentinelTrio
from rig import windows

from chatmark import Conversation, ConversationMark, Credentials, MarkChange, MarkSession
from chatmark.pacing.shared.store import UrlClient
from chatmark.redis import Priority, RedisBudget

RATE = 200
PROCESSES = 8
# Users of a busy process, so that it always has a lane to send.
LANES = 40
# Shares count from so many seconds after the last process's first call.
SETTLED = 2.0
LEAST_USED, MOST_SPREAD, MOST_WAIT = 0.95, 1.1, 0.1
_CONTEXT = multiprocessing.get_context("spawn")
_SENTINELS = "sentinels:"
_EACH = ConversationMark.FAVORITE


@attrs.frozen
class Part:
    """
    What one process did.

    Args:
        name: Which it is.
        applied: How many changes took effect.
        failed: How many did not.
        waits: Seconds that single marks took.
        trips: Seconds that their requests took.
    """

    name: str
    applied: int
    failed: int
    waits: list[float] = attrs.field(factory=list)
    trips: list[float] = attrs.field(factory=list)


@attrs.frozen
class Outcome:
    """
    What the emulator saw and the processes say.

    Args:
        calls: When calls came, and of which process.
        applied: How many changes it applied; each is of a conversation of its own.
        marked: How many conversations have marks in the end.
        violations: Rules of the server that were broken.
        parts: What the processes did.
    """

    calls: list[tuple[float, str]]
    applied: int
    marked: int
    violations: list[str]
    parts: list[Part]

    def times(self, since: float = 0.0) -> list[float]:
        """Return when calls came, from so many seconds after the first on."""
        return [at for at, _ in self.calls if at >= self.calls[0][0] + since]


def work(pipe: Connection, url: str, redis_url: str, name: str, priority: Priority | None) -> None:
    """Send changes in this process until told to stop: many, or with no priority single ones."""
    pipe.send(asyncio.run(_work(pipe, url, redis_url, name, priority)))


async def _work(
    pipe: Connection, url: str, redis_url: str, name: str, priority: Priority | None
) -> Part:
    from redis.asyncio import Sentinel  # noqa: PLC0415 - an extra.

    credentials = Credentials(
        sdkappid=1400000001, identifier="administrator", secret_key="example-secret-not-real"
    )
    # The machine is shared: a call may be late there by more than is usual.
    ports = [int(port) for port in redis_url.removeprefix(_SENTINELS).split(",") if port.isdigit()]
    sentinels: Any = Sentinel
    addresses = [("127.0.0.1", port) for port in ports]
    budget = RedisBudget(
        sentinels(addresses).master_for("chat") if ports else UrlClient(redis_url),
        key="soak",
        calls_per_second=RATE,
        priority=priority or "normal",
        most_way=0.5,
    )
    trips: list[float] = []
    loop = asyncio.get_running_loop()
    stop = loop.run_in_executor(None, pipe.recv)
    async with (
        budget,
        MarkSession(
            credentials,
            base_url=url,
            budget=budget,
            max_pending=2 * LANES,
            hooks=[lambda event: trips.append(getattr(event, "duration", 0.0))],
        ) as session,
    ):
        pipe.send("begun")
        if priority is None:
            return await _single(session, name, stop, trips)
        report = await session.apply(_many(name, stop))
        return Part(name, report.succeeded, report.failed)


async def _many(name: str, stop: "asyncio.Future[Any]") -> AsyncIterator[MarkChange]:
    for number in itertools.count():
        if stop.done():
            return
        lane = number % LANES
        yield MarkChange(f"{name}-{lane}", Conversation.group(f"g{number // LANES}"), _EACH)


async def _single(
    session: MarkSession, name: str, stop: "asyncio.Future[Any]", trips: list[float]
) -> Part:
    waits: list[float] = []
    loop = asyncio.get_running_loop()
    for number in itertools.count():
        if stop.done():
            break
        trips.clear()
        began = loop.time()
        await session.mark(f"{name}-0", Conversation.group(f"g{number}"), set_mark=_EACH)
        waits.append(loop.time() - began - sum(trips))
        await asyncio.sleep(0.05 + number % 7 * 0.01)
    return Part(name, len(waits), 0, waits)


@attrs.define
class Fleet:
    """
    An emulator and the processes that call it.

    Args:
        redis_url: Where the budget is.
    """

    redis_url: str
    _members: list[tuple[BaseProcess, Connection]] = attrs.field(factory=list)
    _server: Server = attrs.field(factory=lambda: Server(keep_calls=None, max_marked=10**9))
    _begun: int = 0

    def add(self, name: str, priority: Priority | None) -> None:
        """Start a process that sends many changes at a priority, or with none single marks."""
        url = self._server.environment["CHATMARK_BASE_URL"]
        here, there = _CONTEXT.Pipe()
        arguments = (there, url, self.redis_url, name, priority)
        process = _CONTEXT.Process(target=work, args=arguments, daemon=True)
        process.start()
        self._members.append((process, here))

    def run(self, seconds: float) -> None:
        """Let all work once all have begun."""
        for _, pipe in self._members[self._begun :]:
            pipe.recv()
            self._begun += 1
        time.sleep(seconds)

    def finish(self) -> Outcome:
        """Stop everything, and return what came of it."""
        for _, pipe in self._members:
            pipe.send("stop")
        parts = [pipe.recv() for _, pipe in self._members]
        for process, _ in self._members:
            process.join(10)
        ask = self._server.ask
        calls = [(at, (account or "").partition("-")[0]) for at, account in ask("accounts")]
        return Outcome(calls, ask("items"), ask("size"), ask("violations"), parts)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process, _ in self._members:
            process.kill()
        self._server.__exit__()


def p99(values: list[float]) -> float:
    """Return the value that 1 % are above."""
    return sorted(values)[int(len(values) * 0.99)]


def check_changes(outcome: Outcome) -> list[str]:
    """Return what is wrong with the changes: each must have been applied once, and said to be."""
    said = sum(part.applied for part in outcome.parts)
    failed = sum(part.failed for part in outcome.parts)
    print(f"  {said:,} changes succeeded, {failed} failed, {len(outcome.calls):,} calls")
    counts = {said, outcome.applied, outcome.marked}
    lost = [] if len(counts) == 1 and not failed else [f"changes: {counts}, {failed} failed"]
    return [*outcome.violations, *lost]


def busy(seconds: float) -> list[str]:
    """Let eight busy processes share the budget."""
    print(f"eight busy processes, {RATE} calls a second, {seconds:g} s")
    with RedisServer() as redis, Fleet(redis.url) as fleet:
        for number in range(PROCESSES):
            fleet.add(f"job{number}", "normal")
        fleet.run(seconds)
        outcome = fleet.finish()
    return [*check_changes(outcome), *check_shares(outcome)]


def check_shares(outcome: Outcome) -> list[str]:
    """Return what is wrong with the windows and the shares, once all processes are there."""
    most = windows(outcome.times())
    names = [part.name for part in outcome.parts]
    first = {each: min(at for at, name in outcome.calls if name == each) for each in names}
    begin = max(first.values()) + SETTLED
    end = min(max(at for at, name in outcome.calls if name == each) for each in names)
    counts = {
        each: sum(name == each and begin <= at < end for at, name in outcome.calls)
        for each in names
    }
    used = sum(counts.values()) / (end - begin) / RATE
    spread = max(counts.values()) / max(1, min(counts.values()))
    print(f"  fullest window {most}, {used:.1%} used over {end - begin:.1f} s")
    print(f"  busiest over idlest {spread:.3f}: {sorted(counts.values())}")
    return [
        *([f"a window of {most}"] if most > RATE else []),
        *([f"only {used:.1%} used"] if used < LEAST_USED else []),
        *([f"busiest over idlest {spread:.3f}"] if spread > MOST_SPREAD else []),
    ]


def priorities(seconds: float) -> list[str]:
    """Let bulk jobs of low priority meet a service."""
    print(f"a service's single marks among {PROCESSES} bulk jobs of low priority, {seconds:g} s")
    with RedisServer() as redis, Fleet(redis.url) as fleet:
        for number in range(PROCESSES):
            fleet.add(f"job{number}", "low")
        fleet.add("service", None)
        fleet.run(seconds)
        outcome = fleet.finish()
    (service,) = (part for part in outcome.parts if part.name == "service")
    # Its first mark waits for the count to begin.
    waits = service.waits[1:]
    most, late = windows(outcome.times()), p99(waits)
    print(f"  fullest window {most}, {len(waits)} single marks")
    middle = sorted(waits)[len(waits) // 2]
    print(f"  beyond the round trip: p50 {1000 * middle:.1f} ms, p99 {1000 * late:.1f} ms")
    return [
        *check_changes(outcome),
        *([f"a window of {most}"] if most > RATE else []),
        *([f"p99 {late:.3f} s"] if late > MOST_WAIT else []),
    ]


def outage(seconds: float) -> list[str]:
    """
    Kill the server under load, start it again with nothing in it, then let it hang for a while.
    """
    print(f"eight busy processes; the server is killed, started again, and hangs, {seconds:g} s")
    with RedisServer() as redis, Fleet(redis.url) as fleet:
        for number in range(PROCESSES):
            fleet.add(f"job{number}", "normal")
        fleet.run(seconds / 4)
        redis.kill()
        fleet.run(seconds / 4)
        redis.start()
        fleet.run(seconds / 4)
        redis.freeze()
        fleet.run(seconds / 8)
        redis.thaw()
        fleet.run(seconds / 8)
        outcome = fleet.finish()
    most = windows(outcome.times())
    print(f"  fullest window {most}; calls by second {by_second(outcome.times())}")
    share = RATE / PROCESSES
    return [
        *check_changes(outcome),
        *([f"a window of {most}"] if most > RATE + share else []),
    ]


def failover(seconds: float) -> list[str]:
    """Kill the primary of a Sentinel trio under load."""
    print(f"eight busy processes; the primary of a Sentinel trio is killed, {seconds:g} s")
    with SentinelTrio() as trio:
        with Fleet(_SENTINELS + ",".join(str(port) for _, port in trio.addresses)) as fleet:
            for number in range(PROCESSES):
                fleet.add(f"job{number}", "normal")
            fleet.run(seconds / 3)
            trio.primary.kill()
            fleet.run(2 * seconds / 3)
            outcome = fleet.finish()
    most = windows(outcome.times())
    seconds_of = by_second(outcome.times())
    print(f"  fullest window {most}; calls by second {seconds_of}")
    return [
        *check_changes(outcome),
        *([f"a window of {most}"] if most > RATE + RATE / PROCESSES else []),
        *([f"did not recover: {seconds_of}"] if seconds_of[-3] < LEAST_USED * RATE else []),
    ]


def by_second(times: list[float]) -> list[int]:
    """Return how many there are in each second from the first."""
    counts = collections.Counter(int(at - times[0]) for at in times)
    return [counts[second] for second in range(max(counts) + 1)]


def main() -> int:
    """Run the soak."""
    if MISSING is not None:
        print(MISSING)
        return 2
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    parts = {each.__name__: each for each in (busy, priorities, outage, failover)}
    wrong = [each for name in sys.argv[2:] or parts for each in parts[name](seconds)]
    print("\n".join(["WRONG", *wrong]) if wrong else "exact, fair and prompt")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
