"""The far end, in a process and on a core of its own: the fast server, or the real emulator."""

import asyncio
import contextlib
import gc
import multiprocessing
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from multiprocessing.connection import Connection
from typing import Any, Final

import aiohttp
import attrs

from benchmarks.fast import FastServer
from benchmarks.measure import ALL_CORES, stay_off_first_core
from chatmark import Credentials, make_usersig
from chatmark.emulator import Emulator

_APP: Final = 1400000001
_ADMIN: Final = "administrator"
_KEY: Final = "example-secret-not-real"
ENVIRONMENT: Final = {
    "CHATMARK_SDKAPPID": str(_APP),
    "CHATMARK_IDENTIFIER": _ADMIN,
    "CHATMARK_SECRET_KEY": _KEY,
}
CREDENTIALS: Final = Credentials(sdkappid=_APP, identifier=_ADMIN, secret_key=_KEY)
_SPAWN: Final = multiprocessing.get_context("spawn")


@attrs.frozen
class Totals:
    """
    What the far end has counted so far.

    Args:
        calls: Requests that it answered.
        cpu: Seconds that it worked.
        neighbour: Calls of the neighbour that were admitted.
    """

    calls: int
    cpu: float
    neighbour: int = 0


@attrs.frozen
class FarEnd:
    """
    A far end that runs.

    Args:
        url: Its base URL.
    """

    url: str
    _pipe: Connection

    @property
    def signed_url(self) -> str:
        """The URL of mark_contact with its whole query, made once."""
        return signed(self.url)

    def totals(self) -> Totals:
        """Return what it has counted."""
        return self._ask("totals")  # type: ignore[no-any-return]

    def neighbour(self, calls_per_second: int) -> None:
        """Let somebody else call it so often, 0 for not at all."""
        self._ask("neighbour", calls_per_second)

    def _ask(self, *question: object) -> Any:
        self._pipe.send(question)
        return self._pipe.recv()


def signed(url: str) -> str:
    """Return the URL of mark_contact at that host, with a signature that holds for a day."""
    usersig = make_usersig(_APP, _ADMIN, _KEY, now=time.time(), expire=86_400)
    query = f"sdkappid={_APP}&identifier={_ADMIN}&usersig={usersig}&random=1&contenttype=json"
    return f"{url}/v4/recentcontact/mark_contact?{query}"


@contextlib.contextmanager
def fast(*, round_trip: float = 0.0) -> Iterator[FarEnd]:
    """Run the fast server, with a round trip in seconds."""
    with _running(_serve_fast, round_trip) as far:
        yield far


@contextlib.contextmanager
def emulator(
    *, calls_per_second: int | None = None, round_trip: tuple[float, float] = (0.0, 0.0)
) -> Iterator[FarEnd]:
    """Run the emulator, with a random round trip in seconds."""
    with _running(_serve_emulator, calls_per_second, round_trip) as far:
        yield far


@contextlib.contextmanager
def _running(serve: Callable[..., None], *options: object) -> Iterator[FarEnd]:
    here, there = _SPAWN.Pipe()
    process = _SPAWN.Process(target=serve, args=(there, ALL_CORES, *options), daemon=True)
    process.start()
    try:
        yield FarEnd(here.recv(), here)
    finally:
        process.kill()
        process.join()


def _serve_fast(pipe: Connection, cores: list[int], round_trip: float) -> None:
    async def serve() -> None:
        server = FastServer(round_trip)
        pipe.send(await server.start())
        await _answer(pipe, {"totals": lambda: Totals(server.calls, time.process_time())})

    _run(serve(), cores)


def _serve_emulator(
    pipe: Connection,
    cores: list[int],
    calls_per_second: int | None,
    round_trip: tuple[float, float],
) -> None:
    rng = random.Random(5)

    async def serve() -> None:
        async with Emulator(
            calls_per_second=calls_per_second,
            round_trip=lambda: rng.uniform(*round_trip),
            keep_calls=1,
            max_marked=1_000_000,
        ) as server:
            neighbour = _Neighbour(signed(server.url))
            pipe.send(server.url)
            await _answer(
                pipe,
                {
                    "totals": lambda: Totals(
                        server.counts["mark_contact"], time.process_time(), neighbour.admitted
                    ),
                    "neighbour": neighbour.call,
                },
            )

    _run(serve(), cores)


def _run(serving: Coroutine[Any, Any, None], cores: list[int]) -> None:
    stay_off_first_core(cores)
    # What an emulator remembers makes its collector stop for half a second: no figure of ours.
    gc.disable()
    asyncio.run(serving)


async def _answer(pipe: Connection, answers: dict[str, Callable[..., object]]) -> None:
    """Answer what the benchmark asks, until it kills this process."""

    def reply() -> None:
        name, *arguments = pipe.recv()
        pipe.send(answers[name](*arguments))

    asyncio.get_running_loop().add_reader(pipe.fileno(), reply)
    await asyncio.Event().wait()


class _Neighbour:
    """Another program of the same application: single marks at an even pace, over real HTTP."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._task: asyncio.Task[None] | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self.admitted = 0

    def call(self, calls_per_second: int) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if calls_per_second:
            self._task = asyncio.create_task(self._run(1 / calls_per_second))

    async def _run(self, spacing: float) -> None:
        body = (
            b'{"From_Account":"neighbour","MarkItem":[{"OptType":2,"ContactItem":'
            b'{"Type":1,"To_Account":"b"},"CustomMark":"x"}]}'
        )
        loop = asyncio.get_running_loop()
        due = loop.time()
        async with aiohttp.ClientSession() as http:
            while True:
                task = loop.create_task(self._call(http, body))
                self._calls.add(task)
                task.add_done_callback(self._calls.discard)
                due += spacing
                await asyncio.sleep(due - loop.time())

    async def _call(self, http: aiohttp.ClientSession, body: bytes) -> None:
        # When it is told to stop, it drops what is in flight.
        with contextlib.suppress(aiohttp.ClientError):
            response = await http.post(self._url, data=body)
            self.admitted += b'"ErrorCode":0' in await response.read()
