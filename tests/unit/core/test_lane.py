import pytest
from engine_rig import change
from sinks import Job

from chatmark.conversations import Conversation
from chatmark.core.lane import Lane
from chatmark.core.pending import WITHDRAWN, Entry, Item


def entry(name: str) -> Entry:
    """Return a change of a conversation; that of a bulk job's row has a capital letter."""
    made = change(Conversation.one_to_one(name.lower()))
    return Entry(made, None if name.islower() else Job())


def push(lane: Lane, names: str) -> list[Entry]:
    """Add changes of these conversations, a letter for each."""
    entries = [entry(name) for name in names]
    for each in entries:
        lane.push(each)
    return entries


def pop(lane: Lane) -> list[Item]:
    """Take all that may go."""
    return lane.pop(100).items()


def remove(lane: Lane, gone: Entry) -> None:
    """Withdraw an entry that waits."""
    gone.outcome = WITHDRAWN
    lane.remove(gone)


def names(items: list[Item]) -> str:
    """Return whose conversations these items are."""
    return "".join(item.conversation.id for item in items)


@pytest.fixture
def lane() -> Lane:
    """A lane that has nothing yet."""
    return Lane("ann", 0)


class TestUrgency:
    """A lane is urgent as long as a caller waits for one of its items."""

    @pytest.mark.parametrize(
        ("pushed", "order", "urgent"),
        [("A", "a", False), ("ABcb", "cba", True), ("ABB", "ab", False)],
        ids=["a row", "a caller joins a row", "a row joins a row"],
    )
    def test_order(self, lane: Lane, pushed: str, order: str, urgent: bool) -> None:
        """What a caller waits for goes first, also when it waited as a row before."""
        push(lane, pushed)

        assert (urgent, order, False) == (lane.has_urgent, names(pop(lane)), lane.has_urgent)

    @pytest.mark.parametrize("pushed", ["abC", "aBb"])
    def test_ends_with_the_last(self, lane: Lane, pushed: str) -> None:
        """An item that is withdrawn leaves the others as urgent as they were."""
        entries = push(lane, pushed)
        remove(lane, entries[0])
        one_left = lane.has_urgent
        pop(lane)

        assert (True, False) == (one_left, lane.has_urgent)

    @pytest.mark.parametrize(("sent", "newer"), [("a", "A"), ("A", "a"), ("Ab", "ab"), ("ab", "")])
    def test_of_what_goes_back(self, lane: Lane, sent: str, newer: str) -> None:
        """It is urgent when either part is, and each item counts once."""
        push(lane, sent)
        items = pop(lane)
        push(lane, newer)
        lane.put_back(items)
        urgent = [lane.has_urgent]
        for each in items[0].entries[:]:
            remove(lane, each)
        urgent.append(lane.has_urgent)
        pop(lane)

        assert ([True, len(items) > 1], False) == (urgent, lane.has_urgent)


class TestParking:
    def test_parked_items_are_not_taken(self, lane: Lane) -> None:
        """
        What waits for its backoff is not in the next request, and what joins it waits with it.
        """
        push(lane, "ab")
        lane.park(pop(lane), 5.0)
        push(lane, "ac")

        assert (1, True, 5.0) == (lane.size, lane.has_urgent, lane.due)
        assert "c" == names(pop(lane))
        assert (0, False) == (lane.size, lane.has_urgent)

    def test_comes_back_to_the_head(self, lane: Lane) -> None:
        """When its time has come, what was parked goes first, with what joined it."""
        push(lane, "ab")
        lane.park(pop(lane), 5.0)
        push(lane, "cb")
        lane.unpark(5.0)
        items = pop(lane)

        assert ("abc", [1, 2, 1]) == (names(items), [len(item.entries) for item in items])

    def test_of_groups_with_one_end(self, lane: Lane) -> None:
        """Items that were parked one after the other until the same moment come back together."""
        push(lane, "ab")
        for item in pop(lane):
            lane.park([item], 5.0)
        lane.unpark(5.0)

        assert {"a", "b"} == set(names(pop(lane)))

    def test_a_parked_item_can_be_withdrawn(self, lane: Lane) -> None:
        """Entries that leave a parked item leave the lane's counts right."""
        entries = push(lane, "ab")
        lane.park(pop(lane), 5.0)
        for each in entries:
            remove(lane, each)
        push(lane, "c")
        lane.unpark(5.0)

        assert (1, "c", False) == (lane.size, names(pop(lane)), lane.has_urgent)


class _Counted(Entry):
    """An entry that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        _Counted.compared += 1
        return self is other

    __hash__ = object.__hash__


class TestRemoving:
    def test_costs_the_same_among_many(self, lane: Lane) -> None:
        """
        Waiters of one conversation are withdrawn, newest first too, without a look at the others.
        """
        entries = [_Counted(entry("a").change) for _ in range(1000)]
        for each in entries:
            lane.push(each)
        for each in reversed(entries[1:]):
            remove(lane, each)

        assert 0 == _Counted.compared
        assert [entries[0]] == pop(lane)[0].entries

    def test_all(self, lane: Lane) -> None:
        """A conversation all of whose changes were withdrawn is nothing that could be sent."""
        for each in push(lane, "aaa"):
            remove(lane, each)

        assert (True, []) == (lane.is_idle, pop(lane))

    def test_leaves_others_where_they_joined(self, lane: Lane) -> None:
        """What was withdrawn while another waited is not sent with an item that goes back."""
        (first,) = push(lane, "a")
        items = pop(lane)
        gone, newer = push(lane, "aa")
        remove(lane, gone)
        lane.put_back(items)

        assert [[first, newer]] == [each.entries for each in pop(lane)]

    def test_drops_stale_references(self, lane: Lane) -> None:
        """Where submitting and withdrawing has left many, the live items keep their order."""
        push(lane, "abc")
        for number in range(500):
            gone = entry(f"gone{number}")
            lane.push(gone)
            remove(lane, gone)

        assert len(lane._front) <= 110
        assert "abc" == names(pop(lane))


class TestJoining:
    def test_begins_the_count_anew(self, lane: Lane) -> None:
        """What the server left unsaid of an older change does not count for a newer one."""
        push(lane, "a")
        (item,) = pop(lane)
        item.missing, item.has_used_retry_once = 2, True
        push(lane, "a")
        lane.put_back([item])

        assert (0, False) == (item.missing, item.has_used_retry_once)
