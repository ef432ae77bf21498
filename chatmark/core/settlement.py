"""
How changes end: what the reply to a request settles, what is sent again, and what is given up.

Times are seconds of a monotonic clock, passed in.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import attrs

from chatmark.codes import Handling
from chatmark.core.breaker import Breaker
from chatmark.core.concurrency import ConcurrencyLimit
from chatmark.core.item_outcomes import ItemOutcomes, decide, reason_of
from chatmark.core.lane import Lane
from chatmark.core.ledger import Ledger
from chatmark.core.pending import Entry, Item, Outcome, entries_of, failure
from chatmark.core.request import Confirmed, Request
from chatmark.core.scheduler import Scheduler
from chatmark.errors import ChatmarkError
from chatmark.failures import DeadlineExceededError, SignatureError, TransportError
from chatmark.limits import MAX_ITEMS
from chatmark.wire.classify import CONFIRMED, Verdict
from chatmark.wire.messages import MarkAnswer

TOO_MANY_ITEMS: Final = "51006"
# The server gives a call up after so many seconds, wherever the call is then
# (https://www.tencentcloud.com/document/product/1047/34620). A request without an answer reached it
# at the latest when its connection was given up.
MAY_RUN: Final = 3.0
# Seconds by which the last attempt of a change may be late for want of a turn.
_SLACK: Final = 1.0


@attrs.define
class Settlement:
    """
    The effects of the reply to a request.

    Args:
        done: Entries that ended.
        confirmed: Rows that took effect, by their sink.
        again: How many items are sent again.
        reason: Why, in one word.
        pause: For how many seconds no call may be made, 0 for none.
        error: The error of a caller's own backoff. The items that it kept from being settled
            count as in flight.
    """

    done: list[Entry] = attrs.field(factory=list)
    confirmed: list[Confirmed] = attrs.field(factory=list)
    again: int = 0
    reason: str = "0"
    pause: float = 0.0
    error: Exception | None = None


class Settler:
    """
    Ends changes.

    Args:
        ledger: Where outcomes are entered.
        scheduler: The lanes.
        breaker: Is told how requests went.
        concurrency: Is told how requests went.
        backoff: From the number of a retry (from 1) to a wait in seconds.
        deadline: Seconds from the first attempt of a change after which it is not sent again.
    """

    def __init__(
        self,
        ledger: Ledger,
        scheduler: Scheduler,
        breaker: Breaker,
        concurrency: ConcurrencyLimit,
        *,
        backoff: Callable[[int], float],
        deadline: float,
    ) -> None:
        self._ledger = ledger
        self._scheduler = scheduler
        self._breaker = breaker
        self._concurrency = concurrency
        self._backoff = backoff
        self._deadline = deadline
        self._last_fault: ChatmarkError | None = None
        self._retries_until = -math.inf

    def settle(self, request: Request, verdict: Verdict[MarkAnswer], now: float) -> Settlement:
        """Apply what the reply to a request means."""
        settlement = Settlement(reason=verdict.reason)
        lane = self._scheduler.find(request.account)
        lane.in_flight = None
        self._concurrency.ended(lane.health, answered=verdict.answer is not None)
        if verdict.may_run:
            lane.doubt(request.changes, now + MAY_RUN)
        try:
            self._settle(lane, request, verdict, now, settlement)
        except Exception as error:  # noqa: BLE001 - it is raised when the outcomes are told.
            settlement.error = error
            request.keep([item for item in request.items() if not lane.holds(item)])
            lane.in_flight = request
        self._scheduler.refresh(lane, now)
        if settlement.again:
            self._retries_until = now + self._deadline + 2 * _SLACK
        return settlement

    def may_be_late(self, now: float) -> bool:
        """Whether a change may pass its deadline while it waits, so that `expire` is needed."""
        return self._breaker.failing_since is not None or now < self._retries_until

    def expire(self, now: float) -> list[Entry]:
        """
        End the entries that passed their deadline while they waited, and return them.

        While requests succeed, only entries that were sent before can be late. Except in a hold
        whose next probe is not near, entries get a little more time, for the attempt that is made
        at the deadline.
        """
        if not self.may_be_late(now):
            return []
        failing_since = self._breaker.failing_since
        is_held = self._breaker.held_since is not None
        slack = 0.0 if is_held and not self._breaker.resumes_within(_SLACK, now) else _SLACK
        outcome = failure(DeadlineExceededError(self._deadline, self._last_fault))
        latest = now - slack
        ended: list[Entry] = []
        for lane in self._scheduler.lanes():
            if latest >= lane.rows_due_at(self._deadline, failing_since):
                lane.expand_rows()
            late = [
                entry
                for item in lane.items()
                # The oldest entries come first.
                if failing_since is not None or item.entries[0].attempts
                for entry in item.entries
                if latest >= entry.due_at(self._deadline, failing_since)
            ]
            if late:
                self._drop(lane, late, outcome, now)
                ended += late
        return ended

    def fail_waiting(self, make: Callable[[Sequence[Entry]], ChatmarkError]) -> list[Entry]:
        """End everything that is not in flight with one error made from the entries."""
        entries: list[Entry] = []
        for lane in self._scheduler.lanes():
            entries += lane.waiting()
            lane.clear()
            self._scheduler.refresh(lane, -math.inf)
        self._ledger.finish_all(entries, failure(make(entries)))
        return entries

    def fail_all(self, make: Callable[[Sequence[Entry]], ChatmarkError]) -> list[Entry]:
        """End everything, also what is in flight, with one error made from the entries."""
        entries: list[Entry] = []
        for lane in self._scheduler.lanes():
            flying = [] if lane.in_flight is None else entries_of(lane.in_flight.items())
            entries += [entry for entry in flying if entry.outcome is None]
            entries += lane.waiting()
        self._scheduler.clear()
        self._concurrency.clear()
        self._ledger.finish_all(entries, failure(make(entries)))
        return entries

    def extend_deadlines(self, seconds: float) -> None:
        """Extend all deadlines."""
        for lane in self._scheduler.lanes():
            lane.extend_deadlines(seconds)
        if self._breaker.failing_since is not None:
            self._breaker.failing_since += seconds
        self._retries_until += seconds

    def _settle(
        self,
        lane: Lane,
        request: Request,
        verdict: Verdict[MarkAnswer],
        now: float,
        settlement: Settlement,
    ) -> None:
        handling, size = verdict.handling, len(request.changes)
        if handling is Handling.SLOW_DOWN:
            if not verdict.is_paced:
                settlement.pause = self._breaker.slow_down(now, request.sent_at, verdict.pause)
            self._repeat(lane, request, verdict, now, settlement)
        elif handling is Handling.RENEW_SIGNATURE:
            self._repeat(lane, request, verdict, now, settlement)
        elif handling is Handling.RETRY:
            lane.failures += 1
            retry = self._note_failure(lane, request, verdict, now)
            again = self._repeat(lane, request, verdict, now, settlement)
            if not (verdict.at_once and lane.failures == 1):
                wait = max(self._backoff(retry), verdict.pause)
                lane.backoff_until = min(now + wait, self._last_attempt(again))
        elif handling is Handling.SPLIT and size > 1:
            lane.failures = 0
            lane.limit = size // 2
            self._repeat(lane, request, verdict, now, settlement)
            self._scheduler.split(now)
            if verdict.reason == TOO_MANY_ITEMS:
                self._scheduler.lower_limit(lane.limit, now)
        else:
            self._note_answer(lane, request, handling, now)
            if verdict.answer is CONFIRMED:
                settlement.done, settlement.confirmed = request.confirm(self._ledger)
            else:
                self._settle_items(lane, request, verdict, now, settlement)

    def _note_failure(
        self, lane: Lane, request: Request, verdict: Verdict[MarkAnswer], now: float
    ) -> int:
        """
        Note a failure; return the number of the retry for the backoff.

        The failures of one user, while others are served, say nothing of the server: the breaker is
        not told, and the backoff grows half as fast.
        """
        health = self._scheduler.health
        is_served = self._breaker.has_served_since(health.failing_since(lane.account))
        health.failed(lane.account, request.sent_at)
        if is_served:
            return (lane.failures + 1) // 2
        self._breaker.failed(now, request.sent_at, of_gateway=verdict.of_gateway)
        return lane.failures

    def _note_answer(self, lane: Lane, request: Request, handling: Handling, now: float) -> None:
        """Note what an answer proves if its request is not sent again as a whole."""
        if handling in (Handling.REFUSE_APPLICATION, Handling.REFUSE_STANDARD):
            return
        lane.failures = 0
        if handling is Handling.SPLIT:
            # A change that is refused alone does not prove that others would be taken.
            lane.limit = 1
            self._breaker.refused_alone()
            return
        self._breaker.succeeded(request.sent_at)
        self._scheduler.health.answered(lane.account, now - request.sent_at)
        lane.limit = min(MAX_ITEMS, lane.limit * 2)
        self._scheduler.answered(len(request.changes))

    def _settle_items(
        self,
        lane: Lane,
        request: Request,
        verdict: Verdict[MarkAnswer],
        now: float,
        settlement: Settlement,
    ) -> None:
        outcomes = decide(request.items(), verdict)
        for item, outcome in outcomes.ended:
            self._finish(item.entries, outcome, settlement)
        if outcomes.refused is not None:
            refused = outcomes.refused
            self._breaker.refused(refused, now)
            settlement.done += self.fail_waiting(lambda _: refused)
        if outcomes.slow_down:
            settlement.pause = self._breaker.slow_down(now, request.sent_at, 0.0)
        if outcomes.refused_standard is not None:
            self._refuse_standard(outcomes, outcomes.refused_standard, now, settlement)
        again: list[Item] = []
        for item, fault in outcomes.again:
            if self._without_late([item], fault, now, settlement):
                again.append(item)
                self._note_again(1, reason_of(fault), settlement)
        if again:
            due = now + self._backoff(max(item.retries for item in again))
            lane.park(again, min(due, self._last_attempt(again)))

    def _repeat(
        self,
        lane: Lane,
        request: Request,
        verdict: Verdict[MarkAnswer],
        now: float,
        settlement: Settlement,
    ) -> list[Item]:
        """Put the items of a request back to be sent again, and return them."""
        self._last_fault = verdict.error
        items = request.items()
        if _never_sent(verdict.error):
            for entry in entries_of(items):
                entry.unsent += 1
        again = self._without_late(items, verdict.error, now, settlement)
        if again:
            self._note_again(len(again), verdict.reason, settlement)
        lane.put_back(again)
        return again

    def _note_again(self, count: int, reason: str, settlement: Settlement) -> None:
        settlement.again += count
        settlement.reason = reason
        self._ledger.retries_by_reason[reason] += count

    def _without_late(
        self, items: list[Item], error: ChatmarkError | None, now: float, settlement: Settlement
    ) -> list[Item]:
        """End the entries whose deadline has passed; return the items that have others."""
        deadline = self._deadline
        for item in items:
            late = [entry for entry in item.entries if now >= entry.due_at(deadline)]
            if late:
                outcome = failure(DeadlineExceededError(deadline, error))
                self._finish(late, outcome, settlement)
                _drop_ended(item)
        return [item for item in items if item.entries]

    def _last_attempt(self, items: list[Item]) -> float:
        """Return the first deadline of the items: an attempt is made then, not later."""
        return min((item.first_sent_at() for item in items), default=math.inf) + self._deadline

    def _refuse_standard(
        self, outcomes: ItemOutcomes[Item], error: ChatmarkError, now: float, settlement: Settlement
    ) -> None:
        """End the entries that change the standard mark, of what is sent again and what waits."""
        self._breaker.refused_standard(error, now)
        outcome = failure(error)
        for item, _ in outcomes.again:
            self._finish([e for e in item.entries if e.is_standard], outcome, settlement)
            _drop_ended(item)
        for lane in self._scheduler.lanes():
            waiting = [entry for entry in lane.waiting() if entry.is_standard]
            if waiting:
                self._drop(lane, waiting, outcome, now)
                settlement.done += waiting

    def _drop(self, lane: Lane, entries: list[Entry], outcome: Outcome, now: float) -> None:
        """End entries that wait in a lane."""
        for entry in entries:
            self._ledger.finish(entry, outcome)
            lane.remove(entry)
        self._scheduler.refresh(lane, now)

    def _finish(self, entries: Iterable[Entry], outcome: Outcome, settlement: Settlement) -> None:
        """End entries that were in flight."""
        for entry in entries:
            self._ledger.finish(entry, outcome)
            settlement.done.append(entry)


def _drop_ended(item: Item) -> None:
    item.entries = [entry for entry in item.entries if entry.outcome is None]


def _never_sent(error: ChatmarkError | None) -> bool:
    """Whether a request certainly did not reach the server."""
    if isinstance(error, TransportError):
        return not error.sent
    return isinstance(error, SignatureError)
