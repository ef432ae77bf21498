"""The job of `examples/database_job.py` applies a table, writes back, and goes on after a kill."""

import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pytest
from paths import ROOT

from chatmark.emulator import EmulatorThread, Refuse

psycopg = pytest.importorskip("psycopg")
pytestmark = pytest.mark.skipif(shutil.which("initdb") is None, reason="there is no PostgreSQL")

JOB = [sys.executable, "examples/database_job.py"]
# The server refuses to run as root.
AS_USER = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
ADD = "INSERT INTO mark_changes (from_account, to_account, to_group_id, set_mark, clear_mark,"
ADD += " custom_mark) VALUES (%s, %s, %s, %s, %s, %s)"


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Give a database of its own, on a socket in a folder of its own."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="chatmark-"))
    if AS_USER:
        shutil.chown(folder, "postgres")

    def run(*command: str) -> None:
        subprocess.run([*AS_USER, *command], check=True, cwd=folder, stdout=subprocess.DEVNULL)

    data = str(folder / "data")
    run("initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync")
    options = f"-F -c listen_addresses='' -c unix_socket_directories={folder}"
    run("pg_ctl", "-D", data, "-l", str(folder / "log"), "-o", options, "-w", "start")
    try:
        yield f"host={folder} user=postgres dbname=postgres"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture
def table(database: str) -> Iterator[Any]:
    """Give a connection, with the table of the example empty."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS mark_changes")
        connection.execute((ROOT / "examples" / "mark_changes.sql").read_text("utf-8"))
        yield connection


def states(table: Any) -> dict[tuple[str, int | None], int]:
    """Return how many rows have each state and code."""
    rows = table.execute("SELECT state, code, count(*) FROM mark_changes GROUP BY 1, 2")
    return {(state, code): count for state, code, count in rows}


class TestJob:
    def test_writes_back(
        self,
        table: Any,
        database: str,
        emulator_environment: object,
        chatmark_emulator: EmulatorThread,
    ) -> None:
        """Each row says what became of it."""
        chatmark_emulator.script.item((1, "full"), 51008)
        table.cursor().executemany(
            ADD,
            [
                ("amy", "bob", None, ["favorite", "vip"], [], "later"),
                ("amy", None, "team", ["hidden"], [], None),
                ("amy", "full", None, ["favorite"], [], None),
                ("amy", "bob", None, ["favourite"], [], None),
                ("amy", "bob", "team", ["favorite"], [], None),
                ("amy", "bob", None, [], ["favorite"], ""),
            ],
        )
        subprocess.run([*JOB, database], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

        assert {("applied", 0): 3, ("refused", 51008): 1, ("wrong", None): 2} == states(table)
        assert {
            ("amy", 1, "bob"): (1 << 32, ""),
            ("amy", 2, "team"): (0b1000, ""),
        } == chatmark_emulator.state.snapshot()

    def test_killed(self, table: Any, database: str) -> None:
        """After several kills the state is exact, and no row waits."""
        rng = random.Random(11)
        wanted, rows = {}, []
        for number in range(8_000):
            user, group = f"u{rng.randrange(200)}", f"g{rng.randrange(60)}"
            mark = ["favorite"] if rng.random() < 0.5 else []
            rows.append((user, None, group, mark, [] if mark else ["favorite"], str(number)))
            wanted[user, 2, group] = len(mark), str(number)
        table.cursor().executemany(ADD, rows)
        with EmulatorThread(calls_per_second=None, round_trip=0.02) as emulator:
            environment = os.environ | emulator.credentials_environment()
            for killed in (True, True, False):
                job = subprocess.Popen(
                    [*JOB, database], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
                )
                waiting = states(table).get(("waiting", None), 0)
                while killed and states(table).get(("waiting", None), 0) == waiting:
                    assert job.poll() is None
                    time.sleep(0.002)
                if killed:
                    job.kill()
                job.wait()

            assert 0 == job.returncode
            assert {("applied", 0): 8_000} == states(table)
            assert wanted == emulator.state.snapshot()

    def test_one_at_a_time(self, table: Any, database: str, emulator_environment: object) -> None:
        """A second job is refused while one works."""
        table.execute("SELECT pg_advisory_lock(51008)")
        done = subprocess.run([*JOB, database], cwd=ROOT, check=False, capture_output=True)

        assert (1, b"another job works on the table\n") == (done.returncode, done.stderr)

    def test_application_refused(
        self,
        table: Any,
        database: str,
        emulator_environment: object,
        chatmark_emulator: EmulatorThread,
    ) -> None:
        """A wrong key ends the job with an error; the rows still wait."""
        chatmark_emulator.script.always(Refuse(70009))
        table.execute(ADD, ("amy", "bob", None, ["favorite"], [], None))
        done = subprocess.run([*JOB, database], cwd=ROOT, check=False, capture_output=True)

        assert (1, True) == (
            done.returncode,
            b"ApplicationRefusedError: amy c2c_bob: 70009" in done.stderr,
        )
        assert {("waiting", None): 1} == states(table)
