import io

import pytest

from chatmark.conversations import Conversation
from chatmark.errors import InputError
from chatmark.jobs.sources.dialect import Columns, Notes
from chatmark.jobs.sources.files import ChangeFile
from chatmark.jobs.sources.row import Row, RowError

PEER = Columns({"to_account": "peer_id"})
SWAPPED = Columns({"from_account": "to_account", "to_account": "from_account"})


def read(data: bytes, name: str, columns: Columns) -> list[Row | RowError]:
    """Return the rows of a file."""
    return list(ChangeFile.of(name, columns=columns).read(io.BytesIO(data)))


class TestColumns:
    @pytest.mark.parametrize(
        ("sources", "message"),
        [
            ({"to_acount": "x"}, "to_acount: is not a field of a row; did you mean 'to_account'"),
            ({"_code": "x"}, "_code: is not a field"),
            ({"to_account": ""}, "to_account: is mapped to a column without a name"),
            (
                {"from_account": "x", "to_account": "x"},
                r"to_account: and from_account are read from one column \(got 'x'\)",
            ),
        ],
    )
    def test_refuses(self, sources: dict[str, str], message: str) -> None:
        """What cannot be meant is refused."""
        with pytest.raises(InputError, match=message):
            Columns(sources)

    def test_swap(self) -> None:
        """The name of one field may be the column of another."""
        assert {"from_account": 1, "to_account": 2} == SWAPPED.renamed(
            {"to_account": 1, "from_account": 2}, Notes()
        )


class TestJsonLines:
    def test_mapped(self) -> None:
        """A field is read from the key that it is mapped to."""
        [row] = read(b'{"from_account": "a", "peer_id": "b", "set_mark": 0}', "f.jsonl", PEER)

        assert isinstance(row, Row)
        assert Conversation.one_to_one("b") == row.changes[0].conversation

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b'{"from_account": "a", "to_account": "b"}', "to_account: is in the file, but is"),
            (b'{"from_account": "a", "x": "b"}', "x: is not a field of a row"),
            (b'{"from_account": "a", "set_mark": 0}', "to_account: and to_group_id are missing"),
        ],
    )
    def test_refuses(self, data: bytes, message: str) -> None:
        """A mapped field has no other name, and other keys are still errors."""
        [row] = read(data, "f.jsonl", PEER)

        assert message in str(row)

    def test_ignored(self) -> None:
        """Keys that are no fields are left aside if asked; those of a request body are not."""
        columns = Columns(ignore_unknown=True)
        good = b'{"From_Account": 1, "x": {}, "from_account":"a", "to_account":"b", "set_mark":0}\n'
        body = b'{"From_Account": "a", "MarkItem": [{"OptType": 1, "SetMark": [0], "ContactItem":'
        rows = read(
            good + body + b'{"Type": 1, "To_Account": "b"}}]}\n{"MarkItem": 1}', "f.jsonl", columns
        )

        assert [Row, Row, RowError] == [type(row) for row in rows]


class TestCsv:
    def test_mapped(self) -> None:
        """A column is read under the name of its field."""
        [row] = read(b"from_account, peer_id ,set_mark\na,b,0\n", "f.csv", PEER)

        assert isinstance(row, Row)
        assert Conversation.one_to_one("b") == row.changes[0].conversation

    def test_ignored(self) -> None:
        """Columns that are no fields are left aside if asked, twice the same too."""
        data = b"x,from_account,to_account,set_mark,x,\n1,a,b,0,2,3\n"
        [row] = read(data, "f.csv", Columns(ignore_unknown=True))

        assert isinstance(row, Row)

    @pytest.mark.parametrize(
        ("header", "message"),
        [
            (b"from_account,to_account", "to_account: is in the file, but is mapped to"),
            (
                b"from_account,to_group_id",
                "peer_id: is not a column, but to_account is",
            ),
            (b"from_account,peer_id,peer_id", "peer_id: appears twice"),
            (b"from_account,peer_id,x", "x: is not a field"),
            (b"from_account;peer_id", "header: has one column; add --delimiter ';'"),
        ],
    )
    def test_refuses(self, header: bytes, message: str) -> None:
        """A header that does not fit the mapping is refused."""
        [row] = read(header + b"\na,b\n", "f.csv", PEER)

        assert message in str(row)
