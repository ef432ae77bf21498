"""
Reads an input to its end, groups its changes by user and merges those of one conversation.

Rows come in any order, and a file may have more of them than memory holds. A private SQLite
database without a name keeps them: it stays in SQLite's cache while it is small and spills into a
temporary file otherwise (in `TMPDIR`), as its sorter does. The order of the units depends on the
rows alone, so a unit keeps its position from run to run.
"""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from operator import attrgetter, itemgetter
from typing import Any, Final, Self, final

import attrs
import msgspec

from chatmark import ConversationMark, InputError, MarkChange
from chatmark.jobs.counting import Addable, Phase, counted
from chatmark.jobs.databases import open_private
from chatmark.jobs.sources.row import (
    FileError,
    Record,
    Row,
    RowError,
    change_of,
    mark_of,
    record_of,
    set_aside_row,
)
from chatmark.limits import MAX_ITEMS

# The sorter may take as much again.
_CACHE_KIB: Final = 8 * 1024
_AT_ONCE: Final = 1_000
_MOST_ERRORS: Final = 20
_SCHEMA: Final = """
    CREATE TABLE changes (account TEXT, conversation TEXT, set_mark INTEGER, clear_mark INTEGER,
        custom_mark TEXT, reserved INTEGER, line INTEGER);
    CREATE TABLE units (position INTEGER PRIMARY KEY, account TEXT, conversation TEXT,
        set_mark INTEGER, clear_mark INTEGER, custom_mark TEXT, reserved INTEGER, line INTEGER,
        rows INTEGER, contradicts INTEGER, UNIQUE (account, conversation));
    CREATE TABLE users (account TEXT, first INTEGER PRIMARY KEY, count INTEGER, digest BLOB);
    CREATE TABLE left_out (position INTEGER PRIMARY KEY, label INTEGER);
    CREATE TABLE aside (document TEXT)
"""
# As `chatmark.changes.merge`: the newest change that names a bit decides on it. SQLite numbers rows
# from 1, or from the row of the first statement on.
_GROUP: Final = """
    INSERT INTO units (position) VALUES (-1);
    INSERT INTO units
    SELECT NULL, *, 1, 0 FROM changes WHERE true ORDER BY account, conversation, rowid
    ON CONFLICT DO UPDATE SET
        contradicts = contradicts OR set_mark & excluded.clear_mark
            OR clear_mark & excluded.set_mark
            OR coalesce(custom_mark <> excluded.custom_mark, 0),
        set_mark = set_mark & ~excluded.clear_mark | excluded.set_mark,
        clear_mark = clear_mark & ~excluded.set_mark | excluded.clear_mark,
        custom_mark = coalesce(excluded.custom_mark, custom_mark),
        reserved = reserved OR excluded.reserved,
        rows = rows + 1;
    DELETE FROM units WHERE position = -1
"""
_KEEP: Final = "CREATE INDEX rows_of_units ON changes (account, conversation)"
_DROP: Final = "DROP TABLE changes"


@final
@attrs.define
class Unit:
    """All changes of one conversation as one, with the line of the first."""

    position: int
    change: MarkChange
    rows: int
    line: int


@final
@attrs.define
class UserUnits:
    """The units of one user: *count* from the position *first* on, and a hash over all of them."""

    account: str
    first: int
    count: int
    digest: bytes


@attrs.frozen
class Size(Addable):
    """The changes of an input, the units and users that they make, and the fewest calls."""

    changes: int = 0
    units: int = 0
    users: int = 0
    calls: int = 0


