"""
The whole session against a scripted server, in virtual time.

Callers mark, submit, apply, stream, flush, cancel, withdraw and close at any moment, while the
server delays, loses, refuses and muddles what it will. Each change sets a bit of its own, so each
request and the server's state say which changes are in them, whatever was merged. What is proved:

- a request carries, for each of its conversations, the merger of the oldest changes that have no
  outcome, in the order of their acceptance; so none is sent twice after its outcome, none that was
  withdrawn, and none overtakes another;
- at every moment a conversation on the server is what its changes that took effect make of it, one
  by one in that order;
- each accepted change has one outcome, and it is the one that the server's last word on it means;
- every waiter, job, flush and close ends, in its time, and gets what it was promised;
- no task, timer or change is left.

`MACHINE_EXAMPLES` sets the number of examples.
"""

import asyncio
import contextlib
import itertools
import math
import os
import random
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, Final

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from rig import model_state
from scripted_server import Effect, Item, Key, Plan, Request, ScriptedServer
from virtual_time import VirtualLoop

from chatmark import (
    ChatmarkError,
    Conversation,
    ConversationMark,
    Credentials,
    DeadlineExceededError,
    MarkChange,
    MarkResult,
    MarkSession,
    QueueFullError,
    SessionError,
    UnsentError,
    WithdrawnError,
)
from chatmark.core.pending import Entry, ResultSink
from chatmark.core.request import Request as MarkRequest
from chatmark.emulator import ChatState, Settings
from chatmark.events import ChangesSettled, Event
from chatmark.failures import (
    AnswerError,
    ApplicationRefusedError,
    ItemRefusedError,
    OutcomeUnknownError,
    SessionBrokenError,
)
from chatmark.session.handles import MarkHandle

ACCOUNTS: Final = ("ann", "bea", "cem", "dan")
FEW: Final = (
    Conversation.one_to_one("p"),
    Conversation.group("p"),
    Conversation.one_to_one("q"),
    Conversation.group("q"),
    Conversation.one_to_one("nobody"),
    Conversation.group("closed"),
)
CROWD: Final = tuple(Conversation.one_to_one(f"c{number}") for number in range(251))
CREDENTIALS: Final = Credentials(
    sdkappid=1400000001, identifier="administrator", secret_key="example-secret-not-real"
)
# Each change of a conversation sets one of these, and none clears one.
TAGS: Final = range(32, 64)
# The bits and custom marks that the changes of a conversation quarrel about.
WRITES: Final = tuple(itertools.product((0, 1, 8, 9), (0, 1, 8, 9), (None, "", "a", "b")))

AGAIN: Final = "again"
UNKNOWN: Final = "unknown"
APPLICATION: Final = "application"
_AGAIN: Final = frozenset({50004, 50005, 60007, 60008})
_SPLIT: Final = frozenset({50002, 51006})
_APPLICATION: Final = frozenset({50003, 70009})
_SIGNATURE: Final = frozenset({70001})
Fate = int | str

# A session that has all it needs ends within this time and that of its calls: the longest pause
# and backoff, and a bulk job's patience.
_HORIZON: Final = 300.0
_HOLD: Final = 1.0
_LEAST: Final = 1e-6


@attrs.define(eq=False, repr=False)
class Tracked:
    """A change, and what the model knows of it."""

    change: MarkChange
    place: Key
    tag: int
    asked: int | None = None
    number: int = -1
    accepted_at: float = math.inf
    # The earliest at which its deadline can have begun to run.
    since: float = math.inf
    taken: bool = False
    handle: MarkHandle | None = None
    requests: list[Request] = attrs.field(factory=list)
    result: MarkResult | None = None
    settled_at: float = math.inf
    waiters: int = 0
    # Whether somebody took it back, or all who waited for it are gone.
    let_go: bool = False
    applied: bool = False

    def __repr__(self) -> str:
        code = "pending" if self.result is None else self.result.info or self.result.code
        return f"<{self.number}: {self.lane} {self.tag}, {len(self.requests)} requests, {code}>"

    @property
    def lane(self) -> tuple[str, Key]:
        return self.change.from_account, self.place

    @property
    def is_safe(self) -> bool:
        """Whether cancelling who waited for it left nothing to be done."""
        return self.number < 0 or self.result is not None or self.taken


@attrs.frozen
class Options:
    """What one example's session and server are like."""

    calls_per_second: float | None = None
    max_in_flight: int = 8
    max_pending: int = 1000
    linger: float = 0.0
    timeout: float = 10.0
    deadline: float = 60.0
    backoff: float = 0.25
    max_items: int = 100
    max_marked: int = 1000
    rude_hook: bool = False


