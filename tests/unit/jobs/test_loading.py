from collections.abc import Iterator

import pytest

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation
from chatmark.jobs.grouping import BadRowsError, load
from chatmark.jobs.sources.row import FileError, Row, RowError
from chatmark.marks import ConversationMark

CHANGE = MarkChange("amy", Conversation.group("g"), ConversationMark.FAVORITE)
GOOD = Row(1, [CHANGE, CHANGE])
BAD = RowError("f", 2, "row", "is not JSON", "x")


class TestLoad:
    def test_all_rows(self) -> None:
        """All changes of all rows are there, grouped."""
        with load("f", [GOOD, GOOD]) as loaded:
            (unit,) = loaded.spool

            assert (4, 1) == (unit.rows, unit.line)
            assert ("f", 2, 0, 4) == (loaded.name, loaded.rows, loaded.bad, loaded.spool.changes)

    def test_set_aside(self) -> None:
        """As many bad rows as are allowed are put aside, in their order."""
        other = RowError("f", 3, "set_mark", "is no list", "{}")
        with load("f", [GOOD, BAD, other, GOOD], max_errors=2) as loaded:
            assert ["x", "{}"] == [row["_raw"] for row in loaded.spool.rows_set_aside()]
            assert (4, 2, 4) == (loaded.rows, loaded.bad, loaded.spool.changes)

    def test_too_many(self) -> None:
        """More of them are an error, which has the first and knows the number."""
        with pytest.raises(BadRowsError, match="101 of 102 cannot be applied") as caught:
            load("f", [GOOD, *[BAD] * 101], max_errors=100)

        assert (20, 101, 102) == (
            len(caught.value.errors),
            caught.value.bad,
            caught.value.rows,
        )

    def test_broken_file(self) -> None:
        """A file that cannot be read to its end is never applied in part."""
        broken = FileError("f", 3, "row", "the file ends in the middle")
        with pytest.raises(BadRowsError) as caught:
            load("f", [GOOD, *[BAD] * 30, broken], max_errors=100)

        assert broken is caught.value.errors[-1]

    def test_signs(self) -> None:
        """Whoever watches is told every thousand rows."""
        signs: list[int] = []
        load("f", [GOOD] * 2_500, sign=signs.append).spool.close()

        assert [1_000, 2_000] == signs

    def test_source_raises(self) -> None:
        """What reading raises comes out."""

        def rows() -> Iterator[Row]:
            yield GOOD
            raise OSError(5, "Input/output error")

        with pytest.raises(OSError, match="Input/output"):
            load("f", rows())
