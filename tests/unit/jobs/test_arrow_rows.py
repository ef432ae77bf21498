import decimal
import io
import sys
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from told import read, said

from chatmark.jobs import ChangeFile, Columns
from chatmark.jobs.sources.arrow_rows import read_table
from chatmark.jobs.sources.parser import RowParser
from chatmark.jobs.sources.row import FileError, Row, RowError, rows_of
from chatmark.marks import MarkNames

COLUMNS: dict[str, Any] = {"from_account": ["a"], "to_account": ["b"], "set_mark": [["favorite"]]}
NUMBER = decimal.Decimal(12345678901234567890)


def write(columns: dict[str, Any], **settings: Any) -> bytes:
    """Return a Parquet file of columns."""
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink, **settings)
    return sink.getvalue()


def rows(cells: dict[str, Any], **options: Any) -> list[Row | RowError]:
    """Return the rows of columns in a Parquet file."""
    return read(write(cells), "f.parquet", **options)


def changes(cells: dict[str, Any], **options: Any) -> list[tuple[object, ...]]:
    """Return what the rows of columns say, all of which are good."""
    found: list[tuple[object, ...]] = []
    for row in rows(cells, names=MarkNames(vip=32), **options):
        assert isinstance(row, Row), row
        found += map(said, row.changes)
    return found


def by_type(column: Any) -> str:
    """Name a case by the type of its column."""
    return str(getattr(column, "type", ""))


