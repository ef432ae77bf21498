import asyncio
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import hypothesis
import pytest
from rig import Rig
from virtual_rig import virtual_rig
from virtual_time import VirtualLoop

from chatmark.emulator import Emulator, EmulatorThread

# The machines are shared: how long one example takes says nothing. The mutation run executes a test
# more than once in a process.
hypothesis.settings.register_profile(
    "chatmark",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.differing_executors],
)
hypothesis.settings.load_profile("chatmark")

# Under nohup or in the background, as a CI may be, commands that the tests start would ignore them.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _level_of_the_log() -> Iterator[None]:
    """Undo what a command with -v does to the logger."""
    yield
    logging.getLogger("chatmark").setLevel(logging.NOTSET)


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], Any]]:
    """Run the tests that are marked so in virtual time."""
    is_virtual = item.get_closest_marker("virtual_time") is not None
    return {"loop": VirtualLoop if is_virtual else asyncio.new_event_loop}


@pytest.fixture
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """
    Give an emulator without a limit of calls; check the ledgers and tasks at the end.

    In virtual time it is a `VirtualRig`, which checks more.
    """
    marker = request.node.get_closest_marker("virtual_time")
    if marker is not None:
        async with virtual_rig(**marker.kwargs) as rig:
            yield rig
        return
    async with Emulator(calls_per_second=None, keep_calls=None) as emulator:
        yield (real := Rig(emulator))
        await real.close()
    real.sessions.clear()
    gc.collect()


@pytest.fixture
def blank_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let the environment say nothing to the command line; give what says more."""
    for name in [name for name in os.environ if name.startswith("CHATMARK_")]:
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def emulator_environment(
    blank_environment: pytest.MonkeyPatch, chatmark_emulator: EmulatorThread
) -> pytest.MonkeyPatch:
    """Point the command line to the emulator; give what says more."""
    for name, value in chatmark_emulator.credentials_environment().items():
        blank_environment.setenv(name, value)
    return blank_environment
