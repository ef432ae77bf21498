import asyncio
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import run

from chatmark.errors import InputError
from chatmark.pacing.budget import CallBudget, CallOutcome, Permit
from chatmark.pacing.window import CallWindow, parse_rate

RATES = (0.3, 0.5, 1.0, 1.5, 2.0, 2.7, 5.0, 9.9, 10.0, 47.5, 190.0)


@attrs.frozen
class Sent:
    """A call: when it was sent, and when its answer came."""

    at: float
    answered: float


def simulate(
    rate: float,
    count: int,
    *,
    gaps: Sequence[float] = (0.0,),
    latencies: Sequence[float] = (0.01,),
    lateness: Sequence[float] = (0.0,),
    unused: Sequence[bool] = (False,),
) -> list[Sent]:
    """
    Make calls through a window, one sender, answers as they come.

    Args:
        rate: Calls a second.
        count: How many calls are wanted.
        gaps: Seconds between a call and the wish for the next, in turn.
        latencies: Seconds to the answer, in turn.
        lateness: Seconds by which a timer is late, in turn.
        unused: Whether a permit is given back at once, in turn.
    """
    window = CallWindow(rate)
    now = 0.0
    calls: list[Sent] = []
    answers: list[tuple[float, object]] = []
    turns = zip(
        *(itertools.cycle(each) for each in (gaps, latencies, lateness, unused)), strict=True
    )
    for gap, latency, late, is_unused in itertools.islice(turns, count):
        now += gap
        while True:
            for time, slot in [each for each in answers if each[0] <= now]:
                window.answered(slot, time)  # type: ignore[arg-type]
                answers.remove((time, slot))
            delay = window.delay(now)
            if not delay:
                break
            now += delay + late
        slot = window.record(now)
        if is_unused:
            window.unused(slot)
        else:
            calls.append(Sent(now, now + latency))
            answers.append((now + latency, slot))
    return calls


def fullest(times: Iterable[float], width: float) -> int:
    """Return the most of these times that any window of that width holds, its end not counted."""
    ordered = sorted(times)
    start = most = 0
    for end, time in enumerate(ordered):
        # Sums of floats are not exact.
        while time - ordered[start] >= width - 1e-9:
            start += 1
        most = max(most, end - start + 1)
    return most