class World:
    """A session, its callers and its server; `wrong` lists what must not have been."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.wrong: list[str] = []
        self.loop = VirtualLoop()
        self.loop.set_exception_handler(lambda _, context: self.wrong.append(str(context)))
        self.server = ScriptedServer(
            ChatState(
                Settings(
                    users={conversation.id for conversation in (*FEW[:4], *CROWD)},
                    groups={"p": None, "q": None, "closed": []},
                    max_marked=options.max_marked,
                )
            ),
            timeout=options.timeout,
            max_items=options.max_items,
        )
        self.server.on_request = self._on_request
        self.server.on_effect = self._on_effect
        self.server.on_answer = self._on_answer
        self.tasks: list[asyncio.Task[None]] = []
        self.tracked: list[Tracked] = []
        self.accepted: list[Tracked] = []
        self.settled = 0
        self.alive: dict[tuple[str, Key], list[Tracked]] = defaultdict(list)
        self.applied: dict[tuple[str, Key], list[Tracked]] = defaultdict(list)
        self.by_change: dict[MarkChange, Tracked] = {}
        self.by_tag: dict[tuple[str, Key, int], Tracked] = {}
        self.tags: Counter[tuple[str, Key]] = Counter()
        self.handles: list[Tracked] = []
        self.asked = itertools.count()
        self.last_asked = -1
        self.refusals: list[tuple[float, Fate]] = []
        self.unread: list[Request] = []
        self.closing_at = math.inf
        self.closes_by = math.inf
        self.closers: set[asyncio.Task[None] | None] = set()
        self.sends_waiting = True
        self.hurried = False
        self.killed = False
        self.cancelled_at: dict[asyncio.Task[None], float] = {}
        self.ambushes: deque[tuple[bool, bool, int]] = deque()
        self.session = self._make_session()

    def _make_session(self) -> MarkSession:
        options = self.options
        session = MarkSession(
            CREDENTIALS,
            calls_per_second=options.calls_per_second,
            max_in_flight=options.max_in_flight,
            max_pending=options.max_pending,
            linger=options.linger,
            timeout=options.timeout,
            deadline=options.deadline,
            transport=self.server,
            backoff=lambda retry: options.backoff * 2.0 ** min(retry - 1, 5),
            rng=random.Random(0),
            wall_clock=lambda: 1.8e9 + self.loop.time(),
            hooks=[self._on_event],
        )
        lanes = session._engine
        admit, admit_many, take = lanes.admit, lanes.admit_many, lanes.take

        def spy(entries: Sequence[Entry], now: float) -> list[Entry]:
            for entry in entries:
                # Rows that are refused at once come again, as entries.
                if self.by_change[entry.change].number < 0:
                    self._on_accepted(entry.change, bulk=entry.sink is not None)
            return admit(entries, now)

        def spy_on_rows(changes: Sequence[MarkChange], sink: ResultSink, now: float) -> list[Entry]:
            for change in changes:
                self._on_accepted(change, bulk=True)
            return admit_many(changes, sink, now)

        def spy_on_take(now: float) -> MarkRequest | None:
            batch = take(now)
            if batch is not None:
                taken = [entry.change for item in batch._items for entry in item.entries]
                taken += [row for run in batch._runs for row in run.changes]
                for change in taken:
                    self.by_change[change].taken = True
            return batch

        lanes.take = spy_on_take  # type: ignore[method-assign]
        lanes.admit = spy  # type: ignore[method-assign]
        lanes.admit_many = spy_on_rows  # type: ignore[method-assign]
        return session

    @property
    def is_over(self) -> bool:
        """Whether the session may refuse to be used."""
        return self.loop.time() >= self.closing_at or self.killed

    def must(self, condition: object, text: str, *subjects: object) -> None:
        """Note what is wrong, wherever it is found: hooks and callbacks may not raise."""
        if not condition:
            self.wrong.append(f"{text} {subjects or ''}")

    # Time.

    def go_on(self, then: float) -> None:
        """Let the loop go round some times, or some seconds pass if it is no whole number."""

        async def turning() -> None:
            for _ in range(int(then)):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turning() if isinstance(then, int) else asyncio.sleep(then))

    # Changes.

    def track(
        self, account: str, conversation: Conversation, writes: tuple[int, int, str | None]
    ) -> list[Tracked]:
        """Make a change with a tag; there is none when the conversation's tags are used up."""
        place = (int(conversation.type), conversation.id)
        tag = self.tags[account, place]
        if tag == len(TAGS):
            return []
        self.tags[account, place] += 1
        set_bits, clear_bits, custom = writes
        change = MarkChange(
            account,
            conversation,
            ConversationMark(set_bits | 1 << TAGS[tag]),
            ConversationMark(clear_bits & ~set_bits),
            custom,
        )
        tracked = Tracked(change, place, TAGS[tag])
        self.tracked.append(tracked)
        self.by_change[change] = tracked
        self.by_tag[account, place, tracked.tag] = tracked
        return [tracked]

    # What the session does.

    def _on_accepted(self, change: MarkChange, *, bulk: bool) -> None:
        tracked = self.by_change[change]
        tracked.number = len(self.accepted)
        tracked.accepted_at = self.loop.time()
        tracked.since = self.loop.time()
        self.must(not self.server.closed, "accepted after the end", tracked)
        # Jobs that wait while plenty of full requests wait take turns; single changes pass them.
        if tracked.asked is not None and not bulk:
            self.must(tracked.asked > self.last_asked, "not first come, first served", tracked)
            self.last_asked = tracked.asked
        self.accepted.append(tracked)
        self.alive[tracked.lane].append(tracked)
        pending = len(self.accepted) - self.settled
        self.must(pending <= self.options.max_pending, "more than max_pending", pending)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, ChangesSettled):
            for result in event.results:
                self._on_settled(result)
        if self.ambushes and self.ambushes[0][0] == isinstance(event, ChangesSettled):
            _, at_once, place = self.ambushes.popleft()
            if at_once:
                self.cancel(place)
            else:
                self.loop.call_soon(self.cancel, place)
        if self.options.rude_hook:
            raise LookupError("rude")

    def _on_settled(self, result: MarkResult) -> None:
        tracked = self.by_change[result.change]
        self.must(tracked.number >= 0 and tracked.result is None, "settled twice", tracked)
        tracked.result = result
        tracked.settled_at = self.loop.time()
        self.settled += 1
        self.alive[tracked.lane].remove(tracked)
        text = self._fault_of(tracked, result)
        self.must(text is None, text or "", tracked, result)

    def _fault_of(self, tracked: Tracked, result: MarkResult) -> str | None:
        """Return what is wrong with an outcome at the moment that it is given."""
        now = self.loop.time()
        said = fates(tracked.requests[-1], tracked.place) if tracked.requests else set()
        error = result.error
        refused = {fate for time, fate in self.refusals if now - _HOLD - _LEAST <= time}
        checks: dict[type[ChatmarkError], bool] = {
            WithdrawnError: not tracked.requests and result.attempts == 0,
            DeadlineExceededError: now >= tracked.since + self.options.deadline - _LEAST,
            ItemRefusedError: result.code in said,
            OutcomeUnknownError: UNKNOWN in said,
            ApplicationRefusedError: result.code in refused,
            AnswerError: "HTTP 404" in refused,
            UnsentError: now >= self.closing_at
            and isinstance(error, UnsentError)
            and tracked.change in error.unsent,
            SessionBrokenError: self.killed,
        }
        if len(tracked.requests) > result.attempts or (
            len(tracked.requests) < result.attempts and not self.is_over
        ):
            return "has another number of attempts than requests"
        if error is None:
            return None if tracked.applied and said == {0} else "a false success"
        if result.attempts and isinstance(error, WithdrawnError):
            return "withdrawn in flight"
        return None if checks.get(type(error)) else f"a false {type(error).__name__}"

    # What the server does.

    def _on_request(self, request: Request) -> None:
        held_since = self.session._engine.breaker.held_since
        ending = not self.sends_waiting and self.loop.time() > self.closing_at + _LEAST
        self.must(not self.server.closed, "a request after the end", request)
        self.must(not ending, "sent although it was to be dropped", request)
        # What was taken in the turn of the loop in which a hold began is no probe.
        alone = self.server.at_once == 1 or held_since in (None, self.loop.time())
        self.must(alone, "more than one probe", request)
        for place, item in request.items.items():
            lane = request.account, place
            tags = [bit for bit in TAGS if item.set_bits >> bit & 1]
            found = [self.by_tag[(*lane, tag)] for tag in tags]
            found.sort(key=lambda tracked: tracked.number)
            oldest = self.alive[lane][: len(found)]
            self.must(found and found == oldest, "a wrong set of changes", found, oldest)
            self.must(_merger(found) == item, "a wrong merger", found, item)
            for tracked in found:
                # A deadline runs from the first attempt, and in an outage before it, too.
                if not tracked.requests:
                    begun = request.sent_at if held_since is None else held_since
                    tracked.since = max(tracked.accepted_at, begun)
                tracked.requests.append(request)
        self.unread.append(request)

    def _on_effect(self, request: Request, place: Key) -> None:
        lane = request.account, place
        for tag in TAGS:
            if request.items[place].set_bits >> tag & 1:
                tracked = self.by_tag[(*lane, tag)]
                if not tracked.applied:
                    tracked.applied = True
                    self.applied[lane].append(tracked)
                    self.applied[lane].sort(key=lambda each: each.number)
        (entry,) = self.server.state.search(request.account, [place])
        self.must(
            _replayed(self.applied[lane]) == (entry.bits, entry.custom_mark),
            "an older change won",
            self.applied[lane],
            entry,
        )

    def _on_answer(self, request: Request) -> None:
        for place in request.items:
            for fate in fates(request, place):
                if fate == APPLICATION:
                    said = [request.whole, *itertools.chain(*request.lines.values())]
                    self.refusals += [
                        (self.loop.time(), code)
                        for code in said
                        if code in _APPLICATION | _SIGNATURE or code == "HTTP 404"
                    ]

    # What callers do.

    def cancel(self, place: int) -> asyncio.Task[None] | None:
        """Cancel a caller, if there is one."""
        live = [task for task in self.tasks if not task.done()]
        if not live:
            return None
        task = live[place % len(live)]
        self.cancel_task(task)
        return task

    def cancel_task(self, task: asyncio.Task[None]) -> None:
        """Cancel this caller."""
        self.cancelled_at.setdefault(task, self.loop.time())
        if self.closers and self.closers <= self.cancelled_at.keys():
            # When all who close are cancelled nobody waits, and what is left is given up.
            self.hurried = True
        task.cancel()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Start a caller."""
        self.tasks.append(self.loop.create_task(coroutine))

    async def mark(self, tracked: Tracked) -> None:
        """Mark, and check what comes of it."""
        change = tracked.change
        tracked.asked = next(self.asked)
        try:
            result = await self.session.mark(
                change.from_account,
                change.conversation,
                set_mark=change.set_mark,
                clear_mark=change.clear_mark,
                custom_mark=change.custom_mark,
            )
        except asyncio.CancelledError:
            tracked.let_go = True
            self.must(tracked.is_safe, "cancelled and not withdrawn", tracked)
            raise
        except ChatmarkError as error:
            if tracked.result is None:
                self.must(self.is_over and isinstance(error, SessionError), "refused", error)
                self.must(tracked.number < 0, "accepted and refused", tracked)
                return
            its = tracked.result.error
            self.must(type(error) is type(its), "another error", tracked, error)
            self.must(error is not its, "a shared error", tracked)
            self.must(not isinstance(error, WithdrawnError), "withdrawn for a waiter", tracked)
        else:
            self.must(result.ok and result == tracked.result, "another result", tracked, result)

    async def submit(self, many: Sequence[Tracked], *, wait: bool, awaited: bool) -> None:
        """Submit, and wait for the handles or not."""
        for tracked in many:
            tracked.asked = next(self.asked)
            try:
                if wait:
                    tracked.handle = await self.session.submit(tracked.change)
                else:
                    tracked.handle = self.session.submit_nowait(tracked.change)
            except asyncio.CancelledError:
                self.must(tracked.number < 0, "accepted and cancelled", tracked)
                raise
            except QueueFullError:
                self.must(not wait and tracked.number < 0, "full", tracked)
            except SessionError as error:
                self.must(self.is_over and tracked.number < 0, "refused", error)
                return
            else:
                self.must(tracked.number >= 0, "a handle of nothing", tracked)
                self.handles.append(tracked)
        if awaited:
            for tracked in many:
                await self.wait_for(tracked)

    async def wait_for(self, tracked: Tracked) -> None:
        """Wait for a handle."""
        if tracked.handle is None:
            return
        tracked.waiters += 1
        try:
            result = await tracked.handle.settled()
        except asyncio.CancelledError:
            tracked.waiters -= 1
            if not tracked.waiters:
                tracked.let_go = True
                self.must(tracked.is_safe, "cancelled and not withdrawn", tracked)
            raise
        tracked.waiters -= 1
        self.must(result == tracked.result, "another result", tracked, result)
        if isinstance(result.error, WithdrawnError):
            self.must(tracked.let_go, "another's cancellation", tracked)

    def withdraw(self, tracked: Tracked) -> None:
        """Cancel a handle."""

        async def withdrawing() -> None:
            assert tracked.handle is not None

            was_done = tracked.handle.done()
            tracked.let_go = True
            withdrawn = tracked.handle.cancel()
            self.must(tracked.is_safe, "cancelled and not withdrawn", tracked)
            done = isinstance(tracked.result and tracked.result.error, WithdrawnError)
            self.must(withdrawn == (done and not was_done), "not as it says", tracked)

        self.spawn(withdrawing())

    async def apply(
        self, many: Sequence[Tracked], *, pause: float | None, fails_at: int, ends_at: int
    ) -> None:
        """Apply as a bulk job, whose source or whose caller may fail."""
        told: list[MarkResult] = []

        def note(result: MarkResult) -> None:
            told.append(result)
            if len(told) == ends_at:
                self._let_go(many)
                raise ArithmeticError

        source = self._source(many, pause, fails_at, ordered=True)
        try:
            report = await self.session.apply(source, on_result=note)
        except asyncio.CancelledError:
            self._let_go(many)
            self._check_safe(many)
            raise
        except ArithmeticError:
            self.must(len(told) == ends_at, "told after an error", told)
            self._check_safe(many)
        except (LookupError, SessionError) as error:
            self.must(self.is_over or isinstance(error, LookupError), "refused", error)
            self._check_all_told(many, told)
        else:
            self.must(len(told) == len(many), "rows without a result", told)
            self._check_all_told(many, told)
            failed = sum(not result.ok for result in told)
            self.must(
                (len(many) - failed, failed, 0)
                == (report.succeeded, report.failed, report.withdrawn),
                "a wrong report",
                report,
            )

    async def stream(
        self,
        many: Sequence[Tracked],
        *,
        pause: float | None,
        fails_at: int,
        ends_at: int,
        ordered: bool,
        slowness: float,
    ) -> None:
        """Stream, as a consumer who may be slow or leave early."""
        told: list[MarkResult] = []
        source = self._source(many, pause, fails_at, ordered=False)
        results = self.session.stream(source, ordered=ordered)
        try:
            async with contextlib.aclosing(results):
                async for result in results:
                    told.append(result)
                    if ordered:
                        self.must(many[len(told) - 1].change == result.change, "out of order")
                    if len(told) == ends_at:
                        break
                    if slowness:
                        await asyncio.sleep(slowness)
                if len(told) == ends_at:
                    self._let_go(many)
        except asyncio.CancelledError:
            self._let_go(many)
            self._check_safe(many)
            raise
        except (LookupError, SessionError) as error:
            self.must(self.is_over or isinstance(error, LookupError), "refused", error)
            self._check_all_told(many, told)
        else:
            self._check_safe(many)
            if len(told) != ends_at:
                self.must(len(told) == len(many), "rows without a result", told)
                self._check_all_told(many, told)

    async def _source(
        self, many: Sequence[Tracked], pause: float | None, fails_at: int, *, ordered: bool
    ) -> AsyncIterator[MarkChange]:
        for number, tracked in enumerate(many):
            if number == fails_at:
                raise LookupError("the source failed")
            if pause is not None and number % 7 == 6:
                await asyncio.sleep(pause)
            if ordered:
                tracked.asked = next(self.asked)
            yield tracked.change

    def _let_go(self, many: Sequence[Tracked]) -> None:
        for tracked in many:
            tracked.let_go = True

    def _check_safe(self, many: Sequence[Tracked]) -> None:
        for tracked in many:
            self.must(tracked.is_safe, "left and not withdrawn", tracked)

    def _check_all_told(self, many: Sequence[Tracked], told: Sequence[MarkResult]) -> None:
        """Check that all that was accepted of a job was told once, and as it was."""
        accepted = [tracked for tracked in many if tracked.number >= 0]
        of_accepted = [each for each in told if self.by_change[each.change].number >= 0]
        self.must(
            Counter(tracked.change for tracked in accepted)
            == Counter(result.change for result in of_accepted),
            "not told once",
            accepted,
            told,
        )
        self.must(len({result.change for result in told}) == len(told), "told twice", told)
        for result in told:
            tracked = self.by_change[result.change]
            if tracked.number >= 0:
                self.must(tracked.result == result, "another result", result)
            else:
                # Read, and not taken by a session that was over.
                self.must(isinstance(result.error, WithdrawnError), "not taken", result)

    async def flush(self) -> None:
        """Flush, and check that it waited for all that was accepted."""
        before = list(self.accepted)
        try:
            await self.session.flush()
        except SessionError as error:
            self.must(self.is_over, "refused", error)
        else:
            left = [tracked for tracked in before if tracked.result is None]
            self.must(not left, "flushed too early", left)

    async def close(self, grace: float, *, send_waiting: bool) -> None:
        """Close, and check that it settled everything in its time."""
        if self.closing_at == math.inf:
            self.closing_at = self.loop.time()
            self.closes_by = self.closing_at + grace + _LEAST
            self.sends_waiting = send_waiting
        else:
            # A later grace that ends earlier counts for all.
            self.closes_by = min(self.closes_by, self.loop.time() + grace + _LEAST)
        task = asyncio.current_task()
        self.closers.add(task)
        closes_by = max(self.closes_by, self.loop.time() + _LEAST)
        try:
            with contextlib.suppress(UnsentError):
                await self.session.close(grace, send_waiting=send_waiting)
        except asyncio.CancelledError:
            if len(self.closers) == 1:
                left = self.session.stats.pending
                self.must(
                    not left or (task and task.cancelling() > 1), "a cancelled close left", left
                )
            raise
        else:
            self.must(self.loop.time() <= closes_by, "closed too late")
            self.must(not self.session.stats.pending, "closed too early")
            self.must(self.server.closed, "the transport is open")
        finally:
            self.closers.discard(task)

    def kill(self, place: int) -> None:
        """Cancel one of the session's own tasks from outside."""
        dispatcher = self.session._dispatcher
        if dispatcher is not None and not self.is_over:
            own = sorted(dispatcher._pump._tasks, key=lambda task: task.get_name())
            if own:
                self.killed = True
                own[place % len(own)].cancel()

    # What must hold.

    def check(self) -> None:
        """Check what must hold at every moment."""
        now = self.loop.time()
        for task, time in self.cancelled_at.items():
            self.must(task.done() or now <= time + _LEAST, "goes on when cancelled", task)
        unread, self.unread = self.unread, []
        for request in unread:
            if request.ended_at is None:
                if not self.server.closed:
                    self.unread.append(request)
                continue
            self._check_heard(request)
        stats = self.session.stats
        settled = [tracked for tracked in self.accepted if tracked.result is not None]
        withdrawn = sum(_is_withdrawn(tracked) for tracked in settled)
        succeeded = sum(tracked.result is not None and tracked.result.ok for tracked in settled)

        assert [] == self.wrong
        assert [] == self.server.violations
        assert (len(self.accepted), len(self.accepted) - len(settled)) == (
            stats.accepted,
            stats.pending,
        )
        assert (succeeded, withdrawn) == (stats.succeeded, stats.withdrawn)
        assert len(settled) == stats.succeeded + stats.failed + stats.withdrawn
        assert stats.failed == sum(stats.failures_by_code.values())
        assert len(self.server.requests) == stats.calls
        assert self.server.most_at_once <= self.options.max_in_flight

    def _check_heard(self, request: Request) -> None:
        """Check that the session believed what the server said of each conversation."""
        for place, item in request.items.items():
            said = fates(request, place)
            if said <= {0, 50001, 51008, 99999}:
                for tag in TAGS:
                    if item.set_bits >> tag & 1:
                        tracked = self.by_tag[request.account, place, tag]
                        told = tracked.result is not None and tracked.result.code in said
                        self.must(self.is_over or told, "not heard", tracked, said)

    def clean(self) -> None:
        """Leave nothing behind, whatever is wrong."""

        async def cleaning() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, self.session.close(0), return_exceptions=True)

        self.loop.run_until_complete(cleaning())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def finish(self) -> None:
        """With a server that obliges everything ends, soon, and nothing is left behind."""
        self.ambushes.clear()
        self.server.script.clear()
        self.server.mood = Plan(delay=0.01)
        # Each change may need a call of its own, and each row may be waited for.
        each = 1.0 + 1.0 / (self.options.calls_per_second or math.inf)
        horizon = _HORIZON + each * len(self.tracked)
        if self.tasks:
            self.loop.run_until_complete(asyncio.wait(self.tasks, timeout=horizon))
        self.must(all(task.done() for task in self.tasks), "somebody waits for ever")
        if not self.wrong:
            # What nobody waits for ends as well.
            self.spawn(self.flush())
            self.spawn(self.close(horizon, send_waiting=True))
            self.loop.run_until_complete(asyncio.wait(self.tasks[-2:], timeout=horizon))
            self.must(all(task.done() for task in self.tasks), "the end does not come")
        self._check_end()

    def _check_end(self) -> None:
        for task in self.tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                self.wrong.append(repr(task.exception()))
        self.server.land_all()
        self.go_on(2)
        self.check()
        pace = self.options.calls_per_second

        assert [] == [task.get_name() for task in asyncio.all_tasks(self.loop)]
        timers = self.loop._scheduled  # type: ignore[attr-defined]
        assert [] == [each for each in timers if not each.cancelled()]
        assert 0 == self.session._engine.scheduler.readers
        assert 0 == self.session.stats.pending

        if pace is not None:
            self._check_pace(pace)
        expected = model_state(tracked.change for tracked in self.accepted if tracked.applied)

        assert expected == self.server.state.snapshot()

        for tracked in self.accepted:
            if tracked.result is not None and isinstance(tracked.result.error, UnsentError):
                in_time = tracked.settled_at >= self.closes_by - 2 * _LEAST
                excused = self.hurried or not self.sends_waiting
                self.must(in_time or excused, "given up too early", tracked)
            if _is_withdrawn(tracked):
                self.must(tracked.let_go, "withdrawn by nobody", tracked)
                self.must(not tracked.requests, "withdrawn and sent", tracked)

        assert [] == self.wrong

    def _check_pace(self, pace: float) -> None:
        width = max(1.0, 1.0 / pace) - _LEAST
        most = max(1, math.floor(pace))
        sent = sorted(request.sent_at for request in self.server.requests)
        arrived = sorted(r.arrived_at for r in self.server.requests if r.arrived_at is not None)
        for times in (sent, arrived):
            for time, later in zip(times, times[most:], strict=False):
                self.must(later - time >= width, "too many calls a second", time, later)


