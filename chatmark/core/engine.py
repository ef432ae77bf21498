"""
The heart of a session, without I/O: what goes into which request, and what becomes of each change.

Times are seconds of a monotonic clock, passed in.
"""

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from chatmark.changes import MarkChange
from chatmark.codes import Handling
from chatmark.core.breaker import Brake
from chatmark.core.concurrency import ConcurrencyLimit
from chatmark.core.lane import MAX_ITEMS, Lane, Load
from chatmark.core.ledger import Ledger
from chatmark.core.pending import NOT_ACCEPTED, WITHDRAWN, Entry, Item, Outcome, Watcher, failure
from chatmark.core.request import Batch, Settled
from chatmark.core.scheduler import Agenda
from chatmark.core.settlement import Fates, decide, reason_of
from chatmark.errors import ChatmarkError
from chatmark.failures import DeadlineExceededError, SignatureError, TransportError
from chatmark.wire.classify import CONFIRMED, Verdict
from chatmark.wire.messages import MarkAnswer

_TOO_MANY_ITEMS: Final = "51006"
# The server gives a call up after so many seconds, wherever the call is then
# (https://www.tencentcloud.com/document/product/1047/34620). A request without an answer reached it
# at the latest when its connection was given up.
_MAY_RUN: Final = 3.0
# Seconds by which the last attempt of a change may be late for want of a turn.
_SLACK: Final = 1.0


