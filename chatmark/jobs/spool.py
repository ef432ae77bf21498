"""
The changes of a file in the order in which they fill requests: by user, one for each conversation.

Rows come in any order, and a file may have more of them than memory holds. SQLite keeps them: in a
private database without a name, which stays in SQLite's cache while it is small and spills into a
temporary file otherwise (in `TMPDIR`), and whose sorter does the same. What is read back is in an
order that depends on nothing but the rows, so a unit keeps its position from run to run.
"""

import errno
import functools
import hashlib
import itertools
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, Final, final

import attrs
import msgspec

from chatmark.jobs.fates import BLOCK
from chatmark.jobs.merging import Record, merged
from chatmark.lane import MAX_ITEMS
from chatmark.marks import ConversationMark
from chatmark.models import Conversation, ConversationType, MarkChange

# What is sorted may take as much again. What is grouped is written and read from end to end.
_SORTED_KIB: Final = 8 * 1024
_GROUPED_KIB: Final = 2 * 1024
_AT_ONCE: Final = 1_000
_A_STATEMENT: Final = 50
# Units that are written and read as one: a record of SQLite for each takes 2 us, this 0.5.
_A_PACK: Final = 250
_ONE_TO_ONE: Final = ConversationType.ONE_TO_ONE
_BITS: Final = 1 << 64
_SIGN: Final = 1 << 63
_MOST_MARKS: Final = 4_096
DIGEST_BYTES: Final = 8


@final
@attrs.define
class Unit:
    """
    All changes of one conversation, as one.

    Args:
        position: Its number in the job, from 0.
        change: The one that has the effect of all of them.
        rows: How many changes it was merged from.
        line: The line of the first of them.
        contradicts: Whether a later one undoes something of an earlier one.
    """

    position: int
    change: MarkChange
    rows: int
    line: int
    contradicts: bool


