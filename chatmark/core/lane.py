"""
One lane: all pending changes of one From_Account, as items by conversation and as compact rows.

Order holds because the changes of a conversation are in at most two places: the request in flight,
and one item or one compact row of the lane. An item that is sent again takes the entries of the
waiting item behind its own and becomes the one item, so the newer entry always wins. An item that
waits for a backoff is *parked*. It stays in the index, so that a newer change of its conversation
joins it and cannot overtake it. A compact row becomes an item when another change of its
conversation comes.

A request without an answer may still run on the server for a while. Until that is over nothing
newer is sent for its conversations, which are *in doubt*. An item sends only what that request
held, and its newer entries stay behind, parked.

A call other than a request of marks takes a *turn*: it begins when nothing is left of what came
before it, and what comes after it waits behind it.

A deque may hold stale references, of items that were merged or withdrawn: only the item to which
the index points counts.
"""

import collections
import math
from collections.abc import Sequence

import attrs

from chatmark.changes import MarkChange
from chatmark.core.compact_rows import CompactRows, Run
from chatmark.core.concurrency import Health
from chatmark.core.pending import Entry, Item, ResultSink, Turn, entries_of
from chatmark.core.request import Request
from chatmark.limits import MAX_ITEMS


@attrs.frozen
class Doubt:
    """
    A change of a request without an answer, which the server may still execute.

    Args:
        change: The change that was sent for the conversation.
        until: When the server has certainly executed it, or never will.
    """

    change: MarkChange
    until: float


