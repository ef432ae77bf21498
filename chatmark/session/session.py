"""`MarkSession`: what services and jobs use."""

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

from chatmark.changes import CHANGE_EXAMPLE, NO_MARK, AlikeChanges, MarkChange
from chatmark.conversations import Conversation, distinct
from chatmark.core.concurrency import LEAST_IN_FLIGHT, MOST_IN_FLIGHT
from chatmark.core.engine import Engine
from chatmark.credentials import Credentials
from chatmark.errors import InputError
from chatmark.events import Hook
from chatmark.failures import QueueFullError, SessionError
from chatmark.http.client import ApiClient, Hooks
from chatmark.http.transport import AiohttpTransport, Transport
from chatmark.lazy import publish
from chatmark.marks import ConversationMark
from chatmark.pacing.backoff import full_jitter
from chatmark.pacing.budget import Budget, CallBudget
from chatmark.regions import Region, describe, resolve_base_url
from chatmark.results import MarkedConversation, MarkedPage, MarkReport, MarkResult
from chatmark.session.arguments import check_count, check_hooks, check_kind, check_seconds, from_env
from chatmark.session.caller import Caller
from chatmark.session.feed import Changes, Stream, Tally
from chatmark.session.groups import ConversationGroups
from chatmark.session.handles import MarkHandle, SubmittedEntry
from chatmark.session.lifecycle import Lifecycle
from chatmark.session.many import Many
from chatmark.session.reads import MarkReader

if TYPE_CHECKING:
    import aiohttp

_CALLS_PER_SECOND = 190.0
_ANY = Conversation.one_to_one("any")
# Reading calls at once.
_READS = 128


