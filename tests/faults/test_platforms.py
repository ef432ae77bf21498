"""
What differs between machines: optimised bytecode, loops without signal handlers, the end, memory.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping

import pytest

from chatmark import Conversation, Credentials, MarkSession
from chatmark.cli.endings import listening, signals_interrupt
from chatmark.wire.messages import HttpAnswer, Reply

_HELP = """
from chatmark.__main__ import main
for name in "apply mark plan verify export show group check serve explain usersig".split():
    print("=====")
    main([name, "--help"])
"""


def test_help_without_docstrings() -> None:
    """`python -OO` drops docstrings; the help of a command stays."""
    helps = [
        subprocess.run(
            [sys.executable, *option, "-c", _HELP],
            capture_output=True,
            check=True,
            env={**os.environ, "COLUMNS": "80"},
            text=True,
        ).stdout
        for option in ([], ["-OO"])
    ]

    assert helps[0] == helps[1]
    first, *others = helps[0].split("=====\n")
    assert ("", 11) == (first, len(others))
    for text in others:
        description = text.split("\n\n")[1]
        assert len(description) > 20
        # A group of options would be next.
        assert not description.splitlines()[0].endswith(":")


class _WindowsLoop(asyncio.SelectorEventLoop):
    def add_signal_handler(self, *_: object) -> None:
        raise NotImplementedError


def test_a_loop_without_signal_handlers() -> None:
    """Windows has no signal handlers in its loops: Ctrl-C reaches one that waits all the same."""

    async def main() -> str:
        stop = asyncio.Event()
        with listening(stop.set):
            signal.raise_signal(signal.SIGINT)
            await asyncio.wait_for(stop.wait(), 5)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return "ended"

    with signals_interrupt(), asyncio.Runner(loop_factory=_WindowsLoop) as runner:
        assert "ended" == runner.run(main())


_LEFT_OPEN = """
import asyncio, logging
from chatmark import Conversation, Credentials, MarkChange, MarkSession

async def main():
    global session, handles, failed
    credentials = Credentials(sdkappid=1, identifier="administrator", secret_key="k" * 64)
    session = MarkSession(credentials, base_url="http://127.0.0.1:9", deadline=0.0)
    bob = Conversation.one_to_one("bob")
    failed = await session.submit(MarkChange("ann", bob, custom_mark="x"))
    await session.flush()
    handles = [await session.submit(MarkChange("ann", bob, custom_mark="y")) for _ in range(3)]

asyncio.run(main())
logging.basicConfig()
"""


@pytest.mark.parametrize("options", [[], ["-W", "default"]], ids=["plain", "all warnings"])
def test_a_session_left_open_at_exit(options: list[str]) -> None:
    """
    Sessions and handles that go with the interpreter raise nothing and say nothing of their own.
    """
    ended = subprocess.run(
        [sys.executable, *options, "-c", _LEFT_OPEN], capture_output=True, text=True, check=True
    )
    # Warnings name files, and a folder above the virtual environment may have any name.
    said = ended.stderr.replace(sys.prefix, "")

    assert "Exception ignored" not in said
    assert "Traceback" not in said
    assert "chatmark" not in said


class _Unreadable(bytes):
    error: type[Exception] = MemoryError

    def decode(self, *_: object) -> str:
        raise self.error


class _Once:
    """A transport whose first answer cannot be looked at, and whose second confirms."""

    def __init__(self, error: type[Exception]) -> None:
        self._body = type("Unreadable", (_Unreadable,), {"error": error})(b"{}")
        self.calls = 0

    async def post(self, path: str, query: Mapping[str, str], body: bytes) -> Reply:
        self.calls += 1
        if self.calls == 1:
            return HttpAnswer(200, self._body)
        line = {"ContactItem": {"Type": 1, "To_Account": "bob"}, "ResultCode": 0}
        return HttpAnswer(200, json.dumps({"ErrorCode": 0, "ResultItem": [line]}).encode())

    async def aclose(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
async def test_an_answer_that_exhausts_the_machine(error: type[Exception]) -> None:
    """MemoryError and RecursionError in one answer are one answer that cannot be read."""
    credentials = Credentials(sdkappid=1, identifier="administrator", secret_key="k" * 64)
    transport = _Once(error)
    async with MarkSession(
        credentials, base_url="http://127.0.0.1:1", transport=transport, backoff=lambda _: 0.0
    ) as session:
        result = await session.mark("ann", Conversation.one_to_one("bob"), custom_mark="x")

    assert (True, 2) == (result.ok, transport.calls)
