"""
The dispatcher: brings engine, pump and callers together, and tells callers how changes ended.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

from chatmark.changes import MarkChange
from chatmark.codes import Command
from chatmark.core.engine import Engine
from chatmark.core.pending import Entry, ResultSink, Turn, suspended_for
from chatmark.core.request import Confirmed, Request
from chatmark.core.settlement import Settlement
from chatmark.errors import ChatmarkError
from chatmark.events import ChangesSettled, RetryPlanned
from chatmark.failures import SessionBrokenError, SessionClosedError, SessionError, UnsentError
from chatmark.http.client import ApiClient, Hooks
from chatmark.pacing.budget import Permit
from chatmark.results import MarkResult
from chatmark.session.admission import Admission
from chatmark.session.failure_log import OutageLog, UnseenFailures
from chatmark.session.pump import Pump
from chatmark.wire.classify import classify_marks
from chatmark.wire.messages import MarkContact

# How often deadlines of waiting changes are looked at, in seconds.
_SWEEP: Final = 1.0


class Dispatcher:
    """
    Admits changes, has requests sent, and tells how changes ended. Bound to the running loop.

    Args:
        engine: Decides on changes and requests.
        client: Makes the calls.
        max_pending: The most changes without an outcome.
        hooks: Are told of events.
    """

    def __init__(
        self, engine: Engine, client: ApiClient, *, max_pending: int, hooks: Hooks
    ) -> None:
        self.engine = engine
        self._client = client
        self.hooks = hooks
        self._loop = asyncio.get_running_loop()
        self.admission = Admission(engine, max_pending, self.wake)
        self._pump = Pump(
            engine,
            client.budget_of(Command.MARK_CONTACT),
            self._exchange,
            on_take=self.admission.look_at_demand,
            on_death=self._break,
        )
        self._flushes: list[tuple[int, asyncio.Future[None]]] = []
        self._drained: asyncio.Future[None] | None = None
        self._turns: set[Turn] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._outages = OutageLog("marking", engine.breaker)
        # Failures that no caller looked at, and changes that closing gave up.
        self.unseen = UnseenFailures(self._loop)
        self.given_up: list[MarkChange] = []
        self.unconfirmed: list[MarkChange] = []
        self.broken = 0
        self._is_dropping = False

    def accept(self, entries: Sequence[Entry]) -> None:
        self._accepted(self.engine.admit(entries, self._loop.time()))

    def accept_many(self, changes: Sequence[MarkChange], sink: ResultSink) -> None:
        self._accepted(self.engine.admit_many(changes, sink, self._loop.time()))

    async def admit(self, entry: Entry) -> None:
        """Accept a change for which there is no room as soon as there is."""
        await self.admission.reserve()
        self.accept([entry])
        # Callers that came while this room was reserved are next.
        self.admission.release()

    def withdraw(self, entry: Entry) -> bool:
        """Withdraw a change that was never sent. Return True if it was withdrawn."""
        self._check_loop()
        if self.engine.withdraw(entry, self._loop.time()):
            self._tell([entry])
            return True
        return False

    def withdraw_many(self, sink: ResultSink, account: str | None = None) -> None:
        """Withdraw the changes of a sink, or of that account alone, that were never sent."""
        self._tell(self.engine.withdraw_many(sink, self._loop.time(), account))

    def waiter(self) -> asyncio.Future[None]:
        """
        Return a future for a caller that waits for a change.

        Raises:
            SessionError: It would wait in another loop, where it is never woken.
        """
        self._check_loop()
        return self._loop.create_future()

    def wake(self) -> None:
        self._pump.wake()

    @contextlib.asynccontextmanager
    async def turn(self, account: str) -> AsyncGenerator[Turn]:
        """Wait for the place of a call among the changes of its user, and hold it meanwhile."""
        self.admission.check()
        begun = asyncio.Event()
        turn = Turn(account, begun.set)
        self._turns.add(turn)
        self.engine.queue(turn, self._loop.time())
        self.wake()
        try:
            await begun.wait()
            if self._pump.is_stopped or self._is_dropping:
                self.admission.check()
            yield turn
        finally:
            if turn in self._turns:
                self._turns.remove(turn)
                self.engine.end_turn(turn, self._loop.time())
                self.wake()
                self._note_drained()

    async def flush(self) -> None:
        """Wait until everything accepted so far has an outcome."""
        self.admission.check()
        ticket = self.engine.start_flush(self._loop.time())
        try:
            if not self.engine.ledger.is_settled(ticket):
                future = self._loop.create_future()
                self._flushes.append((ticket, future))
                self.wake()
                await future
        finally:
            self.engine.end_flush()
        self.unseen.report()

    def refuse(self, error: ChatmarkError) -> None:
        """Take no more changes; callers that wait for room get the error."""
        self.admission.end(error)

    def drop_waiting(self) -> None:
        """Fail everything that is not in flight, now and whenever an item is put back."""
        self._is_dropping = True
        self._tell(self.engine.fail_waiting(self._give_up))

    async def drain(self) -> None:
        """Wait until nothing is pending, and no call holds or waits for its turn."""
        if self.engine.ledger.pending or self._turns:
            self.engine.start_flush(self._loop.time())
            self._drained = self._drained or self._loop.create_future()
            self.wake()
            await asyncio.shield(self._drained)

    async def end(self) -> None:
        """Fail what is left, and stop all tasks."""
        self._stop(self._give_up)
        await self._pump.end()

    def _accepted(self, refused: list[Entry]) -> None:
        if refused:
            self._tell(refused)
        if self._sweeper is None:
            self._schedule_sweep()
        self.admission.accepted()
        self.wake()

    def _check_loop(self) -> None:
        try:
            is_here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            is_here = False
        if not is_here:
            raise SessionError("a session belongs to the event loop that it was first used in")

    def _break(self, cause: BaseException) -> None:
        # The text of a foreign error may hold anything.
        said = f": {cause}" if isinstance(cause, ChatmarkError) else ""
        broken = SessionBrokenError(f"the sending task died: {type(cause).__name__}{said}")
        broken.__cause__ = cause
        self.refuse(broken)
        self.broken = self.engine.ledger.pending
        self._stop(lambda _: broken)

    def _give_up(self, entries: Sequence[Entry]) -> UnsentError:
        self.given_up += [entry.change for entry in entries]
        self.unconfirmed += [entry.change for entry in entries if entry.is_sent]
        return UnsentError(self.given_up, self.unconfirmed)

    def _stop(self, make: Callable[[Sequence[Entry]], ChatmarkError]) -> None:
        self.refuse(SessionClosedError())
        turns, self._turns = self._turns, set()
        for turn in turns:
            turn.begin()
        try:
            self._tell(self.engine.fail_all(make))
        finally:
            if self._sweeper is not None:
                self._sweeper.cancel()
            self._pump.stop()

    async def _exchange(self, request: Request, permit: Permit) -> None:
        account, changes = request.account, request.changes
        verdict = await self._client.call(
            MarkContact(account, changes),
            lambda reply: classify_marks(reply, changes),
            permit,
            request.callers,
        )
        if self._pump.is_stopped:
            return
        self._notice_standstill()
        settlement = self.engine.settle(request, verdict, self._loop.time())
        self._outages.note(verdict, self._loop.time())
        try:
            self._go_on(account, settlement)
        finally:
            # A caller's own backoff or budget may raise: what is settled is told all the same.
            self._tell(settlement.done, settlement.confirmed)
        if self._is_dropping:
            self.drop_waiting()

    def _go_on(self, account: str, settlement: Settlement) -> None:
        if settlement.error is not None:
            raise settlement.error
        if settlement.pause:
            self._client.pause(Command.MARK_CONTACT, settlement.pause, settlement.reason)
        if settlement.again:
            self.hooks.tell(RetryPlanned(account, settlement.again, settlement.reason))

    def _notice_standstill(self) -> None:
        """Extend all deadlines by the time in which the process was suspended."""
        if self._sweeper is None:
            return
        seconds = suspended_for(self._loop.time() - self._sweeper.when(), 0.0)
        if seconds:
            self.engine.extend_deadlines(seconds)
            self._schedule_sweep()

    def _schedule_sweep(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._sweeper = self._loop.call_later(_SWEEP, self._sweep)

    def _sweep(self) -> None:
        self._notice_standstill()
        self._tell(self.engine.expire(self._loop.time()))
        if self.engine.ledger.pending:
            self._schedule_sweep()
        else:
            self._sweeper = None

    def _tell(self, done: Sequence[Entry], confirmed: Sequence[Confirmed] = ()) -> None:
        for entry in done:
            if entry.sink is None:
                entry.wake()
            else:
                entry.sink.settled(entry)
        for sink, changes in confirmed:
            sink.confirmed(changes)
        if self.hooks and (done or confirmed):
            results = [entry.report() for entry in done]
            results += [MarkResult(change, 0) for _, changes in confirmed for change in changes]
            self.hooks.tell(ChangesSettled(tuple(results)))
        self.admission.release()
        if self._flushes:
            self._end_flushes()
        self._note_drained()

    def _note_drained(self) -> None:
        is_busy = self.engine.ledger.pending or self._turns
        if self._drained is not None and not (is_busy or self._drained.done()):
            self._drained.set_result(None)

    def _end_flushes(self) -> None:
        for ticket, future in self._flushes:
            if not future.done() and self.engine.ledger.is_settled(ticket):
                future.set_result(None)
        self._flushes = [each for each in self._flushes if not each[1].done()]
