import decimal
import io
import pathlib
import sys
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from chatmark.changes import MarkChange
from chatmark.errors import InputError
from chatmark.jobs.sources.arrow_rows import read_table
from chatmark.jobs.sources.dialect import Columns
from chatmark.jobs.sources.files import ChangeFile
from chatmark.jobs.sources.formats import FileFormat
from chatmark.jobs.sources.parser import RowParser
from chatmark.jobs.sources.row import FileError, Row, RowError, rows_of
from chatmark.marks import MarkNames

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


class TestNumbers:
    @pytest.mark.parametrize(
        ("ids", "expected"),
        [
            (pa.array([10001]), "10001"),
            (pa.array([10001], pa.uint32()), "10001"),
            (pa.array([10001.0]), "10001"),
            (pa.array([decimal.Decimal(12345678901234567890)]), "12345678901234567890"),
            (pa.array([10001]).dictionary_encode(), "10001"),
        ],
        ids=lambda value: str(getattr(value, "type", "")),
    )
    def test_whole_numbers_are_ids(self, ids: Any, expected: str) -> None:
        """Whole numbers are ids, of users and of groups."""
        columns = {"from_account": ids, "to_group_id": ids, "to_account": pa.nulls(1)}
        [change] = changes(COLUMNS | columns)

        assert (expected, f"group_{expected}") == (change.from_account, str(change.conversation))

    @pytest.mark.parametrize(
        "column",
        [
            pa.array([33.0]),
            pa.array([[33.0]]),
            pa.array([decimal.Decimal(33)]),
            pa.array([[33]], pa.list_(pa.dictionary(pa.int8(), pa.int64()))),
        ],
        ids=lambda column: str(column.type),
    )
    def test_whole_numbers_are_bits(self, column: Any) -> None:
        """Whole numbers are bits."""
        [change] = changes(COLUMNS | {"set_mark": column})

        assert (33,) == change.set_mark.bits

    @pytest.mark.parametrize("number", [0.5, float("nan"), float("inf"), 1e300])
    @pytest.mark.parametrize("field", COLUMNS)
    def test_others_are_not(self, field: str, number: float) -> None:
        """Fractions, and floats that have lost digits, are refused."""
        [error] = read(write(COLUMNS | {field: [number]}))

        assert isinstance(error, RowError)
        assert field == error.field


class TestMemory:
    """What a small file may unpack to is shared, or refused."""

    ROWS = 4_000
    LONG = "x" * 1_000_000

    def write(self, column: str, values: Any, **settings: Any) -> bytes:
        """Return a small file with a column that unpacks to much."""
        columns = {"from_account": ["a"] * self.ROWS, "to_account": ["b"] * self.ROWS}
        data = write(columns | {column: values}, compression="zstd", store_schema=False, **settings)
        assert len(data) < 100_000
        return data

    @pytest.mark.parametrize("kind", ["plain", "list"])
    @pytest.mark.parametrize("first", [0, 3_999])
    def test_dictionaries(self, kind: str, first: int) -> None:
        """A long text that rows share is refused before each row has it in memory."""
        places = pa.array([None] * first + [0] * (self.ROWS - first), pa.int32())
        texts = pa.DictionaryArray.from_arrays(places, pa.array(["x", self.LONG]))
        if kind == "list":
            texts = pa.ListArray.from_arrays(pa.array(range(self.ROWS + 1), pa.int32()), texts)
        field = "set_mark" if kind == "list" else "custom_mark"
        [error] = read(self.write(field, texts))

        assert f"f.parquet:1: {field}: has a text of 1,000,000 bytes" == str(error)

    def test_refused(self) -> None:
        """A column of far more bytes or values than its rows can have is refused."""
        texts = [self.LONG] * 100 + ["x"] * (self.ROWS - 100)
        lists = pa.array([[0] * 1_000] * self.ROWS, pa.list_(pa.int8()))
        [long] = read(self.write("custom_mark", texts, use_dictionary=False))
        [many] = read(self.write("set_mark", lists))

        assert "custom_mark: has 100,0" in str(long)
        assert "has 4,000,000 values in 4,000 rows: a mark has 64 bits" in str(many)


class TestTables:
    @pytest.mark.parametrize("kind", ["table", "reader", "chunks"])
    def test_read(self, kind: str) -> None:
        """Whatever gives an Arrow stream is read, batch by batch."""
        table = pa.table({"from_account": ["a"] * 9, "to_account": [1] * 9, "set_mark": [[0]] * 9})
        sources = {
            "table": table,
            "reader": pa.RecordBatchReader.from_batches(table.schema, table.to_batches()),
            "chunks": pa.concat_tables([table.slice(0, 4), table.slice(4)]),
        }
        rows = list(rows_of(lambda: read_table(sources[kind], RowParser()), RowParser().cells, "x"))

        assert [*range(1, 10)] == [row.line for row in rows]
        assert all(isinstance(row, Row) for row in rows)

    def test_refused(self) -> None:
        """Its columns are checked as those of a file."""
        table = pa.table({"uid": ["a"]})
        [error] = rows_of(lambda: read_table(table, RowParser()), RowParser().cells, "changes")

        assert "changes:1: uid: is not a field of a row" in str(error)


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
