"""
JSON Lines of an export as Parquet, a row group at a time. Needs the extra `parquet`.
"""

import datetime as dt
import itertools
import json
import pathlib
from typing import Any, Final

from chatmark.jobs.sources.parquet import load_arrow

_ROWS_A_GROUP: Final = 50_000


def write_parquet(source: pathlib.Path, target: pathlib.Path) -> None:
    """
    Write the rows of a file of JSON Lines as Parquet; marks are a list of text there.
    """
    pa, parquet = load_arrow()
    schema = _schema(pa)
    with source.open("rb") as lines, parquet.ParquetWriter(target, schema) as writer:
        while some := list(itertools.islice(lines, _ROWS_A_GROUP)):
            rows = [_row(json.loads(line)) for line in some]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _schema(pa: Any) -> Any:
    numbers = pa.list_(pa.int64())
    return pa.schema(
        {
            "from_account": pa.string(),
            "to_account": pa.string(),
            "to_group_id": pa.string(),
            "set_mark": pa.list_(pa.string()),
            "custom_mark": pa.string(),
            "_group_ids": numbers,
            "_updated_at": pa.timestamp("s", tz="UTC"),
            "_reserved_bits": numbers,
        }
    )


def _row(row: dict[str, Any]) -> dict[str, Any]:
    updated = row.get("_updated_at")
    return row | {
        "set_mark": [str(mark) for mark in row.get("set_mark", ())],
        "_updated_at": None if updated is None else dt.datetime.fromisoformat(updated),
    }
