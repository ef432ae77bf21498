import errno
import random
import sqlite3
from collections.abc import Iterator

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spools import spool_of
from strategies import changes as any_changes
from strategies import own_bit_sets

from chatmark.changes import MarkChange, merge
from chatmark.conversations import Conversation
from chatmark.jobs.grouping import BadRowsError, Size, Spool, Unit, load
from chatmark.jobs.sources.row import FileError, Row, RowError
from chatmark.marks import ConversationMark

FAVORITE, HIDDEN = ConversationMark.FAVORITE, ConversationMark.HIDDEN
BOB, TEAM = Conversation.one_to_one("bob"), Conversation.group("team")
USERS = ("amy", "Zoe", "b ")
TARGETS = (BOB, TEAM, Conversation.group("bob"))


def fill(spool: Spool) -> None:
    """Add more than a few pages hold."""
    for number in range(10_000):
        spool.add(MarkChange("amy", BOB, custom_mark="x" * 200), number)


class TestUnits:
    @given(st.lists(any_changes(st.sampled_from(USERS), st.sampled_from(TARGETS), own_bit_sets)))
    def test_net_effect(self, changes: list[MarkChange]) -> None:
        """There is one unit for each conversation of a user, with the effect of all its changes."""
        together: dict[tuple[str, Conversation], list[MarkChange]] = {}
        for change in changes:
            together.setdefault((change.from_account, change.conversation), []).append(change)
        wanted = {place: merge(each) for place, each in together.items()}
        with spool_of(changes) as spool:
            units = list(spool)

            assert wanted == {
                (unit.change.from_account, unit.change.conversation): unit.change for unit in units
            }
            assert len(wanted) == len(units) == spool.size.units
            assert len(changes) == spool.changes == sum(unit.rows for unit in units)

    def test_grouped(self) -> None:
        """
        The units of a user stand together, at positions that depend on the rows alone.

        Any part of them can be read while another is read.
        """
        changes = [
            MarkChange(f"user_{user:02}", Conversation.one_to_one(f"peer_{peer:03}"), FAVORITE)
            for user in range(20)
            for peer in range(150)
        ]
        with (
            spool_of(random.Random(1).sample(changes, 3_000)) as spool,
            spool_of(changes) as other,
        ):
            assert changes == [unit.change for unit in spool]
            assert [(150 * number, 150) for number in range(20)] == [
                (user.first, user.count) for user in spool.by_user()
            ]
            assert Size(3_000, 3_000, 20, 40) == spool.size == other.size
            assert spool.digest == other.digest
            whole = iter(spool)
            for first, count in ((0, 1), (499, 502), (1_000, 999), (2_999, 9), (3_000, 1)):
                part = list(spool.read(first, count))
                next(whole)

                assert list(range(3_000))[first : first + count] == [u.position for u in part]
                assert changes[first : first + count] == [each.change for each in part]
            assert list(range(5, 3_000)) == [unit.position for unit in whole]

    @pytest.mark.parametrize(
        "other",
        [
            MarkChange("amy", BOB, HIDDEN),
            MarkChange("amy", BOB, FAVORITE, HIDDEN),
            MarkChange("amy", BOB, FAVORITE, custom_mark=""),
            MarkChange("amy", Conversation.group("bob"), FAVORITE),
            MarkChange("any", BOB, FAVORITE),
        ],
    )
    def test_digest(self, other: MarkChange) -> None:
        """Another change has another digest."""
        with spool_of([MarkChange("amy", BOB, FAVORITE)]) as one, spool_of([other]) as two:
            assert one.digest != two.digest

    def test_digest_stays(self) -> None:
        """
        The digest of the same rows is the same in every version of Python and of this program.
        """
        peers = [Conversation.one_to_one(f"peer_{number:04}") for number in range(1_500)]
        highest = ConversationMark.extension(63)
        reserved = ConversationMark.from_bits([5])
        changes = [
            *(MarkChange("amy", peer, FAVORITE) for peer in peers),
            MarkChange("amy", TEAM, highest, custom_mark="重'"),
            MarkChange("amy", TEAM, clear_mark=highest),
            MarkChange("eve", TEAM, reserved, allow_reserved=True),
        ]
        with spool_of(changes) as spool:
            assert "aa00a69799effdf0" == spool.digest

    @pytest.mark.parametrize("order", [1, -1])
    def test_every_value(self, order: int) -> None:
        """Any text and all bits come back, Chat's own too, if one of the changes may have them."""
        bits = ConversationMark(1 << 63 | 1 << 7), ConversationMark(1 << 62)
        wide = MarkChange("amy", BOB, *bits, "標\0'\"", allow_reserved=True)
        with spool_of([wide, MarkChange("amy", BOB, FAVORITE)][::order]) as spool:
            (unit,) = spool

        assert attrs.evolve(wide, set_mark=bits[0] | FAVORITE) == unit.change
        assert unit.change.allow_reserved

    @pytest.mark.parametrize(
        ("later", "contradicts"),
        [
            (MarkChange("amy", BOB, FAVORITE), False),
            (MarkChange("amy", BOB, HIDDEN), True),
            (MarkChange("amy", BOB, clear_mark=FAVORITE), True),
            (MarkChange("amy", BOB, custom_mark="y"), True),
            (MarkChange("amy", BOB, custom_mark="x"), False),
            (MarkChange("amy", BOB, ConversationMark.UNREAD), False),
        ],
    )
    def test_contradiction(self, later: MarkChange, contradicts: bool) -> None:
        """
        It is known whether a later row takes something back, as opposed to adding or repeating.
        """
        first = MarkChange("amy", BOB, FAVORITE, HIDDEN, "x")
        with spool_of([first, later]) as spool:
            (unit,) = spool

            assert Unit(0, merge((first, later)), 2, 1) == unit
            assert contradicts == bool(list(spool.contradicting(1)))

    def test_settled(self) -> None:
        """What earlier runs settled is not open, and is counted by its outcome."""
        changes = [MarkChange("amy", peer, FAVORITE) for peer in (BOB, BOB, TEAM)]
        with spool_of([*changes, MarkChange("eve", TEAM, HIDDEN)]) as spool:
            settled = spool.leave_out([(0, 1), (2, 3)])

            assert {1: 2, 3: 1} == settled
            assert [1] == [unit.position for unit in spool.open_units()]


