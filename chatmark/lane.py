"""
One lane: all pending changes of one From_Account, as items by conversation.

An *item* is what waits for one conversation: its entries, oldest first. What is sent is their
merger, folded when the request is taken, so that withdrawing an entry is removing it.

Why order holds: the entries of a conversation are in at most two places, the request in flight and
one item of the lane. An item that must be sent again takes the entries of the waiting item behind
its own and becomes the one item, so newer always wins. While it waits for a backoff (it is
*parked*) it stays in the index, so that whatever comes for its conversation joins it and cannot
overtake it.

A deque may hold stale references, of items that were merged away or withdrawn: only the one to
which the index still points counts.
"""

import collections
import math
from typing import Final

from chatmark.entries import Entry
from chatmark.models import MarkChange, merge

# https://www.tencentcloud.com/document/product/1047/53438: more than 100 items give 51006.
MAX_ITEMS: Final = 100


class Item:
    """
    What waits for one conversation, or is in flight for it.
    """

    __slots__ = (
        "conversation",
        "doubted",
        "entries",
        "gone",
        "key",
        "lane",
        "missing",
        "parked",
        "retries",
        "urgent",
    )

    def __init__(self, lane: "Lane", entry: Entry) -> None:
        self.lane = lane
        self.conversation = conversation = entry.change.conversation
        self.key = conversation.key
        # Some of them may have been taken back: *gone* says how many.
        self.entries = [entry]
        self.gone = 0
        # Whether somebody waits for it, as opposed to a bulk job's row.
        self.urgent = not entry.bulk
        self.parked = False
        # Answers without a line for it, and answers that sent it back.
        self.missing = 0
        self.retries = 0
        # Whether the one other attempt of Handling.RETRY_ONCE was granted.
        self.doubted = False
        entry.item = self

    def join(self, entry: Entry) -> None:
        """
        Add a newer entry.

        What is sent is another thing then: what the server left unsaid of the one before does not
        count for it.
        """
        self.entries.append(entry)
        entry.item = self
        self.missing = 0
        self.doubted = False

    def leave(self, entry: Entry) -> bool:
        """
        Take an entry back; return whether others are left.
        """
        entry.item = None
        self.gone += 1
        if 2 * self.gone > len(self.entries):
            self.sweep()
        return bool(self.entries)

    def sweep(self) -> None:
        """
        Drop the entries that were taken back.
        """
        if self.gone:
            self.entries = [entry for entry in self.entries if entry.item is self]
            self.gone = 0

    def change(self) -> MarkChange:
        """
        Return the one change that has the effect of all entries.
        """
        entries = self.entries
        if len(entries) == 1:
            return entries[0].change
        return merge([entry.change for entry in entries])

    def first_attempt(self) -> float:
        """
        Return when the first of its entries was first sent, infinity when none was.
        """
        return min(
            (e.since for e in self.entries if e.attempts and e.since is not None), default=math.inf
        )


class Lane:
    """
    The pending changes of one From_Account.
    """

    __slots__ = (
        "_front",
        "_index",
        "_parked",
        "_parked_count",
        "_rear",
        "_urgent_count",
        "account",
        "backoff_until",
        "failures",
        "in_flight",
        "level",
        "limit",
        "linger_until",
        "number",
        "ready_at",
        "scheduled",
        "timer",
        "urgent",
    )

    def __init__(self, account: str, number: int) -> None:
        self.account = account
        # Which one of the session's lanes it is, by age.
        self.number = number
        # Items that were sent back and those that somebody waits for; then the rows of bulk jobs.
        self._front: collections.deque[Item] = collections.deque()
        self._rear: collections.deque[Item] = collections.deque()
        self._index: dict[str, Item] = {}
        self._parked: list[tuple[float, list[Item]]] = []
        self._parked_count = 0
        self._urgent_count = 0
        self.in_flight: list[Item] | None = None
        self.backoff_until = -math.inf
        self.linger_until = -math.inf
        # Requests in a row that got no answer.
        self.failures = 0
        self.limit = MAX_ITEMS
        # What the schedule knows of it, and when it is to be looked at again.
        self.scheduled = False
        self.level = 0
        self.urgent = False
        self.ready_at = 0.0
        self.timer = math.inf

    @property
    def size(self) -> int:
        """
        How many items could go into a request.
        """
        return len(self._index) - self._parked_count

    @property
    def is_idle(self) -> bool:
        """
        Whether nothing waits and nothing is in flight.
        """
        return not self._index and self.in_flight is None

    @property
    def has_urgent(self) -> bool:
        """
        Whether somebody waits for an item that could go.
        """
        return self._urgent_count > 0

    @property
    def due(self) -> float:
        """
        When the first parked items may go, infinity when none is parked.
        """
        return self._parked[0][0] if self._parked else math.inf

    def holds(self, item: Item) -> bool:
        """
        Whether an item waits here.
        """
        return self._index.get(item.key) is item

    def waiting(self) -> list[Item]:
        """
        Return all items that are not in flight.
        """
        for item in self._index.values():
            item.sweep()
        return list(self._index.values())

    def add(self, entry: Entry) -> None:
        """
        Add an entry to its conversation's item.
        """
        key = entry.change.conversation.key
        item = self._index.get(key)
        if item is None:
            item = self._index[key] = Item(self, entry)
            if entry.bulk:
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

    def remove(self, entry: Entry) -> None:
        """
        Take back an entry that is not in flight.
        """
        item = entry.item
        if item is None or self._index.get(item.key) is not item:
            return
        if not item.leave(entry):
            del self._index[item.key]
            if item.parked:
                self._parked_count -= 1
            else:
                self._urgent_count -= item.urgent
            self._compact()

    def clear(self) -> None:
        """
        Forget everything that is not in flight.
        """
        self._front.clear()
        self._rear.clear()
        self._index.clear()
        self._parked.clear()
        self._parked_count = self._urgent_count = 0

    def take(self, limit: int) -> list[Item]:
        """
        Move the next items, *limit* at most, into flight.
        """
        items: list[Item] = []
        index = self._index
        for queue in (self._front, self._rear):
            while queue and len(items) < limit:
                item = queue.popleft()
                if index.get(item.key) is item and not item.parked:
                    del index[item.key]
                    self._urgent_count -= item.urgent
                    if item.gone:
                        item.sweep()
                    items.append(item)
        self.in_flight = items
        return items

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

    def unpark(self, now: float) -> None:
        """
        Put the parked items whose time has come to the head.
        """
        while self._parked and self._parked[0][0] <= now:
            _, items = self._parked.pop(0)
            for item in reversed(items):
                if item.parked and self._index.get(item.key) is item:
                    item.parked = False
                    self._parked_count -= 1
                    self._to_front(item)

    def _to_front(self, item: Item) -> None:
        self._urgent_count += item.urgent
        self._front.appendleft(item)

    def _rejoin(self, item: Item) -> None:
        newer = self._index.get(item.key)
        if newer is not None:
            self._urgent_count -= newer.urgent
            item.urgent = item.urgent or newer.urgent
            newer.sweep()
            for entry in newer.entries:
                item.join(entry)
            newer.entries = []
        self._index[item.key] = item

    def _compact(self) -> None:
        """
        Drop stale references where submitting and withdrawing has left many.
        """
        for queue in (self._front, self._rear):
            if len(queue) > 2 * len(self._index) + MAX_ITEMS:
                live = {
                    id(item): item
                    for item in queue
                    if self._index.get(item.key) is item and not item.parked
                }
                queue.clear()
                queue.extend(live.values())
