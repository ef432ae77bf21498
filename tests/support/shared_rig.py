"""
A fleet that shares a budget in virtual time: the real script, on a real server, by a made-up clock.
"""

import itertools
import random
from collections.abc import Callable
from typing import Any

import attrs
import redis
from redis_server import RedisServer

from chatmark.pacing.shared.member import Call, Member, Terms
from chatmark.pacing.shared.store import SCRIPT, keys_of

# The script takes 0 for its own clock.
BEGIN = 1_000_000.0
TICK = 0.001
_TIMEOUT = 0.5


def terms(rate: float = 200, rank: int = 0, most_way: float = 0.05) -> Terms:
    """Return what the processes of a test agree on."""
    return Terms(rate, rank=rank, horizon=0.02 if rank else 0.04, most_way=most_way)


class Script:
    """The script by a clock of the test's own, which may go *ahead* of the true one."""

    def __init__(self, server: RedisServer) -> None:
        self.ahead = 0.0
        self.redis: Any = redis.Redis.from_url(server.url)
        self.redis.flushall()
        self._run = self.redis.register_script(SCRIPT)

    def ask(self, arguments: tuple[str, ...], now: float) -> Any:
        """Ask at that time, in seconds."""
        process, _, *others = arguments
        clock = f"{(now + self.ahead) * 1_000_000:.0f}"
        return self._run(keys_of("test"), (process, clock, *others))

    def open(self) -> None:
        """Let somebody have come and left, so that the count is not new."""
        opener = Member(terms(), "opener")
        self.ask(opener.question(0.0), BEGIN - 10)
        self.ask(opener.question(0.0, leaving=True), BEGIN - 10)

    def lose(self) -> None:
        """Forget everything."""
        self.redis.flushall()

    def close(self) -> None:
        """Disconnect."""
        self.redis.close()


@attrs.define
class Replica:
    """
    One process: it calls whenever it may and wants to.

    Args:
        member: Its part.
        rng: Where its round trips and lateness come from.
        offset: Its clock minus the server's.
        wants: Whether it wants to call at a time.
        latency: Seconds until the answer of a call.
        trip: Seconds of the round trip to Redis, the most.
        waiters: How many tasks wait when it wants to call.
        is_cut: Whether it cannot reach Redis.
    """

    member: Member
    rng: random.Random
    offset: float
    wants: Callable[[float], bool] = lambda _: True
    latency: Callable[[], float] = lambda: 0.01
    trip: float = 0.004
    waiters: int = 1
    is_cut: bool = False
    arrivals: list[float] = attrs.field(factory=list)
    waits: list[float] = attrs.field(factory=list)
    _since: float | None = None
    _answers: list[tuple[float, Call]] = attrs.field(factory=list)
    _question: tuple[float, tuple[str, ...]] | None = None
    _answer: tuple[float, Any] | None = None

    def step(self, now: float, script: Script | None) -> None:
        """Do what there is to do at a time."""
        local = now + self.offset
        self._converse(now, local, script)
        for answered_at, ticket in [each for each in self._answers if each[0] <= local]:
            self._answers.remove((answered_at, ticket))
            self.member.answered(ticket, local)
        if self._since is None and self.wants(now):
            self._since = now
            self.member.waiting = self.waiters
        while self._since is not None and self.member.ready_at(local) <= local:
            ticket = self.member.take(local)
            latency = self.latency()
            # It is there at any moment between its sending and its answer.
            self.arrivals.append(now + latency * self.rng.random())
            self._answers.append((local + latency, ticket))
            self.waits.append(now - self._since)
            self._since = now if self.wants(now) else None
            self.member.waiting = 0 if self._since is None else self.waiters

    def _converse(self, now: float, local: float, script: Script | None) -> None:
        if self._answer is not None and self._answer[0] <= local:
            _, answer = self._answer
            self._answer = None
            if answer is None:
                self.member.lost(local)
            else:
                self.member.learn(answer, local)
        if self._question is not None and self._question[0] <= local:
            _, asked = self._question
            self._question = None
            if script is None or self.is_cut:
                self._answer = (local + _TIMEOUT, None)
            else:
                back = local + self.trip * self.rng.random() / 2
                self._answer = (back, script.ask(asked, now))
        idle = self._question is None and self._answer is None
        if idle and self.member.ask_at(local) <= local:
            there = local + self.trip * self.rng.random() / 2
            self._question = (there, self.member.question(local))


class Fleet:
    """
    Replicas and the server that they share.

    Args:
        server: Where the script runs.
        is_new: Whether nobody was there before.
    """

    def __init__(self, server: RedisServer, *, is_new: bool = False) -> None:
        self.script = Script(server)
        if not is_new:
            self.script.open()
        self.replicas: list[Replica] = []
        self.is_down = False
        self.now = BEGIN
        self._numbers = itertools.count()

    def add(self, shared: Terms | None = None, **settings: Any) -> Replica:
        """Add a replica."""
        number = next(self._numbers)
        rng = random.Random(number)
        member = Member(shared or terms(), f"p{number}")
        replica = Replica(member, rng, offset=1000.0 * rng.random(), **settings)
        self.replicas.append(replica)
        return replica

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self.now < end:
            self.now += TICK
            for replica in self.replicas:
                replica.step(self.now, None if self.is_down else self.script)

    def arrivals(self) -> list[float]:
        """Return when the calls of all came."""
        return sorted(itertools.chain(*(each.arrivals for each in self.replicas)))
