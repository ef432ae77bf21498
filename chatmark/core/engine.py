"""
The engine: the pending changes of a session, and the requests that are made of them. No I/O.

Times are seconds of a monotonic clock, passed in.
"""

import itertools
import operator
from collections.abc import Iterable, Sequence
from typing import Final

from chatmark.changes import AlikeChanges, MarkChange, conversations_of
from chatmark.core.compact_rows import Run
from chatmark.core.lane import Lane
from chatmark.core.pending import NOT_ACCEPTED, WITHDRAWN, Entry, ResultSink, Turn, failure
from chatmark.core.request import Request
from chatmark.core.settlement import Settler

_account: Final = operator.attrgetter("from_account")


class Engine(Settler):
    """Admits changes, makes requests of them, and settles what comes of the requests."""

    @property
    def in_flight(self) -> int:
        return self.concurrency.in_flight

    def admit(self, entries: Sequence[Entry], now: float) -> list[Entry]:
        """Accept changes; return those that failed at once by a refusal that still holds."""
        self.ledger.accept(entries)
        refusal, of_standard = self.breaker.refusal(now), self.breaker.standard_refusal(now)
        refused: list[Entry] = []
        if refusal is not None:
            refused, entries = list(entries), []
        elif of_standard is not None:
            refused = [entry for entry in entries if entry.is_standard]
            entries = [entry for entry in entries if not entry.is_standard]
        error = refusal or of_standard
        if error is not None:
            self.ledger.finish_all(refused, failure(error))
        touched: dict[str, Lane] = {}
        for entry in entries:
            entry.admitted_at = now
            self._lane(entry.change.from_account, touched, now).push(entry)
        self.scheduler.refresh_all(touched.values(), now)
        return refused

    def admit_many(
        self, changes: Sequence[MarkChange], sink: ResultSink, now: float
    ) -> list[Entry]:
        """Accept many changes; return those that failed at once by a refusal that holds."""
        if self.breaker.refusal(now) is not None or self.breaker.standard_refusal(now) is not None:
            return self.admit([Entry(change, sink) for change in changes], now)
        epoch = self.ledger.accept_many(len(changes))
        touched: dict[str, Lane] = {}
        accounts: Iterable[tuple[str, list[MarkChange] | AlikeChanges]]
        if isinstance(changes, AlikeChanges):
            accounts = ((changes.change.from_account, changes),)
        else:
            by_account = itertools.groupby(changes, _account)
            accounts = ((account, list(rows)) for account, rows in by_account)
        for account, rows in accounts:
            keys = [each.key for each in conversations_of(rows)]
            self._lane(account, touched, now).push_many(Run(sink, epoch, now, rows, keys))
        self.scheduler.refresh_all(touched.values(), now)
        return []

    def withdraw(self, entry: Entry, now: float) -> bool:
        """Withdraw a change that was never sent. Return True if it was withdrawn."""
        if entry.outcome is not None or entry.epoch == NOT_ACCEPTED or entry.attempts:
            return False
        lane = self.scheduler.find(entry.change.from_account)
        self.ledger.finish(entry, WITHDRAWN)
        lane.remove(entry)
        self.scheduler.refresh(lane, now)
        return True

    def withdraw_many(
        self, sink: ResultSink, now: float, account: str | None = None
    ) -> list[Entry]:
        """
        Withdraw the changes of a sink that were never sent, and return them.

        Args:
            sink: The sink.
            now: The time.
            account: The From_Account of all of them, None where there may be several.
        """
        mine = [entry for lane in self.scheduler.lanes(account) for entry in lane.of(sink)]
        return [entry for entry in mine if self.withdraw(entry, now)]

    def queue(self, turn: Turn, now: float) -> None:
        """Give a call its place behind all changes of its user that were accepted so far."""
        lane = self.scheduler.lane(turn.account, now)
        lane.queue(turn)
        self.scheduler.refresh(lane, now)

    def end_turn(self, turn: Turn, now: float) -> None:
        """Note that a call has ended, or was given up before it began."""
        turn.ends_at = turn.may_run_until
        self.scheduler.refresh(self.scheduler.find(turn.account), now)

    def has_ready(self, now: float) -> bool:
        """Whether `take` would return a request."""
        if not (self.scheduler.has_any(now) and self.breaker.allows(now, self.in_flight)):
            return False
        lowest = self.concurrency.lowest()
        is_ready = not lowest or self.scheduler.has_any(now, lowest)
        self.concurrency.is_wanted = not is_ready
        return is_ready

    def take(self, now: float) -> Request | None:
        """Return the next request, None when none may be sent now."""
        if not self.breaker.allows(now, self.in_flight):
            return None
        held_since = self.breaker.held_since
        pick = self.scheduler.pick if held_since is None else self.scheduler.pick_probe
        lane = pick(now, self.concurrency.lowest())
        if lane is None:
            return None
        request = lane.pop(self.scheduler.limit(lane))
        request.start(now, held_since)
        self.concurrency.sent(lane.health)
        self.breaker.sent(now)
        self.scheduler.refresh(lane, now)
        return request

    def wake_at(self, now: float) -> float | None:
        """Return when `has_ready` may become true by time alone."""
        times = self.scheduler.times()
        allowed = self.breaker.wake_at(self.in_flight)
        if allowed is not None:
            times.append(allowed)
        return min((time for time in times if time > now), default=None)

    def start_flush(self, now: float) -> int:
        """Let everything go without waiting for more; return the ticket for `Ledger.is_settled`."""
        self.scheduler.start_flush(now)
        return self.ledger.start_epoch()

    def end_flush(self) -> None:
        self.scheduler.end_flush()

    def _lane(self, account: str, touched: dict[str, Lane], now: float) -> Lane:
        lane = touched.get(account)
        if lane is None:
            lane = touched[account] = self.scheduler.lane(account, now)
        return lane
