"""
What chatmark is measured against: what aiohttp costs by itself, and what people write by hand.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final, TypeVar

import aiohttp
import yarl

from benchmarks import loads

T = TypeVar("T")

IN_FLIGHT: Final = 16
_OK: Final = 200


def raw_url(url: str) -> yarl.URL:
    """Return a URL that aiohttp does not have to parse again for each request."""
    return yarl.URL(url, encoded=True)


async def post_raw(http: aiohttp.ClientSession, url: yarl.URL, body: bytes) -> bytes:
    """Post ready-made bytes and read the answer: the least that a request costs in aiohttp."""
    async with http.post(url, data=body) as response:
        return await response.read()


async def send_raw(http: aiohttp.ClientSession, url: yarl.URL, ready: Iterable[bytes]) -> None:
    """Post ready-made bodies, so many in flight."""

    async def send(body: bytes) -> None:
        await post_raw(http, url, body)

    await _in_flight(iter(ready), send)


async def send_by_hand(http: aiohttp.ClientSession, url: str, rows: Iterable[loads.Row]) -> int:
    """
    Send rows as people do without a library, and return how many failed.

    It builds dicts, lets aiohttp write and read the JSON, and checks the codes. Nothing is merged,
    retried, paced or matched: a line that is missing goes unnoticed.
    """
    failed = 0

    async def send(request: tuple[str, list[loads.Row]]) -> None:
        nonlocal failed
        async with http.post(url, json=loads.written(*request)) as response:
            response.raise_for_status()
            answer = await response.json()
        if answer["ErrorCode"] != 0:
            raise RuntimeError(answer["ErrorInfo"])
        for line in answer["ResultItem"]:
            if line["ResultCode"] != 0:
                failed += 1

    await _in_flight(loads.requests(rows), send)
    return failed


async def _in_flight(source: Iterator[T], send: Callable[[T], Awaitable[None]]) -> None:
    async def work() -> None:
        for each in source:
            await send(each)

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
