"""Parquet: one row a row, read batch by batch. Needs the extra `parquet`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final

from chatmark import InputError
from chatmark.jobs.sources.lines import UnreadableError
from chatmark.jobs.sources.parser import RowParser
from chatmark.jobs.sources.row import OWN_FIELDS, FileError, Row, RowError

_BATCH_ROWS: Final = 4_000
# Pages are read as they are needed; a column of a row group may be larger than memory.
_BUFFER_BYTES: Final = 1 << 16
_MARKS: Final = frozenset(("set_mark", "clear_mark"))


def read_parquet(
    stream: BinaryIO,
    file: str,
    parser: RowParser,
    groups: Sequence[int] | None = None,
    before: int = 0,
) -> Iterator[Row | RowError]:
    """Yield each row, or its error; a FileError, for example of the columns, is the last."""
    number = before
    try:
        for columns in _batches(stream, parser, groups):
            nothing = [None] * len(next(iter(columns.values())))
            rows = zip(*(columns.get(field, nothing) for field in OWN_FIELDS), strict=True)
            for place, row in enumerate(rows):
                number += 1
                try:
                    change = parser.parse_cells(row)
                except InputError as error:
                    yield RowError.of(file, number, error, _raw(columns, place))
                else:
                    yield Row(number, [change])
    except UnreadableError as error:
        yield FileError.of(file, number + 1, error)
    except InputError as error:
        yield FileError.of(file, 1, error)


def _raw(columns: Mapping[str, list[Any]], place: int) -> str:
    cells = {field: cells[place] for field, cells in columns.items() if cells[place] is not None}
    return json.dumps(cells, ensure_ascii=False, default=repr)


def group_sizes(stream: BinaryIO) -> list[int]:
    """Return how many rows each group of rows has."""
    pa, parquet = load_arrow()
    try:
        metadata = parquet.ParquetFile(stream).metadata
    except (pa.ArrowException, OSError) as error:
        raise UnreadableError(f"cannot be read as Parquet: {error}") from None
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def _batches(
    stream: BinaryIO, parser: RowParser, groups: Sequence[int] | None
) -> Iterator[dict[str, list[Any]]]:
    """Yield the cells of many rows, by field; null is None."""
    if not stream.seekable():
        raise UnreadableError("Parquet is read from its end: give a file, not a pipe")
    pa, parquet = load_arrow()
    try:
        opened = parquet.ParquetFile(stream, pre_buffer=False, buffer_size=_BUFFER_BYTES)
        columns = _columns(pa, opened.schema_arrow, parser)
        batches = opened.iter_batches(
            _BATCH_ROWS, row_groups=groups, columns=list(columns), use_threads=False
        )
        for batch in batches:
            yield {field: _values(pa, batch.column(column)) for column, field in columns.items()}
    except (pa.ArrowException, OSError, OverflowError, UnicodeError) as error:
        # Arrow's own complaints have no number; those of the disk have.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error).partition("\n")[0]
        raise UnreadableError(f"cannot be read as Parquet: {reason}") from None


def load_arrow() -> tuple[Any, Any]:
    """Return pyarrow and its module for Parquet."""
    try:
        import pyarrow as pa  # noqa: PLC0415 # pyright: ignore[reportMissingTypeStubs]
        from pyarrow import parquet  # noqa: PLC0415 # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        raise UnreadableError(
            "is Parquet, which needs pyarrow: pip install 'chatmark[parquet]'"
        ) from None
    return pa, parquet


def _columns(pa: Any, schema: Any, parser: RowParser) -> dict[str, str]:
    """Return the field of each column to read."""
    fields = parser.columns.header(schema.names)
    columns: dict[str, str] = {}
    for column, field in zip(schema.names, fields, strict=True):
        if field is None or field.startswith("_"):
            continue
        type_ = schema.field(column).type
        if not (_is_text(pa, type_) or (field in _MARKS and _is_marks(pa, type_))):
            wanted = "text, numbers or a list of them" if field in _MARKS else "text"
            raise InputError(column, f"is {type_}, not {wanted}")
        columns[column] = field
    return columns


def _plain(pa: Any, type_: Any) -> Any:
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def _is_text(pa: Any, type_: Any) -> bool:
    plain, types = _plain(pa, type_), pa.types
    # Writers of a column of nulls may have no other type for it.
    known = (types.is_string, types.is_large_string, types.is_string_view, types.is_null)
    return any(is_known(plain) for is_known in known)


def _is_marks(pa: Any, type_: Any) -> bool:
    types = pa.types
    if types.is_list(type_) or types.is_large_list(type_):
        type_ = type_.value_type
    return _is_text(pa, type_) or bool(types.is_integer(_plain(pa, type_)))


def _values(pa: Any, column: Any) -> list[Any]:
    """Return a column as Python values."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        # Of text that is not UTF-8 one value may be wrong: it stays bytes, which no field takes.
        return [_value(each) for each in column]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        return error.object
