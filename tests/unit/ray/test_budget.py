import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import attrs
import virtual_time
from rig import windows

from chatmark.pacing.budget import Budget, CallOutcome
from chatmark.ray.budget.remote import RemoteBudget
from chatmark.ray.budget.server import PermitReport, PermitServer, PermitServerLostError

WAY = 0.001


@attrs.define
class Connection:
    """The connection from a worker to the server, with a delay of a millisecond."""

    name: str
    server: PermitServer
    command: str = "mark_contact"
    takes: int = 0
    notes: int = 0
    is_cut: bool = False
    tasks: set[asyncio.Task[None]] = attrs.field(factory=set)

    def of(self, command: str) -> "Connection":
        """Return a connection for another command."""
        return attrs.evolve(self, command=command)

    async def take(self, wanted: int, report: PermitReport, *, after_loss: bool) -> Sequence[int]:
        """Ask the server, unless the connection is cut."""
        self.takes += 1
        await asyncio.sleep(WAY)
        if self.is_cut:
            raise PermitServerLostError("cut")
        numbers = await self.server.take(
            self.command, self.name, wanted, report, after_loss=after_loss
        )
        await asyncio.sleep(WAY)
        if self.is_cut:
            raise PermitServerLostError("cut")
        return numbers

    def note(self, report: PermitReport) -> None:
        """Send the message without waiting."""
        self.notes += 1
        self._send(lambda: self.server.note(self.command, report))

    def pause(self, seconds: float) -> None:
        """Send the message without waiting."""
        self._send(lambda: self.server.pause(self.command, seconds))

    def _send(self, message: Callable[[], Awaitable[None]]) -> None:
        async def deliver() -> None:
            await asyncio.sleep(WAY)
            await message()

        task = asyncio.create_task(deliver())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


@attrs.define
class Worker:
    """Makes as many calls as the budget allows."""

    connection: Connection
    calls: list[float] = attrs.field(factory=list)

    async def work(self, until: float, *, at_once: int = 16, round_trip: float = 0.05) -> None:
        """Make calls until a time, and note when each reached the server."""
        loop = asyncio.get_running_loop()

        async def call() -> None:
            while loop.time() < until:
                permit = await budget.acquire()
                # A slow answer takes its time at the server; the way there is short.
                await asyncio.sleep(min(round_trip / 2, 0.01))
                self.calls.append(loop.time())
                await asyncio.sleep(round_trip / 2)
                permit.done(CallOutcome.UNKNOWN)

        async with budget_of(self.connection) as budget, asyncio.timeout(until - loop.time() + 10):
            await asyncio.gather(*(call() for _ in range(at_once)))


@contextlib.asynccontextmanager
async def budget_of(connection: Connection) -> AsyncIterator[RemoteBudget]:
    """Open a budget while the block runs."""
    budget = RemoteBudget(connection)
    assert isinstance(budget, Budget)
    try:
        yield budget
    finally:
        await budget.aclose()


def lent_by(server: PermitServer, command: str = "mark_contact") -> int:
    """Return the number of permits whose calls are not reported."""
    return server.commands[command]._window.lent


class TestSharing:
    def test_workers_share_the_budget(self) -> None:
        """Four busy workers use 95 % of the budget, no second has more, and shares are even."""

        async def main() -> list[Worker]:
            server = PermitServer(190)
            workers = [Worker(Connection(f"{n}", server)) for n in range(4)]
            await asyncio.gather(*(worker.work(10.0) for worker in workers))
            return workers

        workers = virtual_time.run(main())
        calls = sorted(at for worker in workers for at in worker.calls)
        shares = [len(worker.calls) for worker in workers]

        assert windows(calls) <= 190
        assert 0.95 * 190 * 10 <= len(calls)
        assert max(shares) < 1.1 * min(shares)
        # Permits are borrowed several at a time.
        assert (
            sum(worker.connection.takes + worker.connection.notes for worker in workers)
            < len(calls) / 3
        )

    def test_one_call_does_not_wait(self) -> None:
        """A call of an idle budget waits for one round trip to the server."""

        async def main() -> float:
            async with budget_of(Connection("a", PermitServer(190))) as budget:
                await budget.acquire()
                return asyncio.get_running_loop().time()

        assert 3 * WAY > virtual_time.run(main())

    def test_commands_have_counts_of_their_own(self) -> None:
        """Reading has its own calls when marks have used theirs or pause."""

        async def main() -> tuple[float, int]:
            loop = asyncio.get_running_loop()
            server = PermitServer(10)
            async with budget_of(Connection("a", server)) as budget:
                reading = budget.of("get_contact_group")
                for _ in range(20):
                    await budget.acquire()
                budget.pause(60.0)
                began = loop.time()
                (await reading.acquire()).done(CallOutcome.UNUSED)
                took = loop.time() - began
            await asyncio.sleep(1.0)
            return took, lent_by(server, "get_contact_group")

        took, lent = virtual_time.run(main())
        assert took < 3 * WAY
        # The budget of marks closes the others.
        assert 0 == lent

    def test_slow_paces_do_not_stall(self) -> None:
        """The end of a call is reported while another caller waits for the next one."""

        async def main() -> list[float]:
            worker = Worker(Connection("a", PermitServer(1)))
            await worker.work(10.0, at_once=2)
            return worker.calls

        assert 9 <= len(virtual_time.run(main())) <= 12

    def test_slow_answers_count_from_the_server(self) -> None:
        """Calls with slow answers count for one second only, so the budget is used."""

        async def main() -> list[float]:
            worker = Worker(Connection("a", PermitServer(20)))
            await worker.work(10.0, at_once=100, round_trip=3.0)
            return worker.calls

        calls = virtual_time.run(main())
        assert windows(calls) <= 20
        assert 0.9 * 200 <= len(calls)