@final
@attrs.define
class UserUnits:
    """
    The units of one user, which stand together.

    Args:
        account: The user.
        first: The position of the first.
        count: How many there are.
        digest: What tells them from other units: 8 bytes of a hash over all of them.
    """

    account: str
    first: int
    count: int
    digest: bytes

    @property
    def calls(self) -> int:
        """
        The fewest calls that can send them.
        """
        return -(-self.count // MAX_ITEMS)


@final
class Spool:
    """
    Takes changes in any order, and gives them back grouped.

    Nothing can be given before `group` is called, and nothing be added after.

    Attributes:
        changes: How many changes were added.
        units: How many units they are: so many conversations of users.
        users: Of how many users.
        calls: The fewest calls that can send them.
        digest: What tells these units from others, in hexadecimal; "" before `group`.

    >>> with Spool() as spool:
    ...     for conversation in ("b", "a", "b"):
    ...         spool.add(MarkChange("u", Conversation.group(conversation), custom_mark="x"), 1)
    ...     spool.group()
    ...     [(unit.position, str(unit.change.conversation), unit.rows) for unit in spool]
    [(0, 'group_a', 1), (1, 'group_b', 2)]
    """

    def __init__(self) -> None:
        self._added = _open_private(_SORTED_KIB)
        self._added.execute(
            "CREATE TABLE changes (account TEXT, conversation TEXT, set_mark INTEGER,"
            " clear_mark INTEGER, custom_mark TEXT, reserved INTEGER, line INTEGER)"
        )
        self._grouped = _open_private(_GROUPED_KIB)
        self._grouped.execute("CREATE TABLE aside (document TEXT)")
        self._grouped.execute("CREATE TABLE fates (number INTEGER PRIMARY KEY, fates BLOB)")
        self._batch: list[Record] = []
        self._pack_at_hand: tuple[int, list[list[Any]]] = (-1, [])
        self.changes = 0
        self.units = 0
        self.users = 0
        self.calls = 0
        self.digest = ""

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """
        Let go of the files.
        """
        self._added.close()
        self._grouped.close()

    def add(self, change: MarkChange, line: int) -> None:
        """
        Take a change.

        Raises:
            OSError: There is no room for it.
        """
        conversation, batch = change.conversation, self._batch
        set_bits, clear_bits = change.set_mark.value, change.clear_mark.value
        batch.append(
            (
                change.from_account,
                f"{'1' if conversation.type is _ONE_TO_ONE else '2'}{conversation.id}",
                # SQLite's integers have a sign.
                set_bits if set_bits < _SIGN else set_bits - _BITS,
                clear_bits if clear_bits < _SIGN else clear_bits - _BITS,
                change.custom_mark,
                change.allow_reserved,
                line,
            )
        )
        self.changes += 1
        if len(batch) >= _AT_ONCE:
            self._flush()

    def put_aside(self, row: dict[str, Any]) -> None:
        """
        Keep what stands in place of a row that cannot be read.

        Raises:
            OSError: There is no room for it.
        """
        with _room_needed():
            self._grouped.execute("INSERT INTO aside VALUES (?)", (json.dumps(row),))

    def aside(self) -> Iterator[dict[str, Any]]:
        """
        Yield what was put aside.
        """
        for (row,) in self._grouped.execute("SELECT document FROM aside ORDER BY rowid"):
            yield json.loads(row)

    def group(self) -> None:
        """
        Sort what was added, and merge the changes of each conversation.

        Raises:
            OSError: There is no room for it.
        """
        self._flush()
        self._grouped.execute("CREATE TABLE units (number INTEGER PRIMARY KEY, units BLOB)")
        self._grouped.execute(
            "CREATE TABLE users (first INTEGER PRIMARY KEY, account TEXT, count INTEGER,"
            " digest BLOB)"
        )
        whole = hashlib.blake2b(digest_size=DIGEST_BYTES)
        with _room_needed():
            rows = self._added.execute(
                "SELECT * FROM changes ORDER BY account, conversation, rowid"
            )
            for account, of_user in itertools.groupby(merged(rows), itemgetter(0)):
                whole.update(self._insert(account, of_user).digest)
            self._pack(1)
        self._added.close()
        self.digest = whole.hexdigest()

    def __len__(self) -> int:
        return self.units

    def __iter__(self) -> Iterator[Unit]:
        return self.read()

    def read(self, first: int = 0, count: int | None = None) -> Iterator[Unit]:
        """
        Yield the units from a position on, so many or all that follow.
        """
        return map(_unit, itertools.count(first), self._records(first, count))

    def remember(self, number: int, fates: bytes) -> None:
        """
        Keep the fates of a block of units, those of earlier runs.
        """
        with _room_needed():
            self._grouped.execute("INSERT INTO fates VALUES (?,?)", (number, fates))

    def fates(self, number: int) -> bytes:
        """
        Return the fates of a block of units as they were remembered, a byte a unit.
        """
        row = self._grouped.execute(
            "SELECT fates FROM fates WHERE number = ?", (number,)
        ).fetchone()
        size = min(BLOCK, self.units - number * BLOCK)
        return bytes(size) if row is None else row[0][:size].ljust(size, b"\0")

    def open_units(self) -> Iterator[Unit]:
        """
        Yield the units that no earlier run has settled.
        """
        for first in range(0, self.units, BLOCK):
            fates = self.fates(first // BLOCK)
            if not any(fates):
                yield from self.read(first, BLOCK)
            elif 0 in fates:
                for unit in self.read(first, BLOCK):
                    if not fates[unit.position - first]:
                        yield unit

    def changes_by_fate(self) -> Counter[int]:
        """
        Return how many changes earlier runs have settled, by their fate.
        """
        changes: Counter[int] = Counter()
        for number, fates in self._grouped.execute("SELECT number, fates FROM fates"):
            records = self._records(number * BLOCK, BLOCK)
            for fate, (*_, rows, _) in zip(fates, records, strict=False):
                changes[fate] += rows
        del changes[0]
        return changes

    def by_user(self) -> Iterator[UserUnits]:
        """
        Yield the users in the order of their units.
        """
        rows = self._grouped.execute("SELECT account, first, count, digest FROM users")
        while records := rows.fetchmany(_AT_ONCE):
            for record in records:
                yield UserUnits(*record)

    def _flush(self) -> None:
        with _room_needed():
            _insert(self._added, "changes", self._batch)
        self._batch.clear()

    def _records(self, first: int, count: int | None) -> Iterator[list[Any]]:
        left = self.units - first if count is None else min(count, self.units - first)
        number, start = divmod(first, _A_PACK)
        while left > 0:
            records = self._unpacked(number)[start : start + left]
            yield from records
            left -= len(records)
            number, start = number + 1, 0

    def _unpacked(self, number: int) -> list[list[Any]]:
        # Who reads single units reads them in their order, from one pack after another.
        if self._pack_at_hand[0] != number:
            (packed,) = self._grouped.execute(
                "SELECT units FROM units WHERE number = ?", (number,)
            ).fetchone()
            self._pack_at_hand = (number, msgspec.msgpack.decode(packed))
        return self._pack_at_hand[1]

    def _pack(self, fewest: int) -> None:
        """
        Write units that are held, while there are so many.
        """
        batch = self._batch
        while len(batch) >= fewest:
            number = (self.units - len(batch)) // _A_PACK
            packed = msgspec.msgpack.encode(batch[:_A_PACK])
            self._grouped.execute("INSERT INTO units VALUES (?,?)", (number, packed))
            del batch[:_A_PACK]

    def _insert(self, account: str, units: Iterator[Record]) -> UserUnits:
        first = self.units
        digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        while some := list(itertools.islice(units, _AT_ONCE)):
            # Where it stands in the file, and how often, is no part of what it does.
            digest.update("".join([repr(unit[:-3]) for unit in some]).encode())
            self._batch += some
            self.units += len(some)
            self._pack(_A_PACK)
        user = UserUnits(account, first, self.units - first, digest.digest())
        self._grouped.execute(
            "INSERT INTO users VALUES (?,?,?,?)", (first, account, user.count, user.digest)
        )
        self.users += 1
        self.calls += user.calls
        return user


def _open_private(cache: int) -> sqlite3.Connection:
    # Filled by one thread and read by another, never by both at once.
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    for setting in (
        f"cache_size = -{cache}",
        # It holds nothing that is worth more than the process.
        "journal_mode = OFF",
        "synchronous = OFF",
        "temp_store = FILE",
    ):
        database.execute(f"PRAGMA {setting}")
    database.execute("BEGIN")
    return database


def _insert(database: sqlite3.Connection, table: str, records: Sequence[Record]) -> None:
    if not records:
        return
    # A statement for many records takes 0.9 us for each, one for each 1.5.
    one = f"({','.join('?' * len(records[0]))})"
    many = f"INSERT INTO {table} VALUES {','.join([one] * _A_STATEMENT)}"  # noqa: S608
    whole = len(records) - len(records) % _A_STATEMENT
    for start in range(0, whole, _A_STATEMENT):
        some = records[start : start + _A_STATEMENT]
        database.execute(many, list(itertools.chain.from_iterable(some)))
    database.executemany(f"INSERT INTO {table} VALUES {one}", records[whole:])  # noqa: S608


@contextmanager
def _room_needed() -> Generator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        place = os.environ.get("SQLITE_TMPDIR") or os.environ.get("TMPDIR") or "/var/tmp or /tmp"  # noqa: S108
        message = f"no room to group the rows ({error}); TMPDIR says where"
        raise OSError(errno.ENOSPC, message, place) from error


# A file repeats few marks.
@functools.lru_cache(_MOST_MARKS)
def _mark(signed: int) -> ConversationMark:
    return ConversationMark(signed % _BITS)


def _unit(position: int, record: list[Any]) -> Unit:
    account, name, set_mark, clear_mark, custom_mark, reserved, line, rows, contradicts = record
    make = Conversation.one_to_one if name[0] == "1" else Conversation.group
    change = MarkChange(
        account,
        make(name[1:]),
        _mark(set_mark),
        _mark(clear_mark),
        custom_mark,
        allow_reserved=bool(reserved),
    )
    return Unit(position, change, rows, line, contradicts)
