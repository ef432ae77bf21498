"""
What differs between machines: optimised bytecode, loops without signal handlers, the end, memory.
"""

import asyncio
import signal
import sys
from typing import Any

import pytest
from rig import Rig, run_program

from chatmark import Conversation
from chatmark.cli.endings import listening, signals_interrupt
from chatmark.http.transport import AiohttpTransport
from chatmark.wire.messages import HttpAnswer, Reply

_HELPS = """
import click
from chatmark.__main__ import main
from chatmark.cli.app import chatmark

for command in ["", *chatmark.list_commands(click.Context(chatmark))]:
    print("COMMAND")
    main([*command.split(), "--help"])
"""


def test_help_without_docstrings() -> None:
    """`python -OO` drops docstrings; the help of a command stays."""
    helps, bare = [run_program(_HELPS, *option).stdout for option in ([], ["-OO"])]

    assert helps == bare
    for text in helps.split("COMMAND\n")[1:]:
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
    ended = run_program(_LEFT_OPEN, *options)
    # Warnings name files, and a folder above the virtual environment may have any name.
    said = ended.stderr.replace(sys.prefix, "")

    assert 0 == ended.returncode
    assert "Exception ignored" not in said
    assert "Traceback" not in said
    assert "chatmark" not in said


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
async def test_an_answer_that_exhausts_the_machine(
    error: type[Exception], rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MemoryError and RecursionError in one answer are one answer that cannot be read."""

    class Unreadable(bytes):
        def decode(self, *_: object) -> str:
            raise error

    post, calls = AiohttpTransport.post, []

    async def once(*arguments: Any) -> Reply:
        calls.append(await post(*arguments))
        return HttpAnswer(200, Unreadable(b"{}")) if len(calls) == 1 else calls[-1]

    monkeypatch.setattr(AiohttpTransport, "post", once)
    result = await rig.session().mark("ann", Conversation.one_to_one("bob"), custom_mark="x")

    assert (True, 2) == (result.ok, len(calls))
