import itertools
from collections.abc import Iterator

import pytest
from redis_server import MISSING, RedisServer
from rig import windows

if MISSING is not None:
    pytest.skip(MISSING, allow_module_level=True)

from shared_rig import BEGIN, Fleet, Replica, terms

from chatmark.pacing.shared.member import Member

RATE = 200


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server of this file's own."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def fleet(server: RedisServer) -> Iterator[Fleet]:
    """A fleet that found the count in order."""
    fleet = Fleet(server)
    yield fleet
    fleet.script.close()


def counts(replicas: list[Replica], since: float, until: float) -> list[int]:
    """Return how many calls of each came between two times."""
    return [sum(since <= at < until for at in each.arrivals) for each in replicas]


class TestSharing:
    """Processes in virtual time, over the real script."""

    @pytest.mark.parametrize(
        ("replicas", "latency"),
        [(1, 0.002), (1, 0.2), (8, 0.03), (8, 0.2), (20, 0.03)],
    )
    def test_exact_full_and_fair(self, fleet: Fleet, replicas: int, latency: float) -> None:
        """No window holds more than the budget, nearly all of it is used, and in equal parts."""
        all_of_them = [
            # Any way up to the whole latency is possible.
            fleet.add(terms(most_way=0.5 if latency < 0.1 else 0.05), latency=lambda: latency)
            for _ in range(replicas)
        ]
        fleet.run(3)
        shares = counts(all_of_them, BEGIN + 1, BEGIN + 3)
        arrivals = fleet.arrivals()
        # Ways of 200 ms are longer than was agreed on.
        slack = 0 if latency < 0.1 else RATE * (latency - 0.05)

        assert windows(arrivals) <= RATE + slack
        assert sum(shares) >= 0.94 * 2 * RATE
        assert max(shares) <= max(1.1 * min(shares), min(shares) + 3)
        # No burst of a second's calls: a tenth of a second holds a tenth of them, or little more.
        assert windows(arrivals, 0.1) <= RATE * (0.1 + 0.03 + latency)

    def test_who_asks_for_much_gets_no_more(self, fleet: Fleet) -> None:
        """A process with eight tasks that wait has the same share as one with one task."""
        greedy = fleet.add(waiters=8)
        modest = fleet.add(latency=lambda: 0.02)
        fleet.run(0.5)
        late = fleet.add()
        fleet.run(2)

        shares = counts([greedy, modest, late], BEGIN + 1, BEGIN + 2.5)
        assert max(shares) <= 1.1 * min(shares)

    def test_what_the_idle_leave_is_used(self, fleet: Fleet) -> None:
        """Two busy processes use what six others, which call now and then, do not."""
        busy = [fleet.add() for _ in range(2)]
        idle = [fleet.add(wants=lambda now: now % 0.5 < 0.002) for _ in range(6)]
        fleet.run(4)

        assert sum(counts([*busy, *idle], BEGIN + 1, BEGIN + 4)) >= 0.95 * 3 * RATE
        assert max(max(each.waits) for each in idle) < 0.1

    def test_priority(self, fleet: Fleet) -> None:
        """With bulk jobs of low priority a service's single calls wait some 25 ms, seldom more."""
        for _ in range(8):
            fleet.add(terms(rank=1))
        service = fleet.add(wants=lambda now: now % 0.1 < 0.001)
        fleet.run(4)

        assert windows(fleet.arrivals()) <= RATE
        assert 35 < len(service.waits) < 45
        assert max(service.waits) < 0.06

    def test_low_goes_when_nobody_else_waits(self, fleet: Fleet) -> None:
        """
        A bulk job gets nothing beside processes that use everything, and everything after them.
        """
        for _ in range(2):
            fleet.add(wants=lambda now: now < BEGIN + 2)
        bulk = fleet.add(terms(rank=1))
        fleet.run(4)

        assert sum(counts([bulk], BEGIN + 1, BEGIN + 2)) <= 0.05 * RATE
        assert sum(counts([bulk], BEGIN + 2.2, BEGIN + 4)) >= 0.95 * 1.8 * RATE

    def test_pause(self, fleet: Fleet) -> None:
        """A pause in one process is one in all, but for what was promised already."""
        replicas = [fleet.add() for _ in range(4)]
        fleet.run(1)
        first = replicas[0]
        first.member.pause(fleet.now + first.offset, 1.5)
        fleet.run(2.5)

        assert [0] == counts([first], BEGIN + 1.02, BEGIN + 2.5)
        assert sum(counts(replicas, BEGIN + 1.06, BEGIN + 2.5)) == 0
        assert sum(counts(replicas, BEGIN + 2.5, BEGIN + 3.5)) >= 0.9 * RATE

    def test_unused(self, fleet: Fleet) -> None:
        """Calls that were not made are made by others."""
        replica = fleet.add(wants=lambda now: now > BEGIN + 1.4)
        sharing = replica.member
        fleet.run(0.5)
        for _ in range(150):
            sharing.waiting = 1
            fleet.run(0.006)
            local = fleet.now + replica.offset
            if sharing.ready_at(local) <= local:
                sharing.unused(sharing.take(local))
        sharing.waiting = 0
        fleet.run(1.5)

        assert windows(replica.arrivals) >= 0.9 * RATE

    def test_a_dead_process_takes_nothing_with_it(self, fleet: Fleet) -> None:
        """What a process held, waited for and shared is the others' when it has died."""
        replicas = [fleet.add() for _ in range(4)]
        fleet.run(1)
        fleet.replicas.remove(replicas[0])
        fleet.run(5)

        assert sum(counts(replicas[1:], BEGIN + 3, BEGIN + 6)) >= 0.95 * 3 * RATE
        assert {3} == {each.member.processes for each in replicas[1:]}