def calls_for(units: int) -> int:
    """Return the fewest calls that can send units of one user."""
    return -(-units // MAX_ITEMS)


def parts_of(units: Iterable[Unit], most: int = MAX_ITEMS) -> Iterator[list[Unit]]:
    """Yield the units of each user in parts, *most* of them or what is left."""
    for _, of_user in itertools.groupby(units, attrgetter("change.from_account")):
        while part := list(itertools.islice(of_user, most)):
            yield part


@final
class Spool(contextlib.AbstractContextManager["Spool"]):
    """
    Takes changes in any order; after `group` it takes no more, and returns them as units.

    After `group` it has a size, its digest identifies the units, and `rows_of` returns rows that it
    was to keep.
    """

    def __init__(self, *, keep_rows: bool = False) -> None:
        self._after = _KEEP if keep_rows else _DROP
        self._database = open_private(_SCHEMA, _CACHE_KIB)
        self._batch: list[Record] = []
        self.changes = 0
        self.size = Size()
        self.digest = ""

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    def dump(self) -> bytes:
        """Return what `group` made, for `restored` in another process."""
        with _room_needed():
            self._database.execute("COMMIT")
            self._database.execute("VACUUM")
            return self._database.serialize()

    @classmethod
    def restored(cls, data: bytes, size: Size, digest: str) -> "Spool":
        """Return the spool that was dumped, with its size and its digest."""
        spool = cls()
        spool._database.execute("COMMIT")
        spool._database.deserialize(data)
        spool._database.execute("BEGIN")
        spool.changes, spool.size, spool.digest = size.changes, size, digest
        return spool

    def add(self, change: MarkChange, line: int) -> None:
        self.add_record(record_of(change, line))

    def add_record(self, record: Record) -> None:
        self._batch.append(record)
        self.changes += 1
        if len(self._batch) >= _AT_ONCE:
            self._flush()

    def set_aside(self, row: dict[str, Any]) -> None:
        with _room_needed():
            self._database.execute("INSERT INTO aside VALUES (?)", (json.dumps(row),))

    def rows_set_aside(self) -> Iterator[dict[str, Any]]:
        for (row,) in self._database.execute("SELECT document FROM aside ORDER BY rowid"):
            yield json.loads(row)

    def group(self) -> None:
        """Sort the changes, and merge those of each conversation."""
        self._flush()
        whole = new_digest()
        units = users = calls = 0
        with _room_needed():
            for statement in (*_GROUP.split(";"), self._after):
                self._database.execute(statement)
            # The digest of a user covers the effect of units, not their lines.
            effects = self._database.execute(
                "SELECT account, conversation, set_mark, clear_mark, custom_mark, reserved"
                " FROM units ORDER BY position"
            )
            for account, of_user in itertools.groupby(effects, itemgetter(0)):
                count, digest = _summed_up(of_user)
                user = (account, units, count, digest)
                self._database.execute("INSERT INTO users VALUES (?,?,?,?)", user)
                whole.update(digest)
                units, users, calls = units + count, users + 1, calls + calls_for(count)
        self.size = Size(self.changes, units, users, calls)
        self.digest = whole.hexdigest()

    def __iter__(self) -> Iterator[Unit]:
        return self.read()

    def read(self, first: int = 0, count: int = -1) -> Iterator[Unit]:
        """Yield the units from a position on, *count* of them or all."""
        return self._units("WHERE position >= ? ORDER BY position LIMIT ?", first, count)

    def rows_of(self, unit: Unit) -> Iterator[Record]:
        return self._database.execute(
            "SELECT * FROM changes WHERE (account, conversation) = (?, ?) ORDER BY rowid",
            record_of(unit.change, unit.line)[:2],
        )

    def kinds(self) -> Iterator[tuple[ConversationMark, ConversationMark, Any, int, int, int]]:
        """
        Yield what units set and clear, and the numbers of units, of their rows, of contradictions.

        The third value is None without a custom mark and 0 if it clears one.
        """
        kinds = self._database.execute(
            "SELECT set_mark, clear_mark, custom_mark <> '', count(*), sum(rows),"
            " sum(contradicts <> 0) FROM units GROUP BY 1, 2, 3"
        )
        for set_mark, clear_mark, *counts in kinds:
            yield mark_of(set_mark), mark_of(clear_mark), *counts

    def contradicting(self, most: int) -> Iterator[Unit]:
        """Yield the first units of which a later row undoes something of an earlier one."""
        return self._units("WHERE contradicts <> 0 ORDER BY position LIMIT ?", most)

    def leave_out(self, labelled: Iterable[tuple[int, int]]) -> Counter[int]:
        """Leave units out of `open_units`, by position and label; count their changes by label."""
        with _room_needed():
            self._database.executemany("INSERT INTO left_out VALUES (?,?)", labelled)
        sums = self._database.execute(
            "SELECT label, sum(rows) FROM left_out JOIN units USING (position) GROUP BY label"
        )
        return Counter(dict(sums))

    def open_units(self) -> Iterator[Unit]:
        return self._units(
            "LEFT JOIN left_out USING (position) WHERE label IS NULL ORDER BY units.position"
        )

    def by_user(self) -> Iterator[UserUnits]:
        users = self._database.execute("SELECT * FROM users ORDER BY first")
        return itertools.starmap(UserUnits, users)

    def _units(self, which: str, *values: int) -> Iterator[Unit]:
        found = self._database.execute(f"SELECT units.* FROM units {which}", values)  # noqa: S608
        for position, *record, rows, _ in found:
            yield Unit(position, change_of(tuple(record)), rows, record[-1])

    def _flush(self) -> None:
        with _room_needed():
            self._database.executemany("INSERT INTO changes VALUES (?,?,?,?,?,?,?)", self._batch)
        self._batch.clear()


def _summed_up(effects: Iterator[tuple[Any, ...]]) -> tuple[int, bytes]:
    """Return the number of the units of a user, and their digest."""
    count, digest = 0, new_digest()
    while some := list(itertools.islice(effects, _AT_ONCE)):
        digest.update(msgspec.msgpack.encode(some))
        count += len(some)
    return count, digest.digest()


def new_digest() -> Any:
    """Return a hash for the units of a user, or for the digests of users in their order."""
    return hashlib.blake2b(digest_size=8)


@contextlib.contextmanager
def _room_needed() -> Generator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        place = os.environ.get("SQLITE_TMPDIR") or os.environ.get("TMPDIR") or "/var/tmp or /tmp"  # noqa: S108
        message = f"no room to group the rows ({error}); TMPDIR says where"
        raise OSError(errno.ENOSPC, message, place) from error


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
        rows = counted(self.rows, "row")
        total = f"{self.bad:,} of {rows} cannot be applied{shown}: nothing was sent"
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
                if len(errors) < _MOST_ERRORS or isinstance(row, FileError):
                    errors.append(row)
                if bad <= max_errors:
                    spool.set_aside(set_aside_row(row))
            if sign is not None and number % _AT_ONCE == 0:
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