class TestCallWindow:
    """Calls in any one-second window."""

    @given(
        rate=st.sampled_from(RATES) | st.floats(0.2, 60.0),
        gaps=st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.001, 0.1, 0.5, 0.99, 2.0]), min_size=1),
        latencies=st.lists(st.floats(0.0, 0.05) | st.floats(0.0, 3.0), min_size=1),
        lateness=st.lists(st.sampled_from([0.0, 0.0001, 0.002, 0.1]), min_size=1),
        unused=st.lists(st.sampled_from([False, False, False, True]), min_size=1).filter(
            lambda flags: not all(flags)
        ),
        ways=st.lists(st.floats(0.0, 1.0), min_size=1),
    )
    def test_at_the_server(
        self,
        rate: float,
        gaps: list[float],
        latencies: list[float],
        lateness: list[float],
        unused: list[bool],
        ways: list[float],
    ) -> None:
        """
        No one-second window at the server holds more than the rate, whenever calls arrive there.
        """
        calls = simulate(
            rate,
            int(2.5 * rate) + 8,
            gaps=gaps,
            latencies=latencies,
            lateness=lateness,
            unused=unused,
        )
        arrivals = [
            call.at + way * (min(call.answered, call.at + 0.02) - call.at)
            for call, way in zip(calls, itertools.cycle(ways), strict=False)
        ]

        assert fullest(arrivals, max(1.0, 1.0 / rate)) <= max(1, math.floor(rate))

    @given(rate=st.sampled_from(RATES), ways=st.lists(st.sampled_from([0.0, 1.0]), min_size=1))
    def test_under_load(self, rate: float, ways: list[float]) -> None:
        """So it is in a bulk run, where every second is full."""
        calls = simulate(rate, int(3 * rate) + 8, latencies=(1.0,))
        arrivals = [
            call.at + 0.02 * way for call, way in zip(calls, itertools.cycle(ways), strict=False)
        ]

        assert fullest(arrivals, max(1.0, 1.0 / rate)) <= max(1, math.floor(rate))

    @pytest.mark.parametrize("latency", [0.001, 0.01, 0.5, 3.0])
    @pytest.mark.parametrize("rate", [1.0, 2.0, 5.0, 10.0, 50.0, 190.0, 1000.0])
    def test_pace(self, rate: float, latency: float) -> None:
        """Over a long run the pace is within 6 % of the rate."""
        count = int(30 * rate) + 1
        calls = simulate(rate, count, latencies=(latency,))

        assert rate == pytest.approx((count - 1) / calls[-1].at, rel=0.06)

    @pytest.mark.parametrize("rate", [10.0, 50.0, 190.0])
    def test_late_timers(self, rate: float) -> None:
        """So it is when each timer is late by a quarter of the spacing and more."""
        count = int(30 * rate) + 1
        late = 0.25 / rate
        calls = simulate(rate, count, lateness=(late, 2 * late, 0.0))

        assert rate == pytest.approx((count - 1) / calls[-1].at, rel=0.05)

    @pytest.mark.parametrize(("rate", "pace"), [(0.25, 0.25), (0.5, 0.5), (1.5, 1.0), (2.75, 2.0)])
    def test_fractions(self, rate: float, pace: float) -> None:
        """Below one it is a call in so many seconds; above, whole calls in a second."""
        calls = simulate(rate, 101, latencies=(0.001,))

        assert pace == pytest.approx(100 / calls[-1].at, rel=0.05)

    def test_spread(self) -> None:
        """A second's calls are spread over it: a tenth of them may go at once, not more."""
        calls = simulate(100.0, 100)

        assert 11 >= fullest([call.at for call in calls], 0.001)
        assert 0.85 <= calls[-1].at

    def test_slow_answer(self) -> None:
        """An answer that takes seconds does not keep its call's place for so long."""
        first, second = simulate(1.0, 2, latencies=(10.0,))

        assert 1.05 == pytest.approx(second.at - first.at)

    def test_quick_answer(self) -> None:
        """After a quick answer the second runs from it."""
        first, second = simulate(1.0, 2, latencies=(0.005,), lateness=(0.0,), gaps=(0.0, 0.01))

        assert 1.005 == pytest.approx(second.at - first.at)

    @given(
        ways=st.lists(st.floats(0.0, 0.05), min_size=1, max_size=50),
        base=st.floats(0.0, 0.5),
    )
    def test_jitter(self, ways: list[float], base: float) -> None:
        """
        Calls that are on their way for 50 ms more or less meet no fuller second, however far it is.
        """
        # Every answer shows how late its call was; the first of them came without delay.
        latencies = [2 * base, *(2 * base + way for way in ways)]
        calls = simulate(100.0, 400, latencies=latencies)
        arrivals = [call.answered - base for call in calls]

        assert fullest(arrivals, 1.0) <= 100

    def test_steady_answers(self) -> None:
        """A long way that is always the same costs no more than a short one."""
        far, near = (simulate(100.0, 1001, latencies=(each,))[-1].at for each in (0.3, 0.02))

        assert far == pytest.approx(near, rel=0.01)

    def test_unused_twice(self) -> None:
        """Giving it back twice, or after its time, changes nothing."""
        window = CallWindow(2.0)
        slot = window.record(0.0)
        window.unused(slot)
        window.unused(slot)
        window.record(0.0)
        old = window.record(0.5)
        at_two = window.delay(2.0)
        window.unused(old)

        assert 0.0 == at_two
        assert 0.0 == window.delay(2.0)

    def test_sent_late(self) -> None:
        """
        A call that goes later than it was allowed counts from then; one that ended does no more.
        """
        window = CallWindow(1.0)
        slot = window.record(0.0)
        window.sent(slot, 0.5)
        late = window.delay(1.05)
        window.answered(slot, 0.51)
        answered = window.delay(0.6)
        window.unused(slot)
        window.sent(slot, 3.0)

        assert [0.5, 0.91] == pytest.approx([late, answered], abs=1e-5)
        assert 0.0 == window.delay(3.0)

    def test_slowed(self) -> None:
        """
        It can be made to spread its calls over more time, and never over less than it was told.
        """
        delays = []
        for rate in (4.0, 100.0):
            window = CallWindow(10.0)
            window.slow_to(rate)
            for at in (0.0, 0.5):
                window.record(at)
            delays.append(window.delay(0.5))

        assert [0.15, 0.0] == pytest.approx(delays)

    def test_rest(self) -> None:
        """After a rest that was asked for half as many calls may go at once as after another."""
        counts = []
        for until in (5.0, -math.inf):
            window = CallWindow(100.0)
            window.rest(until)
            count = 0
            while not window.delay(5.0):
                window.record(5.0)
                count += 1
            counts.append(count)

        assert [6, 11] == counts

    def test_memory(self) -> None:
        """Calls whose second is over are forgotten."""
        window = CallWindow(10.0)
        for second in range(1000):
            window.delay(float(second * 2))
            window.record(float(second * 2))

        assert 2 >= len(window._slots)

    @pytest.mark.parametrize(
        ("text", "number"),
        [("190", 190), ("190/8", 23.75), (" 99.5 / 2 ", 49.75), ("1/4", 0.25), ("0", 0), (7, 7)],
    )
    def test_a_rate_as_text(self, text: Any, number: float) -> None:
        """A text is a number or the share of one of several processes; a number is itself."""
        assert number == parse_rate(text)

    @pytest.mark.parametrize(
        "text", ["", "x", "190/0", "190/", "-1", "1e3", "nan", "1/2/3", "٣", "9" * 99]
    )
    def test_no_rate_as_text(self, text: str) -> None:
        """Another text is refused by the name of where it stands, with an example."""
        with pytest.raises(InputError, match=r'CHATMARK_RATE: .* such as "190/8"'):
            parse_rate(text, "CHATMARK_RATE")

    def test_a_share_of_a_budget(self) -> None:
        """A budget takes the same texts; no calls at all are refused, as for a number."""
        assert 25 == CallBudget("200/8").calls_per_second
        with pytest.raises(InputError, match="must be a number above 0"):
            CallBudget("0")

    @pytest.mark.parametrize(
        "rate",
        [0.0, -1.0, math.nan, math.inf, pytest.param(10**400, id="huge"), 1e-320, True, "5"],
    )
    def test_no_rate(self, rate: Any) -> None:
        """What must be a number above 0 is refused."""
        with pytest.raises(InputError, match="calls_per_second"):
            CallWindow(rate)


