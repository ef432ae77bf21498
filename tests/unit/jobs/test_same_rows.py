import bz2
import csv
import gzip
import io
import json
import lzma
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from strategies import changes
from told import read

from chatmark.changes import MarkChange
from chatmark.jobs import Dialect
from chatmark.jobs.sources.row import FIELDS, FileError, Row, RowError, row_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MARKS = ("set_mark", "clear_mark")
COLUMNS = sorted(field for field in FIELDS if not field.startswith("_"))
Rows = Sequence[dict[str, Any]]


def as_json_lines(rows: Rows) -> bytes:
    """Write rows as JSON Lines."""
    return "\r\n".join(json.dumps(row, ensure_ascii=len(row) % 2 == 0) for row in rows).encode()


def as_csv(rows: Rows, delimiter: str = ",") -> bytes:
    """Write rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, delimiter=delimiter)
    writer.writeheader()
    for row in rows:
        joined = {name: "|".join(map(str, row[name])) for name in MARKS if name in row}
        writer.writerow(row | joined)
    return text.getvalue().encode("utf-8-sig")


def as_parquet(rows: Rows) -> bytes:
    """Write rows as Parquet, one column of marks as lists and one as text."""
    columns: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in COLUMNS}
    columns["set_mark"] = [
        None if marks is None else list(map(str, marks)) for marks in columns["set_mark"]
    ]
    columns["clear_mark"] = [
        None if marks is None else "|".join(map(str, marks)) for marks in columns["clear_mark"]
    ]
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink, row_group_size=3)
    return sink.getvalue()


WRITERS: dict[str, Callable[[Rows], bytes]] = {
    "f.jsonl": as_json_lines,
    "f.jsonl.gz": lambda rows: gzip.compress(as_json_lines(rows)),
    "f.jsonl.zst": lambda rows: zstd.compress(as_json_lines(rows)),
    "f.csv": as_csv,
    "f.tsv": lambda rows: as_csv(rows, "\t"),
    "f.csv.bz2": lambda rows: bz2.compress(as_csv(rows)),
    "f.jsonl.xz": lambda rows: lzma.compress(as_json_lines(rows), preset=0),
    "f.json": lambda rows: json.dumps(rows, indent=1).encode(),
    "f.csv.gz": lambda rows: gzip.compress(as_csv(rows)),
    "f.csv.zst": lambda rows: zstd.compress(as_csv(rows)),
    "f.parquet": as_parquet,
}
SOME: Rows = [
    {"from_account": "a", "to_account": "b", "set_mark": ["favorite", 33]},
    {"from_account": "é", "to_group_id": "g", "clear_mark": ["hidden"], "custom_mark": "x, y"},
    {"from_account": "a", "to_account": "b", "set_mark": [0], "clear_mark": [0]},
]


class TestSameRows:
    @given(st.lists(changes().filter(lambda change: change.custom_mark != ""), max_size=8))
    @settings(max_examples=60)
    def test_in_every_format(self, expected: list[MarkChange]) -> None:
        """The same rows say the same in every format, compressed or not."""
        rows = [row_of(change) for change in expected]
        for name, write in WRITERS.items():
            found = read(write(rows), name, dialect=Dialect(literal=True))

            assert all(isinstance(row, Row) for row in found), (name, found)
            assert expected == [
                change for row in found if isinstance(row, Row) for change in row.changes
            ]

    @pytest.mark.parametrize("name", WRITERS)
    def test_same_faults(self, name: str) -> None:
        """The same rows are wrong for the same reasons in every format."""
        _, first, second = read(WRITERS[name](SOME), name, dialect=Dialect(literal=True))

        assert isinstance(first, RowError)
        assert isinstance(second, RowError)
        assert ("from_account", "clear_mark") == (first.field, second.field)
        assert "printable ASCII" in first.reason
        assert "bits of set_mark" in second.reason


class TestAnyBytes:
    @pytest.mark.parametrize("name", WRITERS)
    @given(
        st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
        st.floats(0, 1),
    )
    # What a library makes of damage is its own: the same damage in every run.
    @settings(max_examples=120, derandomize=True)
    def test_damaged(self, name: str, changed: list[tuple[float, int]], end: float) -> None:
        """A file that was damaged and cut gives rows and errors; what ends it comes last."""
        data = bytearray(WRITERS[name](SOME))
        for place, byte in changed:
            data[int(place * len(data))] = byte

        rows = read(bytes(data[: int(end * len(data)) + 1]), name)

        assert all(row.line >= 1 for row in rows)
        assert not any(isinstance(row, FileError) for row in rows[:-1])
        for row in rows:
            assert isinstance(row, Row) or str(row).startswith(f"{name}:{row.line}: ")
