"""
The scheduler: when each lane may send, now, at a time, or once its answer is here.

A lane is ready when it has something, nothing in flight, and neither its backoff nor its linger
lasts. The ready queue holds the ready lanes, and a heap the times at which others may become ready.
`refresh` is the one place that moves a lane between them, and is called after whatever may have
changed its state.

Times are seconds of a monotonic clock, passed in.
"""

import heapq
import itertools
import math
import operator
from collections.abc import Iterable
from typing import Final

from chatmark.core.concurrency import AccountHealth
from chatmark.core.lane import Lane
from chatmark.core.ready_queue import ReadyQueue, level_of
from chatmark.limits import MAX_ITEMS

# So many requests after a server took fewer items than before, more are tried again.
_TRY_MORE_AFTER: Final = 100
# A request that is refused and sent again in parts costs one; a change that is taken earns a
# tenth. Without anything left requests are of one change, so that the search for what is at fault
# takes a tenth more calls than there are changes at most.
_MOST_SPLITS: Final = 10.0
_EARNED: Final = 0.1


class Scheduler:
    """
    All lanes of a session that have something to do.

    Args:
        linger: Seconds that a change may wait for others of its lane.

    Attributes:
        health: How the requests of each account went.
        readers: How many bulk jobs still read their rows.
        is_full: Whether the session has no room for more.
    """

    def __init__(self, linger: float) -> None:
        self._linger = linger
        self.health = AccountHealth()
        self._lanes: dict[str, Lane] = {}
        self._ready: ReadyQueue[Lane] = ReadyQueue()
        self._timers: list[tuple[float, int, Lane]] = []
        self._sequence = itertools.count()
        # The most items that the server takes in one request.
        self._limit = MAX_ITEMS
        self._answers_at_limit = 0
        self._splits = _MOST_SPLITS
        self._flushes = 0
        self._probes = 0
        self.readers = 0
        self.is_full = False

    def lanes(self, account: str | None = None) -> list[Lane]:
        """Return all lanes, or the one of an account if there is one."""
        if account is None:
            return list(self._lanes.values())
        return [self._lanes[account]] if account in self._lanes else []

    def lane(self, account: str, now: float) -> Lane:
        """Return the lane of an account, which is about to get something."""
        lane = self._lanes.get(account)
        if lane is None:
            lane = self._lanes[account] = Lane(account, next(self._sequence))
        if self._linger and lane.size == 0:
            lane.linger_until = now + self._linger
        return lane

    def find(self, account: str) -> Lane:
        """Return the lane of an account that has something to do."""
        return self._lanes[account]

    def limit(self, lane: Lane) -> int:
        """Return how many conversations the next request of a lane may name."""
        return min(lane.limit, self._limit) if self._splits >= 1.0 else 1

    def lower_limit(self, limit: int, now: float) -> None:
        """Note that the server takes no more than so many conversations in a request."""
        if limit < self._limit:
            self._limit = limit
            self._answers_at_limit = 0
            self._refresh_lanes(now)

    def split(self, now: float) -> None:
        self._splits -= 1.0
        if self._splits < 1.0:
            self._refresh_lanes(now)

    def answered(self, changes: int) -> None:
        """Note that the server took a request of so many changes."""
        self._splits = min(_MOST_SPLITS, self._splits + _EARNED * changes)
        if self._limit < MAX_ITEMS:
            self._answers_at_limit += 1
            if self._answers_at_limit >= _TRY_MORE_AFTER:
                self._limit = min(MAX_ITEMS, self._limit * 2)
                self._answers_at_limit = 0

    def has_full(self, requests: int) -> bool:
        """Whether so many full requests of bulk jobs wait."""
        return self._ready.full_count() >= requests

    def has_any(self, now: float, lowest: int = 0) -> bool:
        """Whether a lane of that health or better may send."""
        self._look_at_timers(now)
        return self._ready.has_any(now, partial=self._may_send_partial, lowest=lowest)

    def pick(self, now: float, lowest: int = 0) -> Lane | None:
        """Return the lane of that health or better whose turn it is, None where none may send."""
        self._look_at_timers(now)
        return self._ready.pick(now, partial=self._may_send_partial, lowest=lowest)

    def pick_probe(self, now: float, lowest: int) -> Lane | None:
        """
        Return the lane of the next probe.

        Lanes of healthy accounts come first: they show best whether the server works. Every second
        probe takes the newest lane: old lanes may wait for users that the server cannot serve.
        """
        while self.has_any(now, lowest + 1):
            lowest += 1
        self._probes += 1
        newest = self._ready.newest(lowest) if self._probes % 2 == 0 else None
        return newest or self.pick(now, lowest)

    def times(self) -> list[float]:
        """Return the times at which a lane may become ready."""
        times = [self._timers[0][0]] if self._timers else []
        overdue = self._ready.next_overdue()
        if overdue is not None:
            times.append(overdue)
        return times

    def start_flush(self, now: float) -> None:
        """Let everything go without waiting for more."""
        self._flushes += 1
        if self._linger:
            for lane in self.lanes():
                self.refresh(lane, now)

    def end_flush(self) -> None:
        self._flushes -= 1

    def refresh_all(self, lanes: Iterable[Lane], now: float) -> None:
        """
        Put lanes where their state belongs; of those that became full together the older first.
        """
        for lane in sorted(lanes, key=_number):
            # A lane in flight is looked at when its answer is here.
            if lane.in_flight is None:
                self.refresh(lane, now)

    def refresh(self, lane: Lane, now: float) -> None:
        """Put a lane where its state belongs: into the ready queue, the timers, or nowhere."""
        if lane.in_flight is None:
            if lane.due <= now:
                lane.unpark(now)
            lane.begin_turn()
            size, limit = lane.size, self.limit(lane)
            wake = lane.backoff_until
            if size < limit and not (self._flushes or lane.has_turn):
                wake = max(wake, lane.linger_until)
            if size and wake <= now:
                self._schedule_at(lane, level_of(size, limit), lane.has_urgent, now)
                self._set_timer(lane, lane.due)
                return
            if not lane.is_idle:
                # Parked items join whatever else waits for the backoff.
                self._set_timer(lane, min(wake, lane.due) if size else max(wake, lane.due))
            elif self._lanes.get(lane.account) is lane:
                del self._lanes[lane.account]
        if lane.is_scheduled:
            self._ready.remove(lane)
            lane.is_scheduled = False

    def clear(self) -> None:
        self._lanes.clear()
        self._timers.clear()
        self._ready = ReadyQueue()

    def _look_at_timers(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            time, _, lane = heapq.heappop(self._timers)
            if lane.timer == time:
                lane.timer = math.inf
                self.refresh(lane, now)

    def _refresh_lanes(self, now: float) -> None:
        """Look again at all lanes: what was not enough for a request may be now."""
        for lane in self.lanes():
            self.refresh(lane, now)

    @property
    def _may_send_partial(self) -> bool:
        return self.readers == 0 or self.is_full or self._flushes > 0

    def _schedule_at(self, lane: Lane, level: int, urgent: bool, now: float) -> None:
        if lane.is_scheduled:
            if lane.urgent == urgent:
                if lane.level != level:
                    self._ready.move(lane, level)
                return
            self._ready.remove(lane)
        else:
            lane.ready_at = now
            lane.health = self.health.of(lane.account)
        lane.level, lane.urgent, lane.is_scheduled = level, urgent, True
        self._ready.add(lane)

    def _set_timer(self, lane: Lane, time: float) -> None:
        if time != lane.timer and time < math.inf:
            lane.timer = time
            heapq.heappush(self._timers, (time, next(self._sequence), lane))


_number: Final = operator.attrgetter("number")
