import asyncio
import contextlib
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator

import hypothesis
import pytest
from rig import Rig

from chatmark.emulator import Emulator, EmulatorThread
from chatmark.failures import UnsentError

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


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """Give an emulator without a limit of calls; check the ledgers and tasks at the end."""
    async with Emulator(calls_per_second=None, keep_calls=None) as emulator:
        rig = Rig(emulator)
        yield rig
        for session in rig.sessions:
            with contextlib.suppress(UnsentError):
                await session.close(0)
        rig.check_ledgers()
        names = [task.get_name() for task in asyncio.all_tasks()]

        assert [] == [name for name in names if name.startswith("chatmark")]
    rig.sessions.clear()
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
