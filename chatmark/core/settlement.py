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
        lane: The lane of the request.
        request: The request.
        verdict: The meaning of the reply.
        now: The time.

    Attributes:
        done: Entries that ended.
        confirmed: Rows that took effect, by their sink.
        again: How many items are sent again.
        reason: Why, in one word.
        pause: For how many seconds no call may be made, 0 for none.
        error: The error of a caller's own backoff. The items that it kept from being settled
            count as in flight.
    """

    lane: Lane
    request: Request
    verdict: Verdict[MarkAnswer]
    now: float
    done: list[Entry] = attrs.field(factory=list, init=False)
    confirmed: list[Confirmed] = attrs.field(factory=list, init=False)
    again: int = attrs.field(default=0, init=False)
    reason: str = attrs.field(default="0", init=False)
    pause: float = attrs.field(default=0.0, init=False)
    error: Exception | None = attrs.field(default=None, init=False)


class Settler:
    """
    Ends changes.

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
        self.breaker = Breaker(backoff)
        self.ledger = Ledger()
        self.scheduler = Scheduler(linger)
        self.concurrency = ConcurrencyLimit(max_in_flight)
        self._backoff = backoff
        self._deadline = deadline
        self._last_fault: ChatmarkError | None = None
        self._retries_until = -math.inf

    def settle(self, request: Request, verdict: Verdict[MarkAnswer], now: float) -> Settlement:
        """Apply what the reply to a request means."""
        lane = self.scheduler.find(request.account)
        settlement = Settlement(lane, request, verdict, now)
        lane.in_flight = None
        self.concurrency.ended(lane.health, answered=verdict.answer is not None)
        if verdict.may_run:
            lane.doubt(request.changes, now + MAY_RUN)
        try:
            self._settle(settlement)
        except Exception as error:  # noqa: BLE001 - it is raised when the outcomes are told.
            settlement.error = error
            request.keep([item for item in request.items() if not lane.holds(item)])
            lane.in_flight = request
        self.scheduler.refresh(lane, now)
        if settlement.again:
            self._retries_until = now + self._deadline + 2 * _SLACK
        return settlement

    def may_be_late(self, now: float) -> bool:
        """Whether a change may pass its deadline while it waits, so that `expire` is needed."""
        return self.breaker.failing_since is not None or now < self._retries_until

    def expire(self, now: float) -> list[Entry]:
        """
        End the entries that passed their deadline while they waited, and return them.

        While requests succeed, only entries that were sent before can be late. Except in a hold
        whose next probe is not near, entries get a little more time, for the attempt that is made
        at the deadline.
        """
        if not self.may_be_late(now):
            return []
        failing_since = self.breaker.failing_since
        is_held = self.breaker.held_since is not None
        slack = 0.0 if is_held and not self.breaker.resumes_within(_SLACK, now) else _SLACK
        outcome = failure(DeadlineExceededError(self._deadline, self._last_fault))
        latest = now - slack
        ended: list[Entry] = []
        for lane in self.scheduler.lanes():
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
        for lane in self.scheduler.lanes():
            entries += lane.waiting()
            lane.clear()
            self.scheduler.refresh(lane, -math.inf)
        self.ledger.finish_all(entries, failure(make(entries)))
        return entries

    def fail_all(self, make: Callable[[Sequence[Entry]], ChatmarkError]) -> list[Entry]:
        """End everything, also what is in flight, with one error made from the entries."""
        entries: list[Entry] = []
        for lane in self.scheduler.lanes():
            flying = [] if lane.in_flight is None else entries_of(lane.in_flight.items())
            entries += [entry for entry in flying if entry.outcome is None]
            entries += lane.waiting()
        self.scheduler.clear()
        self.concurrency.clear()
        self.ledger.finish_all(entries, failure(make(entries)))
        return entries

    def extend_deadlines(self, seconds: float) -> None:
        for lane in self.scheduler.lanes():
            lane.extend_deadlines(seconds)
        if self.breaker.failing_since is not None:
            self.breaker.failing_since += seconds
        self._retries_until += seconds

    def _settle(self, it: Settlement) -> None:
        lane, request, verdict, now = it.lane, it.request, it.verdict, it.now
        handling, size = verdict.handling, len(request.changes)
        if handling is Handling.SLOW_DOWN:
            if not verdict.is_paced:
                it.pause = self.breaker.slow_down(now, request.sent_at, verdict.pause)
            self._repeat(it)
        elif handling is Handling.RENEW_SIGNATURE:
            self._repeat(it)
        elif handling is Handling.RETRY:
            lane.failures += 1
            retry = self._note_failure(it)
            again = self._repeat(it)
            if not (verdict.at_once and lane.failures == 1):
                wait = max(self._backoff(retry), verdict.pause)
                lane.backoff_until = min(now + wait, self._last_attempt(again))
        elif handling is Handling.SPLIT and size > 1:
            lane.failures = 0
            lane.limit = size // 2
            self._repeat(it)
            self.scheduler.split(now)
            if verdict.reason == TOO_MANY_ITEMS:
                self.scheduler.lower_limit(lane.limit, now)
        else:
            self._note_answer(it)
            if verdict.answer is CONFIRMED:
                it.done, it.confirmed = request.confirm(self.ledger)
            else:
                self._settle_items(it)

    def _note_failure(self, it: Settlement) -> int:
        """
        Note a failure; return the number of the retry for the backoff.

        The failures of one user, while others are served, say nothing of the server: the breaker is
        not told, and the backoff grows half as fast.
        """
        account, sent_at = it.request.account, it.request.sent_at
        is_served = self.breaker.has_served_since(self.scheduler.health.failing_since(account))
        self.scheduler.health.failed(account, sent_at)
        if is_served:
            return (it.lane.failures + 1) // 2
        self.breaker.failed(it.now, sent_at, of_gateway=it.verdict.of_gateway)
        return it.lane.failures

    def _note_answer(self, it: Settlement) -> None:
        """Note what an answer proves if its request is not sent again as a whole."""
        lane, request, handling = it.lane, it.request, it.verdict.handling
        if handling in (Handling.REFUSE_APPLICATION, Handling.REFUSE_STANDARD):
            return
        lane.failures = 0
        if handling is Handling.SPLIT:
            # A change that is refused alone does not prove that others would be taken.
            lane.limit = 1
            self.breaker.refused_alone()
            return
        self.breaker.succeeded(request.sent_at)
        self.scheduler.health.answered(lane.account, it.now - request.sent_at)
        lane.limit = min(MAX_ITEMS, lane.limit * 2)
        self.scheduler.answered(len(request.changes))

    def _settle_items(self, it: Settlement) -> None:
        outcomes = decide(it.request.items(), it.verdict)
        for item, outcome in outcomes.ended:
            self._finish(item.entries, outcome, it)
        if outcomes.refused is not None:
            refused = outcomes.refused
            self.breaker.refused(refused, it.now)
            it.done += self.fail_waiting(lambda _: refused)
        if outcomes.slow_down:
            it.pause = self.breaker.slow_down(it.now, it.request.sent_at, 0.0)
        if outcomes.refused_standard is not None:
            self._refuse_standard(outcomes, outcomes.refused_standard, it)
        again: list[Item] = []
        for item, fault in outcomes.again:
            if self._without_late([item], fault, it):
                again.append(item)
                self._note_again(1, reason_of(fault), it)
        if again:
            due = it.now + self._backoff(max(item.retries for item in again))
            it.lane.park(again, min(due, self._last_attempt(again)))

    def _repeat(self, it: Settlement) -> list[Item]:
        """Put the items of a request back to be sent again, and return them."""
        error = self._last_fault = it.verdict.error
        items = it.request.items()
        # Some requests certainly did not reach the server.
        if isinstance(error, SignatureError) or (
            isinstance(error, TransportError) and not error.sent
        ):
            for entry in entries_of(items):
                entry.unsent += 1
        again = self._without_late(items, error, it)
        if again:
            self._note_again(len(again), it.verdict.reason, it)
        it.lane.put_back(again)
        return again

    def _note_again(self, count: int, reason: str, it: Settlement) -> None:
        it.again += count
        it.reason = reason
        self.ledger.retries_by_reason[reason] += count

    def _without_late(
        self, items: list[Item], error: ChatmarkError | None, it: Settlement
    ) -> list[Item]:
        """End the entries whose deadline has passed; return the items that have others."""
        deadline = self._deadline
        for item in items:
            late = [entry for entry in item.entries if it.now >= entry.due_at(deadline)]
            if late:
                self._finish(late, failure(DeadlineExceededError(deadline, error)), it)
                _drop_ended(item)
        return [item for item in items if item.entries]

    def _last_attempt(self, items: list[Item]) -> float:
        """Return the first deadline of the items: an attempt is made then, not later."""
        return min((item.first_sent_at() for item in items), default=math.inf) + self._deadline

    def _refuse_standard(
        self, outcomes: ItemOutcomes[Item], error: ChatmarkError, it: Settlement
    ) -> None:
        """End the entries that change the standard mark, of what is sent again and what waits."""
        self.breaker.refused_standard(error, it.now)
        outcome = failure(error)
        for item, _ in outcomes.again:
            self._finish([e for e in item.entries if e.is_standard], outcome, it)
            _drop_ended(item)
        for lane in self.scheduler.lanes():
            waiting = [entry for entry in lane.waiting() if entry.is_standard]
            if waiting:
                self._drop(lane, waiting, outcome, it.now)
                it.done += waiting

    def _drop(self, lane: Lane, entries: list[Entry], outcome: Outcome, now: float) -> None:
        for entry in entries:
            self.ledger.finish(entry, outcome)
            lane.remove(entry)
        self.scheduler.refresh(lane, now)

    def _finish(self, entries: Iterable[Entry], outcome: Outcome, it: Settlement) -> None:
        for entry in entries:
            self.ledger.finish(entry, outcome)
            it.done.append(entry)


def _drop_ended(item: Item) -> None:
    item.entries = [entry for entry in item.entries if entry.outcome is None]