class MarkSession(Lifecycle):
    """
    Sends marks, and reads them back.

    Changes of one user go one request at a time, users go in parallel; changes that wait together
    for one conversation are merged. A session belongs to one event loop and is used as a context
    manager; leaving it waits for what was accepted.

    Args:
        credentials: The application and its administrator.
        region: The data centre of the application, or its name: "singapore".
        base_url: Another host instead: the emulator's, a proxy's, a backup host.
        http: An `aiohttp.ClientSession` to borrow; it is left open.
        calls_per_second: The most calls in any second; the vendor allows 200 for each application
            (https://www.tencentcloud.com/document/product/1047/34381). "190/8" is the share of one
            of eight processes. None is unpaced.
        max_in_flight: The most requests at once. None lets the number follow pace and round trip,
            from 32 up to 512; it is 32 without a pace.
        max_pending: The most changes without an outcome; who submits more waits.
        linger: Seconds that a change may wait for others of its user.
        timeout: Seconds for one attempt; the server itself gives up after 3.
        deadline: Seconds from the first attempt of a change after which it is not sent again.
        close_grace: Seconds that `close` waits for what was accepted.
        budget: The calls that the application may make, shared by sessions; in place of
            *calls_per_second*.
        hooks: Called with each event; they must not block.
        ssl_context: The certificates to trust, None for the system's.
        proxy: The URL of an HTTP proxy, with its user and password if it needs them.
        trust_env: Use the proxies that the environment names (HTTPS_PROXY, NO_PROXY).
        transport: Carries the requests, in place of aiohttp.
        backoff: From the number of a retry (from 1) to a wait in seconds, in place of exponential
            backoff with full jitter.
        rng: Where chance comes from.
        wall_clock: Seconds since the epoch, for signatures. Everything else goes by the loop's
            clock.

    Raises:
        InputError: An argument is wrong; the text says which and why.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        region: Region | str | None = None,
        base_url: str | None = None,
        http: "aiohttp.ClientSession | None" = None,
        calls_per_second: float | str | None = _CALLS_PER_SECOND,
        max_in_flight: int | None = None,
        max_pending: int = 50_000,
        linger: float = 0.0,
        timeout: float = 10.0,
        deadline: float = 60.0,
        close_grace: float = 30.0,
        budget: Budget | None = None,
        hooks: Sequence[Hook] = (),
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        trust_env: bool = False,
        transport: Transport | None = None,
        backoff: Callable[[int], float] | None = None,
        rng: random.Random | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        if not isinstance(credentials, Credentials):
            # The value is not shown: it may be the key itself.
            raise InputError(
                "credentials", "must be Credentials, for example Credentials.from_env()"
            )
        if max_in_flight is None and calls_per_second is None and budget is None:
            max_in_flight = LEAST_IN_FLIGHT
        if max_in_flight is not None:
            check_count("max_in_flight", max_in_flight)
        check_count("max_pending", max_pending)
        check_seconds("linger", linger)
        check_seconds("deadline", deadline, endless=True)
        check_seconds("close_grace", close_grace, endless=True)
        check_seconds("timeout", timeout, least=0.001)
        check_kind("budget", budget, Budget)
        check_kind("transport", transport, Transport)
        check_kind("ssl_context", ssl_context, ssl.SSLContext)
        check_kind("rng", rng, random.Random)
        check_kind("backoff", backoff, Callable)
        check_kind("wall_clock", wall_clock, Callable)
        check_hooks(hooks)
        if transport is not None and (http or ssl_context or proxy or trust_env):
            raise InputError(
                "transport", "cannot be combined with http, ssl_context, proxy or trust_env"
            )
        if budget is not None and calls_per_second != _CALLS_PER_SECOND:
            raise InputError("budget", "cannot be combined with calls_per_second")
        rng = rng or random.Random()  # noqa: S311 - jitter is no secret.
        backoff = backoff or full_jitter(rng)
        told = Hooks(tuple(hooks))
        url = None
        if transport is None or region is not None or base_url is not None:
            url = resolve_base_url(region, base_url)
        server = type(transport).__name__ if url is None else describe(url)
        client = ApiClient(
            credentials,
            transport
            or AiohttpTransport(
                url or resolve_base_url(region, base_url),
                timeout=timeout,
                connections=3 * (max_in_flight or MOST_IN_FLIGHT),
                http=http,
                ssl_context=ssl_context,
                proxy=proxy,
                trust_env=trust_env,
            ),
            budget or CallBudget(calls_per_second),
            server=server,
            rng=rng,
            wall_clock=wall_clock,
            timeout=timeout,
            hooks=told,
        )
        super().__init__(
            Engine(backoff=backoff, deadline=deadline, linger=linger, max_in_flight=max_in_flight),
            client,
            told,
            target=f"{credentials.sdkappid} at {url or server}",
            max_pending=max_pending,
            close_grace=close_grace,
        )
        self._caller = Caller(client, backoff, deadline, max_in_flight or _READS)
        self._reader = MarkReader(self._caller)

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """
        Return a session for the application that the environment names.

        The variables are those of `Credentials.from_env`, `CHATMARK_REGION` or `CHATMARK_BASE_URL`,
        and optionally `CHATMARK_RATE`: *calls_per_second*, for example "190/8" for each of eight
        processes, or 0 for unpaced. An option that is given wins over the environment.

        Args:
            options: The arguments of `MarkSession`.

        Raises:
            InputError: A variable is missing or wrong, or an option is.
        """
        return cls(**from_env(options))

    async def mark(
        self,
        from_account: str,
        conversation: Conversation,
        *,
        set_mark: ConversationMark = NO_MARK,
        clear_mark: ConversationMark = NO_MARK,
        custom_mark: str | None = None,
        allow_reserved: bool = False,
    ) -> MarkResult:
        """
        Change the marks of one conversation, and wait until it took effect.

        Cancelling it withdraws the change if it was never sent; one in flight is not aborted.

        Raises:
            InputError: The change is wrong; see `MarkChange`.
            ChatmarkError: It failed.
        """
        change = MarkChange(
            from_account,
            conversation,
            set_mark,
            clear_mark,
            custom_mark,
            allow_reserved=allow_reserved,
        )
        return await (await self.submit(change))

    async def mark_many(
        self,
        from_account: str,
        conversations: Iterable[Conversation],
        *,
        set_mark: ConversationMark = NO_MARK,
        clear_mark: ConversationMark = NO_MARK,
        custom_mark: str | None = None,
        allow_reserved: bool = False,
    ) -> MarkReport:
        """
        Change the marks of many conversations of one user alike, and wait for all.

        It goes with the urgency of single marks. A conversation named twice counts once. Everything
        is checked before anything is sent. Cancelling it withdraws what was never sent. `calls` and
        `retries` of the report are those of the session while it ran.

        Raises:
            InputError: A change is wrong; see `MarkChange`.
            SessionError: The session is closed or broken.
        """
        dispatcher = self._use()
        wanted = distinct(conversations)
        change = MarkChange(
            from_account,
            # Without a conversation the rest is checked all the same.
            wanted[0] if wanted else _ANY,
            set_mark,
            clear_mark,
            custom_mark,
            allow_reserved=allow_reserved,
        )
        return await self._summed(Many(dispatcher, AlikeChanges(change, wanted)))

    async def submit(self, change: MarkChange) -> MarkHandle:
        """
        Accept a change, and return a handle to await its outcome; waits while the session is full.

        Raises:
            SessionError: The session is closed or broken, or belongs to another loop or process.
        """
        entry = self._entry(change)
        try:
            dispatcher = self._use()
            if dispatcher.admission.room():
                dispatcher.accept([entry])
            else:
                await dispatcher.admit(entry)
        except SessionError as error:
            raise error.about(change) from error.__cause__
        return MarkHandle(entry, dispatcher)

    def submit_nowait(self, change: MarkChange) -> MarkHandle:
        """
        Accept a change at once, and return a handle to await its outcome.

        Raises:
            QueueFullError: The session is full: it holds *max_pending* unsettled changes.
            SessionError: The session is closed or broken, or belongs to another loop or process.
        """
        entry = self._entry(change)
        try:
            dispatcher = self._use()
            if not dispatcher.admission.room():
                raise QueueFullError(self._max_pending).about(change)
        except SessionError as error:
            raise error.about(change) from error.__cause__
        dispatcher.accept([entry])
        return MarkHandle(entry, dispatcher)

    async def stream(
        self, changes: Changes, *, ordered: bool = True
    ) -> AsyncGenerator[MarkResult, None]:
        """
        Submit many changes and yield the result of each; a failure is a result that is not `ok`.

        Changes are read no faster than they can be sent and their results taken. Leaving the loop
        early withdraws what was read and not sent.

        Args:
            changes: An iterable or async iterable of `MarkChange` or of sequences of them.
            ordered: Whether results come in the order of the changes, else as they settle.

        Raises:
            SessionError: The session is closed or broken.
            Exception: The error of the source of the changes, after the results of those before it.
        """
        stream = Stream(self._use(), changes, ordered=ordered)
        async with contextlib.aclosing(stream.results()) as results:
            async for result in results:
                yield result

    async def apply(
        self, changes: Changes, *, on_result: Callable[[MarkResult], None] | None = None
    ) -> MarkReport:
        """
        Submit many changes, wait for all, and sum up.

        Cancelling it withdraws what was read and not sent. `calls` and `retries` of the report are
        those of the session while it ran.

        Args:
            changes: An iterable or async iterable of `MarkChange` or of sequences of them.
            on_result: Called with the result of each change that was read, as it settles; what it
                raises ends the job. Changes in flight settle later if the job is cancelled.

        Raises:
            SessionError: The session is closed or broken.
            Exception: The error of the source of the changes, after those before it are settled.
        """
        return await self._summed(Tally(self._use(), changes, on_result))

    async def marked(self, from_account: str) -> AsyncGenerator[MarkedConversation, None]:
        """
        Yield all conversations of a user that have marks, custom marks or groups.

        All are read before the first is yielded, so that they may be changed meanwhile. If the
        user's marks change while they are read, they are read again; a WARNING says so if they
        still change. Unreadable parts of the server's answers are left out, and the log says so.

        Raises:
            ChatmarkError: A page could not be read.
        """
        self._use()
        for each in await self._reader.marked(from_account):
            yield each

    async def pages(self, from_account: str) -> AsyncGenerator[MarkedPage, None]:
        """
        Yield the same as the server cuts it; a page is a call, made when the page is asked for.

        Raises:
            ChatmarkError: A page could not be read.
        """
        self._use()
        async with contextlib.aclosing(self._reader.pages(from_account)) as pages:
            async for page in pages:
                yield page

    async def search(
        self, from_account: str, conversations: Iterable[Conversation]
    ) -> dict[Conversation, MarkedConversation]:
        """
        Return the marks of each of these conversations, 300 a call; one without marks is empty.

        One of which the server's answer cannot be read is not there, and the log says so.

        Raises:
            ChatmarkError: A call failed.
        """
        self._use()
        return await self._reader.search(from_account, conversations)

    @property
    def groups(self) -> ConversationGroups:
        """The conversation groups of users: read, created, changed and deleted."""
        # It holds the session, which must not hold it: an abandoned session says so at once.
        return ConversationGroups(self._caller, self._reader, self._use)

    async def _summed(self, work: Many | Tally) -> MarkReport:
        """Wait for the end of many changes, and sum up."""
        loop = asyncio.get_running_loop()
        client, ledger, started = self._client, self._engine.ledger, loop.time()
        calls, retries = client.calls, ledger.retries
        await work.wait()
        return work.sums.report(
            calls=client.calls - calls,
            retries=ledger.retries - retries,
            elapsed=loop.time() - started,
        )

    def _entry(self, change: MarkChange) -> SubmittedEntry:
        if not isinstance(change, MarkChange):
            raise InputError("change", f"must be a MarkChange, {CHANGE_EXAMPLE}", change)
        return SubmittedEntry(change, self._hooks.caller())


publish(__name__)