class TestRows:
    def test_nulls_say_nothing(self) -> None:
        """A null is a field that is absent; an empty custom mark clears."""
        columns = {
            "from_account": ["a", "a"],
            "to_account": ["b", None],
            "to_group_id": [None, "g"],
            "set_mark": [["favorite"], None],
            "clear_mark": [None, []],
            "custom_mark": [None, ""],
            "_code": [None, 50001],
        }

        assert [("a", "c2c_b", (0,), (), None), ("a", "group_g", (), (), "")] == changes(columns)

    @pytest.mark.parametrize(
        "column",
        [
            pa.array([["favorite", "vip"]]),
            pa.array([["0", "32"]], pa.list_(pa.large_string())),
            pa.array([["0", "vip"]], pa.large_list(pa.large_string())),
            pa.array([[0, 32]], pa.list_(pa.uint8())),
            pa.array([[0.0, 32.0]]),
            pa.array([[0, 32]], pa.list_(pa.dictionary(pa.int8(), pa.int64()))),
            pa.array(["favorite|vip"]),
            pa.array(["0|32"], pa.large_string()),
            pa.array(["0|vip"]).dictionary_encode(),
            pa.array([["0", "vip"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        ],
        ids=by_type,
    )
    def test_marks(self, column: Any) -> None:
        """Marks are lists of names or whole numbers, or text as in CSV."""
        assert [("a", "c2c_b", (0, 32), (), None)] == changes(COLUMNS | {"set_mark": column})

    @pytest.mark.parametrize("column", [[33], [33.0], [decimal.Decimal(33)]])
    def test_one_mark(self, column: list[Any]) -> None:
        """A column of numbers has one mark a row, and a column of nulls none."""
        columns = COLUMNS | {"set_mark": column, "clear_mark": pa.nulls(1)}

        assert [("a", "c2c_b", (33,), (), None)] == changes(columns)

    @pytest.mark.parametrize(
        ("ids", "expected"),
        [
            (pa.array(["é"], pa.large_string()), None),
            (pa.array(["x"], pa.dictionary(pa.int32(), pa.string())), "x"),
            (pa.array([10001]), "10001"),
            (pa.array([10001], pa.uint32()), "10001"),
            (pa.array([10001.0]), "10001"),
            (pa.array([NUMBER]), str(NUMBER)),
            (pa.array([10001]).dictionary_encode(), "10001"),
        ],
        ids=by_type,
    )
    def test_ids(self, ids: Any, expected: str | None) -> None:
        """Text and whole numbers are ids, however they are stored."""
        if expected is None:
            columns = COLUMNS | {"custom_mark": ids}
            assert [("a", "c2c_b", (0,), (), "é")] == changes(columns)
        else:
            columns = COLUMNS | {"from_account": ids, "to_group_id": ids, "to_account": pa.nulls(1)}
            assert [(expected, f"group_{expected}", (0,), (), None)] == changes(columns)

    def test_numbers_of_rows(self) -> None:
        """The line of a row is its number, over batches and row groups."""
        many = {name: column * 9_000 for name, column in COLUMNS.items()}
        found = read(write(many, row_group_size=3_500), "f.parquet")

        assert [*range(1, 9_001)] == [row.line for row in found]

    def test_mapped(self) -> None:
        """Columns have the names that they are given, and others are left aside if asked."""
        columns = Columns({"from_account": "uid", "to_account": "peer.id"}, ignore_unknown=True)
        data = {"uid": ["a"], "peer.id": ["b"], "set_mark": [0], "at": [1.5]}

        assert [("a", "c2c_b", (0,), (), None)] == changes(data, columns=columns)

    @pytest.mark.parametrize("kind", ["table", "reader", "chunks"])
    def test_tables(self, kind: str) -> None:
        """Whatever gives an Arrow stream is read, batch by batch."""
        table = pa.table({"from_account": ["a"] * 9, "to_account": [1] * 9, "set_mark": [[0]] * 9})
        sources = {
            "table": table,
            "reader": pa.RecordBatchReader.from_batches(table.schema, table.to_batches()),
            "chunks": pa.concat_tables([table.slice(0, 4), table.slice(4)]),
        }
        parser = RowParser()
        found = [*rows_of(lambda: read_table(sources[kind], parser), parser.cells, "changes")]
        wrong = rows_of(lambda: read_table(pa.table({"uid": []}), parser), parser.cells, "changes")

        assert [(number, Row) for number in range(1, 10)] == [(r.line, type(r)) for r in found]
        assert "changes:1: uid: is not a field of a row" in str(next(wrong))


class TestMemory:
    """What a small file may unpack to is refused."""

    ROWS = 4_000
    LONG = "x" * 1_000_000

    def refused(self, column: str, values: Any, **settings: Any) -> str:
        """Return the error of a small file with a column that unpacks to much."""
        columns = {"from_account": ["a"] * self.ROWS, "to_account": ["b"] * self.ROWS}
        data = write(columns | {column: values}, compression="zstd", store_schema=False, **settings)
        assert len(data) < 100_000
        [error] = read(data, "f.parquet")
        return str(error)

    @pytest.mark.parametrize("field", ["custom_mark", "set_mark"])
    @pytest.mark.parametrize("first", [0, 3_999])
    def test_dictionaries(self, field: str, first: int) -> None:
        """A long text that rows share is refused before each row has it in memory."""
        places = pa.array([None] * first + [0] * (self.ROWS - first), pa.int32())
        texts = pa.DictionaryArray.from_arrays(places, pa.array(["x", self.LONG]))
        if field == "set_mark":
            texts = pa.ListArray.from_arrays(pa.array(range(self.ROWS + 1), pa.int32()), texts)

        expected = f"f.parquet:1: {field}: has a text of 1,000,000 bytes"
        assert expected == self.refused(field, texts)

    def test_sizes(self) -> None:
        """A column of far more bytes or values than its rows can have is refused."""
        texts = [self.LONG] * 40 + ["x"] * (self.ROWS - 40)
        lists = pa.array([[0] * 100] * self.ROWS, pa.list_(pa.int8()))

        assert "custom_mark: has 40,0" in self.refused("custom_mark", texts, use_dictionary=False)
        expected = "has 400,000 values in 4,000 rows: a mark has 64 bits"
        assert expected in self.refused("set_mark", lists)


class TestBadRows:
    def test_raw(self) -> None:
        """A bad row is named by its number; its text has the columns in the order of the file."""
        columns = {"to_account": ["b", "é"], "from_account": ["a", "a"], "set_mark": [0, 0]}
        [_, error] = rows(columns)

        assert isinstance(error, RowError)
        assert "f.parquet:2: to_account: has characters other than printable ASCII" in str(error)
        assert '{"to_account": "é", "from_account": "a", "set_mark": 0}' == error.raw

    @pytest.mark.parametrize(
        ("cells", "message"),
        [
            ({"set_mark": [[None]]}, "set_mark: must be names and whole numbers"),
            ({"set_mark": [["nope"]]}, "set_mark: is not a known mark"),
            ({"set_mark": [None]}, "set_mark: nothing to change"),
            ({"set_mark": [[64]]}, "set_mark: a bit is a number from 0 to 63"),
            ({"from_account": [None]}, "from_account: is missing"),
            ({name: pa.nulls(1) for name in COLUMNS}, "from_account: is missing"),
            *[
                ({field: [number]}, f"{field}: must be ")
                for field in COLUMNS
                for number in (0.5, float("nan"), float("inf"), 1e300)
            ],
        ],
    )
    def test_reasons(self, cells: dict[str, Any], message: str) -> None:
        """A wrong cell is an error of its row, as are fractions and floats that lost digits."""
        [error] = rows(COLUMNS | cells)

        assert f"f.parquet:1: {message}" in str(error)


class TestBadFiles:
    @pytest.mark.parametrize(
        ("cells", "message"),
        [
            ({"from_account": [True]}, "from_account: is bool, not text or whole numbers"),
            ({"to_account": [b"x"]}, "to_account: is binary, not text"),
            ({"custom_mark": [["x"]]}, "custom_mark: is list<"),
            ({"custom_mark": [1]}, "custom_mark: is int64, not text"),
            ({"set_mark": [[True]]}, "set_mark: is list<"),
            ({"to_acount": ["x"]}, "to_acount: is not a field of a row; did you mean"),
            (
                {"to_account": pa.array([b"\xff"]).view(pa.string())},
                "file: cannot be read as Parquet: 'utf-8' codec can't decode",
            ),
        ],
    )
    def test_columns(self, cells: dict[str, Any], message: str) -> None:
        """A column that cannot be used is named with its type."""
        [error] = rows(COLUMNS | cells)

        assert isinstance(error, FileError)
        assert f"f.parquet:1: {message}" in str(error)

    def test_one_column_twice(self) -> None:
        """A column that appears twice is refused."""
        sink = io.BytesIO()
        table = pa.Table.from_arrays([pa.array(["a"])] * 3, ["from_account", *["to_account"] * 2])
        parquet.write_table(table, sink)
        [error] = read(sink.getvalue(), "f.parquet")

        assert "f.parquet:1: to_account: appears twice in the header" == str(error)

    @pytest.mark.parametrize("size", [0, 3, 50, 400])
    def test_cut(self, size: int) -> None:
        """A file that was cut, or is none, is said to be no Parquet."""
        [error] = read(write(COLUMNS)[:size], "f.parquet")

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

        assert "pip install 'chatmark[parquet]'" in str(read(data, "f.parquet")[0])

    def test_pipe(self) -> None:
        """Parquet comes from no pipe."""

        class Pipe(io.BytesIO):
            def seekable(self) -> bool:
                return False

        assert "give a file, not a pipe" in str(next(ChangeFile.of("f.parquet").read(Pipe())))
