"""
What happens to a change in a session, from its admission to the news of its outcome.

The lanes decide, the senders send; here changes are let in as there is room, requests are made and
settled, and everybody is told how it ended.
"""

import asyncio
import collections
from collections.abc import Callable, Sequence
from typing import Final

from chatmark.changes import MarkChange
from chatmark.codes import Handling
from chatmark.commands import Command
from chatmark.core.compact_rows import Stretch
from chatmark.core.engine import Lanes
from chatmark.core.pending import Entry, Watcher
from chatmark.core.request import Batch, Settled
from chatmark.errors import ChatmarkError
from chatmark.events import ChangesSettled, RetryPlanned
from chatmark.failures import SessionBrokenError, SessionClosedError, SessionError, UnsentError
from chatmark.http.client import Caller
from chatmark.http.hooks import Watchers
from chatmark.pacing.budget import Permit
from chatmark.results import MarkResult
from chatmark.session.failure_log import OutageLog, Unseen
from chatmark.session.pump import Senders
from chatmark.session.suspension import standstill
from chatmark.wire.classify import judge_marks
from chatmark.wire.fast import encode_marks

# Full requests that wait for each that may be in flight, before jobs read no further. More would
# only be memory, and pauses of the garbage collector.
_READ_AHEAD: Final = 2
# How often deadlines of waiting changes are looked at, in seconds.
_SWEEP: Final = 1.0