class Lanes:
    """
    All pending changes of a session.

    Args:
        backoff: From the number of a retry (from 1) to a wait in seconds.
        deadline: Seconds from the first attempt of a change after which it is not sent again.
        linger: Seconds that a change may wait for others of its lane.
        max_in_flight: The most requests at once; None lets it follow pace and round trip.
    """

    def __init__(
        self,
        *,
        backoff: Callable[[int], float],
        deadline: float = 60.0,
        linger: float = 0.0,
        max_in_flight: int | None = None,
    ) -> None:
        self._backoff = backoff
        self._deadline = deadline
        self._last_fault: ChatmarkError | None = None
        self._retries_until = -math.inf
        self.brake = Brake(backoff)
        self.ledger = Ledger()
        self.agenda = Agenda(linger)
        self.concurrency = ConcurrencyLimit(max_in_flight)

    def admit(self, entries: Sequence[Entry], now: float) -> list[Entry]:
        """
        Accept changes; return those that failed at once because of a refusal that still holds.
        """
        self.ledger.accept(entries)
        refusal, of_standard = self.brake.refusal(now), self.brake.standard_refusal(now)
        refused: list[Entry] = []
        if refusal is not None:
            refused = list(entries)
        elif of_standard is not None:
            refused = [entry for entry in entries if entry.is_standard]
            entries = [entry for entry in entries if not entry.is_standard]
        error = refusal or of_standard
        if error is not None:
            self._end(refused, failure(error))
        if refusal is not None:
            return refused
        touched: dict[str, Lane] = {}
        for entry in entries:
            # An outage may be found out later that had begun before: it counts from here then.
            entry.since = now
            account = entry.change.from_account
            lane = touched.get(account)
            if lane is None:
                lane = touched[account] = self.agenda.lane(account, now)
            lane.add(entry)
        self.agenda.refresh_all(touched.values(), now)
        return refused

    def admit_rows(self, changes: Sequence[MarkChange], job: Watcher, now: float) -> list[Entry]:
        """
        Accept rows of a job; return those that failed at once because of a refusal that holds.
        """
        if self.brake.refusal(now) is not None or self.brake.standard_refusal(now) is not None:
            return self.admit([Entry(change, bulk=True, job=job) for change in changes], now)
        epoch = self.ledger.accept_rows(len(changes))
        touched: dict[str, Lane] = {}
        for account, rows in itertools.groupby(changes, _account):
            lane = touched.get(account)
            if lane is None:
                lane = touched[account] = self.agenda.lane(account, now)
            lane.add_rows(rows, job, epoch, now)
        self.agenda.refresh_all(touched.values(), now)
        return []

    def withdraw(self, entry: Entry, now: float) -> bool:
        """
        Take a change back that was never sent; return whether it was.
        """
        if entry.outcome is not None or entry.epoch == NOT_ACCEPTED or entry.attempts:
            return False
        lane = self.agenda.find(entry.change.from_account)
        self.ledger.finish(entry, WITHDRAWN)
        lane.remove(entry)
        self.agenda.refresh(lane, now)
        return True

    def withdraw_job(self, job: Watcher, now: float) -> list[Entry]:
        """
        Take back those changes of a job that were never sent, and return them.
        """
        lanes = self.agenda.lanes()
        for lane in lanes:
            if lane.rows.holds_of(job):
                lane.unravel()
        mine = [
            entry
            for lane in lanes
            for item in lane.index.values()
            for entry in item.entries
            if entry.job is job
        ]
        return [entry for entry in mine if self.withdraw(entry, now)]

    def has_ready(self, now: float) -> bool:
        """
        Whether `take` would return a request.
        """
        if not (self.agenda.has_any(now) and self.brake.allows(now, self.in_flight)):
            return False
        lowest = self.concurrency.lowest()
        is_ready = not lowest or self.agenda.has_any(now, lowest)
        self.concurrency.is_wanted = not is_ready
        return is_ready

    @property
    def in_flight(self) -> int:
        """
        How many requests are in flight.
        """
        return self.concurrency.in_flight

    def take(self, now: float) -> Batch | None:
        """
        Return the next request, None when none may be sent now.
        """
        if not self.has_ready(now):
            return None
        lowest = self.concurrency.lowest()
        pick = self.agenda.pick if self.brake.held_since is None else self.agenda.pick_probe
        lane = pick(now, lowest)
        if lane is None:
            return None
        load = lane.take(self.agenda.limit(lane))
        held_since = self.brake.held_since
        for item in load.items:
            for entry in item.entries:
                if not entry.attempts:
                    # A probe does not give a change that waited under the hold more time.
                    entry.since = now if held_since is None else _begun(entry.since, held_since)
                entry.attempts += 1
        for stretch in load.stretches:
            stretch.since = now if held_since is None else _begun(stretch.since, held_since)
            stretch.attempts = 1
        self.concurrency.sent(lane.health)
        self.brake.sent(now)
        self.agenda.refresh(lane, now)
        return Batch(lane, load, load.changes(), now)

    def settle(self, batch: Batch, verdict: Verdict[MarkAnswer], now: float) -> Settled:
        """
        Apply what the reply to a request means.
        """
        settled = Settled(reason=verdict.reason)
        batch.lane.in_flight = None
        self.concurrency.ended(batch.lane.health, answered=verdict.answer is not None)
        if verdict.may_run:
            batch.lane.doubt(batch.changes, now + _MAY_RUN)
        try:
            self._settle(batch, verdict, now, settled)
        except Exception as error:  # noqa: BLE001 - it is raised when the outcomes are told.
            settled.error = error
            left = [item for item in batch.unravel() if not batch.lane.holds(item)]
            batch.lane.in_flight = Load(left, [])
        self.agenda.refresh(batch.lane, now)
        if settled.again:
            self._retries_until = now + self._deadline + 2 * _SLACK
        return settled

    def _settle(
        self, batch: Batch, verdict: Verdict[MarkAnswer], now: float, settled: Settled
    ) -> None:
        lane, handling = batch.lane, verdict.handling
        if handling is Handling.SLOW_DOWN:
            settled.pause = self.brake.slow_down(now, batch.sent_at, verdict.pause)
            self._repeat(batch, verdict, now, settled)
        elif handling in (Handling.RENEW_SIGNATURE, Handling.REPEAT):
            self._repeat(batch, verdict, now, settled)
        elif handling is Handling.RETRY:
            lane.failures += 1
            retry = self._note_failure(batch, verdict, now)
            again = self._repeat(batch, verdict, now, settled)
            if not (verdict.at_once and lane.failures == 1):
                wait = max(self._backoff(retry), verdict.pause)
                lane.backoff_until = min(now + wait, self._last_attempt(again))
        elif handling is Handling.SPLIT and len(batch.changes) > 1:
            lane.failures = 0
            lane.limit = len(batch.changes) // 2
            self._repeat(batch, verdict, now, settled)
            self.agenda.split(now)
            if verdict.reason == _TOO_MANY_ITEMS:
                self.agenda.lower_limit(lane.limit, now)
        else:
            self._settle_items(batch, verdict, now, settled)

    def may_be_late(self, now: float) -> bool:
        """
        Whether something may pass its deadline while it waits, so that `expire` is worth a call.
        """
        return self.brake.failing_since is not None or now < self._retries_until

    def expire(self, now: float) -> list[Entry]:
        """
        End what passed its deadline while it waits; return the entries that ended.

        While no request succeeds, a change that was never sent counts from the first that failed,
        or from its own admission after that. While all is well, only what failed before can be
        late: in the pace, or in another session's pause. Outside a hold, and when one lets a probe
        through, it has a little longer, for the attempt that is made at the deadline.
        """
        failing_since = self.brake.failing_since
        is_held = self.brake.held_since is not None
        slack = 0.0 if is_held and not self.brake.resumes_within(_SLACK, now) else _SLACK
        outcome = failure(DeadlineExceededError(self._deadline, self._last_fault))
        late: list[Entry] = []
        for lane in self.agenda.lanes() if self.may_be_late(now) else ():
            before = len(late)
            # Rows that were never sent are late only while nothing succeeds.
            if failing_since is not None and now >= slack + self._deadline + _begun(
                lane.rows.since, failing_since
            ):
                lane.unravel()
            for item in lane.index.values():
                item.sweep()
                # The oldest entries come first.
                if failing_since is not None or item.entries[0].attempts:
                    late.extend(
                        e for e in item.entries if now >= self._due(e, failing_since, slack)
                    )
            for entry in late[before:]:
                self.ledger.finish(entry, outcome)
                lane.remove(entry)
            if len(late) > before:
                self.agenda.refresh(lane, now)
        return late

    def forgive(self, seconds: float) -> None:
        """
        Extend all deadlines.
        """
        for lane in self.agenda.lanes():
            flying = [] if lane.in_flight is None else lane.in_flight.items
            for entry in _entries([*lane.index.values(), *flying]):
                if entry.since is not None:
                    entry.since += seconds
            lane.rows.forgive(seconds)
            for stretch in [] if lane.in_flight is None else lane.in_flight.stretches:
                stretch.since += seconds
        if self.brake.failing_since is not None:
            self.brake.failing_since += seconds
        self._retries_until += seconds

    def fail_waiting(self, make: Callable[[Sequence[Entry]], ChatmarkError]) -> list[Entry]:
        """
        End everything that is not in flight with one error made from the entries.
        """
        entries: list[Entry] = []
        for lane in self.agenda.lanes():
            entries.extend(_entries(lane.waiting()))
            lane.clear()
            self.agenda.refresh(lane, -math.inf)
        return self._fail(entries, make)

    def fail_all(self, make: Callable[[Sequence[Entry]], ChatmarkError]) -> list[Entry]:
        """
        End everything, what is in flight too, with one error made from the entries.
        """
        entries = [
            entry
            for lane in self.agenda.lanes()
            for entry in _entries([*lane.flying(), *lane.waiting()])
            if entry.outcome is None
        ]
        self.agenda.clear()
        self.concurrency.clear()
        return self._fail(entries, make)

    def wake_at(self, now: float) -> float | None:
        """
        Return when `has_ready` may become true by time alone.
        """
        times = self.agenda.times()
        allowed = self.brake.wake_at(self.in_flight)
        if allowed is not None:
            times.append(allowed)
        return min((time for time in times if time > now), default=None)

    def start_flush(self, now: float) -> int:
        """
        Let everything go without waiting for more; return the ticket for `Ledger.is_settled`.
        """
        self.agenda.start_flush(now)
        return self.ledger.start_epoch()

    def end_flush(self) -> None:
        """
        Let changes wait for others again.
        """
        self.agenda.end_flush()

    def _note_failure(self, batch: Batch, verdict: Verdict[MarkAnswer], now: float) -> int:
        """
        Note a failure; return the number of the retry for the backoff.

        The failures of one user, while others are served, say nothing of the server: the brake is
        not told, and the backoff grows half as fast.
        """
        lane, health = batch.lane, self.agenda.health
        is_served = self.brake.has_served_since(health.failing_since(lane.account))
        health.failed(lane.account, batch.sent_at)
        if is_served:
            return (lane.failures + 1) // 2
        self.brake.failed(now, batch.sent_at, of_gateway=verdict.of_gateway)
        return lane.failures

    def _note_answer(self, batch: Batch, handling: Handling, now: float) -> None:
        """
        Note what an answer proves that is not asked for again as a whole.
        """
        if handling in (Handling.REFUSE_APPLICATION, Handling.REFUSE_STANDARD):
            return
        batch.lane.failures = 0
        if handling is Handling.SPLIT:
            # A change that is refused alone does not prove that others would be taken.
            batch.lane.limit = 1
            self.brake.refused_alone()
            return
        self.brake.succeeded(batch.sent_at)
        self.agenda.health.answered(batch.lane.account, now - batch.sent_at)
        batch.lane.limit = min(MAX_ITEMS, batch.lane.limit * 2)
        self.agenda.answered(len(batch.changes))

    def _settle_items(
        self, batch: Batch, verdict: Verdict[MarkAnswer], now: float, settled: Settled
    ) -> None:
        self._note_answer(batch, verdict.handling, now)
        if verdict.answer is CONFIRMED:
            settled.done = _entries(batch.load.items)
            self.ledger.succeed(settled.done)
            settled.rows = batch.load.stretches
            for stretch in settled.rows:
                self.ledger.succeed_rows(stretch.epoch, len(stretch.changes))
            return
        fates = decide(batch.unravel(), verdict)
        for item, outcome in fates.ended:
            settled.finish(self.ledger, item.entries, outcome)
        if fates.refused is not None:
            self._refuse_all(fates.refused, now, settled)
        if fates.slow_down:
            settled.pause = self.brake.slow_down(now, batch.sent_at, 0.0)
        if fates.refused_standard is not None:
            self._refuse_standard(fates, fates.refused_standard, now, settled)
        again: list[Item] = []
        for item, fault in fates.again:
            if self._without_late([item], fault, now, settled):
                again.append(item)
                self._note_again(1, reason_of(fault), settled)
        if again:
            due = now + self._backoff(max(item.retries for item in again))
            batch.lane.park(again, min(due, self._last_attempt(again)))

    def _repeat(
        self, batch: Batch, verdict: Verdict[MarkAnswer], now: float, settled: Settled
    ) -> list[Item]:
        self._last_fault = verdict.error
        if _never_sent(verdict.error):
            for item in batch.unravel():
                for entry in item.entries:
                    entry.unsent += 1
        again = self._without_late(batch.unravel(), verdict.error, now, settled)
        if again:
            self._note_again(len(again), verdict.reason, settled)
        batch.lane.put_back(again)
        return again

    def _note_again(self, count: int, reason: str, settled: Settled) -> None:
        settled.again += count
        settled.reason = reason
        self.ledger.retries_by_reason[reason] += count

    def _without_late(
        self, items: list[Item], error: ChatmarkError | None, now: float, settled: Settled
    ) -> list[Item]:
        """
        End the entries whose deadline has passed; return the items that have others.
        """
        for item in items:
            late = [e for e in item.entries if e.since is None or now >= e.since + self._deadline]
            if late:
                outcome = failure(DeadlineExceededError(self._deadline, error))
                settled.finish(self.ledger, late, outcome)
                item.entries = [entry for entry in item.entries if entry.outcome is None]
        return [item for item in items if item.entries]

    def _due(self, entry: Entry, failing_since: float | None, slack: float) -> float:
        """
        Return when an entry that waits is to be given up, infinity where no deadline runs.
        """
        if entry.attempts and entry.since is not None:
            return entry.since + self._deadline + slack
        if failing_since is None:
            return math.inf
        return _begun(entry.since, failing_since) + self._deadline + slack

    def _last_attempt(self, items: list[Item]) -> float:
        """
        Return when the first of the items reaches its deadline: an attempt is made then, not later.
        """
        return min((item.first_attempt() for item in items), default=math.inf) + self._deadline

    def _refuse_all(self, error: ChatmarkError, now: float, settled: Settled) -> None:
        self.brake.refused(error, now)
        settled.done.extend(self.fail_waiting(lambda _: error))

    def _refuse_standard(
        self, fates: Fates, error: ChatmarkError, now: float, settled: Settled
    ) -> None:
        """
        End the entries that change the standard mark, of what would be sent again and what waits.
        """
        self.brake.refused_standard(error, now)
        outcome = failure(error)
        for item, _ in fates.again:
            settled.finish(self.ledger, [e for e in item.entries if e.is_standard], outcome)
            item.entries = [entry for entry in item.entries if entry.outcome is None]
        for lane in self.agenda.lanes():
            waiting = [entry for entry in _entries(lane.waiting()) if entry.is_standard]
            settled.finish(self.ledger, waiting, outcome)
            for entry in waiting:
                lane.remove(entry)
            if waiting:
                self.agenda.refresh(lane, now)

    def _end(self, entries: Iterable[Entry], outcome: Outcome) -> None:
        for entry in entries:
            self.ledger.finish(entry, outcome)

    def _fail(
        self, entries: list[Entry], make: Callable[[Sequence[Entry]], ChatmarkError]
    ) -> list[Entry]:
        self._end(entries, failure(make(entries)))
        return entries


def _never_sent(error: ChatmarkError | None) -> bool:
    """
    Whether a request certainly did not reach the server.
    """
    if isinstance(error, TransportError):
        return not error.sent
    return isinstance(error, SignatureError)


def _begun(since: float | None, outage: float) -> float:
    """
    Return when the deadline of what was never sent began to run in an outage.
    """
    return outage if since is None else max(since, outage)


_account: Final = operator.attrgetter("from_account")


def _entries(items: Iterable[Item]) -> list[Entry]:
    return [entry for item in items for entry in item.entries]
