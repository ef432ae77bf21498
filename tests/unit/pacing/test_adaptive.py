"""
A limit that is learned from refusals: its rules, and whole minutes beside others in virtual time.
"""

import asyncio
import random
from typing import Final

import attrs
import pytest
from rig import windows
from virtual_time import in_virtual_loop

from chatmark.emulator.calls import RateLimit
from chatmark.emulator.wire import Refusal
from chatmark.pacing.adaptive import LearnedLimit
from chatmark.pacing.budget import CallBudget, CallOutcome
from chatmark.pacing.window import Slot

_WHOLE: Final = 200


def call(sent_at: float, before: int = 1) -> Slot:
    """Return a call before which so many others were in the window."""
    return Slot(sent_at, sent_at + 1.0, before)


def used() -> LearnedLimit:
    """Return a limit of which the last call before the time 0 was admitted."""
    learned = LearnedLimit(_WHOLE)
    learned.admitted(call(-0.01))
    return learned


class TestLearnedLimit:
    """One step after the other."""

    @pytest.mark.parametrize(
        ("before", "left", "pause"), [(199, 193.0, 0.03), (120, 116.4, 0.03), (3, 100.0, 0.0)]
    )
    def test_refused(self, before: int, left: float, pause: float) -> None:
        """A refusal leaves 97 % of the calls in the window, and half the limit at least."""
        learned = used()
        told = learned.refused(call(0.0, before), 0.1)

        assert (left, pause) == pytest.approx((learned.at(0.1), told), abs=0.1)

    def test_a_burst_is_one(self) -> None:
        """Further refusals of calls that were sent before the news of the first change nothing."""
        learned = used()
        learned.refused(call(-0.1, 180), 0.0)
        pauses = {learned.refused(call(-0.1 + 0.001 * n, 180), 0.0) for n in range(101)}

        assert (180 * 0.97, {0.0}) == (learned.at(0.0), pauses)

    def test_rises(self) -> None:
        """It is for some seconds near what was left, and soon after that at the whole again."""
        learned = used()
        learned.refused(call(0.0, 103), 0.0)
        rates = [learned.at(second) for second in range(14)]

        assert 99.9 == pytest.approx(rates[0], abs=0.1)
        assert rates[3] < 106
        assert 120 < rates[6] < 130
        assert _WHOLE == rates[13]

    def test_never_below_one_call(self) -> None:
        """However often it is refused, a call a second is left."""
        learned = used()
        for number in range(100):
            learned.refused(call(number, 0), number + 0.001)
            learned.admitted(call(number + 0.5))

        assert 1.0 == learned.at(99.001)

    @pytest.mark.parametrize(("success", "pause"), [(None, 0.2), (10.0, 0.2), (10.2, 0.0)])
    def test_no_success_between(self, success: float | None, pause: float) -> None:
        """
        Refusals with no success of a call sent between make the pause grow, then none is enough.
        """
        learned = used()
        pauses = [learned.refused(call(at), at + 0.1) for at in (0.0, 5.0, 10.0)]
        assert [0.0, 0.1, 0.2] == pauses
        if success is not None:
            learned.admitted(call(success))
        is_begun_anew = pause == 0.0

        assert (0.0 if is_begun_anew else None) == learned.refused(call(15.0), 15.1)
        assert (0.0 if is_begun_anew else None) == learned.refused(call(15.0), 15.2)

    def test_never_admitted(self) -> None:
        """A client that was never admitted does not know that it is a matter of the rate."""
        assert LearnedLimit(_WHOLE).refused(call(0.0), 0.1) is None


@attrs.define
class Count:
    """What became of the calls of one client: when they reached the server, and when they were."""

    admitted: list[float] = attrs.field(factory=list)
    refused: list[float] = attrs.field(factory=list)

    def share(self, start: float, end: float) -> tuple[float, float]:
        """Return the calls admitted a second between two times, and the share that was refused."""
        admitted = sum(start <= at < end for at in self.admitted)
        refused = sum(start <= at < end for at in self.refused)
        return admitted / (end - start), refused / (admitted + refused)


