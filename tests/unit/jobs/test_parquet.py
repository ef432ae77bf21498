import io
import pathlib
import sys
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from chatmark.changes import MarkChange
from chatmark.errors import InputError
from chatmark.jobs.sources.columns import Columns
from chatmark.jobs.sources.files import ChangeFile
from chatmark.jobs.sources.formats import FileFormat
from chatmark.jobs.sources.row import FileError, Row, RowError
from chatmark.names import MarkNames

COLUMNS: dict[str, Any] = {"from_account": ["a"], "to_account": ["b"], "set_mark": [["favorite"]]}


def write(columns: dict[str, Any], **settings: Any) -> bytes:
    """Return a Parquet file of columns."""
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink, **settings)
    return sink.getvalue()


def read(data: bytes, columns: Columns | None = None) -> list[Row | RowError]:
    """Return the rows of a Parquet file."""
    file = ChangeFile.of("f.parquet", names=MarkNames(vip=32), columns=columns)
    return list(file.read(io.BytesIO(data)))


def changes(columns: dict[str, Any]) -> list[MarkChange]:
    """Return the changes of columns, all of which are good."""
    rows = read(write(columns))
    assert all(isinstance(row, Row) for row in rows), rows
    return [change for row in rows if isinstance(row, Row) for change in row.changes]


