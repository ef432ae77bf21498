"""Reads an input to its end before anything of it is sent."""

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Final, Self

import attrs

from chatmark import InputError
from chatmark.jobs.counting import Phase
from chatmark.jobs.grouping import Spool
from chatmark.jobs.sources.row import FileError, Row, RowError, set_aside_row

_MOST_KEPT: Final = 20
_ROWS_BETWEEN_SIGNS: Final = 1_000


class BadRowsError(InputError):
    """
    More rows cannot be applied than may be set aside.

    Attributes:
        errors: The errors of the first of them.
        bad: How many they are.
        rows: How many rows there are in all.
    """

    def __init__(self, errors: tuple[RowError, ...], bad: int, rows: int) -> None:
        super().__init__("rows", f"{bad:,} of {rows:,} cannot be applied, such as {errors[0]}")
        self.errors = errors
        self.bad = bad
        self.rows = rows

    @property
    def complaints(self) -> list[str]:
        """The errors as lines to print, and a last line that counts them."""
        more = self.bad - len(self.errors)
        shown = f", {more:,} of them not shown" if more else ""
        total = f"{self.bad:,} of {self.rows:,} rows cannot be applied{shown}: nothing was sent"
        return [*map(str, self.errors), total]


@attrs.frozen
class Loaded:
    """
    The changes of an input, checked and grouped.

    Args:
        name: The name of the input.
        spool: The changes.
        rows: How many rows it has, those that were set aside among them.
        bad: How many rows were set aside.
        phases: Checking and grouping.
    """

    name: str
    spool: Spool
    rows: int
    bad: int
    phases: tuple[Phase, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.spool.close()


def load(
    name: str,
    rows: Iterable[Row | RowError],
    *,
    max_errors: int = 0,
    keep_rows: bool = False,
    sign: Callable[[int], object] | None = None,
    on_group: Callable[[int], object] | None = None,
) -> Loaded:
    """
    Read rows to the end.

    Args:
        name: The name of their source.
        rows: The rows.
        max_errors: How many bad rows may be set aside.
        keep_rows: Whether the spool keeps the rows of units.
        sign: Called at intervals with the number of rows read.
        on_group: Called with the number of changes before they are grouped.

    Raises:
        BadRowsError: More rows cannot be applied.
        OSError: They cannot be read, or there is no room to group them.
    """
    started = time.monotonic()
    number = bad = 0
    errors: list[RowError] = []
    with contextlib.ExitStack() as stack:
        spool = stack.enter_context(Spool(keep_rows=keep_rows))
        add_record = spool.add_record
        for number, row in enumerate(rows, 1):
            if isinstance(row, Row):
                if row.record is not None:
                    add_record(row.record)
                else:
                    for change in row.changes:
                        spool.add(change, row.line)
            else:
                bad += 1
                if len(errors) < _MOST_KEPT or isinstance(row, FileError):
                    errors.append(row)
                if bad <= max_errors:
                    spool.set_aside(set_aside_row(row))
            if sign is not None and number % _ROWS_BETWEEN_SIGNS == 0:
                sign(number)
        # The rows behind a FileError are unknown, so it cannot be set aside.
        if bad > max_errors or any(isinstance(error, FileError) for error in errors):
            raise BadRowsError(tuple(errors), bad, number)
        checked = time.monotonic()
        if on_group is not None:
            on_group(spool.changes)
        spool.group()
        stack.pop_all()
    phases = (
        Phase("check", "rows", number, checked - started),
        Phase("group", "changes", spool.changes, time.monotonic() - checked),
    )
    return Loaded(name, spool, number, bad, phases)
