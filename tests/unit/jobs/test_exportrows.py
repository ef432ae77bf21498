import datetime as dt
import io
import pathlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import conversations, marks

from chatmark import Conversation, ConversationMark, MarkChange, MarkedConversation
from chatmark.jobs.exporting import COLUMNS, marked_row
from chatmark.jobs.row_files import RowFile, encode
from chatmark.jobs.sources.dialect import Dialect
from chatmark.jobs.sources.files import ChangeFile
from chatmark.jobs.sources.formats import FileFormat
from chatmark.jobs.sources.row import Row

NOON = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)
marked_conversations = st.builds(
    MarkedConversation,
    conversations,
    marks,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.lists(st.integers(0, 1 << 40), max_size=3).map(tuple),
    st.none() | st.just(NOON),
)


def restored(found: MarkedConversation) -> MarkChange:
    """Return the change that a row should say."""
    own = found.mark & ~found.mark.reserved
    return MarkChange("amy", found.conversation, own, custom_mark=found.custom_mark or None)


class TestRows:
    @pytest.mark.parametrize("format_", [FileFormat.JSON_LINES, FileFormat.CSV, FileFormat.TSV])
    @given(st.lists(marked_conversations, max_size=4))
    @example([MarkedConversation(Conversation.group("g"), custom_mark="\r")])
    @example([MarkedConversation(Conversation.group('g,"h'), custom_mark=' \n"|,\0')])
    def test_read_again(self, format_: FileFormat, found: list[MarkedConversation]) -> None:
        """What is written is read again as changes to what was found."""
        rows = [row for each in found if (row := marked_row("amy", each)) is not None]
        header = {each: each for each in COLUMNS}
        tables = (FileFormat.CSV, FileFormat.TSV)
        data = encode([header, *rows] if format_ in tables else rows, COLUMNS, format_, guard=False)
        file = ChangeFile.of("-", FileFormat(format_.value), dialect=Dialect(literal=True))
        read = list(file.read(io.BytesIO(data)))

        assert all(isinstance(row, Row) for row in read), read
        assert [
            restored(each) for each in found if each.mark & ~each.mark.reserved or each.custom_mark
        ] == [change for row in read if isinstance(row, Row) for change in row.changes]

    def test_parquet(self, tmp_path: pathlib.Path) -> None:
        """So it is in Parquet."""
        found = [
            MarkedConversation(Conversation.one_to_one("bob"), ConversationMark(1 | 1 << 33 | 16)),
            MarkedConversation(Conversation.group("g"), ConversationMark(0), "é", (1, 2), NOON),
        ]
        path = tmp_path / "marks.parquet"
        rows = [row for each in found if (row := marked_row("amy", each)) is not None]
        with RowFile(str(path), COLUMNS) as file:
            for row in rows:
                file.write(row)

        assert [restored(each) for each in found] == list(
            ChangeFile.of(str(path), dialect=Dialect(literal=True)).changes()
        )

    def test_notes(self) -> None:
        """What a change cannot say stands in notes, where there is something to note."""
        bob = Conversation.one_to_one("bob")

        assert {
            "from_account": "amy",
            "to_account": "bob",
            "set_mark": ["favorite"],
            "_group_ids": [7],
            "_group_names": ["work"],
            "_updated_at": "2026-01-02T12:00:00+00:00",
            "_reserved_bits": [5],
        } == marked_row(
            "amy", MarkedConversation(bob, ConversationMark(33), "", (7,), NOON, ("work",))
        )
        assert {"from_account": "amy", "to_account": "bob", "custom_mark": "x"} == marked_row(
            "amy", MarkedConversation(bob, custom_mark="x")
        )
        assert marked_row("amy", MarkedConversation(bob, ConversationMark(32), "", (7,))) is None

    def test_half_a_character(self) -> None:
        """Text that has no bytes in UTF-8 does not stop an export."""
        row = marked_row("amy", MarkedConversation(Conversation.group("g"), custom_mark="a\ud800"))

        assert row is not None
        assert "a?" == row["custom_mark"]
