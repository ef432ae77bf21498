"""
What people use without chatmark, beside it, in one run.

The same rows, by the hundred, 16 at a time: raw aiohttp; a loop as people write it, with a
semaphore and a retry decorator; and timsdk of PyPI in threads, where it is installed
(`pip install timsdk==1.1.12`). It has no call for marks: its client posts the body of the loop.
"""

import asyncio
import functools
import importlib
import importlib.util
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import aiohttp
import attrs
import backoff

from benchmarks import farend, floors, loads
from benchmarks.figures import Figure
from benchmarks.measure import Side, Times, in_turns
from benchmarks.throughput import open_session, send

GROUP: Final = "peers"
_CONVERSATIONS: Final = 200
_LOOP: Final = "a loop with a semaphore and a retry decorator"
_TIMSDK: Final = "timsdk in threads"


@attrs.frozen
class _Size:
    rounds: int
    users: int


_FULL: Final = _Size(rounds=20, users=100)
_QUICK: Final = _Size(rounds=2, users=4)


def run(*, quick: bool) -> Iterator[Figure]:
    """Yield the figures of this group."""
    with farend.fast() as far:
        times = asyncio.run(_measure(far, _QUICK if quick else _FULL))
    session = times["session"]
    for name in ("raw aiohttp", _LOOP, _TIMSDK):
        figure = Figure(group=GROUP, name=f"session over {name}", value=None, note="needs timsdk")
        if name in times:
            spread = times[name].over(session)
            note = (
                f"{session.work:.0f} us of work a request over {times[name].work:.0f}; "
                f"{times[name].longer_than(session):.2g} by the clock"
            )
            figure = attrs.evolve(figure, value=spread.median, spread=spread, note=note)
        yield figure


async def _measure(far: farend.FarEnd, size: _Size) -> dict[str, Times]:
    rows = list(loads.rows(size.users, _CONVERSATIONS))
    bodies = loads.bodies(rows)
    count = len(bodies)
    url = floors.raw_url(far.signed_url)
    # aiohttp's own limit of connections is the same for all.
    async with aiohttp.ClientSession() as http, open_session(far.url) as session:
        sides = {
            "raw aiohttp": Side(4 * count, lambda: floors.send_raw(http, url, 4 * bodies)),
            _LOOP: Side(count, lambda: _send_by_loop(http, str(url), rows)),
            "session": Side(count, lambda: send(session, loads.changes(rows), count)),
        }
        with ThreadPoolExecutor(floors.IN_FLIGHT) as pool:
            if importlib.util.find_spec("timsdk") is not None:
                sides[_TIMSDK] = Side(count, _timsdk(far.url, rows, pool))
            return await in_turns(sides, size.rounds)


async def _send_by_loop(http: aiohttp.ClientSession, url: str, rows: Iterable[loads.Row]) -> None:
    semaphore = asyncio.Semaphore(floors.IN_FLIGHT)

    @backoff.on_exception(backoff.expo, (aiohttp.ClientError, TimeoutError), max_tries=5)
    async def post(body: dict[str, Any]) -> dict[str, Any]:
        async with semaphore, http.post(url, json=body) as response:
            response.raise_for_status()
            answer: dict[str, Any] = await response.json()
            return answer

    requests = (loads.written(*each) for each in loads.requests(rows))
    _check(await asyncio.gather(*map(post, requests)))


def _timsdk(
    url: str, rows: Iterable[loads.Row], pool: ThreadPoolExecutor
) -> Callable[[], Awaitable[None]]:
    timsdk: Any = importlib.import_module("timsdk")
    credentials = farend.ENVIRONMENT
    application = int(credentials["CHATMARK_SDKAPPID"])
    client = timsdk.TimClient(application, credentials["CHATMARK_SECRET_KEY"]).sns.get_client()
    theirs = client.get_url
    # Its host is a constant.
    client.get_url = lambda path: theirs(path).replace("https://console.tim.qq.com", url)

    def post(body: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = client.post("recentcontact/mark_contact", data=body)
        return answer

    async def run() -> None:
        loop = asyncio.get_running_loop()
        calls = (functools.partial(post, loads.written(*each)) for each in loads.requests(rows))
        _check(await asyncio.gather(*(loop.run_in_executor(pool, call) for call in calls)))

    return run


def _check(answers: Iterable[dict[str, Any]]) -> None:
    for answer in answers:
        if answer["ErrorCode"] or any(line["ResultCode"] for line in answer["ResultItem"]):
            raise RuntimeError(f"this is no throughput: {answer}")