class Lane:
    """
    The pending changes of one From_Account.

    Args:
        account: The From_Account.
        number: The number of the lane in its session: an older lane has a smaller one.
    """

    __slots__ = (
        "_doubts",
        "_front",
        "_index",
        "_parked",
        "_parked_count",
        "_rear",
        "_rows",
        "_turns",
        "_urgent_count",
        "account",
        "backoff_until",
        "failures",
        "health",
        "in_flight",
        "is_scheduled",
        "level",
        "limit",
        "linger_until",
        "number",
        "ready_at",
        "timer",
        "urgent",
    )

    def __init__(self, account: str, number: int) -> None:
        self.account = account
        self.number = number
        # Items that were sent back and those of single marks; then those of bulk jobs.
        self._front: collections.deque[Item] = collections.deque()
        self._rear: collections.deque[Item] = collections.deque()
        self._index: dict[str, Item] = {}
        # The rest of what was submitted together; none of its conversations is in the index or in
        # doubt.
        self._rows = CompactRows()
        self._parked: list[tuple[float, list[Item]]] = []
        self._parked_count = 0
        self._urgent_count = 0
        # By the key of the conversation.
        self._doubts: dict[str, Doubt] = {}
        self._turns: collections.deque[Turn] = collections.deque()
        self.in_flight: Request | None = None
        self.backoff_until = -math.inf
        self.linger_until = -math.inf
        # Requests in a row that got no answer.
        self.failures = 0
        self.limit = MAX_ITEMS
        # The scheduler's: its place in the ready queue, and when it is to be looked at again.
        self.is_scheduled = False
        self.level = 0
        self.health: int = Health.UNKNOWN
        self.urgent = False
        self.ready_at = 0.0
        self.timer = math.inf

    @property
    def size(self) -> int:
        """How many conversations could go into a request."""
        return len(self._index) - self._parked_count + len(self._rows)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, nothing is in flight and nothing is in doubt."""
        return not self._turns and self._is_drained

    @property
    def has_urgent(self) -> bool:
        """Whether a change could go that a caller waits for, or a turn waits."""
        return self._urgent_count > 0 or self._rows.has_urgent or self.has_turn

    @property
    def has_turn(self) -> bool:
        """Whether a turn waits or lasts, so that no change can join those before it."""
        return bool(self._turns)

    @property
    def due(self) -> float:
        """When the first parked items may go or a doubt or turn ends, infinity where none does."""
        due = self._parked[0][0] if self._parked else math.inf
        if self._turns:
            due = min(due, self._turns[0].ends_at)
        return min(due, *(each.until for each in self._doubts.values())) if self._doubts else due

    def rows_due_at(self, seconds: float, failing_since: float | None) -> float:
        """Return when a deadline of so many seconds passes for the oldest compact row."""
        return self._rows.due_at(seconds, failing_since)

    def holds(self, item: Item) -> bool:
        return self._index.get(item.key) is item

    def items(self) -> list[Item]:
        """Return the items that are not in flight, without those that are compact rows."""
        for item in self._index.values():
            item.sweep()
        behind = [Item([entry]) for turn in self._turns for entry in turn.behind]
        return [*self._index.values(), *behind]

    def waiting(self) -> list[Entry]:
        """Return all entries that are not in flight; compact rows become entries."""
        self.expand_rows()
        return entries_of(self.items())

    def of(self, sink: ResultSink) -> list[Entry]:
        if self._rows.holds_of(sink):
            self.expand_rows()
        return [entry for entry in entries_of(self.items()) if entry.sink is sink]

    def push(self, entry: Entry) -> None:
        """Add an entry to its conversation's item, or behind the last turn."""
        if self._turns:
            self._turns[-1].behind[entry] = None
        else:
            self._add(entry)

    def _add(self, entry: Entry) -> None:
        key = entry.change.conversation.key
        if key in self._rows.keys:
            self.expand_rows()
        item = self._index.get(key)
        if item is None:
            item = self._index[key] = Item([entry])
            if self._doubts and not self._sendable(item):
                self._hold(item)
            elif item.is_urgent:
                self._front.append(item)
                self._urgent_count += 1
            else:
                self._rear.append(item)
            return
        if not item.is_urgent and entry.is_urgent:
            item.is_urgent = True
            if not item.is_parked:
                # It waited as a bulk job's row; now a caller waits for it.
                self._front.append(item)
                self._urgent_count += 1
        item.join([entry])

    def push_many(self, run: Run) -> None:
        """Add changes that were submitted together; they stay compact if nothing is in the way."""
        new = set(run.keys)
        ahead = (self._rows.keys, self._index, self._doubts)
        if not self._turns and len(new) == len(run.keys) and all(map(new.isdisjoint, ahead)):
            self._rows.add(run, new)
        else:
            for entry in run.entries():
                self.push(entry)

    def expand_rows(self) -> None:
        """Turn the compact rows into items."""
        for run in self._rows.take_all():
            for entry in run.entries():
                self._add(entry)

    def remove(self, entry: Entry) -> None:
        """Drop an entry that has its outcome, and that is not in flight."""
        for turn in self._turns:
            if entry in turn.behind:
                del turn.behind[entry]
                return
        item = self._index[entry.change.conversation.key]
        if not item.leave():
            self._out_of_turn(item)
            del self._index[item.key]
            self._compact()
        elif self._doubts and not (item.is_parked or self._sendable(item)):
            self._out_of_turn(item)
            self._hold(item)

    def clear(self) -> None:
        """Forget everything that is not in flight."""
        self._front.clear()
        self._rear.clear()
        self._index.clear()
        self._rows.clear()
        self._parked.clear()
        self._parked_count = self._urgent_count = 0
        for turn in self._turns:
            turn.behind.clear()

    def pop(self, limit: int) -> Request:
        """Move what is next, *limit* conversations at most, into flight."""
        items = self._pop_items(self._front, limit)
        runs = self._rows.take(limit - len(items), urgent=True)
        rest = limit - sum(len(run.changes) for run in runs)
        items += self._pop_items(self._rear, rest - len(items))
        runs += self._rows.take(rest - len(items), urgent=False)
        self.in_flight = Request(self.account, items, runs)
        return self.in_flight

    def _pop_items(self, queue: collections.deque[Item], limit: int) -> list[Item]:
        items: list[Item] = []
        index = self._index
        while queue and len(items) < limit:
            item = queue.popleft()
            if index.get(item.key) is item and not item.is_parked:
                del index[item.key]
                self._urgent_count -= item.is_urgent
                item.sweep()
                if item.key in self._doubts:
                    self._keep_newer(item)
                items.append(item)
        return items

    def put_back(self, items: list[Item]) -> None:
        """Put items that were in flight back to the head, under the newer entries that came."""
        for item in reversed(items):
            self._rejoin(item)
            self._to_front(item)

    def park(self, items: list[Item], due: float) -> None:
        """Let items that were in flight wait until *due* while the lane goes on."""
        for item in items:
            self._rejoin(item)
            item.is_parked = True
        self._parked_count += len(items)
        self._parked.append((due, items))
        self._parked.sort(key=lambda group: group[0])

    def doubt(self, changes: Sequence[MarkChange], until: float) -> None:
        """
        Note that the server may execute changes until then, after a request without an answer.

        Called while the items of the request are still in flight.
        """
        self._doubts.update((c.conversation.key, Doubt(c, until)) for c in changes)
        if not self._rows.keys.isdisjoint(self._doubts):
            self.expand_rows()
        for key in self._doubts.keys() & self._index.keys():
            item = self._index[key]
            if not (item.is_parked or self._sendable(item)):
                self._out_of_turn(item)
                self._hold(item)

    def queue(self, turn: Turn) -> None:
        """Add a turn behind all that was accepted so far."""
        self._turns.append(turn)

    def begin_turn(self) -> None:
        """Let the first turn begin if nothing is left of what came before it."""
        if self._turns and self._is_drained and not self._turns[0].has_begun:
            self._turns[0].has_begun = True
            self._turns[0].begin()

    def unpark(self, now: float) -> None:
        """Forget doubts and turns that are over, and put parked items that are due to the head."""
        while self._turns and self._turns[0].ends_at <= now:
            for entry in self._turns.popleft().behind:
                self._add(entry)
        if self._doubts:
            self._doubts = {key: each for key, each in self._doubts.items() if each.until > now}
        while self._parked and self._parked[0][0] <= now:
            _, items = self._parked.pop(0)
            for item in reversed(items):
                if item.is_parked and self._index.get(item.key) is item:
                    item.is_parked = False
                    self._parked_count -= 1
                    if self._sendable(item):
                        self._to_front(item)
                    else:
                        self._hold(item)

    def extend_deadlines(self, seconds: float) -> None:
        for entry in entries_of(self.items()):
            entry.extend_deadline(seconds)
        self._rows.extend_deadlines(seconds)
        if self.in_flight is not None:
            self.in_flight.extend_deadlines(seconds)

    @property
    def _is_drained(self) -> bool:
        return not (self._index or self._rows or self._doubts) and self.in_flight is None

    def _sendable(self, item: Item) -> int:
        """Return how many entries of an item may be sent, the oldest first."""
        doubt = self._doubts.get(item.key)
        entries = item.sweep()
        if doubt is None:
            return len(entries)
        count = 0
        for entry in entries:
            # Only the same change again: a newer one could be undone by the one in doubt.
            if not (entry.attempts or entry.change == doubt.change):
                break
            count += 1
        return count

    def _hold(self, item: Item) -> None:
        """Park an item until the doubt about its conversation is over."""
        self.park([item], self._doubts[item.key].until)

    def _keep_newer(self, item: Item) -> None:
        """Leave those entries of an item behind that may not be sent yet."""
        count = self._sendable(item)
        newer = item.entries[count:]
        if newer:
            del item.entries[count:]
            self._hold(Item(newer))

    def _out_of_turn(self, item: Item) -> None:
        if item.is_parked:
            item.is_parked = False
            self._parked_count -= 1
        else:
            self._urgent_count -= item.is_urgent

    def _to_front(self, item: Item) -> None:
        self._urgent_count += item.is_urgent
        self._front.appendleft(item)

    def _rejoin(self, item: Item) -> None:
        if item.key in self._rows.keys:
            self.expand_rows()
        newer = self._index.get(item.key)
        if newer is not None and newer is not item:
            self._out_of_turn(newer)
            item.is_urgent = item.is_urgent or newer.is_urgent
            item.join(newer.sweep())
            newer.entries = []
        self._index[item.key] = item

    def _compact(self) -> None:
        """Drop stale references where submitting and withdrawing has left many."""
        for queue in (self._front, self._rear):
            if len(queue) > 2 * len(self._index) + MAX_ITEMS:
                live = {
                    id(item): item
                    for item in queue
                    if self._index.get(item.key) is item and not item.is_parked
                }
                queue.clear()
                queue.extend(live.values())
