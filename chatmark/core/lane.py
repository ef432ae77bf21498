"""
One lane: all pending changes of one From_Account, as items by conversation and as rows.

Why order holds: the changes of a conversation are in at most two places, the request in flight and
one item, or one row, of the lane. An item that must be sent again takes the entries of the waiting
item behind its own and becomes the one item, so newer always wins. While it waits for a backoff (it
is *parked*) it stays in the index, so that whatever comes for its conversation joins it and cannot
overtake it. A row that meets another change of its conversation becomes an item first.

A request without an answer may still run on the server for a while. Until that is over nothing
newer is sent for its conversations, which are *in doubt*: an item sends only what that request
held, and what is newer stays behind, parked.

A deque may hold stale references, of items that were merged away or withdrawn: only the one to
which the index still points counts.
"""

import collections
import math
from collections.abc import Iterable
from typing import Final

import attrs

from chatmark.changes import MarkChange
from chatmark.core.compact_rows import Rows, Stretch
from chatmark.core.concurrency import Health
from chatmark.core.pending import Entry, Item, Watcher

# https://www.tencentcloud.com/document/product/1047/53438: more than 100 items give 51006.
MAX_ITEMS: Final = 100


@attrs.frozen
class Doubt:
    """
    A change of a request without an answer, which the server may still execute.

    Args:
        change: What was sent for the conversation.
        until: When it has certainly been executed, or never will be.
    """

    change: MarkChange
    until: float


class Load:
    """
    What one request carries.

    Args:
        items: Items.
        stretches: Rows behind them.
    """

    __slots__ = ("items", "stretches")

    def __init__(self, items: list[Item], stretches: list[Stretch]) -> None:
        self.items = items
        self.stretches = stretches

    def changes(self) -> list[MarkChange]:
        """
        Return the change to send for each conversation.
        """
        changes = [item.change() for item in self.items]
        for stretch in self.stretches:
            changes += stretch.changes
        return changes

    def unravel(self) -> list[Item]:
        """
        Turn the rows into items, and return all items.
        """
        for stretch in self.stretches:
            self.items += [Item(entry) for entry in stretch.entries()]
        self.stretches = []
        return self.items


