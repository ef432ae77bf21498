from typing import Any

import pytest

from chatmark.emulator import ChatState, Settings
from chatmark.emulator.state import Entry

BOB = (1, "bob")
RED = (2, "team-red")


def code(state: ChatState, key: tuple[int, str] = BOB, *change: Any) -> int:
    """Apply a change of alice's, by default of one bit, and return its code."""
    return state.apply("alice", key, *(change or (1, 0, None)))[0]


class TestApply:
    @pytest.mark.parametrize(
        ("seeded", "change", "after"),
        [
            ((0b1000, "vip"), (0b0011, 0, None), (0b1011, "vip")),
            ((0b1011, ""), (0, 0b0011, None), (0b1000, "")),
            ((0, "vip"), (0, 0, "new"), (0, "new")),
            ((1, "vip"), (0, 1, ""), None),
            ((0, ""), (0, 1, ""), None),
        ],
    )
    def test_changes(
        self, seeded: tuple[int, str], change: tuple[int, int, str | None], after: object
    ) -> None:
        """Bits are turned on and off, the rest stays; without marks there is nothing to keep."""
        state = ChatState()
        state.seed_mark("alice", BOB, *seeded)

        assert state.apply("alice", BOB, *change) == (0, "")
        assert state.snapshot() == ({("alice", 1, "bob"): after} if after else {})

    def test_user_and_group_of_one_name_differ(self) -> None:
        """User a and group a are different conversations."""
        state = ChatState()
        codes = code(state, (1, "a"), 1, 0, None), code(state, (2, "a"), 2, 0, None)

        assert codes == (0, 0)
        assert state.snapshot() == {("alice", 1, "a"): (1, ""), ("alice", 2, "a"): (2, "")}

    @pytest.mark.parametrize(
        ("settings", "key", "change", "expected"),
        [
            ({"users": ["alice"]}, BOB, (1, 0, None), 50001),
            ({"groups": {}}, RED, (1, 0, None), 51007),
            ({"groups": {"team-red": ["bob"]}}, RED, (1, 0, None), 51007),
            ({"groups": {"team-red": ["alice"]}}, RED, (1, 0, None), 0),
            ({"groups": {"team-red": None}}, RED, (1, 0, None), 0),
            ({"standard_marks": False}, BOB, (1, 0, "vip"), 51013),
            ({"standard_marks": False}, BOB, (0, 1, "vip"), 51013),
            ({"standard_marks": False}, BOB, (0, 0, "vip"), 0),
        ],
    )
    def test_codes(
        self, settings: Any, key: tuple[int, str], change: tuple[Any, ...], expected: int
    ) -> None:
        """A peer, a group or an edition that does not allow a change leaves no mark."""
        state = ChatState(Settings(**settings))

        assert code(state, key, *change) == expected
        assert bool(state.snapshot()) == (expected == 0)


class TestLimit:
    def test_default(self) -> None:
        """The 1001st conversation gives 51008."""
        state = ChatState()
        codes = [code(state, (1, f"u{n}")) for n in range(1001)]

        assert codes == [0] * 1000 + [51008]

    @pytest.mark.parametrize("pool", ["marks", "shared"])
    def test_full(self, pool: Any) -> None:
        """At the limit a marked conversation can change, nothing can be cleared, one can go."""
        state = ChatState(Settings(max_marked=2, pool=pool))
        changes: list[tuple[str, Any, int]] = [
            ("u1", (1, 0, None), 0),
            ("u2", (1, 0, None), 0),
            ("u3", (1, 0, None), 51008),
            ("u1", (2, 0, "vip"), 0),
            ("u3", (0, 1, ""), 0),
            ("u1", (0, 3, ""), 0),
            ("u3", (1, 0, None), 0),
        ]
        codes = [code(state, (1, id_), *change) for id_, change, _ in changes]

        assert codes == [expected for *_, expected in changes]
        assert state.apply("bob", (1, "u4"), 1, 0, None) == (0, "")


class TestPage:
    @pytest.mark.parametrize("count", [0, 1, 2, 5])
    def test_cover_everything_once(self, count: int) -> None:
        """Following the next index meets every conversation once; a full page may be the last."""
        state = ChatState(Settings(page_size=2))
        for number in range(count):
            state.seed_mark("alice", (1, f"u{number}"), 1)
        found: list[str] = []
        index: int | None = 0
        pages = 0
        while index is not None:
            page = state.page("alice", index)
            found += [entry.conversation[1] for entry in page.entries]
            index = page.next_index
            pages += 1

        assert found == [f"u{number}" for number in range(count)]
        assert pages == max(1, (count + 1) // 2)

    def test_beyond_the_end(self) -> None:
        """An index beyond the end, however large, gives an empty last page."""
        page = ChatState().page("alice", 10**30)

        assert (page.entries, page.next_index) == ([], None)

    def test_order_of_the_last_change(self) -> None:
        """A conversation that changes moves to the end, as in the captured answer."""
        now = [100.9]
        state = ChatState(Settings(clock=lambda: now[0]))
        for number in range(3):
            state.seed_mark("alice", (1, f"u{number}"), 1, timestamp=number)
        code(state, (1, "u0"), 2, 0, None)
        page = state.page("alice", 0)

        assert ["u1", "u2", "u0"] == [entry.conversation[1] for entry in page.entries]
        assert page.complete_time == page.entries[-1].timestamp == 100

    def test_contact_groups(self) -> None:
        """Conversations of contact groups are listed with and without marks."""
        state = ChatState(Settings(clock=lambda: 9.0))
        state.seed_mark("alice", BOB, 1, timestamp=7)
        state.seed_contact_group("alice", 1, "work", [BOB, RED])
        state.seed_contact_group("alice", 2, "fun", [BOB])

        assert [Entry(BOB, 1, "", (1, 2), 7), Entry(RED, 0, "", (1,), 9)] == state.page(
            "alice", 0
        ).entries


@pytest.mark.parametrize("bits", [-1, 1 << 64])
def test_seeds_64_bits(bits: int) -> None:
    """A mark has 64 bits."""
    with pytest.raises(ValueError, match="64 bits"):
        ChatState().seed_mark("alice", BOB, bits)
