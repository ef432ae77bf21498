"""
A rate that is learned from refusals: its rules, and whole minutes beside others in virtual time.
"""

import asyncio
import math
import random
from collections.abc import Coroutine
from typing import Any, Final

import attrs
import pytest
from rig import windows
from virtual_time import run

from chatmark.emulator.calls import RateLimit
from chatmark.emulator.wire import Refusal
from chatmark.pacing.adaptive import LearnedRate
from chatmark.pacing.budget import CallBudget, CallOutcome

_WHOLE: Final = 200.0


def used(whole: float = _WHOLE, calls: int = 200) -> LearnedRate:
    """
    Return a rate of which a second was just used, up to the time 0, and the last call admitted.
    """
    learned = LearnedRate(whole)
    for number in range(calls):
        learned.sent((number - calls) / calls)
    learned.admitted(-1.0 / calls)
    return learned


def halved() -> LearnedRate:
    """Return a rate that has just fallen, because a hundred calls a second were left."""
    learned = used()
    for at in (-2.0, 0.0):
        learned.refused(at, at - 0.01, 100)
        learned.admitted(at)
    return learned


def use(learned: LearnedRate, start: float, seconds: float) -> None:
    """Use the rate for so long, by a call every hundredth of a second."""
    for number in range(round(seconds * 100)):
        learned.sent(start + number / 100)


class TestLearnedRate:
    """One step after the other."""

    def test_nothing_refused(self) -> None:
        """While nothing is refused the rate is the whole, and nothing waits."""
        learned = used()

        assert (_WHOLE, -math.inf) == (learned.rate, learned.ready_at(0.0))

    @pytest.mark.parametrize(("before", "rate"), [(199, 183.2), (150, 141.0), (120, 114.2)])
    def test_refused(self, before: int, rate: float) -> None:
        """
        A refusal leaves a little less than were in the second before: more is given up of more.
        """
        learned = used()
        learned.refused(0.1, 0.0, before)

        assert rate == pytest.approx(learned.rate, abs=0.1)

    def test_few_for_want_of_work(self) -> None:
        """
        However few calls there were, half the rate is left: there may have been no more to send.
        """
        learned = used()
        learned.refused(0.1, 0.0, 3)

        assert _WHOLE / 2 == learned.rate

    def test_pauses_until_there_is_room(self) -> None:
        """The pause lasts until so many calls have left the second that another one fits."""
        learned = used()
        pause = learned.refused(0.0, -0.002, 199) or 0.0

        # Of 200 the last 184 are too many yet, and the way of one is longer than another's.
        assert 0.08 == pytest.approx(learned.ready_at(0.0))
        assert 0.085 == pytest.approx(pause)

    def test_a_burst_is_one(self) -> None:
        """Further refusals of calls that were sent before the news of the first change nothing."""
        learned = used()
        learned.refused(0.0, -0.1, 180)
        rate = learned.rate
        pauses = [learned.refused(0.01 * n, -0.099 + 0.001 * n, 180) for n in range(30)]

        assert (rate, {0.0}) == (learned.rate, set(pauses))

    def test_room_that_is_not_there_yet(self) -> None:
        """
        A refusal while the second is still fuller than the new rate says nothing about that rate.
        """
        learned = used()
        learned.refused(0.0, -0.01, 100)
        rate = learned.rate
        learned.refused(0.5, 0.4, 150)

        assert rate == learned.rate

    def test_refused_calls_are_not_what_is_left(self) -> None:
        """Of the calls before a refused one those that were refused themselves do not count."""
        learned = used()
        learned.refused(0.0, -0.02, 150)
        learned.admitted(0.1)
        for number in range(20):
            learned.refused(0.2, 0.1 + number / 1000, 120)

        assert learned.rate < 120 * 0.96

    def test_rises(self) -> None:
        """
        It is soon where it was refused, a while near that, and at the whole in seven seconds more.
        """
        learned = halved()
        low = learned.rate
        rates = []
        for second in range(10):
            use(learned, second, 1.0)
            rates.append(learned.rate)

        assert 96.0 == low
        assert all(99 <= rate <= 102 for rate in rates[:4])
        assert 120 < rates[6] < 140
        assert (_WHOLE, -math.inf) == (rates[9], learned.ready_at(10.0))

    def test_a_rest_teaches_nothing(self) -> None:
        """Of a minute without a call a tenth of a second counts."""
        learned = halved()
        learned.sent(60.0)

        assert 96 < learned.rate < 97

    def test_slow_calls_teach(self) -> None:
        """A rate of one call a second rises, too."""
        learned = used(2.0, 2)
        learned.refused(0.0, -0.1, 1)
        low = learned.rate
        for second in range(60):
            learned.sent(float(second))

        assert (1.0, 2.0) == (low, learned.rate)

    def test_never_below_one_call_a_second(self) -> None:
        """However often it is refused, a call a second is left; of less than that, all."""
        learned, slow = used(), used(0.5, 1)
        for number in range(100):
            learned.refused(number + 0.1, float(number), 0)
            learned.admitted(number + 0.5)
            slow.refused(number + 0.1, float(number), 0)
            slow.admitted(number + 0.5)

        assert (1.0, 0.5) == (learned.rate, slow.rate)

    def test_no_success_between(self) -> None:
        """Refusals without a success between make the pause grow, until no pause will do."""
        learned = used()
        pauses = [learned.refused(at + 0.01, at, 1) for at in (10.0, 20.0, 30.0, 40.0, 50.0)]
        late = learned.refused(50.02, 49.0, 1)

        assert [0.1, 0.2, None, None] == pauses[1:]
        assert late is None

    def test_success_between(self) -> None:
        """A success of a call that was sent after the news begins anew; an older one does not."""
        old, new = used(), used()
        for learned, sent_at in ((old, 9.9), (new, 10.2)):
            learned.refused(10.1, 10.0, 1)
            learned.refused(20.1, 20.0, 1)
            learned.admitted(sent_at + 10.0)

        assert (0.2, 0.0) == (old.refused(31.0, 30.0, 1), new.refused(31.0, 30.0, 1))

    def test_moment_of_the_news(self) -> None:
        """What was sent at the moment of the news was sent before it, be it refused or admitted."""
        learned = used()
        learned.refused(5.0, 4.9, 1)
        same = learned.refused(5.0, 5.0, 1)
        learned.admitted(5.0)

        assert (0.0, 0.1) == (same, learned.refused(9.0, 8.9, 1))

    def test_never_admitted(self) -> None:
        """Who was never admitted does not know that it is a matter of the rate."""
        assert LearnedRate(_WHOLE).refused(0.1, 0.0, 0) is None

    def test_unused(self) -> None:
        """A call that was not sent is none."""
        learned = LearnedRate(_WHOLE)
        learned.sent(0.0)
        learned.unused(0.0)
        learned.unused(5.0)

        assert 0 == learned.sent(0.5)


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
            self._start(self._calls(budget, count))
        return count

    def neighbour(self, calls_per_second: float) -> Count:
        """Let somebody call at an even pace, whatever comes of it."""
        count = Count()
        self._start(self._even(calls_per_second, count))
        return count

    def leave(self) -> None:
        """Let the last who came go."""
        self.tasks.pop().cancel()

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(coroutine))

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


