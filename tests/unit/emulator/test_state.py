from collections.abc import Callable

import pytest

from chatmark.emulator import Settings
from chatmark.emulator.state import ChatState, Entry

BOB = (1, "bob")
RED = (2, "team-red")


def clock_at(seconds: float) -> Callable[[], float]:
    """Make a clock that stands still."""
    return lambda: seconds


class TestApply:
    def test_sets_bits(self) -> None:
        """Bits to set are turned on and the rest stays."""
        state = ChatState()
        state.seed_mark("alice", BOB, 0b1000)

        assert state.apply("alice", BOB, 0b0011, 0, None) == (0, "")
        assert state.snapshot() == {("alice", 1, "bob"): (0b1011, "")}

    def test_clears_bits(self) -> None:
        """Bits to clear are turned off and the rest stays."""
        state = ChatState()
        state.seed_mark("alice", BOB, 0b1011)
        state.apply("alice", BOB, 0, 0b0011, None)

        assert state.snapshot() == {("alice", 1, "bob"): (0b1000, "")}

    def test_leaves_custom_mark(self) -> None:
        """Without a custom mark the old one stays."""
        state = ChatState()
        state.seed_mark("alice", BOB, 0, "vip")
        state.apply("alice", BOB, 1, 0, None)

        assert state.snapshot() == {("alice", 1, "bob"): (1, "vip")}

    def test_replaces_custom_mark(self) -> None:
        """A custom mark replaces the old one."""
        state = ChatState()
        state.seed_mark("alice", BOB, 0, "vip")
        state.apply("alice", BOB, 0, 0, "new")

        assert state.snapshot() == {("alice", 1, "bob"): (0, "new")}

    def test_forgets_emptied_conversation(self) -> None:
        """A conversation without bits and custom mark is no longer marked."""
        state = ChatState()
        state.seed_mark("alice", BOB, 1, "vip")
        state.apply("alice", BOB, 0, 1, "")

        assert state.snapshot() == {}

    def test_user_and_group_of_one_name_differ(self) -> None:
        """User a and group a are different conversations."""
        state = ChatState()
        state.apply("alice", (1, "a"), 1, 0, None)
        state.apply("alice", (2, "a"), 2, 0, None)

        assert state.snapshot() == {("alice", 1, "a"): (1, ""), ("alice", 2, "a"): (2, "")}

    def test_unknown_peer(self) -> None:
        """A peer who is not imported gives 50001 and no mark."""
        state = ChatState(Settings(users=["alice"]))

        assert state.apply("alice", BOB, 1, 0, None)[0] == 50001
        assert state.snapshot() == {}

    def test_unknown_group(self) -> None:
        """A group that does not exist gives 51007."""
        state = ChatState(Settings(groups={}))

        assert state.apply("alice", RED, 1, 0, None)[0] == 51007

    def test_group_without_the_user(self) -> None:
        """A group that the user is not in gives 51007."""
        state = ChatState(Settings(groups={"team-red": ["bob"]}))

        assert state.apply("alice", RED, 1, 0, None)[0] == 51007

    @pytest.mark.parametrize("members", [["alice"], None])
    def test_group_with_the_user(self, members: list[str] | None) -> None:
        """A group whose members include the user can be marked."""
        state = ChatState(Settings(groups={"team-red": members}))

        assert state.apply("alice", RED, 1, 0, None) == (0, "")

    @pytest.mark.parametrize(("set_bits", "clear_bits"), [(1, 0), (0, 1)])
    def test_edition_without_standard_marks(self, set_bits: int, clear_bits: int) -> None:
        """Without standard marks in the edition, any change of bits gives 51013."""
        state = ChatState(Settings(standard_marks=False))

        assert state.apply("alice", BOB, set_bits, clear_bits, "vip")[0] == 51013

    def test_edition_with_custom_marks_only(self) -> None:
        """Without standard marks in the edition, custom marks still work."""
        state = ChatState(Settings(standard_marks=False))

        assert state.apply("alice", BOB, 0, 0, "vip") == (0, "")


class TestLimit:
    def full(self) -> ChatState:
        """Make a state in which alice has all she may have."""
        state = ChatState(Settings(max_marked=2))
        state.apply("alice", (1, "u1"), 1, 0, None)
        state.apply("alice", (1, "u2"), 1, 0, None)
        return state

    def test_default(self) -> None:
        """The 1001st conversation gives 51008."""
        state = ChatState()
        codes = [state.apply("alice", (1, f"u{n}"), 1, 0, None)[0] for n in range(1001)]

        assert codes == [0] * 1000 + [51008]

    def test_marked_conversation_can_change(self) -> None:
        """At the limit a conversation that is marked already can still change."""
        assert self.full().apply("alice", (1, "u1"), 2, 0, "vip")[0] == 0

    def test_emptied_conversation_makes_room(self) -> None:
        """An emptied conversation no longer counts."""
        state = self.full()
        state.apply("alice", (1, "u1"), 0, 1, None)

        assert state.apply("alice", (1, "u3"), 1, 0, None)[0] == 0

    def test_clearing_needs_no_room(self) -> None:
        """Clearing an unmarked conversation works at the limit, for it marks nothing."""
        assert self.full().apply("alice", (1, "u3"), 0, 1, "")[0] == 0

    def test_other_user_has_own_room(self) -> None:
        """Each user has a limit of their own."""
        assert self.full().apply("bob", (1, "u3"), 1, 0, None)[0] == 0