class Town:
    """
    A server that refuses the call that is one too many in any second, and its clients.

    Args:
        calls_per_second: The most calls.
        seed: Of the round trips, 50 to 150 ms, and of the lateness of everybody's timers.
    """

    def __init__(self, calls_per_second: int = 200, seed: int = 1) -> None:
        loop = asyncio.get_running_loop()
        self.rate = RateLimit(calls_per_second, monotonic=loop.time)
        self.rng = random.Random(seed)
        self.tasks: list[asyncio.Task[None]] = []

    def admits(self, count: Count) -> bool:
        """Count a call that reaches the server now; return whether it is admitted."""
        now = asyncio.get_running_loop().time()
        try:
            self.rate.admit("mark_contact")
        except Refusal:
            count.refused.append(now)
            return False
        count.admitted.append(now)
        return True

    def client(self, budget: CallBudget, in_flight: int = 32) -> Count:
        """Let somebody make as many calls as a budget allows."""
        count = Count()
        for _ in range(in_flight):
            self.tasks.append(asyncio.create_task(self._calls(budget, count)))
        return count

    def neighbour(self, calls_per_second: float) -> Count:
        """Let somebody call at an even pace, whatever comes of it."""
        count = Count()
        self.tasks.append(asyncio.create_task(self._even(calls_per_second, count)))
        return count

    def leave(self) -> None:
        """Let the last who came go."""
        self.tasks.pop().cancel()

    async def _calls(self, budget: CallBudget, count: Count) -> None:
        while True:
            permit = await budget.acquire()
            await asyncio.sleep(self.rng.expovariate(1000.0))
            permit.sent()
            admitted = self.admits(count)
            # A refusal takes the server no time.
            await asyncio.sleep(self.rng.uniform(0.05, 0.15) if admitted else 0.002)
            if admitted:
                permit.done(CallOutcome.ADMITTED)
            elif permit.done(CallOutcome.REFUSED) is None:
                await asyncio.sleep(1.0)

    async def _even(self, calls_per_second: float, count: Count) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self.admits(count)
            due += 1 / calls_per_second
            await asyncio.sleep(max(0.0, due - loop.time()) + self.rng.expovariate(1000.0))


class TestBesideOthers:
    """Minutes at a server that others use, too, in virtual time."""

    @pytest.mark.parametrize("seed", range(2))
    @in_virtual_loop
    async def test_a_neighbour_takes_half(self, seed: int) -> None:
        """
        Of what a neighbour leaves 95 % are used, 1 % refused; when it has left, soon all is used.
        """
        town = Town(seed=seed)
        count = town.client(CallBudget(200))
        await asyncio.sleep(5)
        neighbour = town.neighbour(100)
        await asyncio.sleep(25)
        town.leave()
        await asyncio.sleep(17)
        calls, refused = count.share(5, 30)
        after, refused_after = count.share(43, 47)

        assert refused < 0.01
        assert calls >= 0.95 * (200 - neighbour.share(5, 30)[0])
        assert after >= 0.95 * count.share(0, 5)[0]
        assert refused_after < 0.01
        assert windows(count.admitted + count.refused) <= 200

    @pytest.mark.parametrize("told", [190, 200])
    @in_virtual_loop
    async def test_alone(self, told: int) -> None:
        """A lone client is refused nothing, and loses no more than it believes of the way."""
        count = Town().client(CallBudget(told))
        await asyncio.sleep(8)

        assert [] == count.refused
        assert count.share(1, 8)[0] >= told / 1.05
        assert windows(count.admitted) <= told

    @in_virtual_loop
    async def test_two_who_share_nothing(self) -> None:
        """Of two who know nothing of each other the second gets its share from the first."""
        town = Town()
        first = town.client(CallBudget(200))
        await asyncio.sleep(10)
        second = town.client(CallBudget(200))
        await asyncio.sleep(70)
        (one, refused), (other, others) = first.share(40, 80), second.share(40, 80)

        assert 0.5 < one / other < 2.0
        assert one + other > 0.95 * 200
        assert max(refused, others) < 0.01

    @in_virtual_loop
    async def test_told_too_much(self) -> None:
        """At a server that allows half of what was told nine tenths of it and more are used."""
        count = Town(100).client(CallBudget(200))
        await asyncio.sleep(15)
        calls, refused = count.share(0, 15)

        assert calls > 90
        assert refused < 0.02

    @in_virtual_loop
    async def test_shut(self) -> None:
        """A server that admits nothing any more is left alone after some dozen calls."""
        town = Town()
        count = town.client(CallBudget(200))
        await asyncio.sleep(2)
        town.rate.calls_per_second = 0
        await asyncio.sleep(0.9)

        assert len(count.refused) <= 50
