from collections.abc import AsyncIterator

import aiohttp
import pytest
from emulator_client import Client

from chatmark.emulator import Emulator, EmulatorOptions


@pytest.fixture
def options() -> EmulatorOptions:
    """Return the options of the emulator."""
    return {}


@pytest.fixture
def now() -> list[float]:
    """Hold the time of the emulator."""
    return [1_700_000_000.5]


@pytest.fixture
async def client(options: EmulatorOptions, now: list[float]) -> AsyncIterator[Client]:
    """Run an emulator and a client of it."""
    settings = EmulatorOptions(clock=lambda: now[0]) | options
    async with Emulator(**settings) as emulator, aiohttp.ClientSession() as http:
        yield Client(emulator, http)