class Lane:
    """
    The pending changes of one From_Account.
    """

    __slots__ = (
        "_front",
        "_parked",
        "_parked_count",
        "_rear",
        "_urgent_count",
        "account",
        "backoff_until",
        "failures",
        "health",
        "in_doubt",
        "in_flight",
        "index",
        "level",
        "limit",
        "linger_until",
        "number",
        "ready_at",
        "rows",
        "scheduled",
        "timer",
        "urgent",
    )

    def __init__(self, account: str, number: int) -> None:
        self.account = account
        # Which one of the session's lanes it is, by age.
        self.number = number
        # Items that were sent back and those that somebody waits for; then those of bulk jobs.
        self._front: collections.deque[Item] = collections.deque()
        self._rear: collections.deque[Item] = collections.deque()
        self.index: dict[str, Item] = {}
        # The rest of bulk jobs' rows; none of their conversations is in the index.
        self.rows = Rows()
        self._parked: list[tuple[float, list[Item]]] = []
        self._parked_count = 0
        self._urgent_count = 0
        # By the key of the conversation.
        self.in_doubt: dict[str, Doubt] = {}
        self.in_flight: Load | None = None
        self.backoff_until = -math.inf
        self.linger_until = -math.inf
        # Requests in a row that got no answer.
        self.failures = 0
        self.limit = MAX_ITEMS
        # What the schedule knows of it, and when it is to be looked at again.
        self.scheduled = False
        self.level = 0
        self.health: int = Health.UNKNOWN
        self.urgent = False
        self.ready_at = 0.0
        self.timer = math.inf

    @property
    def size(self) -> int:
        """
        How many conversations could go into a request.
        """
        return len(self.index) - self._parked_count + len(self.rows)

    @property
    def is_idle(self) -> bool:
        """
        Whether nothing waits, nothing is in flight and nothing is in doubt.
        """
        return not (self.index or self.rows or self.in_doubt) and self.in_flight is None

    @property
    def has_urgent(self) -> bool:
        """
        Whether somebody waits for an item that could go.
        """
        return self._urgent_count > 0

    @property
    def due(self) -> float:
        """
        When the first parked items may go or a doubt ends, infinity where there is neither.
        """
        due = self._parked[0][0] if self._parked else math.inf
        if self.in_doubt:
            return min(due, *(doubt.until for doubt in self.in_doubt.values()))
        return due

    def holds(self, item: Item) -> bool:
        """
        Whether an item waits here.
        """
        return self.index.get(item.key) is item

    def flying(self) -> list[Item]:
        """
        Return all items in flight.
        """
        return [] if self.in_flight is None else self.in_flight.unravel()

    def waiting(self) -> list[Item]:
        """
        Return all items that are not in flight; what waits as rows becomes items.
        """
        self.unravel()
        for item in self.index.values():
            item.sweep()
        return list(self.index.values())

    def add(self, entry: Entry) -> None:
        """
        Add an entry to its conversation's item.
        """
        key = entry.change.conversation.key
        if key in self.rows.keys:
            self.unravel()
        item = self.index.get(key)
        if item is None:
            item = self.index[key] = Item(entry)
            if self.in_doubt and not self._sendable(item):
                self._hold(item)
            elif entry.bulk:
                self._rear.append(item)
            else:
                self._front.append(item)
                self._urgent_count += 1
            return
        if not entry.bulk and not item.urgent:
            item.urgent = True
            if not item.parked:
                # It waited as a bulk job's row; now somebody waits for it.
                self._front.append(item)
                self._urgent_count += 1
        item.join(entry)

    def add_rows(self, changes: Iterable[MarkChange], job: Watcher, epoch: int, now: float) -> None:
        """
        Add rows of a job, which become entries where their conversation has waiting ones.
        """
        rows, index, in_doubt = self.rows, self.index, self.in_doubt
        keys, add = rows.keys, rows.stretch(job, epoch, now).changes.append
        for change in changes:
            key = change.conversation.key
            if key not in keys and key not in index and key not in in_doubt:
                keys.add(key)
                add(change)
                continue
            entry = Entry(change, bulk=True, job=job)
            entry.epoch, entry.since = epoch, now
            self.add(entry)
            # The rows before it may have become items.
            add = rows.stretch(job, epoch, now).changes.append

    def unravel(self) -> None:
        """
        Turn the rows into items.
        """
        for stretch in self.rows.take(len(self.rows)):
            for entry in stretch.entries():
                self.add(entry)

    def remove(self, entry: Entry) -> None:
        """
        Drop an entry that has its outcome, and that is not in flight.
        """
        item = self.index[entry.change.conversation.key]
        if not item.leave():
            self._out_of_turn(item)
            del self.index[item.key]
            self._compact()
        elif self.in_doubt and not (item.parked or self._sendable(item)):
            self._out_of_turn(item)
            self._hold(item)

    def clear(self) -> None:
        """
        Forget everything that is not in flight.
        """
        self._front.clear()
        self._rear.clear()
        self.index.clear()
        self.rows.clear()
        self._parked.clear()
        self._parked_count = self._urgent_count = 0

    def take(self, limit: int) -> Load:
        """
        Move what is next, *limit* conversations at most, into flight.
        """
        items: list[Item] = []
        index = self.index
        for queue in (self._front, self._rear):
            while queue and len(items) < limit:
                item = queue.popleft()
                if index.get(item.key) is item and not item.parked:
                    del index[item.key]
                    self._urgent_count -= item.urgent
                    if item.gone:
                        item.sweep()
                    if item.key in self.in_doubt:
                        self._keep_newer(item)
                    items.append(item)
        self.in_flight = load = Load(items, self.rows.take(limit - len(items)))
        return load

    def put_back(self, items: list[Item]) -> None:
        """
        Put items that were in flight back to the head, under whatever newer came for them.
        """
        for item in reversed(items):
            self._rejoin(item)
            self._to_front(item)

    def park(self, items: list[Item], due: float) -> None:
        """
        Let items that were in flight wait until *due* while the lane goes on.
        """
        for item in items:
            self._rejoin(item)
            item.parked = True
        self._parked_count += len(items)
        self._parked.append((due, items))
        self._parked.sort(key=lambda group: group[0])

    def doubt(self, changes: Iterable[MarkChange], until: float) -> None:
        """
        Note that the server may execute changes until then, after requests without an answer.

        Called while the items of such a request are still in flight.
        """
        self.in_doubt.update((c.conversation.key, Doubt(c, until)) for c in changes)
        if not self.rows.keys.isdisjoint(self.in_doubt):
            self.unravel()
        for key in self.in_doubt.keys() & self.index.keys():
            item = self.index[key]
            if not (item.parked or self._sendable(item)):
                self._out_of_turn(item)
                self._hold(item)

    def unpark(self, now: float) -> None:
        """
        Forget the doubts that are over, and put the parked items whose time has come to the head.
        """
        if self.in_doubt:
            self.in_doubt = {key: each for key, each in self.in_doubt.items() if each.until > now}
        while self._parked and self._parked[0][0] <= now:
            _, items = self._parked.pop(0)
            for item in reversed(items):
                if item.parked and self.index.get(item.key) is item:
                    item.parked = False
                    self._parked_count -= 1
                    if self._sendable(item):
                        self._to_front(item)
                    else:
                        self._hold(item)

    def _sendable(self, item: Item) -> int:
        """
        Return how many entries of an item may be sent, the oldest first.
        """
        doubt = self.in_doubt.get(item.key)
        if doubt is None:
            return len(item.entries)
        item.sweep()
        count = 0
        for entry in item.entries:
            # Only the same change again: a newer one could be undone by the one in doubt.
            if not (entry.attempts or entry.change == doubt.change):
                break
            count += 1
        return count

    def _hold(self, item: Item) -> None:
        """
        Park an item until the doubt about its conversation is over.
        """
        self.park([item], self.in_doubt[item.key].until)

    def _keep_newer(self, item: Item) -> None:
        """
        Leave those entries of an item behind that may not be sent yet.
        """
        count = self._sendable(item)
        newer = item.entries[count:]
        if newer:
            del item.entries[count:]
            held = Item(newer[0])
            for entry in newer[1:]:
                held.join(entry)
            held.urgent = any(not entry.bulk for entry in newer)
            self._hold(held)

    def _out_of_turn(self, item: Item) -> None:
        if item.parked:
            item.parked = False
            self._parked_count -= 1
        else:
            self._urgent_count -= item.urgent

    def _to_front(self, item: Item) -> None:
        self._urgent_count += item.urgent
        self._front.appendleft(item)

    def _rejoin(self, item: Item) -> None:
        if item.key in self.rows.keys:
            self.unravel()
        newer = self.index.get(item.key)
        if newer is not None and newer is not item:
            self._out_of_turn(newer)
            item.urgent = item.urgent or newer.urgent
            newer.sweep()
            for entry in newer.entries:
                item.join(entry)
            newer.entries = []
        self.index[item.key] = item

    def _compact(self) -> None:
        """
        Drop stale references where submitting and withdrawing has left many.
        """
        for queue in (self._front, self._rear):
            if len(queue) > 2 * len(self.index) + MAX_ITEMS:
                live = {
                    id(item): item
                    for item in queue
                    if self.index.get(item.key) is item and not item.parked
                }
                queue.clear()
                queue.extend(live.values())