def fates(request: Request, place: Key) -> set[Fate]:  # noqa: PLR0911 - a case a line.
    """Return what the server's answer may mean for a conversation, AGAIN for another attempt."""
    whole = request.whole
    if whole == "HTTP 404":
        # From a server that has served this session it passes, unless there are several in a row.
        return {AGAIN, APPLICATION}
    if whole in _APPLICATION:
        return {APPLICATION}
    if isinstance(whole, str) or whole in _AGAIN:
        return {AGAIN}
    if whole in _SIGNATURE:
        return {AGAIN, APPLICATION}
    if whole in _SPLIT:
        return {AGAIN} if len(request.items) > 1 else {whole}
    codes = request.lines.get(place)
    if not codes:
        return {whole} if whole else {AGAIN, UNKNOWN}
    against = [code for code in codes if code]
    if not against:
        return {whole}
    return {fate for code in against for fate in _fates_of(code)}


def _fates_of(code: int) -> set[Fate]:
    if code in _AGAIN:
        return {AGAIN}
    if code in _APPLICATION:
        return {APPLICATION}
    return {AGAIN, code} if code == 51007 else {code}


def _merger(many: Sequence[Tracked]) -> Item:
    set_bits = named = 0
    custom_mark = None
    for change in (tracked.change for tracked in many):
        set_bits = set_bits & ~int(change.clear_mark) | int(change.set_mark)
        named |= int(change.clear_mark) | int(change.set_mark)
        custom_mark = custom_mark if change.custom_mark is None else change.custom_mark
    return Item(set_bits, named & ~set_bits, custom_mark)


