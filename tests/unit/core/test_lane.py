import pytest
from sinks import Job

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation
from chatmark.core.lane import Lane
from chatmark.core.pending import WITHDRAWN, Entry, Item
from chatmark.marks import ConversationMark


def entry(peer: str, *, bulk: bool = False) -> Entry:
    """Return a change of one conversation."""
    change = MarkChange("alice", Conversation.one_to_one(peer), ConversationMark.FAVORITE)
    return Entry(change, Job() if bulk else None)


def lane_of(*entries: Entry) -> Lane:
    """Return a lane with these entries."""
    lane = Lane("alice", 0)
    for each in entries:
        lane.push(each)
    return lane


def remove(lane: Lane, gone: Entry) -> None:
    """Withdraw an entry that waits."""
    gone.outcome = WITHDRAWN
    lane.remove(gone)


def peers(items: list[Item]) -> list[str]:
    """Return whose conversations these items are."""
    return [item.conversation.id for item in items]


class TestUrgency:
    def test_a_row_is_not_urgent(self) -> None:
        """A lane of a bulk job's rows is not urgent."""
        assert not lane_of(entry("a", bulk=True)).has_urgent

    def test_ends_with_the_last_urgent_item(self) -> None:
        """A lane is urgent as long as one of its items is."""
        first, second = entry("a"), entry("b")
        lane = lane_of(first, second, entry("c", bulk=True))
        remove(lane, first)
        one_left = lane.has_urgent
        remove(lane, second)

        assert (True, False) == (one_left, lane.has_urgent)

    def test_begins_with_a_joined_row(self) -> None:
        """A row that a caller joins counts beside the items that were urgent before."""
        first = entry("a")
        lane = lane_of(first, entry("b", bulk=True), entry("b"))
        remove(lane, first)
        one_left = lane.has_urgent
        lane.pop(100)

        assert (True, False) == (one_left, lane.has_urgent)

    def test_of_several_that_go_back(self) -> None:
        """Each urgent item that is put back counts."""
        lane = lane_of(entry("a"), entry("b"))
        items = lane.pop(100).items()
        lane.put_back(items)
        remove(lane, items[0].entries[0])

        assert lane.has_urgent

    @pytest.mark.parametrize("bulk", [False, True])
    def test_of_either_part(self, bulk: bool) -> None:
        """
        An item that goes back is urgent when either it or what came meanwhile is, and counts once.
        """
        lane = lane_of(entry("a", bulk=bulk))
        items = lane.pop(100).items()
        lane.push(entry("a", bulk=not bulk))
        lane.put_back(items)
        again = [lane.has_urgent]
        lane.pop(100)
        again.append(lane.has_urgent)

        assert [True, False] == again

    def test_urgent_items_go_before_rows(self) -> None:
        """What somebody waits for goes first, also when it waited as a row before."""
        lane = lane_of(entry("a", bulk=True), entry("b", bulk=True), entry("c"), entry("b"))

        assert ["c", "b", "a"] == peers(lane.pop(100).items())
        assert not lane.has_urgent

    def test_a_second_row_changes_nothing(self) -> None:
        """A row that joins a row keeps its place."""
        lane = lane_of(entry("a", bulk=True), entry("b", bulk=True), entry("b", bulk=True))

        assert ["a", "b"] == peers(lane.pop(100).items())

    def test_survives_going_back(self) -> None:
        """Items that are put back count as they did; of merged items one urgent one is enough."""
        lane = lane_of(entry("a", bulk=True), entry("b"))
        items = lane.pop(100).items()
        lane.push(entry("a"))
        lane.push(entry("b"))
        lane.put_back(items)
        again = [lane.has_urgent]
        lane.pop(100)
        again.append(lane.has_urgent)

        assert [True, False] == again