class TestTroubles:
    def test_a_pause_stops_all_workers(self) -> None:
        """A pause that one worker asks for stops the calls of all workers."""

        async def main() -> list[float]:
            server = PermitServer(100)
            one, other = Connection("one", server), Worker(Connection("other", server))
            async with budget_of(one) as budget, asyncio.TaskGroup() as group:
                group.create_task(other.work(4.0))
                await asyncio.sleep(1.0)
                budget.pause(2.0)
            return other.calls

        calls = virtual_time.run(main())
        assert [] == [at for at in calls if 1.1 < at < 3.0]
        assert [at for at in calls if at >= 3.0]

    def test_a_pause_holds_at_once(self) -> None:
        """A pause stops the worker that asks for it before the server knows of it."""

        async def main() -> float:
            async with budget_of(Connection("a", PermitServer(100))) as budget:
                waiting = asyncio.create_task(budget.acquire())
                await asyncio.sleep(0)
                budget.pause(2.0)
                await waiting
                return asyncio.get_running_loop().time()

        assert 2.0 <= virtual_time.run(main()) < 2.2

    def test_permits_of_a_lost_worker(self) -> None:
        """The permits of a lost worker, also those on their way, are lent again a second later."""

        async def main() -> tuple[int, list[float]]:
            server = PermitServer(10)
            lost, other = Connection("lost", server), Worker(Connection("other", server))
            budget = RemoteBudget(lost)
            waiting = [asyncio.create_task(budget.acquire()) for _ in range(10)]
            await asyncio.sleep(0.5)
            await server.dismiss("lost")
            for task in (*waiting, budget._borrowing):
                if task is not None:
                    task.cancel()
            assert budget._reporting is not None
            budget._reporting.cancel()
            await other.work(5.0)
            await asyncio.sleep(2 * WAY)
            return lent_by(server), other.calls

        lent, calls = virtual_time.run(main())
        assert 0 == lent
        assert 35 <= len([at for at in calls if at <= 5.0]) <= 45

    def test_a_lost_server_is_asked_again(self) -> None:
        """Calls wait for the successor of a lost server, and a second longer."""

        async def main() -> list[float]:
            connection = Connection("a", PermitServer(20))
            worker = Worker(connection)
            async with asyncio.TaskGroup() as group:
                group.create_task(worker.work(6.0))
                await asyncio.sleep(2.0)
                connection.is_cut = True
                connection.server = PermitServer(20, is_successor=True)
                await asyncio.sleep(1.0)
                connection.is_cut = False
            return worker.calls

        calls = virtual_time.run(main())
        assert windows(calls) <= 20
        assert [at for at in calls if at > 5.0]
        assert [] == [at for at in calls if 2.2 < at < 4.0]

    def test_a_server_out_of_reach_keeps_its_count(self) -> None:
        """Permits whose answer was lost count a second longer, and are lent again."""

        async def main() -> tuple[int, list[float]]:
            connection = Connection("a", PermitServer(20))
            worker = Worker(connection)
            async with asyncio.TaskGroup() as group:
                group.create_task(worker.work(6.0))
                await asyncio.sleep(2.0)
                connection.is_cut = True
                await asyncio.sleep(0.3)
                connection.is_cut = False
            await asyncio.sleep(1.0)
            return lent_by(connection.server), worker.calls

        lent, calls = virtual_time.run(main())
        assert 0 == lent
        assert windows(calls) <= 20
        assert 80 <= len(calls)

    def test_cancelled_waiters(self) -> None:
        """The permit of a cancelled waiter is returned, whether it arrived or is on its way."""

        async def main() -> int:
            server = PermitServer(10)
            async with budget_of(Connection("a", server)) as budget:
                for wait in (0.0, WAY, 2 * WAY, 3 * WAY):
                    waiting = asyncio.create_task(budget.acquire())
                    await asyncio.sleep(wait)
                    waiting.cancel()
                    await asyncio.wait([waiting])
                    if not waiting.cancelled():
                        waiting.result().done(CallOutcome.UNUSED)
                await asyncio.sleep(0.5)
                return lent_by(server)

        assert 0 == virtual_time.run(main())

    def test_the_last_account(self) -> None:
        """A closed budget has reported the end of its calls."""

        async def main() -> int:
            server = PermitServer(10)
            connection = Connection("a", server)
            async with budget_of(connection) as budget:
                (await budget.acquire()).done(CallOutcome.UNKNOWN)
                (await budget.acquire()).done(CallOutcome.UNUSED)
            await asyncio.sleep(2 * WAY)
            return lent_by(server)

        assert 0 == virtual_time.run(main())
