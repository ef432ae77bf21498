"""
A job that applies the rows of a PostgreSQL table, and writes the outcome of each back.

    pip install 'chatmark[cli]' 'psycopg[binary]'
    chatmark serve                        # in one terminal; it prints the environment
    psql "$DATABASE" -f mark_changes.sql
    python database_job.py "$DATABASE"

The same command continues a job that was stopped, and applies what was added since.
"""

import asyncio
import math
import sys
from collections.abc import AsyncIterator

import attrs
import cattrs
import psycopg
from psycopg.rows import DictRow, dict_row

from chatmark import (
    InputError,
    ItemRefusedError,
    MarkChange,
    MarkNames,
    MarkResult,
    MarkSession,
    OutcomeUnknownError,
)
from chatmark.cattrs import configure

PAGE = 5_000
# By user, so that a call takes a hundred conversations; by id, so that the latest change wins.
READ = """
    SELECT id, from_account, to_account, to_group_id, set_mark, clear_mark, custom_mark
    FROM mark_changes WHERE state = 'waiting' ORDER BY from_account, id
"""
WRITE = """
    UPDATE mark_changes AS m SET state = o.state, code = o.code, info = o.info, settled_at = now()
    FROM unnest(%s::bigint[], %s::text[], %s::int[], %s::text[]) AS o (id, state, code, info)
    WHERE m.id = o.id
"""
# One job at a time: the number is any that no other program uses.
LOCK = "SELECT pg_try_advisory_lock(51008)"

# The id of a row, its new state, the code, and the reason.
Outcome = tuple[int, str, int | None, str]

converter = cattrs.Converter()
configure(converter, names=MarkNames(vip=32))


def change_of(row: DictRow) -> MarkChange:
    """Return the change of a row, which remembers the row's id."""
    tag = row.pop("id")
    fields = {name: value for name, value in row.items() if value is not None and value != []}
    return attrs.evolve(converter.structure(fields, MarkChange), tag=tag)


async def read(
    connection: psycopg.AsyncConnection[DictRow], wrong: list[Outcome]
) -> AsyncIterator[list[MarkChange]]:
    """Yield the changes of the rows that wait, page by page; rows that are wrong go aside."""
    async with connection.cursor("rows") as cursor:
        await cursor.execute(READ)
        while rows := await cursor.fetchmany(PAGE):
            page: list[MarkChange] = []
            for row in rows:
                number = row["id"]
                try:
                    page.append(change_of(row))
                except InputError as error:
                    wrong.append((number, "wrong", None, str(error)))
            yield page


def outcome_of(result: MarkResult) -> Outcome:
    """Return what is written back."""
    if result.error is None:
        return result.change.tag, "applied", result.code, ""
    if isinstance(result.error, ItemRefusedError | OutcomeUnknownError):
        return result.change.tag, "refused", result.code, result.error.reason_alone
    # The application is refused, say: the job ends, and its rows still wait.
    raise result.error


async def write(connection: psycopg.AsyncConnection, outcomes: list[Outcome]) -> None:
    """Write outcomes back in one statement: a newer change is never noted without an older one."""
    if outcomes:
        await connection.execute(WRITE, [list(column) for column in zip(*outcomes, strict=True)])
        outcomes.clear()


async def run(database: str) -> None:
    """Apply all rows that wait."""
    connect = psycopg.AsyncConnection.connect
    async with (
        await connect(database, row_factory=dict_row) as reader,
        await connect(database, autocommit=True) as writer,
        # Without a deadline nothing that can pass fails.
        MarkSession.from_env(deadline=math.inf, close_grace=5.0) as session,
    ):
        if await (await writer.execute(LOCK)).fetchone() != (True,):
            raise SystemExit("another job works on the table")
        outcomes: list[Outcome] = []
        try:
            async for result in session.stream(read(reader, outcomes), ordered=False):
                outcomes.append(outcome_of(result))
                if len(outcomes) >= PAGE:
                    await write(writer, outcomes)
        finally:
            await write(writer, outcomes)
        print(session.stats.succeeded, "changes applied in", session.stats.calls, "calls")


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
