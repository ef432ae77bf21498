"""The worker of `examples/queue_worker.py` loses no change, however it ends."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from paths import ROOT
from redis_server import MISSING, RedisServer

from chatmark.emulator import EmulatorThread, Hang, Refuse

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

# The emulator executes a request before it answers, so nothing is at work after a kill.
PROGRAM = """
import asyncio, sys
sys.path.insert(0, "examples")
import queue_worker
queue_worker.STILL_AT_WORK = 0
queue_worker.GRACE = float(sys.argv[2])
asyncio.run(queue_worker.main(sys.argv[1], "marks"))
"""


class Rig:
    """A Redis with a stream, an emulator, and processes that work between the two."""

    def __init__(self, url: str, emulator: EmulatorThread) -> None:
        from redis import Redis  # noqa: PLC0415 - it may be absent.

        self.redis: Any = Redis.from_url(url, decode_responses=True, protocol=2)
        self.emulator = emulator
        self._url = url

    def start(self, grace: float = 25.0) -> subprocess.Popen[bytes]:
        """Start a worker."""
        environment = os.environ | self.emulator.credentials_environment()
        command = [sys.executable, "-c", PROGRAM, self._url, str(grace)]
        return subprocess.Popen(command, cwd=ROOT, env=environment)

    def fill(self, count: int) -> dict[tuple[str, int, str], tuple[int, str]]:
        """Add messages for a few hot conversations; return what they come to."""
        rng = random.Random(17)
        wanted = {}
        for number in range(count):
            user, peer, is_set = (
                f"u{rng.randrange(20)}",
                f"p{rng.randrange(30)}",
                rng.random() < 0.5,
            )
            row = {"from_account": user, "to_account": peer, "custom_mark": str(number)}
            row["set_mark" if is_set else "clear_mark"] = "favorite"
            self.redis.xadd("marks", {"change": json.dumps(row)})
            wanted[user, 1, peer] = int(is_set), str(number)
        return wanted

    def wait(self, left: int, calls: int = 0) -> None:
        """Wait until so few messages are left in the stream, and so many calls were made."""
        deadline = time.monotonic() + 60
        while self.redis.xlen("marks") > left or len(self.emulator.calls) < calls:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def terminate(self, worker: subprocess.Popen[bytes]) -> None:
        """Ask a worker to end, which it does without an error."""
        worker.send_signal(signal.SIGTERM)

        assert 0 == worker.wait(30)


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Give a Redis and an emulator whose answers take a moment."""
    with (
        RedisServer() as server,
        EmulatorThread(calls_per_second=None, round_trip=0.02) as emulator,
    ):
        yield Rig(server.url, emulator)


class TestWorker:
    def test_killed(self, rig: Rig) -> None:
        """After several `kill -9` and a SIGTERM the state is exact, and the stream is empty."""
        wanted = rig.fill(2_000)
        for left in (1_500, 500):
            worker = rig.start()
            rig.wait(left)
            worker.kill()
            worker.wait()
            assert rig.redis.xlen("marks")
        worker = rig.start()
        rig.wait(0)
        rig.terminate(worker)

        assert wanted == rig.emulator.state.snapshot()
        assert [] == rig.emulator.violations

    def test_terminated_at_work(self, rig: Rig) -> None:
        """SIGTERM ends the worker when all that it read is settled."""
        wanted = rig.fill(4_000)
        worker = rig.start()
        rig.wait(3_500)
        rig.terminate(worker)

        assert 0 == rig.redis.xpending("marks", "chatmark")["pending"]
        worker = rig.start()
        rig.wait(0)
        worker.kill()
        worker.wait()
        assert wanted == rig.emulator.state.snapshot()

    def test_dead_letters(self, rig: Rig) -> None:
        """Messages that no retry helps go to the dead letters, with the reason."""
        rig.emulator.script.item((1, "full"), 51008, times=None)
        for change in (
            '{"from_account": "amy", "to_account": "full", "set_mark": "favorite"}',
            '{"from_account": "amy", "to_account": "bob", "set_mark": "favourite"}',
            "nonsense",
        ):
            rig.redis.xadd("marks", {"change": change})
        rig.redis.xadd("marks", {"other": "field"})
        worker = rig.start()
        rig.wait(0)
        rig.terminate(worker)
        errors = [fields["error"] for _, fields in rig.redis.xrange("marks:dead")]
        assert ["set_mark", "Expecting", "'change'", "amy c2c_full"] == [
            error.split(":")[0].split(" value")[0] for error in errors
        ]
        assert {} == rig.emulator.state.snapshot()

    def test_terminated_in_an_outage(self, rig: Rig) -> None:
        """SIGTERM ends a worker whose server does not answer; the messages stay in the stream."""
        rig.emulator.script.always(Hang())
        rig.fill(100)
        worker = rig.start(grace=0.1)
        rig.wait(100, calls=1)
        rig.terminate(worker)

        assert 100 == rig.redis.xlen("marks")

    def test_application_refused(self, rig: Rig) -> None:
        """A wrong key ends the worker with an error; the messages stay in the stream."""
        rig.emulator.script.always(Refuse(70009))
        rig.fill(100)
        worker = rig.start()

        assert 1 == worker.wait(30)
        assert 100 == rig.redis.xlen("marks")
