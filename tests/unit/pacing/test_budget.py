import asyncio
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import in_virtual_loop, run

from chatmark.errors import InputError
from chatmark.pacing.budget import CallBudget, CallOutcome
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

    @pytest.mark.parametrize("latency", [0.001, 0.5, 3.0])
    @pytest.mark.parametrize(
        ("rate", "pace"), [(0.25, 0.25), (1.5, 1.0), (2.75, 2.0), (10.0, 10.0), (190.0, 190.0)]
    )
    def test_pace(self, rate: float, pace: float, latency: float) -> None:
        """Over a long run the pace is within 8 % of the rate's whole calls, with late timers."""
        count = max(40, int(15 * rate))
        late = 0.25 / rate if rate >= 10.0 else 0.0
        calls = simulate(rate, count + 1, latencies=(latency,), lateness=(late, 2 * late, 0.0))

        assert pace == pytest.approx(count / calls[-1].at, rel=0.08)

    def test_spread(self) -> None:
        """A second's calls are spread over it: a tenth of them may go at once, not more."""
        calls = simulate(100.0, 100)

        assert 11 >= fullest([call.at for call in calls], 0.001)
        assert 0.85 <= calls[-1].at

    @pytest.mark.parametrize(("latency", "second_at"), [(10.0, 1.05), (0.005, 1.005)])
    def test_a_second_runs_from_the_answer(self, latency: float, second_at: float) -> None:
        """After a quick answer it does; a slow one does not keep its call's place for so long."""
        _, second = simulate(1.0, 2, latencies=(latency,), gaps=(0.0, 0.01))

        assert second_at == pytest.approx(second.at)

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
        calls = simulate(100.0, 300, latencies=latencies)
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

    def test_limited(self) -> None:
        """
        A lower limit spreads the calls over more time, and no rest makes a second fuller than that.
        """
        window = CallWindow(100.0)
        window.limit = 50.0
        now, times = 0.0, []
        for gap in (*[0.0] * 50, 0.5, *[0.0] * 100):
            now += gap
            now += window.delay(now)
            window.record(now)
            times.append(now)

        assert 49 <= fullest(times, 1.0) <= 53

    def test_rest(self) -> None:
        """After a rest that was asked for no call is made up for."""
        window = CallWindow(100.0)
        window.rest(5.0)
        window.record(5.0)

        assert 0.01 == pytest.approx(window.delay(5.0))

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

    @pytest.mark.parametrize(
        "rate",
        [0.0, -1.0, math.nan, math.inf, pytest.param(10**400, id="huge"), 1e-320, True, "5"],
    )
    def test_no_rate(self, rate: Any) -> None:
        """What must be a number above 0 is refused."""
        with pytest.raises(InputError, match="calls_per_second"):
            CallWindow(rate)


def now() -> float:
    """Return the time of the loop."""
    return asyncio.get_running_loop().time()


async def take(budget: CallBudget, count: int) -> list[float]:
    """Return the times of so many calls of a budget, one after the other."""
    times = []
    for _ in range(count):
        (await budget.acquire()).done(CallOutcome.UNKNOWN)
        times.append(now())
    return times


class TestCallBudget:
    """The budget that sessions share."""

    @pytest.mark.parametrize("rate", [2.0, "16/8"])
    @in_virtual_loop
    async def test_rate(self, rate: Any) -> None:
        """Permits come at the pace of the window; a share of a rate is one, too."""
        assert [0.0, 0.5, 1.0, 1.5, 2.0] == pytest.approx(await take(CallBudget(rate), 5))

    @pytest.mark.parametrize("victim", [None, 1, 2])
    @in_virtual_loop
    async def test_order(self, victim: int | None) -> None:
        """
        Tasks get calls in the order in which they came; one that is cancelled costs no call.
        """
        budget = CallBudget(1.0)
        order: list[int] = []

        async def ask(number: int) -> None:
            (await budget.acquire()).done(CallOutcome.UNKNOWN)
            order.append(number)

        tasks = [asyncio.create_task(ask(number)) for number in range(4)]
        await asyncio.sleep(0.5)
        if victim is not None:
            tasks[victim].cancel()
        await asyncio.wait(tasks)
        expected = [number for number in range(4) if number != victim]

        assert expected == order
        assert len(expected) - 1 == pytest.approx(now())

    @pytest.mark.parametrize("rate", [1.0, None])
    @in_virtual_loop
    async def test_pause(self, rate: float | None) -> None:
        """During a pause no waiter gets a permit; it can be lengthened, not shortened."""
        budget = CallBudget(rate)
        await budget.acquire()
        budget.pause(2.0)
        waiter = asyncio.create_task(budget.acquire())
        await asyncio.sleep(1.0)
        budget.pause(4.0)
        budget.pause(0.5)
        await waiter

        assert 5.0 == pytest.approx(now())

    @in_virtual_loop
    async def test_pause_is_no_credit(self) -> None:
        """After a pause the calls are spread as before."""
        budget = CallBudget(5.0)
        budget.pause(10.0)

        assert [10.0, 10.2, 10.4, 10.6] == pytest.approx(await take(budget, 4))

    @in_virtual_loop
    async def test_unpaced(self) -> None:
        """Without a rate every permit comes at once."""
        await take(CallBudget(None), 1000)

        assert 0.0 == now()

    @in_virtual_loop
    async def test_unused(self) -> None:
        """A permit that is given back serves the next at once."""
        budget = CallBudget(1.0)
        for _ in range(10):
            (await budget.acquire()).done(CallOutcome.UNUSED)
        await budget.acquire()

        assert 0.0 == now()

    @in_virtual_loop
    async def test_refused(self) -> None:
        """A refusal slows down all callers, and more so when no call succeeds between two."""
        budget = CallBudget(100.0)
        (await budget.acquire()).done(CallOutcome.ADMITTED)
        for _ in range(2):
            await asyncio.sleep(1.0)
            pause = (await budget.acquire()).done(CallOutcome.REFUSED)
        start = now()

        assert 0.1 == pause
        # A quarter of the rate is left: each refusal met an empty window.
        after = [at - start for at in await take(budget, 3)]
        assert [0.1, 0.14, 0.18] == pytest.approx(after, abs=0.01)

    @in_virtual_loop
    async def test_quick_refusal(self) -> None:
        """A refusal that comes sooner than any answer does not make the next answer a slow one."""
        budget = CallBudget(1.0)
        admitted, refused = CallOutcome.ADMITTED, CallOutcome.REFUSED
        for seconds, outcome in ((0.1, admitted), (0.002, refused), (0.1, admitted)):
            await asyncio.sleep(10.0)
            permit = await budget.acquire()
            started = now()
            await asyncio.sleep(seconds)
            permit.done(outcome)
        await budget.acquire()

        assert 1.02 == pytest.approx(now() - started, abs=1e-3)

    def test_repr(self) -> None:
        """It shows its rate."""
        assert "CallBudget(calls_per_second=190.0)" == repr(CallBudget())


def test_a_deadlock_in_virtual_time() -> None:
    """Waiting for what never comes is an error, not a hang."""
    with pytest.raises(RuntimeError, match="nothing will ever happen"):
        run(asyncio.Event().wait())