async def now() -> float:
    """Return the time of the loop."""
    return asyncio.get_running_loop().time()


def admit(permit: Permit) -> None:
    """Say that the call was admitted."""
    permit.done(CallOutcome.ADMITTED)


def refuse(permit: Permit) -> None:
    """Say that the call was one too many."""
    permit.done(CallOutcome.REFUSED)


async def take(budget: CallBudget, count: int) -> list[float]:
    """Return the times of so many calls, one after the other."""
    times = []
    for _ in range(count):
        (await budget.acquire()).done(CallOutcome.UNKNOWN)
        times.append(await now())
    return times


class TestCallBudget:
    """The budget that sessions share."""

    def test_rate(self) -> None:
        """Whoever waits gets a permit at the pace of the window."""

        async def scenario() -> list[float]:
            return await take(CallBudget(2.0), 5)

        assert [0.0, 0.5, 1.0, 1.5, 2.0] == pytest.approx(run(scenario()))

    def test_shared(self) -> None:
        """Tasks that share it get no more calls than one alone, in the order in which they came."""

        async def scenario() -> tuple[list[int], float]:
            budget = CallBudget(2.0)
            order: list[int] = []

            async def ask(number: int) -> None:
                (await budget.acquire()).done(CallOutcome.UNKNOWN)
                order.append(number)

            await asyncio.gather(*(ask(number) for number in range(9)))
            return order, await now()

        order, end = run(scenario())

        assert list(range(9)) == order
        assert 4.0 == pytest.approx(end)

    @pytest.mark.parametrize("victim", [1, 2])
    def test_cancelled_waiter(self, victim: int) -> None:
        """Who is cancelled gives the turn to the next, and costs no call, first in line or not."""

        async def scenario() -> tuple[list[int], float]:
            budget = CallBudget(1.0)
            order: list[int] = []

            async def ask(number: int) -> None:
                (await budget.acquire()).done(CallOutcome.UNKNOWN)
                order.append(number)

            tasks = [asyncio.create_task(ask(number)) for number in range(4)]
            await asyncio.sleep(0.5)
            tasks[victim].cancel()
            await asyncio.wait(tasks)
            return order, await now()

        order, end = run(scenario())

        assert [number for number in range(4) if number != victim] == order
        assert 2.0 == pytest.approx(end)

    def test_pause(self) -> None:
        """During a pause nobody gets a permit, those who wait already neither."""

        async def scenario() -> list[float]:
            budget = CallBudget(1.0)
            await budget.acquire()
            waiter = asyncio.create_task(budget.acquire())
            await asyncio.sleep(0.5)
            budget.pause(3.0)
            await waiter
            return [await now()]

        assert [3.5] == pytest.approx(run(scenario()))

    def test_pause_grows(self) -> None:
        """A pause can be lengthened while it lasts, not shortened."""

        async def scenario() -> float:
            budget = CallBudget(None)
            budget.pause(2.0)
            waiter = asyncio.create_task(budget.acquire())
            await asyncio.sleep(1.0)
            budget.pause(4.0)
            budget.pause(0.5)
            await waiter
            return await now()

        assert 5.0 == pytest.approx(run(scenario()))

    def test_pause_is_no_credit(self) -> None:
        """After a pause the calls are spread as before."""

        async def scenario() -> list[float]:
            budget = CallBudget(5.0)
            budget.pause(10.0)
            return await take(budget, 4)

        assert [10.0, 10.2, 10.4, 10.6] == pytest.approx(run(scenario()))

    def test_unpaced(self) -> None:
        """Without a rate every permit comes at once."""

        async def scenario() -> float:
            budget = CallBudget(None)
            for _ in range(1000):
                permit = await budget.acquire()
                permit.done(CallOutcome.UNKNOWN)
                permit.done(CallOutcome.UNUSED)
            return await now()

        assert 0.0 == run(scenario())

    def test_unused(self) -> None:
        """A permit that is given back serves the next at once."""

        async def scenario() -> float:
            budget = CallBudget(1.0)
            for _ in range(10):
                (await budget.acquire()).done(CallOutcome.UNUSED)
            await budget.acquire()
            return await now()

        assert 0.0 == run(scenario())

    def test_refused(self) -> None:
        """Refusals without a success between pause everybody, and half of that is made up for."""

        async def scenario() -> list[float]:
            budget = CallBudget(100.0)
            permits = [await budget.acquire()]
            admit(permits[0])
            for _ in range(2):
                await asyncio.sleep(1.0)
                refuse(await budget.acquire())
            start, times = await now(), []
            for _ in range(5):
                await budget.acquire()
                times.append(await now() - start)
            return times

        times = run(scenario())

        assert [0.1, 0.1] == pytest.approx(times[:2])
        assert times[2] > 0.11

    def test_learned_rate_holds_after_a_rest(self) -> None:
        """What a rest allows at once makes no second fuller than the rate that was learned."""

        async def scenario() -> list[float]:
            budget = CallBudget(100.0)
            budget._learned._fall(0.0, 50.0)
            before = await take(budget, 50)
            await asyncio.sleep(0.5)
            return before + await take(budget, 100)

        assert 52 >= fullest(run(scenario()), 1.0)

    def test_quick_refusal(self) -> None:
        """A refusal that comes sooner than any answer does not make the next answer a slow one."""

        async def scenario() -> float:
            budget = CallBudget(1.0)
            for seconds, tell in ((0.1, admit), (0.002, refuse), (0.1, admit)):
                await asyncio.sleep(10.0)
                permit = await budget.acquire()
                started = await now()
                await asyncio.sleep(seconds)
                tell(permit)
            await budget.acquire()
            return await now() - started

        assert 1.02 == pytest.approx(run(scenario()), abs=1e-3)

    def test_unused_teaches_nothing(self) -> None:
        """Calls that were not made are not what others left."""

        async def scenario() -> int:
            budget = CallBudget(100.0)
            for _ in range(5):
                (await budget.acquire()).done(CallOutcome.UNUSED)
            return len(budget._learned._sent)

        assert 0 == run(scenario())

    def test_repr(self) -> None:
        """It shows its rate."""
        assert "CallBudget(calls_per_second=190.0)" == repr(CallBudget())


class TestVirtualTime:
    """The loop that these tests run in."""

    def test_jumps(self) -> None:
        """A sleep of a day takes no time, and the loop's clock shows it."""

        async def scenario() -> float:
            await asyncio.sleep(86_400)
            return await now()

        assert 86_400 == run(scenario())

    def test_order(self) -> None:
        """Timers go off in their order."""

        async def scenario() -> list[float]:
            woken: list[float] = []

            async def sleep(seconds: float) -> None:
                await asyncio.sleep(seconds)
                woken.append(seconds)

            await asyncio.gather(*(sleep(seconds) for seconds in (3.0, 1.0, 2.0)))
            return woken

        assert [1.0, 2.0, 3.0] == run(scenario())

    def test_deadlock(self) -> None:
        """Waiting for what never comes is an error, not a hang."""

        async def scenario() -> None:
            await asyncio.get_running_loop().create_future()

        with pytest.raises(RuntimeError, match="nothing will ever happen"):
            run(scenario())
