"""
A worker that applies changes from a Redis stream, and loses none: not on SIGTERM, not on kill -9.

    pip install 'chatmark[cli,redis]'
    chatmark serve                                  # in one terminal; it prints the environment
    python queue_worker.py redis://127.0.0.1:6379 marks
    redis-cli XADD marks '*' change \
        '{"from_account": "amy", "to_account": "bob", "set_mark": ["favorite"]}'

A message leaves the stream when its change took effect or was refused. One process works on a
stream at a time: that keeps the order of a user's changes.
"""

import asyncio
import contextlib
import json
import math
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import attrs
import cattrs
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from chatmark import (
    ItemRefusedError,
    MarkChange,
    MarkResult,
    MarkSession,
    OutcomeUnknownError,
    UnsentError,
)
from chatmark.cattrs import configure

GROUP = CONSUMER = "chatmark"
# The server may execute a request of a killed process for so many seconds.
STILL_AT_WORK = 3.0
# Kubernetes kills a process 30 seconds after SIGTERM.
GRACE = 25.0

converter = cattrs.Converter()
configure(converter)


class Worker:
    """Applies the messages of one stream."""

    def __init__(self, redis: Redis, stream: str) -> None:
        self._redis = redis
        self._stream = stream
        self._stop = asyncio.Event()

    def stop(self, running: asyncio.Task[None]) -> None:
        """Read no more, apply what was read, and give that up after a while."""
        self._stop.set()
        asyncio.get_running_loop().call_later(GRACE, running.cancel)

    async def run(self, session: MarkSession) -> None:
        """Apply messages until `stop` is called and all that were read are settled."""
        with contextlib.suppress(ResponseError):  # the group exists.
            await self._redis.xgroup_create(self._stream, GROUP, id="0", mkstream=True)
        # Results come as they settle: one user's trouble does not hold up another.
        async for result in session.stream(self._changes(), ordered=False):
            await self._finish(result)

    async def _changes(self) -> AsyncIterator[list[MarkChange]]:
        """Yield what an earlier process left unsettled, then what is new."""
        position = "0"
        while not self._stop.is_set():
            answer: Any = await self._redis.xreadgroup(
                GROUP, CONSUMER, {self._stream: position}, count=1_000, block=500
            )
            messages = answer[0][1] if answer else []
            if position == "0" and messages:
                await asyncio.sleep(STILL_AT_WORK)
            if position != ">":
                position = messages[-1][0] if messages else ">"
            changes = [await self._read(*message) for message in messages]
            yield [change for change in changes if change is not None]

    async def _read(self, message: str, fields: dict[str, str]) -> MarkChange | None:
        try:
            change = converter.structure(json.loads(fields["change"]), MarkChange)
        except (KeyError, TypeError, ValueError) as error:
            await self._remove(message, {**(fields or {}), "error": str(error)})
            return None
        return attrs.evolve(change, tag=message)

    async def _finish(self, result: MarkResult) -> None:
        if result.error is None:
            await self._remove(result.change.tag)
        elif isinstance(result.error, ItemRefusedError | OutcomeUnknownError):
            row = json.dumps(converter.unstructure(result.change))
            await self._remove(result.change.tag, {"change": row, "error": str(result.error)})
        else:
            # The application is refused, say. The message stays; the supervisor starts anew.
            raise result.error

    async def _remove(self, message: str, why: dict[Any, Any] | None = None) -> None:
        """Remove a message; with a reason it goes to the dead letters."""
        async with self._redis.pipeline(transaction=True) as together:
            if why is not None:
                together.xadd(f"{self._stream}:dead", why)
            together.xack(self._stream, GROUP, message)
            together.xdel(self._stream, message)
            await together.execute()


async def main(url: str, stream: str) -> None:
    """Work until SIGTERM or Ctrl-C."""
    redis = Redis.from_url(url, decode_responses=True, protocol=2)
    # Without a deadline nothing that can pass fails: an older change never comes after a newer one.
    session = MarkSession.from_env(deadline=math.inf, close_grace=0)
    # A worker that gave up leaves the rest in the stream, for the next process.
    with contextlib.suppress(asyncio.CancelledError, UnsentError):
        async with redis, session:
            worker = Worker(redis, stream)
            running = asyncio.create_task(worker.run(session))
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, worker.stop, running)
            await running


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
