import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import attrs
import virtual_time
from rig import windows

from chatmark.pacing.budget import Budget, CallOutcome
from chatmark.ray.budget import RemoteBudget
from chatmark.ray.permit_server import PermitReport, PermitServer, PermitServerLostError

WAY = 0.001


@attrs.define
class Line:
    """
    The way from a worker to the desk, which takes a millisecond.
    """

    name: str
    desk: PermitServer
    command: str = "mark_contact"
    takes: int = 0
    notes: int = 0
    is_cut: bool = False
    tasks: set[asyncio.Task[None]] = attrs.field(factory=set)

    def of(self, command: str) -> "Line":
        """
        Return a way of its own.
        """
        return attrs.evolve(self, command=command)

    async def take(self, wanted: int, account: PermitReport, *, anew: bool) -> Sequence[int]:
        """
        Ask the desk, unless the line is cut.
        """
        self.takes += 1
        await asyncio.sleep(WAY)
        if self.is_cut:
            raise PermitServerLostError("cut")
        numbers = await self.desk.take(self.command, self.name, wanted, account, anew=anew)
        await asyncio.sleep(WAY)
        if self.is_cut:
            raise PermitServerLostError("cut")
        return numbers

    def note(self, account: PermitReport) -> None:
        """
        Tell the desk, and wait for nothing.
        """
        self.notes += 1
        self._send(lambda: self.desk.note(self.command, account))

    def pause(self, seconds: float) -> None:
        """
        Tell the desk, and wait for nothing.
        """
        self._send(lambda: self.desk.pause(self.command, seconds))

    def _send(self, message: Callable[[], Awaitable[None]]) -> None:
        async def deliver() -> None:
            await asyncio.sleep(WAY)
            await message()

        task = asyncio.create_task(deliver())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


@attrs.define
class Worker:
    """
    Makes as many calls as it may, some at once, each of which takes a while.
    """

    line: Line
    calls: list[float] = attrs.field(factory=list)

    async def work(self, until: float, *, at_once: int = 16, round_trip: float = 0.05) -> None:
        """
        Make calls until a time, and note when each reached the server.
        """
        loop = asyncio.get_running_loop()

        async def call() -> None:
            while loop.time() < until:
                permit = await budget.acquire()
                # A slow answer is slow at the server: the way there is short.
                await asyncio.sleep(min(round_trip / 2, 0.01))
                self.calls.append(loop.time())
                await asyncio.sleep(round_trip / 2)
                permit.done(CallOutcome.UNKNOWN)

        async with budget_of(self.line) as budget, asyncio.timeout(until - loop.time() + 10):
            await asyncio.gather(*(call() for _ in range(at_once)))


@contextlib.asynccontextmanager
async def budget_of(line: Line) -> AsyncIterator[RemoteBudget]:
    """
    Give a budget, and close it.
    """
    budget = RemoteBudget(line)
    assert isinstance(budget, Budget)
    try:
        yield budget
    finally:
        await budget.aclose()


class TestSharing:
    def test_workers_share_the_budget(self) -> None:
        """
        Four busy workers together use 95 % of it, no second holds more, and each has its share.
        """

        async def main() -> list[Worker]:
            desk = PermitServer(190)
            workers = [Worker(Line(f"{n}", desk)) for n in range(4)]
            await asyncio.gather(*(worker.work(10.0) for worker in workers))
            return workers

        workers = virtual_time.run(main())
        calls = sorted(at for worker in workers for at in worker.calls)
        shares = [len(worker.calls) for worker in workers]

        assert windows(calls) <= 190
        assert 0.95 * 190 * 10 <= len(calls)
        assert max(shares) < 1.1 * min(shares)
        # Leases are what keeps the actor from being asked for each call.
        assert sum(worker.line.takes + worker.line.notes for worker in workers) < len(calls) / 3

    def test_one_call_does_not_wait(self) -> None:
        """
        With the budget at rest a call waits for the way to the desk and back.
        """

        async def main() -> float:
            async with budget_of(Line("a", PermitServer(190))) as budget:
                await budget.acquire()
                return asyncio.get_running_loop().time()

        assert 3 * WAY > virtual_time.run(main())

    def test_commands_have_counts_of_their_own(self) -> None:
        """
        Marks that use all of their calls, or pause, leave those of reading.
        """

        async def main() -> tuple[float, int]:
            loop = asyncio.get_running_loop()
            desk = PermitServer(10)
            async with budget_of(Line("a", desk)) as budget:
                reading = budget.of("get_contact_group")
                for _ in range(20):
                    await budget.acquire()
                budget.pause(60.0)
                began = loop.time()
                (await reading.acquire()).done(CallOutcome.UNUSED)
                took = loop.time() - began
            await asyncio.sleep(1.0)
            return took, desk.commands["get_contact_group"]._window.lent

        took, lent = virtual_time.run(main())
        assert took < 3 * WAY
        # It is closed with the budget of marks.
        assert 0 == lent

    def test_slow_paces_do_not_stall(self) -> None:
        """
        What became of a call is told although somebody waits for the next one.
        """

        async def main() -> list[float]:
            worker = Worker(Line("a", PermitServer(1)))
            await worker.work(10.0, at_once=2)
            return worker.calls

        assert 9 <= len(virtual_time.run(main())) <= 12

    def test_slow_answers_count_from_the_server(self) -> None:
        """
        A call whose answer takes seconds counts for one: the budget is used all the same.
        """

        async def main() -> list[float]:
            worker = Worker(Line("a", PermitServer(20)))
            await worker.work(10.0, at_once=100, round_trip=3.0)
            return worker.calls

        calls = virtual_time.run(main())
        assert windows(calls) <= 20
        assert 0.9 * 200 <= len(calls)


