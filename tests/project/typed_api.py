"""
What type checkers see of the public API; they check this file, and nothing runs it.

`nox -s types` has mypy, basedpyright and pyrefly check it. A line with "type: ignore" is one that
has to be an error.
"""

import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterator
from typing import assert_type

from chatmark import (
    Budget,
    CallBudget,
    ChangesSettled,
    ChatmarkError,
    Command,
    Conversation,
    ConversationMark,
    ConversationType,
    Credentials,
    Event,
    Hook,
    MarkChange,
    MarkedConversation,
    MarkedPage,
    MarkHandle,
    MarkNames,
    MarkReport,
    MarkResult,
    MarkSession,
    Region,
    RequestEnded,
    SessionStats,
    UnsentError,
    make_usersig,
    redact_url,
)
from chatmark.emulator import Emulator, EmulatorThread
from chatmark.jobs import ChangeFile, JobOptions, JobReport, run
from chatmark.otel import OpenTelemetryHook
from chatmark.redis import RedisBudget

BOB = Conversation.one_to_one("bob")


def values() -> None:
    """Marks, conversations and changes."""
    mark = ConversationMark.FAVORITE | ConversationMark.extension(33)
    assert_type(mark, ConversationMark)
    assert_type(~mark & ConversationMark.HIDDEN, ConversationMark)
    assert_type(ConversationMark.EXTENSION_32 in mark, bool)
    assert_type(ConversationMark.from_wire("11"), ConversationMark)
    assert_type(mark.to_wire(), str)
    assert_type(MarkNames(vip=32).vip, ConversationMark)
    assert_type(BOB, Conversation)
    assert_type(BOB.type, ConversationType)
    change = MarkChange("amy", BOB, mark, custom_mark="vip", tag=object())
    assert_type(change.then(change), MarkChange)
    assert_type(change.custom_mark, str | None)
    assert_type(str(Command.MARK_CONTACT), str)
    assert_type(Region.TOKYO.url, str)
    MarkChange("amy", "bob", mark)  # type: ignore[arg-type]
    MarkChange("amy", BOB, "favorite")  # type: ignore[arg-type]
    Conversation.one_to_one(5)  # type: ignore[arg-type]


async def marks(session: MarkSession, change: MarkChange) -> None:
    """Marks of a service."""
    assert_type(await session.mark("amy", BOB, set_mark=ConversationMark.FAVORITE), MarkResult)
    assert_type(await session.mark_many("amy", [BOB], custom_mark="x"), MarkReport)
    handle = await session.submit(change)
    assert_type(handle, MarkHandle)
    assert_type(session.submit_nowait(change), MarkHandle)
    result = await handle
    assert_type(result, MarkResult)
    assert_type(await handle.settled(), MarkResult)
    assert_type(handle.done(), bool)
    assert_type(handle.exception(), ChatmarkError | None)
    assert_type(result.ok, bool)
    assert_type(result.code, int | None)
    assert_type(result.withdrawn, bool)
    assert_type(result.error, ChatmarkError | None)
    assert_type(session.stats, SessionStats)
    await session.mark("amy", "bob", set_mark=ConversationMark.FAVORITE)  # type: ignore[arg-type]
    await session.submit("amy")  # type: ignore[arg-type]
    handle.ok  # type: ignore[attr-defined] # noqa: B018


async def bulk(
    session: MarkSession, change: MarkChange, note: Callable[[MarkResult], None]
) -> None:
    """Sources of every kind."""

    async def later() -> AsyncIterator[MarkChange | list[MarkChange]]:
        yield [change]

    def now() -> Iterator[MarkChange]:
        yield change

    mixed: list[MarkChange | list[MarkChange]] = [[change], change]
    for source in ([change], now(), later(), mixed):
        report = await session.apply(source)
        assert_type(report, MarkReport)
        async for each in session.stream(source, ordered=False):
            assert_type(each, MarkResult)
    report = await session.apply([change], on_result=note)
    assert_type(report.succeeded, int)
    assert_type(report.failures, tuple[MarkResult, ...])
    assert_type(report.ok, bool)
    await session.apply([1])  # type: ignore[list-item]


async def reads(session: MarkSession) -> None:
    """What is read back."""
    async for marked in session.marked("amy"):
        assert_type(marked, MarkedConversation)
        assert_type(marked.mark, ConversationMark)
        assert_type(marked.updated_at, dt.datetime | None)
    async for page in session.pages("amy"):
        assert_type(page, MarkedPage)
    assert_type(await session.search("amy", [BOB]), dict[Conversation, MarkedConversation])


def sessions(credentials: Credentials, budget: Budget, hook: Callable[[Event], None]) -> None:
    """Options of a session."""
    assert_type(MarkSession(credentials, region="tokyo", hooks=[hook]), MarkSession)
    assert_type(MarkSession(credentials, region=Region.TOKYO, budget=budget), MarkSession)
    assert_type(MarkSession(credentials, region="tokyo", calls_per_second="190/8"), MarkSession)
    assert_type(MarkSession.from_env(calls_per_second=None), MarkSession)
    budgets: list[Budget] = [CallBudget(190), RedisBudget.from_url("redis://h", key="k")]
    hooks: list[Hook] = [OpenTelemetryHook(user_ids=True), hook]
    assert_type(credentials.identifier, str)
    assert_type(make_usersig(1400000001, "administrator", "key", now=0), str)
    assert_type(redact_url("https://example.com"), str)
    MarkSession(credentials, budget=5)  # type: ignore[arg-type]
    del budgets, hooks


def events(event: Event, error: UnsentError) -> None:
    """Events and errors."""
    if isinstance(event, ChangesSettled):
        assert_type(event.results, tuple[MarkResult, ...])
    elif isinstance(event, RequestEnded):
        assert_type(event.command, Command)
        assert_type(event.status, int | None)
    assert_type(error.unsent, tuple[MarkChange, ...])


async def jobs(session: MarkSession) -> None:
    """A job, and the emulator."""
    report = await run(session, ChangeFile.of("rows.jsonl"), JobOptions(journal="journal"))
    assert_type(report, JobReport)
    assert_type(report.accounts.applied, int)
    async with Emulator() as emulator:
        assert_type(emulator.url, str)
    with EmulatorThread() as thread:
        assert_type(thread.url, str)