def _replayed(many: Sequence[Tracked]) -> tuple[int, str]:
    (value,) = model_state(tracked.change for tracked in many).values()
    return value


def _is_withdrawn(tracked: Tracked) -> bool:
    return tracked.result is not None and isinstance(tracked.result.error, WithdrawnError)


_NOT: Final = Effect.NEVER
_LATE: Final = Effect.LATE
#: Answers after which everything goes on as before.
GENTLE: Final = {
    "good": Plan(),
    "turned": Plan(turned=True),
    "extra lines": Plan(extra=True),
    "lost before": Plan(lost=True, effect=_NOT),
    "lost after": Plan(lost=True),
    "silent before": Plan(silent=True, effect=_NOT),
    "silent after": Plan(silent=True),
    "late": Plan(silent=True, effect=_LATE),
    "later": Plan(silent=True, effect=_LATE, late=1.0),
    "next time": Plan(silent=True, effect=_LATE, late=2.9),
    "lost later": Plan(lost=True, effect=_LATE, late=1.9),
    "502 later": Plan(status=502, effect=_LATE, late=0.4),
    "cut later": Plan(body=b'{"ActionStatus": "OK", "ErrorCo', effect=_LATE, late=2.9),
    "502": Plan(status=502),
    "503": Plan(status=503, effect=_NOT, retry_after="3"),
    "429": Plan(status=429, effect=_NOT, retry_after="2"),
    "no JSON": Plan(body=b"no JSON"),
    "cut": Plan(body=b'{"ActionStatus": "OK", "ErrorCo', effect=_NOT),
    "FAIL": Plan(action_status="FAIL"),
    "60007": Plan(code=60007, bare=True, effect=_NOT),
    "60008 before": Plan(code=60008, bare=True, effect=_NOT),
    "60008 after": Plan(code=60008, bare=True),
    "50004": Plan(code=50004, bare=True, effect=_NOT),
    "50002": Plan(code=50002, bare=True, effect=_NOT),
    "70001": Plan(code=70001, bare=True, effect=_NOT),
    "some 50004": Plan(codes=(50004, 0)),
    "some 50005 after all": Plan(codes=(0, 50005, 0), lying=True),
    "some 60007": Plan(codes=(0, 60007)),
    "some missing": Plan(codes=(None, 0)),
    "some missing after all": Plan(codes=(None, 0, 0), lying=True),
    "some refused": Plan(codes=(51007, 0, 50001)),
    "some of all kinds": Plan(codes=(51008, 99999, 0, 50004, None)),
    "twice, first well": Plan(second=50004),
    "twice, last well": Plan(second=50001, turned=True),
    "twice well": Plan(second=0),
    "50001": Plan(code=50001, codes=(0, 50004, 51008, None), effect=_NOT),
}
#: Answers against the whole application.
HARSH: Final = {
    "50003": Plan(code=50003, bare=True, effect=_NOT),
    "70009": Plan(code=70009, bare=True, effect=_NOT),
    "404": Plan(status=404, effect=_NOT),
    "some 50003": Plan(codes=(50003, 0, 50004)),
}
DELAYS: Final = (0.0, 0.01, 0.01, 0.2, 3.0)
TRAVELS: Final = (0.0, 0.0, 0.005, 0.02)

