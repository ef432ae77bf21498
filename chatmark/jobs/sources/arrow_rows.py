"""Parquet and Arrow tables: one row a row, read batch by batch. Needs the extra `parquet`."""

import contextlib
import functools
import importlib
import itertools
import json
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final

from chatmark import InputError
from chatmark.jobs.sources.formats import UnreadableError
from chatmark.jobs.sources.parser import RowParser
from chatmark.jobs.sources.row import MARK_FIELDS, OWN_FIELDS, Found

_BATCH_ROWS: Final = 4_000
# Pages are read as they are needed; a column of a row group may be larger than memory.
_BUFFER_BYTES: Final = 1 << 16
# What a few bytes of a file may unpack to: more of it than this for each row is no data of rows.
_MOST_BYTES_A_ROW: Final = 4_096
_MOST_BYTES: Final = 1 << 24
_MOST_MARKS_A_ROW: Final = 64
# Each value of this encoding repeats the one before: no count tells how long they are.
_REPEATING: Final = "DELTA_BYTE_ARRAY"
_FEW_ROWS: Final = 64
# A text that rows share is in the file once, and in memory once a row.
_LONGEST_TEXT: Final = 4_096
_MOST_RAW: Final = 4_096


def read_parquet(
    stream: BinaryIO, parser: RowParser, groups: Sequence[int] | None = None, before: int = 0
) -> Iterator[Found]:
    """Yield the cells of each row, or of some groups of rows, *before* of them left out."""
    if not stream.seekable():
        raise UnreadableError("Parquet is read from its end: give a file, not a pipe")
    with _arrow_errors():
        metadata = load_arrow().parquet.read_metadata(stream)
        columns = _columns(metadata.schema.to_arrow_schema(), parser)
        chosen = range(metadata.num_row_groups) if groups is None else groups
        yield from _cells(_batches(stream, metadata, [*columns], chosen), columns, before)


def read_table(table: Any, parser: RowParser) -> Iterator[Found]:
    """Yield the cells of each row of an object with `__arrow_c_stream__`."""
    with _arrow_errors():
        reader = load_arrow().RecordBatchReader.from_stream(table)
        batches = (
            batch.slice(start, _BATCH_ROWS)
            for batch in reader
            for start in range(0, batch.num_rows, _BATCH_ROWS)
        )
        yield from _cells(batches, _columns(reader.schema, parser), 0)


def _cells(batches: Iterable[Any], columns: Mapping[str, str], number: int) -> Iterator[Found]:
    for batch in batches:
        cells = {field: _values(batch.column(column)) for column, field in columns.items()}
        nothing = [None] * batch.num_rows
        rows = zip(*(cells.get(field, nothing) for field in OWN_FIELDS), strict=True)
        for place, values in enumerate(rows):
            number += 1
            yield number, functools.partial(_raw, cells, place), values


def _raw(columns: Mapping[str, list[Any]], place: int) -> bytes:
    cells = {field: cells[place] for field, cells in columns.items() if cells[place] is not None}
    text = json.dumps(cells, ensure_ascii=False, default=repr)
    # A text that thousands of rows share must not become as many texts.
    return (text if len(text) <= _MOST_RAW else f"{text[:_MOST_RAW]}…").encode()


def group_sizes(stream: BinaryIO) -> list[int]:
    """Return how many rows each group of rows has."""
    with _arrow_errors():
        metadata = load_arrow().parquet.read_metadata(stream)
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def _batches(
    stream: BinaryIO, metadata: Any, columns: Sequence[str], groups: Iterable[int]
) -> Iterator[Any]:
    settings = {"metadata": metadata, "pre_buffer": False, "buffer_size": _BUFFER_BYTES}
    open_file = functools.partial(load_arrow().parquet.ParquetFile, stream, **settings)
    file = open_file()
    for number in groups:
        group = metadata.row_group(number)
        rows = _BATCH_ROWS
        shared: dict[str, str] = {}
        for chunk in map(group.column, range(metadata.num_columns)):
            path = chunk.path_in_schema
            column = next((each for each in columns if f"{path}.".startswith(f"{each}.")), None)
            if column is None:
                continue
            _refuse_bomb(chunk, group.num_rows)
            if _REPEATING in chunk.encodings:
                rows = _FEW_ROWS
            if chunk.has_dictionary_page and chunk.physical_type == "BYTE_ARRAY":
                shared[path] = column
        if shared:
            _refuse_long_texts(open_file(read_dictionary=[*shared]), number, {*shared.values()})
        yield from file.iter_batches(rows, row_groups=[number], columns=columns, use_threads=False)