class TestOutage:
    """Redis gone, slow, or started again."""

    @pytest.mark.parametrize("is_lost", [True, False])
    @pytest.mark.parametrize("seconds", [0.3, 3.5])
    def test_all_lose_it(self, fleet: Fleet, seconds: float, *, is_lost: bool) -> None:
        """
        While it is away each goes on with its share; no window ever holds more than the budget.
        """
        replicas = [fleet.add(terms(most_way=0.5)) for _ in range(6)]
        fleet.run(1.5)
        fleet.is_down = True
        fleet.run(seconds)
        if is_lost:
            fleet.script.lose()
        fleet.is_down = False
        fleet.run(4)
        end = fleet.now

        assert windows(fleet.arrivals()) <= RATE
        assert sum(counts(replicas, end - 1, end)) >= 0.95 * RATE
        if seconds > 3:
            # The shares, once what was promised before has left the window.
            apart = counts(replicas, BEGIN + 4, BEGIN + 5)
            assert min(apart) >= 0.8 * RATE / 6
        assert {6} == {each.member.processes for each in replicas}

    def test_one_loses_it(self, fleet: Fleet) -> None:
        """A process that is cut off adds no more than its share, and comes back without a jolt."""
        replicas = [fleet.add(terms(most_way=0.5)) for _ in range(4)]
        fleet.run(1.5)
        replicas[0].is_cut = True
        fleet.run(4)
        assert sum(counts(replicas[:1], BEGIN + 4, BEGIN + 5.5)) > 0
        replicas[0].is_cut = False
        fleet.run(3)
        end = fleet.now

        assert RATE < windows(fleet.arrivals()) <= RATE + RATE / 4
        assert windows(at for at in fleet.arrivals() if at > end - 1.5) <= RATE

    def test_a_new_count(self, server: RedisServer) -> None:
        """Where nobody was before, calls begin after two seconds, and then as ever."""
        fleet = Fleet(server, is_new=True)
        for _ in range(4):
            fleet.add()
        fleet.run(4)
        arrivals = fleet.arrivals()
        fleet.script.close()

        assert BEGIN + 2 <= arrivals[0] < BEGIN + 2.2
        assert windows(arrivals) <= RATE
        assert len([at for at in arrivals if at >= BEGIN + 3]) >= 0.95 * RATE

    def test_slow_and_not_alone(self, fleet: Fleet) -> None:
        """
        Processes for which the server is slow share the pace; one that comes takes its share late.
        """
        replicas = [fleet.add(terms(most_way=0.5), trip=0.4) for _ in range(3)]
        fleet.run(5)
        replicas.append(fleet.add(terms(most_way=0.5), trip=0.4))
        fleet.run(7)

        assert windows(fleet.arrivals()) <= RATE
        for number, since in ((3, 3.5), (4, 9)):
            shares = counts(replicas[:number], BEGIN + since, BEGIN + since + 1.5)
            assert min(shares) >= 0.9 * 1.5 * RATE / number

    def test_slow_among_quick_ones(self, fleet: Fleet) -> None:
        """What a slow process calls is counted, so that the others leave it room."""
        slow = fleet.add(terms(most_way=0.5), trip=0.4)
        quick = [fleet.add(terms(most_way=0.5)) for _ in range(3)]
        fleet.run(8)

        assert windows(at for at in fleet.arrivals() if at > BEGIN + 4) <= 1.1 * RATE
        assert sum(counts([slow], BEGIN + 5, BEGIN + 8)) >= 0.9 * 3 * RATE / 4
        assert sum(counts(quick, BEGIN + 5, BEGIN + 8)) >= 0.8 * 3 * RATE * 3 / 4

    def test_slow_for_a_while(self, fleet: Fleet) -> None:
        """When the server is quick again, promises count again."""
        replicas = [fleet.add(terms(most_way=0.5)) for _ in range(2)]
        fleet.run(2)
        for replica in replicas:
            replica.trip = 0.4
        fleet.run(4)
        for replica in replicas:
            replica.trip = 0.004
        fleet.run(3)

        # What one tells late the others cannot leave it room for.
        assert windows(fleet.arrivals()) <= 1.1 * RATE
        assert sum(counts(replicas, BEGIN + 8, BEGIN + 9)) >= 0.9 * RATE

    @pytest.mark.parametrize("seconds", [-3600, -1.9, 0.05, 1.9, 3600])
    def test_its_clock_jumps(self, fleet: Fleet, seconds: float) -> None:
        """
        A jump costs two seconds of calls at most, or adds 8 % to one window at most.
        """
        for _ in range(2):
            fleet.add(terms(most_way=0.5))
        fleet.run(1.5)
        fleet.script.ahead += seconds
        fleet.run(4)
        arrivals = fleet.arrivals()

        assert windows(arrivals) <= (1.08 if 0 < seconds < 2 else 1) * RATE
        assert max(later - at for at, later in itertools.pairwise(arrivals)) <= 2
        assert len([at for at in arrivals if at > fleet.now - 1]) >= 0.95 * RATE

    @pytest.mark.parametrize("key", ["state", "slots", "queue", "polled", "alive", "turns"])
    def test_a_key_is_evicted(self, fleet: Fleet, key: str) -> None:
        """
        A full server that drops a key adds 5 % to a window at most; the state costs 2 seconds.
        """
        replicas = [fleet.add(terms(most_way=0.5)) for _ in range(3)]
        fleet.run(1.5)
        for _ in range(4):
            fleet.script.redis.delete(f"{{test}}:{key}")
            fleet.run(0.25)
        fleet.run(3.5)

        assert windows(fleet.arrivals()) <= 1.05 * RATE
        during = sum(counts(replicas, BEGIN + 1.5, BEGIN + 2.5))
        assert during < 0.3 * RATE if key == "state" else during >= 0.95 * RATE
        assert sum(counts(replicas, fleet.now - 1, fleet.now)) >= 0.95 * RATE


