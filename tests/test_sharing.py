from collections.abc import Iterator

import pytest
from redis_server import MISSING, RedisServer
from rig import windows

if MISSING is not None:
    pytest.skip(MISSING, allow_module_level=True)

from shared_rig import BEGIN, Fleet, Replica

RATE = 200


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """
    A server of this file's own.
    """
    with RedisServer() as server:
        yield server


@pytest.fixture
def fleet(server: RedisServer) -> Iterator[Fleet]:
    """
    A fleet that found the count in order.
    """
    fleet = Fleet(server)
    yield fleet
    fleet.script.close()


def counts(replicas: list[Replica], since: float, until: float) -> list[int]:
    """
    Return how many calls of each came between two times.
    """
    return [sum(since <= at < until for at in each.arrivals) for each in replicas]


class TestSharing:
    """
    Processes in virtual time, over the real script.
    """

    @pytest.mark.parametrize("latency", [0.002, 0.03, 0.2])
    @pytest.mark.parametrize("replicas", [1, 8, 30])
    def test_exact_full_and_fair(self, fleet: Fleet, replicas: int, latency: float) -> None:
        """
        No window holds more than the budget, nearly all of it is used, and in equal parts.
        """
        all_of_them = [fleet.add(latency=lambda: latency) for _ in range(replicas)]
        fleet.run(4)
        shares = counts(all_of_them, BEGIN + 1, BEGIN + 4)
        # A call of a long way is believed to have been there after 50 ms at the latest.
        slack = 0 if latency <= 0.05 else RATE // 10

        assert windows(fleet.arrivals()) <= RATE + slack
        assert sum(shares) >= 0.94 * 3 * RATE
        assert max(shares) <= max(1.1 * min(shares), min(shares) + 2)