class TestTroubles:
    def test_a_pause_is_everybodys(self) -> None:
        """
        When one worker is told to slow down nobody makes a call for that time.
        """

        async def main() -> list[float]:
            desk = PermitServer(100)
            one, other = Line("one", desk), Worker(Line("other", desk))
            async with budget_of(one) as budget, asyncio.TaskGroup() as group:
                group.create_task(other.work(4.0))
                await asyncio.sleep(1.0)
                budget.pause(2.0)
            return other.calls

        calls = virtual_time.run(main())
        assert [] == [at for at in calls if 1.1 < at < 3.0]
        assert [at for at in calls if at >= 3.0]

    def test_whoever_pauses_makes_no_call(self) -> None:
        """
        A pause holds at once where it was called for, before the desk has heard of it.
        """

        async def main() -> float:
            async with budget_of(Line("a", PermitServer(100))) as budget:
                waiting = asyncio.create_task(budget.acquire())
                await asyncio.sleep(0)
                budget.pause(2.0)
                await waiting
                return asyncio.get_running_loop().time()

        assert 2.0 <= virtual_time.run(main()) < 2.2

    def test_a_lost_worker_costs_nobody_its_permits(self) -> None:
        """
        What a worker had that is gone is lent again a second later, also what it waited for.
        """

        async def main() -> tuple[int, list[float]]:
            desk = PermitServer(10)
            lost, other = Line("lost", desk), Worker(Line("other", desk))
            budget = RemoteBudget(lost)
            waiting = [asyncio.create_task(budget.acquire()) for _ in range(10)]
            await asyncio.sleep(0.5)
            await desk.part("lost")
            for task in (*waiting, budget._asking):
                if task is not None:
                    task.cancel()
            assert budget._accounting is not None
            budget._accounting.cancel()
            await other.work(5.0)
            await asyncio.sleep(2 * WAY)
            return int(desk.commands["mark_contact"]._window.lent), other.calls

        lent, calls = virtual_time.run(main())
        assert 0 == lent
        assert 35 <= len([at for at in calls if at <= 5.0]) <= 45

    def test_a_lost_desk_is_asked_again(self) -> None:
        """
        While the desk cannot be reached calls wait, and so they do for a second after.

        Its successor does not know what was lent.
        """

        async def main() -> list[float]:
            line = Line("a", PermitServer(20))
            worker = Worker(line)
            async with asyncio.TaskGroup() as group:
                group.create_task(worker.work(6.0))
                await asyncio.sleep(2.0)
                line.is_cut = True
                line.desk = PermitServer(20, is_successor=True)
                await asyncio.sleep(1.0)
                line.is_cut = False
            return worker.calls

        calls = virtual_time.run(main())
        assert windows(calls) <= 20
        assert [at for at in calls if at > 5.0]
        assert [] == [at for at in calls if 2.2 < at < 4.0]

    def test_a_desk_out_of_reach_for_a_moment_keeps_its_count(self) -> None:
        """
        What it lent while nobody heard it counts a second longer, and is not lost.
        """

        async def main() -> tuple[int, list[float]]:
            line = Line("a", PermitServer(20))
            worker = Worker(line)
            async with asyncio.TaskGroup() as group:
                group.create_task(worker.work(6.0))
                await asyncio.sleep(2.0)
                line.is_cut = True
                await asyncio.sleep(0.3)
                line.is_cut = False
            await asyncio.sleep(1.0)
            return line.desk.commands["mark_contact"]._window.lent, worker.calls

        lent, calls = virtual_time.run(main())
        assert 0 == lent
        assert windows(calls) <= 20
        assert 80 <= len(calls)

    def test_whoever_waits_no_more_gives_back(self) -> None:
        """
        A cancelled waiter's permit is returned, whether it was already there or still on its way.
        """

        async def main() -> int:
            desk = PermitServer(10)
            async with budget_of(Line("a", desk)) as budget:
                for wait in (0.0, WAY, 2 * WAY, 3 * WAY):
                    waiting = asyncio.create_task(budget.acquire())
                    await asyncio.sleep(wait)
                    waiting.cancel()
                    await asyncio.wait([waiting])
                    if not waiting.cancelled():
                        waiting.result().done(CallOutcome.UNUSED)
                await asyncio.sleep(0.5)
                return int(desk.commands["mark_contact"]._window.lent)

        assert 0 == virtual_time.run(main())

    def test_the_last_account(self) -> None:
        """
        A budget that is closed has told what became of its calls.
        """

        async def main() -> int:
            desk = PermitServer(10)
            line = Line("a", desk)
            async with budget_of(line) as budget:
                (await budget.acquire()).done(CallOutcome.UNKNOWN)
                (await budget.acquire()).done(CallOutcome.UNUSED)
            await asyncio.sleep(2 * WAY)
            return int(desk.commands["mark_contact"]._window.lent)

        assert 0 == virtual_time.run(main())
