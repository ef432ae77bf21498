"""Failed rows as Parquet, with the notes of `--failed`."""

import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, Final, final

import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]
from pyarrow import parquet  # pyright: ignore[reportMissingTypeStubs]

from chatmark import InputError
from chatmark.jobs.output_files import publish
from chatmark.jobs.sources.row import RowError, set_aside_row
from chatmark.ray.input.row_tables import file_and_line

_ROWS_A_TABLE: Final = 20_000
_MARKS: Final = ("set_mark", "clear_mark")
_arrow: Any = pa
_parquet: Any = parquet
_TEXT: Final = _arrow.string()
_NUMBER: Final = _arrow.int64()
_BEYOND: Final = 1 << 63
_CHANGES: Final = _arrow.schema(
    {
        "from_account": _TEXT,
        "to_account": _TEXT,
        "to_group_id": _TEXT,
        "set_mark": _arrow.list_(_TEXT),
        "clear_mark": _arrow.list_(_TEXT),
        "custom_mark": _TEXT,
        "_code": _NUMBER,
        "_info": _TEXT,
        "_attempts": _NUMBER,
        "_file": _TEXT,
        "_line": _NUMBER,
        "_rows": _NUMBER,
    }
)
# Every row has the required fields; here they are empty.
_SET_ASIDE: Final = _arrow.schema(
    {
        "from_account": _TEXT,
        "to_account": _TEXT,
        "_error": _TEXT,
        "_file": _TEXT,
        "_line": _NUMBER,
        "_raw": _TEXT,
    }
)


@final
class FailureTables:
    """Reads the file of failures of one worker as tables."""

    def __init__(self, path: pathlib.Path) -> None:
        self._lines = path.open("rb")

    def next(self, names: Sequence[str]) -> Any:
        """Return the next table, None after the last."""
        rows = [json.loads(line) for line in itertools.islice(self._lines, _ROWS_A_TABLE)]
        if not rows:
            self._lines.close()
            return None
        return _arrow.Table.from_pylist([_row(row, names) for row in rows], schema=_CHANGES)


@final
class FailureFolder:
    """A folder of Parquet files with failures."""

    def __init__(self, path: str) -> None:
        self._folder = pathlib.Path(path)
        self._folder.mkdir(parents=True, exist_ok=True)
        if any(self._folder.iterdir()):
            raise InputError("failed", "must be an empty or a new folder", path)
        # Missing permissions are reported before anything is sent.
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied", path)

    def write_set_aside(self, errors: Iterable[RowError]) -> None:
        """Write the rows that cannot be applied, with the reasons."""
        rows = [{"_file": error.file} | set_aside_row(error) for error in errors]
        if rows:
            with self.file("set-aside") as file:
                known = [{name: row.get(name) for name in _SET_ASIDE.names} for row in rows]
                file.write(_arrow.Table.from_pylist(known, schema=_SET_ASIDE))

    def file(self, name: str) -> "FailureFile":
        """Return a file to write as a context manager; without a table it is not made."""
        return FailureFile(self._folder / f"{name}.parquet")


@final
class FailureFile:
    """A Parquet file of a folder; it takes its name when it is complete."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._writer: Any = None

    def write(self, table: Any) -> None:
        """Write a table of rows."""
        if self._writer is None:
            self._writer = _parquet.ParquetWriter(self._part, table.schema)
        self._writer.write_table(table)

    def __enter__(self) -> "FailureFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._writer is None:
            return
        self._writer.close()
        if kind is None:
            publish(self._part, self._path)
        else:
            # The worker is lost: its successor writes everything.
            self._part.unlink()


def _row(row: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    file, line = file_and_line(row["_line"])
    marks = {mark: [str(each) for each in row[mark]] for mark in _MARKS if mark in row}
    code = row.get("_code") or 0
    # A server may send a code that does not fit into 64 bits.
    is_huge = not -_BEYOND <= code < _BEYOND
    codes = {"_code": None, "_info": f"{code}: {row.get('_info') or ''}"} if is_huge else {}
    return row | marks | codes | {"_file": names[file], "_line": line}