@pytest.mark.parametrize("seed", range(3))
class TestBesideOthers:
    """Minutes at a server that others use, too, in virtual time."""

    def test_a_neighbour_takes_half(self, seed: int) -> None:
        """
        Of what a neighbour leaves 95 % are used, 1 % refused; when it has left, soon all is used.
        """

        async def scenario() -> None:
            town = Town(seed=seed)
            count = town.client(CallBudget(200))
            await asyncio.sleep(5)
            neighbour = town.neighbour(100)
            await asyncio.sleep(25)
            town.leave()
            await asyncio.sleep(20)
            calls, refused = count.share(5, 30)
            after, refused_after = count.share(41, 50)

            assert refused < 0.01
            assert calls >= 0.95 * (200 - neighbour.share(5, 30)[0])
            assert after >= 0.95 * count.share(0, 5)[0]
            assert refused_after < 0.01
            assert windows(count.admitted + count.refused) <= 200

        run(scenario())

    @pytest.mark.parametrize("told", [190, 200])
    def test_alone(self, seed: int, told: int) -> None:
        """Who is alone is refused nothing, and is as fast as what it believes of the way allows."""

        async def scenario() -> None:
            town = Town(seed=seed)
            count = town.client(CallBudget(told))
            await asyncio.sleep(20)

            assert [] == count.refused
            assert count.share(1, 20)[0] >= told / 1.05
            assert windows(count.admitted) <= told

        run(scenario())

    def test_two_who_share_nothing(self, seed: int) -> None:
        """Of two who know nothing of each other the second gets its share from the first."""

        async def scenario() -> None:
            town = Town(seed=seed)
            first = town.client(CallBudget(200))
            await asyncio.sleep(10)
            second = town.client(CallBudget(200))
            await asyncio.sleep(170)
            (one, refused), (other, others) = first.share(120, 180), second.share(120, 180)

            assert 0.5 < one / other < 2.0
            assert one + other > 0.95 * 200
            assert max(refused, others) < 0.01

        run(scenario())

    def test_told_too_much(self, seed: int) -> None:
        """At a server that allows half of what was told nine tenths of it and more are used."""

        async def scenario() -> None:
            town = Town(100, seed)
            count = town.client(CallBudget(200))
            await asyncio.sleep(20)
            calls, refused = count.share(0, 20)

            assert calls > 90
            assert refused < 0.02

        run(scenario())

    def test_shut(self, seed: int) -> None:
        """A server that admits nothing any more is left alone after some dozen calls."""

        async def scenario() -> None:
            town = Town(seed=seed)
            count = town.client(CallBudget(200))
            await asyncio.sleep(5)
            town.rate.calls_per_second = 0
            await asyncio.sleep(0.9)

            assert len(count.refused) <= 50

        run(scenario())
