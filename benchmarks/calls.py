"""
Calls made over the fewest that would do.

Of a bulk job the fewest is known: each user's conversations by the hundred. Of tasks that await
single marks it is what natural batching needs: a user's request takes all that waits for the user,
one at a time, and the next goes when the answer is here. `natural` plays that in virtual time, with
the same pauses of the same tasks; it never waits for more, and has no costs of its own.
"""

import asyncio
import heapq
import json
import math
import os
import pathlib
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Final

import attrs

from benchmarks import farend, loads
from benchmarks.figures import Figure
from benchmarks.throughput import open_session
from chatmark import Conversation, ConversationMark, MarkChange, MarkSession

GROUP: Final = "calls"
_GOAL: Final = 1.02
_ROUND_TRIP: Final = 0.05
_TASK_USERS: Final = 50


@attrs.frozen
class _Size:
    users: int
    conversations: int
    job_users: int
    job_conversations: int
    tasks: int
    marks: int
    hot: int


_FULL: Final = _Size(240, 500, 10_000, 100, 1000, 10, 10_000)
_QUICK: Final = _Size(12, 150, 20, 10, 100, 2, 500)


def run(*, quick: bool) -> Iterator[Figure]:
    """Yield the figures of this group."""
    size = _QUICK if quick else _FULL
    with farend.emulator(round_trip=(_ROUND_TRIP, _ROUND_TRIP)) as far:
        for name, interleaved in (("sorted by user", False), ("users interleaved", True)):
            yield asyncio.run(_bulk(far.url, size, name, interleaved=interleaved))
        yield asyncio.run(_burst(far.url, size))
        yield asyncio.run(_tasks(far.url, size))
        yield asyncio.run(_hot_bulk(far.url, size))
        yield asyncio.run(_hot_service(far.url, size))
    with farend.fast() as far:
        yield _job(far, size)


def _figure(name: str, calls: int, fewest: int, goal: float | None = _GOAL) -> Figure:
    return Figure(
        group=GROUP,
        name=name,
        value=calls / fewest,
        goal=goal,
        note=f"{calls:,} calls, {fewest:,} would do",
    )


def _fewest(users: int, conversations: int) -> int:
    return users * math.ceil(conversations / loads.ITEMS)


async def _bulk(url: str, size: _Size, name: str, *, interleaved: bool) -> Figure:
    source = loads.rows(size.users, size.conversations, interleaved=interleaved)
    async with open_session(url) as session:
        report = await session.apply(loads.changes(source))
    return _figure(
        f"{size.users} users, {size.conversations} conversations each, {name}",
        report.calls,
        _fewest(size.users, size.conversations),
    )


def _job(far: farend.FarEnd, size: _Size) -> Figure:
    """Let the command line apply a file of more users than a session holds full requests for."""
    users, conversations = size.job_users, size.job_conversations
    name = f"{users:,} users interleaved, {conversations} each, chatmark apply"
    with tempfile.TemporaryDirectory() as folder:
        path, report = pathlib.Path(folder, "marks.jsonl"), pathlib.Path(folder, "report.json")
        options = ["--base-url", far.url, "--rate", "0", "--quiet", "--report", str(report)]
        with path.open("w", encoding="utf-8") as file:
            file.writelines(loads.json_lines(loads.rows(users, conversations, interleaved=True)))
        subprocess.run(
            [sys.executable, "-m", "chatmark", "apply", str(path), *options],
            env=os.environ | farend.ENVIRONMENT,
            check=True,
        )
        calls = json.loads(report.read_text(encoding="utf-8"))["calls"]
    return _figure(name, calls, _fewest(users, conversations))


def _peer(number: int) -> Conversation:
    return Conversation.one_to_one(f"customer_{number}")


async def _mark(session: MarkSession, task: int, number: int) -> None:
    await session.mark(
        f"user_{task % _TASK_USERS}",
        _peer(task * 1000 + number),
        set_mark=ConversationMark.FAVORITE,
    )


async def _burst(url: str, size: _Size) -> Figure:
    async with open_session(url) as session:
        await asyncio.gather(*(_mark(session, task, 0) for task in range(size.tasks)))
        calls = session.stats.calls
    return _figure(f"{size.tasks:,} tasks, a mark each at once, 50 users", calls, _TASK_USERS)


async def _tasks(url: str, size: _Size) -> Figure:
    pauses = _pauses(size)

    async def work(session: MarkSession, task: int) -> None:
        for number, pause in enumerate(pauses[task]):
            await asyncio.sleep(pause)
            await _mark(session, task, number)

    async with MarkSession(
        farend.CREDENTIALS, base_url=url, calls_per_second=None, max_in_flight=_TASK_USERS
    ) as session:
        await asyncio.gather(*(work(session, task) for task in range(size.tasks)))
        calls = session.stats.calls
    return _figure(
        f"{size.tasks:,} tasks, {size.marks} marks each with pauses, 50 users",
        calls,
        natural(pauses, _TASK_USERS, _ROUND_TRIP),
    )


def _pauses(size: _Size) -> list[list[float]]:
    rng = random.Random(7)
    return [[rng.uniform(0, 4 * _ROUND_TRIP) for _ in range(size.marks)] for _ in range(size.tasks)]


def natural(pauses: list[list[float]], users: int, round_trip: float) -> int:
    """
    Return the calls of natural batching, for tasks that await a mark after each of their pauses.
    """
    calls = 0
    waiting: list[list[int]] = [[] for _ in range(users)]
    flying: list[list[int] | None] = [None] * users
    left = [list(reversed(each)) for each in pauses]
    # Times at which a task asks, or at which a user's answer comes.
    moments = [(each.pop(), task, -1) for task, each in enumerate(left)]
    heapq.heapify(moments)
    while moments:
        now, task, answered = heapq.heappop(moments)
        if answered < 0:
            user = task % users
            waiting[user].append(task)
        else:
            user = answered
            for each in flying[user] or ():
                if left[each]:
                    heapq.heappush(moments, (now + left[each].pop(), each, -1))
            flying[user] = None
        # All that happens at one moment goes together.
        if flying[user] is None and waiting[user] and not (moments and moments[0][0] == now):
            flying[user], waiting[user] = waiting[user], []
            heapq.heappush(moments, (now + round_trip, -1, user))
            calls += 1
    return calls


def _again(number: int) -> MarkChange:
    return MarkChange("user_0", _peer(0), custom_mark=f"version {number}")


async def _hot_bulk(url: str, size: _Size) -> Figure:
    async with open_session(url) as session:
        report = await session.apply(_again(number) for number in range(size.hot))
    return _figure(f"a hot conversation, {size.hot:,} changes of a job", report.calls, 1)


async def _hot_service(url: str, size: _Size) -> Figure:
    """Change one conversation again and again; the fewest is one call for each round trip."""
    loop = asyncio.get_running_loop()
    async with open_session(url) as session:
        started = loop.time()
        for number in range(size.hot):
            await session.submit(_again(number))
            if number % 10 == 0:
                await asyncio.sleep(0)
        round_trips = math.ceil((loop.time() - started) / _ROUND_TRIP)
        await session.flush()
        calls = session.stats.calls
    # The first goes alone; what comes during the last round trip needs one more.
    return _figure(f"a hot conversation, {size.hot:,} single changes", calls, round_trips + 1)