def _refuse_long_texts(file: Any, group: int, columns: set[str]) -> None:
    """Refuse long texts in the dictionaries of columns: each row that names one would copy it."""
    compute = load_arrow().compute
    settings = {"row_groups": [group], "columns": [*columns], "use_threads": False}
    for batch in file.iter_batches(_BATCH_ROWS, **settings):
        for name in [*columns]:
            column = batch.column(name)
            texts = getattr(getattr(column, "values", column), "dictionary", None)
            # The dictionary of a list is read with its first value.
            if texts is None or len(texts):
                columns.discard(name)
            longest = compute.max(compute.binary_length(texts)).as_py() if texts else None
            if longest is not None and longest > _LONGEST_TEXT:
                raise InputError(name, f"has a text of {longest:,} bytes")
        if not columns:
            return


def _is_text(type_: Any) -> bool:
    types = load_arrow().types
    is_text = (types.is_string, types.is_large_string, types.is_string_view, types.is_null)
    return any(each(type_) for each in is_text)


def _refuse_bomb(chunk: Any, rows: int) -> None:
    """Refuse a column of a group of rows that takes far more memory than rows do."""
    size = chunk.total_uncompressed_size
    if size > _MOST_BYTES + _MOST_BYTES_A_ROW * rows:
        raise InputError(chunk.path_in_schema, f"has {size:,} bytes in {rows:,} rows")
    if chunk.num_values > _MOST_MARKS_A_ROW * rows:
        reason = f"has {chunk.num_values:,} values in {rows:,} rows: a mark has 64 bits"
        raise InputError(chunk.path_in_schema, reason)


@contextlib.contextmanager
def _arrow_errors() -> Generator[None]:
    """Raise Arrow's own errors as UnreadableError; those of the disk have a number."""
    pa = load_arrow()
    try:
        yield
    except (pa.ArrowException, OSError, OverflowError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error).partition("\n")[0]
        raise UnreadableError(f"cannot be read as Parquet: {reason}") from None


def load_arrow(what: str = "Parquet") -> Any:
    """Return pyarrow, with its modules `compute`, `fs` and `parquet`."""
    try:
        import pyarrow as pa  # noqa: PLC0415 # pyright: ignore[reportMissingTypeStubs]

        for module in ("compute", "fs", "parquet"):
            importlib.import_module(f"pyarrow.{module}")
    except ImportError:
        reason = f"is {what}, which needs pyarrow: pip install 'chatmark[parquet]'"
        raise UnreadableError(reason) from None
    return pa


def _columns(schema: Any, parser: RowParser) -> dict[str, str]:
    types = load_arrow().types
    fields = parser.columns.header(schema.names, parser.notes)
    columns: dict[str, str] = {}
    for column, field in zip(schema.names, fields, strict=True):
        if field not in OWN_FIELDS:
            continue
        type_ = schema.field(column).type
        is_list = field in MARK_FIELDS and (types.is_list(type_) or types.is_large_list(type_))
        plain = type_.value_type if is_list else type_
        plain = plain.value_type if types.is_dictionary(plain) else plain
        is_number = types.is_integer(plain) or types.is_floating(plain) or types.is_decimal(plain)
        may_be_number = field != OWN_FIELDS[-1]
        if not (_is_text(plain) or (is_number and may_be_number)):
            wanted = "text or whole numbers" if may_be_number else "text"
            raise InputError(column, f"is {type_}, not {wanted}")
        columns[column] = field
    return columns


def _values(column: Any) -> list[Any]:
    types = load_arrow().types
    if types.is_dictionary(column.type):
        texts = [*_values(column.dictionary), None]
        return [texts[-1 if place is None else place] for place in column.indices.to_pylist()]
    if types.is_list(column.type) or types.is_large_list(column.type):
        values = iter(_values(column.flatten()))
        sizes = column.value_lengths().to_pylist()
        return [None if size is None else [*itertools.islice(values, size)] for size in sizes]
    return list(column.to_pylist())
