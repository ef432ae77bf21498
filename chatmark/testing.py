"""
Test code that uses chatmark: pytest fixtures over the emulator.

pytest loads this module by itself once chatmark is installed, in every run, so it imports
nothing heavy before a fixture is used.
"""

# ruff: noqa: PLC0415 - the fixtures import what they need, see above.

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from chatmark import Credentials
    from chatmark.emulator import EmulatorOptions, EmulatorThread

_FIXTURES = {"chatmark_emulator", "chatmark_credentials"}

__all__ = ["chatmark_credentials", "chatmark_emulator", "chatmark_emulator_options"]


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """
    Run an async test that takes a fixture of chatmark, if no other plugin runs it.

    Other plugins come first: they wrap the function, or are marked to be tried first.
    """
    function = pyfuncitem.obj
    if not (inspect.iscoroutinefunction(function) and _FIXTURES & {*pyfuncitem.fixturenames}):
        return None
    names = inspect.signature(function).parameters.keys() & pyfuncitem.funcargs.keys()
    import asyncio

    asyncio.run(function(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture
def chatmark_emulator_options() -> "EmulatorOptions":
    """
    Return the options of `chatmark_emulator`; a test module or conftest.py may override them.

    .. code-block:: python

        @pytest.fixture
        def chatmark_emulator_options():
            return {"users": ["user_0001", "user_0002"], "calls_per_second": None}

    `chatmark.emulator.Settings` lists them.
    """
    return {}


@pytest.fixture
def chatmark_emulator(chatmark_emulator_options: "EmulatorOptions") -> "Iterator[EmulatorThread]":
    """
    Run a fresh emulator on a free port of 127.0.0.1 while the test runs.

    It runs in a thread of its own, so it serves synchronous and asynchronous tests alike. Point
    the code under test to ``chatmark_emulator.url`` with `chatmark_credentials`. Override
    `chatmark_emulator_options` to set it up differently.
    """
    from chatmark.emulator import EmulatorThread

    with EmulatorThread(**chatmark_emulator_options) as emulator:
        yield emulator


@pytest.fixture
def chatmark_credentials(chatmark_emulator: "EmulatorThread") -> "Credentials":
    """Make credentials that `chatmark_emulator` accepts."""
    from chatmark import Credentials

    return Credentials(
        sdkappid=chatmark_emulator.settings.sdkappid,
        identifier=next(iter(chatmark_emulator.settings.admins)),
        secret_key=chatmark_emulator.settings.secret_key,
    )
