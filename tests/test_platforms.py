"""
What differs between machines: optimised bytecode, loops without signal handlers.
"""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from chatmark.cli.running.signals import call_on_signals

_COMMANDS = ("apply", "plan", "verify", "export", "show", "serve", "explain", "usersig")


@pytest.mark.parametrize("command", ["", *_COMMANDS], ids=["chatmark", *_COMMANDS])
def test_help_without_docstrings(command: str) -> None:
    """
    `python -OO` drops docstrings; the help of a command stays.
    """
    helps = [
        subprocess.run(
            [sys.executable, *option, "-m", "chatmark", *command.split(), "--help"],
            capture_output=True,
            check=True,
            env={**os.environ, "COLUMNS": "80"},
        ).stdout
        for option in ([], ["-OO"])
    ]

    assert helps[0] == helps[1]
    assert len(helps[0].split(b"\n\n")[1]) > 20


class _WindowsLoop(asyncio.SelectorEventLoop):
    def add_signal_handler(self, *_: object) -> None:
        raise NotImplementedError


def test_a_loop_without_signal_handlers() -> None:
    """
    Windows has no signal handlers in its loops: the command runs, and Ctrl-C ends it.
    """

    async def main() -> str:
        call_on_signals(lambda: None, signals=[signal.SIGTERM])
        return "ran"

    with asyncio.Runner(loop_factory=_WindowsLoop) as runner:
        assert "ran" == runner.run(main())