class TestParking:
    def test_parked_items_are_not_taken(self) -> None:
        """
        What waits for its backoff is not in the next request, and what joins it waits with it.
        """
        lane = lane_of(entry("a"), entry("b"))
        items = lane.pop(100).items()
        lane.park(items, 5.0)
        lane.push(entry("a"))
        lane.push(entry("c"))

        assert (1, True, 5.0) == (lane.size, lane.has_urgent, lane.due)
        assert ["c"] == peers(lane.pop(100).items())
        assert (0, False) == (lane.size, lane.has_urgent)

    def test_comes_back_to_the_head(self) -> None:
        """When its time has come, what was parked goes first, with what joined it."""
        lane = lane_of(entry("a"), entry("b"))
        lane.park(lane.pop(100).items(), 5.0)
        lane.push(entry("c"))
        lane.push(entry("b"))
        lane.unpark(5.0)
        items = lane.pop(100).items()

        assert ["a", "b", "c"] == peers(items)
        assert [1, 2, 1] == [len(item.entries) for item in items]

    def test_of_groups_with_one_end(self) -> None:
        """Items that were parked one after the other until the same moment come back together."""
        lane = lane_of(entry("a"), entry("b"))
        for item in lane.pop(100).items():
            lane.park([item], 5.0)
        lane.unpark(5.0)

        assert {"a", "b"} == set(peers(lane.pop(100).items()))

    def test_a_parked_item_can_be_taken_back(self) -> None:
        """Entries that leave a parked item leave the lane's counts right."""
        lane = lane_of(entry("a"), entry("b"))
        items = lane.pop(100).items()
        lane.park(items, 5.0)
        for item in items:
            remove(lane, item.entries[0])
        lane.push(entry("c"))
        lane.unpark(5.0)

        assert (1, ["c"]) == (lane.size, peers(lane.pop(100).items()))
        assert not lane.has_urgent


class TestStaleReferences:
    def test_are_dropped_in_order(self) -> None:
        """Where submitting and withdrawing has left many, the live items keep their order."""
        keep = [entry(f"keep{n}") for n in range(3)]
        lane = lane_of(*keep)
        for number in range(500):
            gone = entry(f"gone{number}")
            lane.push(gone)
            remove(lane, gone)

        assert len(lane._front) <= 110
        assert ["keep0", "keep1", "keep2"] == peers(lane.pop(100).items())


class _Counted(Entry):
    """An entry that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        _Counted.compared += 1
        return self is other

    __hash__ = object.__hash__


class TestTakingBack:
    def test_costs_the_same_among_many(self) -> None:
        """
        Waiters of one conversation are taken back, newest first too, without a look at the others.
        """
        change = entry("a").change
        entries = [_Counted(change) for _ in range(1000)]
        lane = lane_of(*entries)
        for each in reversed(entries[1:]):
            remove(lane, each)

        assert 0 == _Counted.compared
        assert [entries[0]] == lane.pop(100).items()[0].entries

    def test_of_all(self) -> None:
        """A conversation all of whose changes were taken back is nothing that could be sent."""
        entries = [entry("a") for _ in range(3)]
        lane = lane_of(*entries)
        for each in entries:
            remove(lane, each)

        assert (True, []) == (lane.is_idle, lane.pop(100).items())

    def test_twice(self) -> None:
        """What was taken back is in no item, and is not taken back again."""
        first, second = entry("a"), entry("a")
        lane = lane_of(first, second)
        for _ in range(2):
            remove(lane, first)

        assert [[second]] == [item.entries for item in lane.pop(100).items()]

    def test_leaves_others_where_they_joined(self) -> None:
        """What was taken back while another waited is not sent with an item that goes back."""
        first, gone, newer = entry("a"), entry("a"), entry("a")
        lane = lane_of(first)
        (item,) = lane.pop(100).items()
        for each in (gone, newer):
            lane.push(each)
        remove(lane, gone)
        lane.put_back([item])

        assert [[first, newer]] == [each.entries for each in lane.pop(100).items()]


class TestJoining:
    def test_begins_the_count_anew(self) -> None:
        """What the server left unsaid of an older change does not count for a newer one."""
        lane = lane_of(entry("a"))
        (item,) = lane.pop(100).items()
        item.missing, item.has_used_retry_once = 2, True
        lane.push(entry("a"))
        lane.put_back([item])

        assert (0, False) == (item.missing, item.has_used_retry_once)
