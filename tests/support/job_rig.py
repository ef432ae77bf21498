"""What tests of whole jobs share: a server in a process of its own, and the command in another."""

import asyncio
import gc
import json
import multiprocessing
import os
import pathlib
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any, Final, Self

from chatmark import Conversation, ConversationMark, MarkChange
from chatmark.emulator import Delay, Emulator
from chatmark.jobs.sources.row import row_of


def serve(pipe: Connection, settings: dict[str, Any]) -> None:
    """Run the emulator in this process; it answers what it is asked through the pipe."""
    # A collection over all the calls that it keeps takes long enough for calls to pile up at its
    # door, which then seem to have come at once.
    gc.disable()
    asyncio.run(_serve(pipe, settings))


async def _serve(pipe: Connection, settings: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    async with Emulator(calls_per_second=None, **settings) as emulator:
        pipe.send(emulator.credentials_environment())
        while (asked := await loop.run_in_executor(None, pipe.recv)) != "end":
            if asked in _ANSWERS:
                pipe.send(_ANSWERS[asked](emulator))
            elif asked == "hang":
                emulator.script.always(Delay(60.0))
                pipe.send(_items(emulator))
            elif asked == "restart":
                await emulator.stop()
                await emulator.start()
            elif callable(asked):
                asked(emulator)
            elif asked == "wake":
                emulator.script.clear()
                pipe.send(None)
            else:
                async with asyncio.timeout(120):
                    while _items(emulator) < asked:
                        await asyncio.sleep(0.001)
                pipe.send(asked)


def _items(emulator: Emulator) -> int:
    calls = [call for call in emulator.calls if call.command == "mark_contact"]
    return sum(len(call.conversations) for call in calls)


_ANSWERS: Final[Mapping[object, Callable[[Emulator], object]]] = {
    "state": lambda emulator: emulator.state.snapshot(),
    "size": lambda emulator: len(emulator.state.snapshot()),
    "calls": lambda emulator: emulator.counts["mark_contact"],
    "items": _items,
    "accounts": lambda emulator: [(call.started, call.account) for call in emulator.calls],
    "times": lambda emulator: [call.started for call in emulator.calls],
    "violations": lambda emulator: emulator.violations,
}


class Server:
    """
    The emulator in another process.

    Args:
        **settings: Its settings; it is not paced.
    """

    def __init__(self, **settings: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=serve, args=(there, settings), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self.environment: dict[str, str] = self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send("end")
        self._process.join(5)
        self._process.kill()

    def ask(self, question: str) -> Any:
        """
        Return what it knows: "state", "size", "calls", "items", "times", "accounts", "violations".

        Asked to "hang" it answers no call from then on, until it is asked to "wake"; it returns how
        many items came before.
        """
        self._pipe.send(question)
        return self._pipe.recv()

    def tell(self, order: "str | Callable[[Emulator], object]") -> None:
        """Have it "restart", or do something with the emulator; nothing is waited for."""
        self._pipe.send(order)

    def wait_for(self, items: int) -> None:
        """Wait until it has been sent so many items."""
        self._pipe.send(items)
        assert items == self._pipe.recv()

    def start(self, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        """Start a `chatmark` that talks to the server."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CHATMARK_")}
        return subprocess.Popen(
            [sys.executable, "-m", "chatmark", *arguments],
            env=environment | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, *arguments: str, **options: Any) -> tuple[int, str, str]:
        """Run a `chatmark` that talks to the server; return its status, and what it said."""
        process = self.start(*arguments, **options)
        out, err = process.communicate()
        return process.returncode, out, err


def scattered(
    rows: int, users: int, rng: random.Random, *, repeats: float = 0.0, prefix: str = "user_"
) -> Iterator[MarkChange]:
    """
    Yield changes in random order, so many of each user, some of a conversation that came before.
    """
    bits = [ConversationMark(1 << number) for number in (0, 1, 2, 3, 32, 33, 63)]
    each = -(-rows // users)
    places = list(range(rows))
    rng.shuffle(places)
    for place in places:
        user, peer = place % users, place // users
        if rng.random() < repeats:
            peer = rng.randrange(each)
        set_mark, clear_mark = rng.sample(bits, 2)
        yield MarkChange(
            f"{prefix}{user:05}",
            Conversation.one_to_one(f"peer_{peer:04}"),
            set_mark,
            clear_mark,
            rng.choice((None, None, "vip", "標")),
        )


def write_rows(path: pathlib.Path, changes: Iterable[MarkChange]) -> None:
    """Write changes as JSON Lines."""
    with path.open("w", encoding="utf-8") as file:
        for change in changes:
            file.write(json.dumps(row_of(change), ensure_ascii=False) + "\n")