class TestBrokenValues:
    """What another program, or an attacker, may have left under the keys."""

    @pytest.mark.parametrize(
        ("key", "field", "value"),
        [
            *(("state", each, b"1e17") for each in ("last", "due", "paused", "opens", "turn0")),
            *(("state", "due", each) for each in (b"nan", b"inf", b"-inf", b"-5", b"text")),
            *(("turns", "p0", each) for each in (b"nan", b"1e300", b"-5", b"text")),
        ],
    )
    def test_numbers(self, fleet: Fleet, key: str, field: str, value: bytes) -> None:
        """
        No number stops the calls for longer than the longest pause, a minute, or adds to them.
        """
        replicas = [fleet.add(terms(most_way=0.5)) for _ in range(2)]
        fleet.run(1)
        fleet.script.redis.hset(f"{{test}}:{key}", field, value)
        fleet.run(0.5)
        # A minute, but for its last seconds.
        fleet.now += 58 if field == "paused" else 0
        fleet.run(2.5 if key == "turns" else 5)
        shares = counts(replicas, fleet.now - 1.5, fleet.now)

        assert windows(fleet.arrivals()) <= RATE
        assert sum(shares) >= 0.9 * 1.5 * RATE
        assert max(shares) <= 1.1 * min(shares)

    @pytest.mark.parametrize(
        ("name", "members"),
        [
            ("slots", {f"nobody:{number}": float("inf") for number in range(RATE)}),
            ("queue", {f"nobody{number}": -1.0 for number in range(RATE)}),
            ("polled", {f"nobody{number}": 1e18 for number in range(RATE)}),
            ("alive", {f"nobody{number}": 1e18 for number in range(1000)}),
        ],
    )
    def test_members(self, fleet: Fleet, name: str, members: dict[str, float]) -> None:
        """Members that no process added are removed."""
        replicas = [fleet.add(terms(most_way=0.5)) for _ in range(2)]
        fleet.run(1)
        fleet.script.redis.zadd(f"{{test}}:{name}", members)
        fleet.run(2.5)

        assert windows(fleet.arrivals()) <= RATE
        assert sum(counts(replicas, BEGIN + 2, BEGIN + 3.5)) >= 0.9 * 1.5 * RATE
        assert {2} == {each.member.processes for each in replicas}

    def test_said(self, fleet: Fleet) -> None:
        """The answer tells once, and holds the number within its bounds."""
        fleet.script.redis.hset("{test}:state", "paused", b"1e18")
        questions = [Member(terms(), "p").question(0.0) for _ in range(2)]
        answers = [fleet.script.ask(each, BEGIN) for each in questions]

        assert [1, 0] == [each[4] for each in answers]
        assert [60_000_000] * 2 == [each[0] for each in answers]