class TestPage:
    def test_last_page(self) -> None:
        """A page that holds all the rest has no next index."""
        state = ChatState(Settings(page_size=2, clock=clock_at(1760000100.9)))
        state.seed_mark("alice", BOB, 5, "vip", timestamp=1760000000)
        page = state.page("alice", 0)

        assert [Entry(BOB, 5, "vip", (), 1760000000)] == page.entries
        assert page.next_index is None
        assert page.complete_time == 1760000000

    def test_pages_cover_everything_once(self) -> None:
        """Following the next index meets every conversation once."""
        state = ChatState(Settings(page_size=2))
        for number in range(5):
            state.seed_mark("alice", (1, f"u{number}"), 1)
        found: list[str] = []
        index: int | None = 0
        while index is not None:
            page = state.page("alice", index)
            found += [entry.conversation[1] for entry in page.entries]
            index = page.next_index

        assert found == ["u0", "u1", "u2", "u3", "u4"]

    def test_full_last_page(self) -> None:
        """A page that is full and the last one has no next index."""
        state = ChatState(Settings(page_size=2))
        state.seed_mark("alice", (1, "u0"), 1)
        state.seed_mark("alice", (1, "u1"), 1)

        assert state.page("alice", 0).next_index is None

    def test_beyond_the_end(self) -> None:
        """An index beyond the end, however large, gives an empty last page."""
        page = ChatState().page("alice", 10**30)

        assert page.entries == []
        assert page.next_index is None

    def test_contact_groups(self) -> None:
        """Conversations of contact groups are listed with and without marks."""
        state = ChatState(Settings(clock=clock_at(9.0)))
        state.seed_mark("alice", BOB, 1, timestamp=7)
        state.seed_contact_group("alice", 1, "work", [BOB, RED])
        state.seed_contact_group("alice", 2, "fun", [BOB])
        page = state.page("alice", 0)

        assert [Entry(BOB, 1, "", (1, 2), 7), Entry(RED, 0, "", (1,), 9)] == page.entries
        assert page.contact_groups == {1: "work", 2: "fun"}

    def test_order_of_the_last_change(self) -> None:
        """A conversation that changes moves to the end, as in the captured answer."""
        now = [100.0]
        state = ChatState(Settings(clock=lambda: now[0]))
        for number in range(3):
            state.seed_mark("alice", (1, f"u{number}"), 1, timestamp=number)
        state.apply("alice", (1, "u0"), 2, 0, None)
        page = state.page("alice", 0)

        assert ["u1", "u2", "u0"] == [entry.conversation[1] for entry in page.entries]
        assert page.complete_time == 100

    def test_timestamp_is_last_change(self) -> None:
        """The timestamp is the server's time of the last change."""
        now = [100.0]
        state = ChatState(Settings(clock=lambda: now[0]))
        state.apply("alice", BOB, 1, 0, None)
        now[0] = 200.5
        state.apply("alice", BOB, 2, 0, None)

        assert [entry.timestamp for entry in state.page("alice", 0).entries] == [200]


class TestSearch:
    def test_omits_unmarked(self) -> None:
        """Conversations without marks are left out."""
        state = ChatState(Settings(clock=clock_at(9.0)))
        state.seed_mark("alice", BOB, 1, timestamp=7)

        assert [Entry(BOB, 1, "", (), 7)] == state.search("alice", [RED, BOB])

    def test_returns_unmarked_if_told(self) -> None:
        """A setting returns conversations without marks too."""
        assert [Entry(RED)] == ChatState(Settings(return_unmarked=True)).search("alice", [RED])

    def test_names_of_groups(self) -> None:
        """Only the contact groups of what was found are named."""
        state = ChatState()
        state.seed_contact_group("alice", 1, "work", [BOB])
        state.seed_contact_group("alice", 2, "fun", [RED])
        found = state.search("alice", [BOB])

        assert state.contact_group_names("alice", found) == {1: "work"}


class TestSeedMark:
    def test_empty_mark_is_none(self) -> None:
        """Seeding no bits and no custom mark removes the mark."""
        state = ChatState()
        state.seed_mark("alice", BOB, 1)
        state.seed_mark("alice", BOB)

        assert state.snapshot() == {}

    @pytest.mark.parametrize("bits", [-1, 1 << 64])
    def test_refuses_more_than_64_bits(self, bits: int) -> None:
        """A mark has 64 bits."""
        with pytest.raises(ValueError, match="64 bits"):
            ChatState().seed_mark("alice", BOB, bits)