accounts = st.sampled_from(ACCOUNTS)
booleans = st.booleans()
#: What follows a step: turns of the loop, or seconds.
pauses_after: st.SearchStrategy[int | float] = st.sampled_from(
    [0, 0, 1, 2, 3, 5, 8, 0.01, 0.01, 0.3, 3.0]
)
wishes = st.tuples(accounts, st.sampled_from(FEW), st.sampled_from(WRITES))
moods = st.tuples(
    st.sampled_from(sorted(GENTLE)), st.sampled_from(DELAYS), st.sampled_from(TRAVELS)
)
plans = st.tuples(
    st.sampled_from(sorted(GENTLE) + sorted(HARSH)),
    st.sampled_from(DELAYS),
    st.sampled_from(TRAVELS),
)
never_or_soon = st.sampled_from([-1, -1, -1, 1, 2, 5])
pauses = st.sampled_from([None, None, 0.0, 0.3, 6.0])


def _plan(name: str, delay: float, travel: float) -> Plan:
    plan = GENTLE.get(name) or HARSH[name]
    return attrs.evolve(plan, delay=delay, travel=travel)


class SessionMachine(RuleBasedStateMachine):
    """Does with a session whatever callers and a server can do."""

    world: World

    @initialize(
        options=st.builds(
            Options,
            calls_per_second=st.sampled_from([None, None, 0.5, 3, 20, 190]),
            max_in_flight=st.sampled_from([1, 2, 8]),
            max_pending=st.sampled_from([1, 3, 20, 1000]),
            linger=st.sampled_from([0.0, 0.0, 0.5]),
            timeout=st.sampled_from([10.0, 2.0]),
            deadline=st.sampled_from([60.0, 5.0, 0.0]),
            # Without a wait between attempts a server that answers at once stops the time.
            backoff=st.sampled_from([0.25, 0.05, 1.0]),
            max_items=st.sampled_from([100, 100, 30, 2]),
            max_marked=st.sampled_from([1000, 1000, 4]),
            rude_hook=booleans,
        ),
        mood=st.one_of(st.none(), moods),
    )
    def start(self, options: Options, mood: tuple[str, float, float] | None) -> None:
        self.world = World(options)
        if mood is not None:
            self.world.server.mood = _plan(*mood)

    @rule(wishes=st.lists(wishes, min_size=1, max_size=5), then=pauses_after)
    def mark(self, wishes: list[Any], then: float) -> None:
        for wish in wishes:
            for tracked in self.world.track(*wish):
                self.world.spawn(self.world.mark(tracked))
        self.world.go_on(then)

    @rule(
        wishes=st.lists(wishes, min_size=1, max_size=8),
        wait=st.sampled_from([True, True, False]),
        awaited=booleans,
        then=pauses_after,
    )
    def submit(self, wishes: list[Any], wait: bool, awaited: bool, then: float) -> None:
        many = [tracked for wish in wishes for tracked in self.world.track(*wish)]
        self.world.spawn(self.world.submit(many, wait=wait, awaited=awaited))
        self.world.go_on(then)

    @rule(
        first=st.sampled_from([0, 60]),
        count=st.sampled_from([3, 20, 99, 101, 150]),
        spread=st.sampled_from([1, 1, 4]),
        writes=st.sampled_from(WRITES),
        wishes=st.lists(wishes, max_size=5),
        streamed=st.sampled_from([None, True, False]),
        pause=pauses,
        fails_at=never_or_soon,
        ends_at=never_or_soon,
        slowness=st.sampled_from([0.0, 0.0, 0.1]),
        then=pauses_after,
    )
    def work(
        self,
        first: int,
        count: int,
        spread: int,
        writes: tuple[int, int, str | None],
        wishes: list[Any],
        streamed: bool | None,
        pause: float | None,
        fails_at: int,
        ends_at: int,
        slowness: float,
        then: float,
    ) -> None:
        """Start a bulk job, as apply or as a stream."""
        world = self.world
        crowd = CROWD[first : first + count]
        rows = [(ACCOUNTS[n % spread], each, writes) for n, each in enumerate(crowd)]
        many = [tracked for row in (*wishes, *rows) for tracked in world.track(*row)]
        if streamed is None:
            world.spawn(world.apply(many, pause=pause, fails_at=fails_at, ends_at=ends_at))
        else:
            world.spawn(
                world.stream(
                    many,
                    pause=pause,
                    fails_at=fails_at,
                    ends_at=ends_at,
                    ordered=streamed,
                    slowness=slowness,
                )
            )
        world.go_on(then)

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.3, 1.0, 5.0, 40.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.go_on(seconds)

    @rule(plans=st.lists(plans, min_size=1, max_size=5))
    def script(self, plans: list[tuple[str, float, float]]) -> None:
        self.world.server.script.extend(_plan(*each) for each in plans)

    @rule(mood=moods)
    def change_mood(self, mood: tuple[str, float, float]) -> None:
        self.world.server.mood = _plan(*mood)

    @precondition(lambda self: any(not task.done() for task in self.world.tasks))
    @rule(
        cancels=st.lists(
            st.tuples(
                st.integers(0, 1000),
                st.sampled_from([None, None, 0, 1, 2, 3]),
                st.sampled_from([0, 0, 1, 2]),
            ),
            min_size=1,
            max_size=4,
        ),
        then=pauses_after,
    )
    def cancel(self, cancels: list[tuple[int, int | None, int]], then: float) -> None:
        """Cancel some callers, and perhaps again some turns of the loop later."""
        for place, again_after, turns in cancels:
            task = self.world.cancel(place)
            if task is not None and again_after is not None:
                self.world.go_on(again_after)
                task.cancel()
            self.world.go_on(turns)
        self.world.go_on(then)

    @rule(
        wish=wishes,
        waiters=st.sampled_from([2, 3]),
        cancelled=st.integers(0, 3),
        before=pauses_after,
        then=pauses_after,
    )
    def share(self, wish: Any, waiters: int, cancelled: int, before: float, then: float) -> None:
        """Let several wait for one change, and cancel some or all of them."""
        world = self.world
        for tracked in world.track(*wish):
            world.spawn(world.submit([tracked], wait=True, awaited=False))
            world.go_on(1)
            for _ in range(waiters):
                world.spawn(world.wait_for(tracked))
            world.go_on(before)
            for task in world.tasks[-waiters:][:cancelled]:
                world.cancel_task(task)
            world.go_on(then)

    @rule(
        ambushes=st.lists(
            st.tuples(booleans, booleans, st.integers(0, 1000)), min_size=1, max_size=4
        )
    )
    def ambush(self, ambushes: list[tuple[bool, bool, int]]) -> None:
        """Cancel a caller at the very moment of an answer or of an outcome, or just behind it."""
        self.world.ambushes.extend(ambushes)

    @precondition(lambda self: any(tracked.result is None for tracked in self.world.handles))
    @rule(
        place=st.integers(0, 1000),
        what=st.sampled_from(["wait", "wait", "withdraw"]),
        then=pauses_after,
    )
    def use_handle(self, place: int, what: str, then: float) -> None:
        live = [tracked for tracked in self.world.handles if tracked.result is None]
        tracked = live[-1 - place % len(live)]
        if what == "wait":
            self.world.spawn(self.world.wait_for(tracked))
        else:
            self.world.withdraw(tracked)
        self.world.go_on(then)

    @rule(then=pauses_after)
    def flush(self, then: float) -> None:
        self.world.spawn(self.world.flush())
        self.world.go_on(then)

    @precondition(lambda self: len(self.world.accepted) > 5)
    @rule(
        graces=st.lists(st.sampled_from([0.0, 0.5, 5.0, 100.0]), min_size=1, max_size=2),
        send_waiting=booleans,
        then=pauses_after,
        cancelled=st.sampled_from([0, 0, 1, 2]),
    )
    def close(self, graces: list[float], send_waiting: bool, then: float, cancelled: int) -> None:
        """Close, perhaps twice at once, and perhaps cancel that."""
        world = self.world
        for grace in graces:
            world.spawn(world.close(grace, send_waiting=send_waiting))
        world.go_on(then)
        for task in world.tasks[-len(graces) :][:cancelled]:
            world.cancel_task(task)

    @precondition(lambda self: len(self.world.accepted) > 10)
    @rule(place=st.integers(0, 8), rarely=st.integers(0, 3))
    def kill(self, place: int, rarely: int) -> None:
        if not rarely:
            self.world.kill(place)

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.world.finish()
            finally:
                self.world.clean()


TestSessionMachine = SessionMachine.TestCase
TestSessionMachine.settings = settings(
    max_examples=int(os.environ.get("MACHINE_EXAMPLES", "100")),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class TestLongOutage:
    def test_is_survived(self) -> None:
        """
        A session to which the server says "slow down" for hours serves again when the server does.
        """
        world = World(Options())
        world.server.mood = _plan("60007", 0.01, 0.0)
        for half_minute in range(4 * 120):
            account, conversation = ACCOUNTS[0], CROWD[half_minute % len(CROWD)]
            for tracked in world.track(account, conversation, (1, 0, None)):
                world.spawn(world.mark(tracked))
            world.go_on(30.0)
        world.server.mood = Plan()
        (last,) = world.track(ACCOUNTS[1], FEW[0], (1, 0, None))
        world.spawn(world.mark(last))
        world.finish()
        world.clean()

        assert last.applied