class Dispatcher:
    """
    Admits changes, sends requests, and tells everybody how it ended. Bound to the running loop.

    Args:
        lanes: What decides.
        caller: What makes the calls.
        max_pending: The most changes without an outcome.
        watchers: Who is told.
    """

    def __init__(
        self,
        lanes: Lanes,
        caller: Caller,
        *,
        max_pending: int,
        watchers: Watchers,
    ) -> None:
        self.lanes = lanes
        self.max_pending = max_pending
        self._caller = caller
        self._watchers = watchers
        self._loop = asyncio.get_running_loop()
        self._senders = Senders(
            lanes,
            caller.budget_of(Command.MARK_CONTACT),
            self._exchange,
            on_take=self._look_at_appetite,
            on_death=self._break,
        )
        # Producers that wait for room, and room that was given to them but is not taken yet.
        self._producers: collections.OrderedDict[asyncio.Future[None], None] = (
            collections.OrderedDict()
        )
        self._promised = 0
        # Set while jobs are to read on.
        self._appetite = asyncio.Event()
        self._appetite.set()
        self._flushes: list[tuple[int, asyncio.Future[None]]] = []
        self._drained: asyncio.Future[None] | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._outages = OutageLog("marking")
        # Failures that no caller looked at, and changes that closing gave up.
        self.unseen = Unseen(self._loop)
        self.given_up: list[MarkChange] = []
        self.unconfirmed: list[MarkChange] = []
        self.broken = 0
        self._ended: ChatmarkError | None = None
        self._is_dropping = False

    def check(self) -> None:
        """
        Raise if the session takes no more changes.

        Raises:
            SessionClosedError: It is closed.
            SessionBrokenError: Its sending task died.
        """
        if self._ended is not None:
            raise self._ended.fresh()

    def room(self) -> int:
        """
        Return how many changes may be accepted at once, 0 where others wait for room already.

        Raises:
            SessionError: The session takes no more changes.
        """
        self.check()
        return 0 if self._producers or self._promised else max(0, self._room())

    def accept(self, entries: Sequence[Entry]) -> None:
        """
        Accept changes for which there is room.
        """
        ended = self.lanes.admit(entries, self._loop.time())
        if ended:
            self._tell(ended)
        self._accepted()

    def accept_rows(self, changes: Sequence[MarkChange], job: Watcher) -> None:
        """
        Accept rows of a job for which there is room.
        """
        ended = self.lanes.admit_rows(changes, job, self._loop.time())
        if ended:
            self._tell(ended)
        self._accepted()

    def _accepted(self) -> None:
        if self._sweeper is None:
            self._schedule_sweep()
        self.lanes.agenda.is_full = self._room() <= 0
        if self._has_plenty():
            self._appetite.clear()
        self.wake()

    @property
    def is_sated(self) -> bool:
        """
        Whether plenty of full requests wait to be sent.
        """
        return not self._appetite.is_set()

    async def wait_for_appetite(self) -> None:
        """
        Wait while plenty of full requests wait to be sent.

        Raises:
            SessionError: The session takes no more changes.
        """
        while not self._appetite.is_set():
            self.check()
            await self._appetite.wait()

    async def admit(self, entry: Entry) -> None:
        """
        Accept a change for which there was no room as soon as there is, first come, first served.

        Raises:
            SessionError: The session takes no more changes.
        """
        await self._wait_for_room()
        self.check()
        self.accept([entry])
        # Who came while room was promised has waited behind it.
        self._give_room()

    def withdraw(self, entry: Entry) -> bool:
        """
        Take a change back if it was never sent; return whether it was.

        Raises:
            SessionError: It is called outside the loop.
        """
        self._check_loop()
        if self.lanes.withdraw(entry, self._loop.time()):
            self._tell([entry])
            return True
        return False

    def withdraw_job(self, job: Watcher) -> None:
        """
        Take back those rows of a job that were never sent.
        """
        self._tell(self.lanes.withdraw_job(job, self._loop.time()))

    def waiter(self) -> asyncio.Future[None]:
        """
        Return a future for whoever waits for a change.

        Raises:
            SessionError: It would wait in another loop, where nobody would wake it.
        """
        self._check_loop()
        return self._loop.create_future()

    def _check_loop(self) -> None:
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if not here:
            raise SessionError("a session belongs to the event loop that it was first used in")

    def wake(self) -> None:
        """
        Let it be looked again at what may be sent.
        """
        self._senders.wake()

    async def flush(self) -> None:
        """
        Wait until everything accepted so far has an outcome.

        Raises:
            SessionError: The session takes no more changes.
        """
        self.check()
        ticket = self.lanes.start_flush(self._loop.time())
        try:
            if not self.lanes.ledger.is_settled(ticket):
                future = self._loop.create_future()
                self._flushes.append((ticket, future))
                self.wake()
                await future
        finally:
            self.lanes.end_flush()
        self.unseen.report()

    def refuse(self, error: ChatmarkError) -> None:
        """
        Take no more changes; those who wait for room get the error.
        """
        if self._ended is None:
            self._ended = error
        self._appetite.set()
        while self._producers:
            producer = self._next_producer()
            if not producer.done():
                producer.set_exception(error.fresh())

    def drop_waiting(self) -> None:
        """
        Fail everything that is not in flight, now and whenever something is put back.
        """
        self._is_dropping = True
        self._tell(self.lanes.fail_waiting(self._give_up))

    async def drain(self) -> None:
        """
        Wait until nothing is pending.
        """
        if self.lanes.ledger.pending:
            self.lanes.start_flush(self._loop.time())
            self._drained = self._drained or self._loop.create_future()
            self.wake()
            await asyncio.shield(self._drained)

    async def end(self) -> None:
        """
        Fail what is left, and stop all tasks.
        """
        self._stop(self._give_up)
        await self._senders.end()

    def _break(self, cause: BaseException) -> None:
        # The text of a foreign error may hold anything.
        said = f": {cause}" if isinstance(cause, ChatmarkError) else ""
        broken = SessionBrokenError(f"the sending task died: {type(cause).__name__}{said}")
        broken.__cause__ = cause
        self.refuse(broken)
        self.broken = self.lanes.ledger.pending
        self._stop(lambda _: broken)

    def _give_up(self, entries: Sequence[Entry]) -> UnsentError:
        self.given_up += [entry.change for entry in entries]
        self.unconfirmed += [entry.change for entry in entries if entry.is_sent]
        return UnsentError(self.given_up, self.unconfirmed)

    def _stop(self, make: Callable[[Sequence[Entry]], ChatmarkError]) -> None:
        self.refuse(SessionClosedError())
        try:
            self._tell(self.lanes.fail_all(make))
        finally:
            if self._sweeper is not None:
                self._sweeper.cancel()
            self._senders.stop()

    async def _exchange(self, batch: Batch, permit: Permit) -> None:
        account, changes = batch.lane.account, batch.changes
        verdict = await self._caller.call(
            Command.MARK_CONTACT,
            account,
            len(changes),
            encode_marks(account, changes),
            lambda reply: judge_marks(reply, changes),
            permit,
        )
        if self._senders.is_stopped:
            return
        self._notice_standstill()
        settled = self.lanes.settle(batch, verdict, self._loop.time())
        self._outages.note(
            verdict.error if verdict.handling is Handling.RETRY else None,
            self._loop.time(),
            is_held=self.lanes.brake.held_since is not None,
        )
        try:
            self._go_on(batch, settled)
        finally:
            # Somebody's own backoff or budget may raise: what is settled is told all the same.
            self._tell(settled.done, settled.rows)
        if self._is_dropping:
            self.drop_waiting()

    def _go_on(self, batch: Batch, settled: Settled) -> None:
        if settled.error is not None:
            raise settled.error
        if settled.pause:
            self._caller.pause(Command.MARK_CONTACT, settled.pause, settled.reason)
        if settled.again:
            again = RetryPlanned(batch.lane.account, settled.again, settled.reason)
            self._watchers.tell(again)

    def _notice_standstill(self) -> None:
        """
        Extend all deadlines by the time in which the process was suspended.
        """
        if self._sweeper is None:
            return
        seconds = standstill(self._loop.time() - self._sweeper.when(), 0.0)
        if seconds:
            self.lanes.forgive(seconds)
            self._schedule_sweep()

    def _schedule_sweep(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._sweeper = self._loop.call_later(_SWEEP, self._sweep)

    def _sweep(self) -> None:
        self._notice_standstill()
        self._tell(self.lanes.expire(self._loop.time()))
        if self.lanes.ledger.pending:
            self._schedule_sweep()
        else:
            self._sweeper = None

    async def _wait_for_room(self) -> None:
        future = self._loop.create_future()
        self._producers[future] = None
        self.wake()
        try:
            await future
        except BaseException:
            self._producers.pop(future, None)
            if future.done() and not future.cancelled() and future.exception() is None:
                # The room that came together with the cancellation is somebody else's now.
                self._promised -= 1
                self._give_room()
            raise
        self._promised -= 1

    def _next_producer(self) -> asyncio.Future[None]:
        return self._producers.popitem(last=False)[0]

    def _has_plenty(self) -> bool:
        return self.lanes.agenda.has_plenty(_READ_AHEAD * self.lanes.concurrency.limit)

    def _look_at_appetite(self) -> None:
        if not self._has_plenty():
            self._appetite.set()

    def _room(self) -> int:
        return self.max_pending - self.lanes.ledger.pending - self._promised

    def _give_room(self) -> None:
        room = self._room()
        while room > 0 and self._producers:
            producer = self._next_producer()
            if not producer.done():
                producer.set_result(None)
                self._promised += 1
                room -= 1

    def _tell(self, done: Sequence[Entry], rows: Sequence[Stretch] = ()) -> None:
        for entry in done:
            if entry.job is None:
                entry.wake()
            else:
                entry.job.settled(entry)
        for stretch in rows:
            stretch.job.confirmed(stretch.changes)
        if self._watchers and (done or rows):
            self._tell_watchers(done, rows)
        self._look_at_appetite()
        if self._producers:
            self._give_room()
        self.lanes.agenda.is_full = self._room() <= 0
        if self._flushes:
            self._end_flushes()
        if self._drained is not None and not (self.lanes.ledger.pending or self._drained.done()):
            self._drained.set_result(None)

    def _end_flushes(self) -> None:
        for ticket, future in self._flushes:
            if not future.done() and self.lanes.ledger.is_settled(ticket):
                future.set_result(None)
        self._flushes = [each for each in self._flushes if not each[1].done()]

    def _tell_watchers(self, done: Sequence[Entry], rows: Sequence[Stretch]) -> None:
        results = [entry.report() for entry in done]
        results += [MarkResult(change, 0) for stretch in rows for change in stretch.changes]
        self._watchers.tell(ChangesSettled(tuple(results)))
