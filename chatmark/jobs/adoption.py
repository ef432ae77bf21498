"""
What a journal knows of the users of a job, and how it keeps that when the input has changed.

The journal holds a digest of all units of each user, in their order. Where a user's digest is the
same in a changed input, so is every unit of that user, and what was settled stays settled; only its
position is another. All units of the other users are open again: a conversation of theirs may have
got a change that is newer than the one that was sent.
"""

import sqlite3
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from chatmark.jobs.fates import BLOCK
from chatmark.jobs.spool import DIGEST_BYTES, UserUnits

# A page of SQLite holds so many users.
_USERS_AT_ONCE: Final = 300
_USER: Final = struct.Struct(f"<{DIGEST_BYTES}sQ")


def write_users(database: sqlite3.Connection, users: Iterable[UserUnits]) -> None:
    """
    Note the users of a job.
    """
    insert = "INSERT INTO users (users) VALUES (?)"
    batch = bytearray()
    for user in users:
        batch += _USER.pack(user.digest, user.count)
        if len(batch) >= _USERS_AT_ONCE * _USER.size:
            database.execute(insert, (batch,))
            batch.clear()
    if batch:
        database.execute(insert, (batch,))


def move_fates(database: sqlite3.Connection, users: Iterable[UserUnits]) -> int:
    """
    Give what is settled the positions that it has in a job of other users and units.

    Returns:
        How many units are settled there.
    """
    for statement in (
        "CREATE TEMP TABLE known (digest BLOB PRIMARY KEY, first INTEGER, count INTEGER)",
        "ALTER TABLE fates RENAME TO old_fates",
        "ALTER TABLE refusals RENAME TO old_refusals",
        "CREATE TABLE fates (number INTEGER PRIMARY KEY, fates BLOB NOT NULL)",
        "CREATE TABLE refusals (position INTEGER PRIMARY KEY, reason INTEGER, attempts INTEGER)",
    ):
        database.execute(statement)
    database.executemany("INSERT OR REPLACE INTO known VALUES (?,?,?)", _known(database))
    database.execute("DELETE FROM users")
    mover = _Mover(database)
    write_users(database, mover.moved(users))
    mover.flush()
    for table in ("known", "old_fates", "old_refusals"):
        database.execute(f"DROP TABLE {table}")
    return mover.kept


class _Mover:
    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._number = 0
        self._fates = bytearray()
        self.kept = 0

    def moved(self, users: Iterable[UserUnits]) -> Iterator[UserUnits]:
        for user in users:
            known = self._database.execute(
                "SELECT first FROM known WHERE digest = ? AND count = ?", (user.digest, user.count)
            ).fetchone()
            if known is None:
                self._append(bytes(user.count))
            else:
                for piece in self._old(known[0], user.count):
                    self._append(piece)
                self._move_refusals(known[0], user)
            yield user

    def flush(self) -> None:
        if any(self._fates):
            self.kept += len(self._fates) - self._fates.count(0)
            self._database.execute("INSERT INTO fates VALUES (?,?)", (self._number, self._fates))
        self._number += 1
        self._fates.clear()

    def _append(self, piece: bytes) -> None:
        while piece:
            room = BLOCK - len(self._fates)
            self._fates += piece[:room]
            piece = piece[room:]
            if len(self._fates) == BLOCK:
                self.flush()

    def _old(self, first: int, count: int) -> Iterator[bytes]:
        end = first + count
        while first < end:
            number, start = divmod(first, BLOCK)
            size = min(BLOCK - start, end - first)
            row = self._database.execute(
                "SELECT fates FROM old_fates WHERE number = ?", (number,)
            ).fetchone()
            yield bytes(size) if row is None else row[0][start : start + size].ljust(size, b"\0")
            first += size

    def _move_refusals(self, first: int, user: UserUnits) -> None:
        self._database.execute(
            "INSERT INTO refusals SELECT position + ?, reason, attempts FROM old_refusals"
            " WHERE position >= ? AND position < ?",
            (user.first - first, first, first + user.count),
        )


def _known(database: sqlite3.Connection) -> Iterator[tuple[bytes, int, int]]:
    first = 0
    for (users,) in database.execute("SELECT users FROM users ORDER BY number"):
        for digest, count in _USER.iter_unpack(users):
            yield digest, first, count
            first += count