class TestRows:
    def test_nulls_say_nothing(self) -> None:
        """A null is a field that is absent; an empty custom mark clears."""
        first, second = changes(
            {
                "from_account": ["a", "a"],
                "to_account": ["b", None],
                "to_group_id": [None, "g"],
                "set_mark": [["favorite"], None],
                "clear_mark": [None, []],
                "custom_mark": [None, ""],
                "_code": [None, 50001],
            }
        )

        assert ("c2c_b", (0,), None) == (
            str(first.conversation),
            first.set_mark.bits,
            first.custom_mark,
        )
        assert ("group_g", (), "") == (
            str(second.conversation),
            second.set_mark.bits,
            second.custom_mark,
        )

    @pytest.mark.parametrize(
        "column",
        [
            pa.array([["favorite", "vip"]]),
            pa.array([["0", "32"]], pa.list_(pa.large_string())),
            pa.array([["0", "vip"]], pa.large_list(pa.large_string())),
            pa.array([[0, 32]], pa.list_(pa.uint8())),
            pa.array(["favorite|vip"]),
            pa.array(["0|32"], pa.large_string()),
            pa.array(["0|vip"]).dictionary_encode(),
            pa.array([["0", "vip"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        ],
        ids=lambda column: str(column.type),
    )
    def test_marks(self, column: Any) -> None:
        """Marks are lists of names or numbers, or text as in CSV."""
        [change] = changes(COLUMNS | {"set_mark": column})

        assert (0, 32) == change.set_mark.bits

    def test_one_mark(self) -> None:
        """A column of numbers has one mark a row, and a column of nulls none."""
        columns = COLUMNS | {"set_mark": [33], "clear_mark": pa.nulls(1)}

        assert [(33,)] == [change.set_mark.bits for change in changes(columns)]

    @pytest.mark.parametrize("type_", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
    def test_texts(self, type_: Any) -> None:
        """Text is text however it is stored."""
        [change] = changes(
            {name: pa.array(["a"], type_) for name in COLUMNS if "mark" not in name}
            | {"custom_mark": pa.array(["é"], type_)}
        )

        assert ("a", "é") == (change.from_account, change.custom_mark)

    def test_numbers_of_rows(self) -> None:
        """The line of a row is its number, over batches and row groups."""
        count = 9_000
        data = write(
            {"from_account": ["a"] * count, "to_account": ["b"] * count, "set_mark": [0] * count},
            row_group_size=3_500,
        )

        assert [*range(1, count + 1)] == [row.line for row in read(data)]

    def test_mapped(self) -> None:
        """Columns have the names that they are given, and others are left aside if asked."""
        data = write({"uid": ["a"], "peer.id": ["b"], "set_mark": [0], "at": [1.5]})
        columns = Columns({"from_account": "uid", "to_account": "peer.id"}, ignore_unknown=True)

        assert [Row] == [type(row) for row in read(data, columns)]


class TestBadRows:
    def test_are_named(self) -> None:
        """A bad row is named by its number, and carries what it says."""
        columns = {"from_account": ["a", "a"], "to_account": ["b", "é"], "set_mark": [0, 0]}
        [_, error] = read(write(columns))

        assert isinstance(error, RowError)
        assert "f.parquet:2: to_account: has characters other than printable ASCII" in str(error)
        assert '{"from_account": "a", "to_account": "é", "set_mark": 0}' == error.raw

    @pytest.mark.parametrize(
        ("cells", "message"),
        [
            ({"set_mark": [[None]]}, "set_mark: must be names and whole numbers"),
            ({"set_mark": [["nope"]]}, "set_mark: is not a known mark"),
            ({"set_mark": [None]}, "set_mark: nothing to change"),
            ({"set_mark": [[64]]}, "set_mark: a bit is a number from 0 to 63"),
            ({"from_account": [None]}, "from_account: is missing"),
            ({name: pa.nulls(1) for name in COLUMNS}, "from_account: is missing"),
        ],
    )
    def test_reasons(self, cells: dict[str, Any], message: str) -> None:
        """A cell that will not do is an error of its row."""
        [error] = read(write(COLUMNS | cells))

        assert f"f.parquet:1: {message}" in str(error)

    def test_raw(self) -> None:
        """The text of a bad row has the columns in the order of the file."""
        [row] = read(write({"to_account": ["b"], "from_account": [""]}))

        assert isinstance(row, RowError)
        assert '{"to_account": "b", "from_account": ""}' == row.raw

    def test_not_utf_8(self) -> None:
        """Text that is not UTF-8 spoils its row and no other."""
        wrong = pa.array([b"b", b"\xff", b"c"]).view(pa.string())
        rows = read(write({"from_account": ["a"] * 3, "to_account": wrong, "set_mark": [0] * 3}))

        assert [Row, RowError, Row] == [type(row) for row in rows]
        assert "f.parquet:2: to_account: must be text, not bytes (got b'\\xff')" == str(rows[1])


class TestBadFiles:
    @pytest.mark.parametrize(
        ("cells", "message"),
        [
            ({"from_account": [True]}, "from_account: is bool, not text or whole numbers"),
            ({"to_account": [b"x"]}, "to_account: is binary, not text"),
            ({"custom_mark": [["x"]]}, "custom_mark: is list<"),
            ({"custom_mark": [1]}, "custom_mark: is int64, not text"),
            ({"set_mark": [[True]]}, "set_mark: is list<"),
            (
                {"to_acount": ["x"]},
                "to_acount: is not a field of a row; did you mean",
            ),
        ],
    )
    def test_columns(self, cells: dict[str, Any], message: str) -> None:
        """A column that will not do is named with its type."""
        [error] = read(write(COLUMNS | cells))

        assert isinstance(error, FileError)
        assert f"f.parquet:1: {message}" in str(error)

    def test_one_column_twice(self) -> None:
        """A column that appears twice is refused."""
        sink = io.BytesIO()
        table = pa.Table.from_arrays([pa.array(["a"])] * 3, ["from_account", *["to_account"] * 2])
        parquet.write_table(table, sink)

        assert ["f.parquet:1: to_account: appears twice in the header"] == [
            str(row) for row in read(sink.getvalue())
        ]

    @pytest.mark.parametrize("size", [0, 3, 50, 400])
    def test_cut(self, size: int) -> None:
        """A file that was cut, or is none, is said to be no Parquet."""
        [error] = read(write(COLUMNS)[:size])

        assert isinstance(error, FileError)
        assert "f.parquet:1: file: cannot be read as Parquet: " in str(error)

    def test_errors_of_the_disk(self) -> None:
        """What the disk says is passed on as it is."""

        class Broken(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                raise OSError(5, "Input/output error")

        with pytest.raises(OSError, match="Input/output"):
            list(ChangeFile.of("f.parquet").read(Broken(write(COLUMNS))))

    def test_without_pyarrow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the library the message says how to have it."""
        data = write(COLUMNS)
        monkeypatch.setitem(sys.modules, "pyarrow", None)

        assert "pip install 'chatmark[parquet]'" in str(read(data)[0])

    def test_needs_a_file(self, tmp_path: pathlib.Path) -> None:
        """Parquet comes from no pipe, and is not compressed as a whole."""

        class Pipe(io.BytesIO):
            def seekable(self) -> bool:
                return False

        assert "give a file, not a pipe" in str(next(ChangeFile.of("f.parquet").read(Pipe())))
        with pytest.raises(InputError, match="not from standard input"):
            ChangeFile.of("-", FileFormat.PARQUET)
        with pytest.raises(InputError, match="is compressed inside"):
            ChangeFile.of("f.parquet.gz")