class TestRoom:
    def test_full_disk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A full disk is an error of the system that names the place."""
        monkeypatch.setenv("TMPDIR", "/somewhere")
        with Spool() as spool:
            spool._database.execute("PRAGMA max_page_count = 10")
            with pytest.raises(OSError, match=r"no room to group the rows.*TMPDIR") as caught:
                fill(spool)

        assert (errno.ENOSPC, "/somewhere") == (caught.value.errno, caught.value.filename)
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)


CHANGE = MarkChange("amy", Conversation.group("g"), ConversationMark.FAVORITE)
GOOD = Row(1, [CHANGE, CHANGE])
BAD = RowError("f", 2, "row", "is not JSON", "x")


class TestLoad:
    def test_all_rows(self) -> None:
        """All changes of all rows are there, grouped; a watcher is told every thousand rows."""
        signs: list[int] = []
        with load("f", [GOOD] * 2_500, sign=signs.append) as loaded:
            (unit,) = loaded.spool

            assert (5_000, 1) == (unit.rows, unit.line)
            assert ("f", 2_500, 0, 5_000) == (
                *(loaded.name, loaded.rows, loaded.bad, loaded.spool.size.changes),
            )
        assert [1_000, 2_000] == signs

    def test_set_aside(self) -> None:
        """As many bad rows as are allowed are put aside, in their order."""
        other = RowError("f", 3, "set_mark", "is no list", "{}")
        with load("f", [GOOD, BAD, other, GOOD], max_errors=2) as loaded:
            assert ["x", "{}"] == [row["_raw"] for row in loaded.spool.rows_set_aside()]
            assert (4, 2, 4) == (loaded.rows, loaded.bad, loaded.spool.changes)

    @pytest.mark.parametrize(
        ("bad", "first", "said"),
        [
            (101, 20, "101 of 102 rows cannot be applied, 81 of them"),
            (1, 1, "1 of 2 rows"),
        ],
    )
    def test_too_many(self, bad: int, first: int, said: str) -> None:
        """More of them are an error, which has the first and knows the number."""
        with pytest.raises(BadRowsError, match=f"{bad} of {bad + 1} cannot be applied") as caught:
            load("f", [GOOD, *[BAD] * bad], max_errors=bad - 1)

        assert (first, bad, bad + 1) == (
            *(len(caught.value.errors), caught.value.bad, caught.value.rows),
        )
        assert caught.value.complaints[-1].startswith(said)

    def test_broken_file(self) -> None:
        """A file that cannot be read to its end is never applied in part."""
        broken = FileError("f", 3, "row", "the file ends in the middle")
        with pytest.raises(BadRowsError) as caught:
            load("f", [GOOD, *[BAD] * 30, broken], max_errors=100)

        assert broken is caught.value.errors[-1]

    def test_source_raises(self) -> None:
        """What reading raises comes out."""

        def rows() -> Iterator[Row]:
            yield GOOD
            raise OSError(5, "Input/output error")

        with pytest.raises(OSError, match="Input/output"):
            load("f", rows())
