import contextlib
import errno
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator

import attrs
import pytest

from chatmark.jobs.fates import BLOCK
from chatmark.jobs.journal import ChangedInputError, JobKey, Journal, JournalError, Refusal, Run
from chatmark.jobs.spool import UserUnits

KEY = JobKey("1400000001 at https://example.com", "00ff", 3, 4, "rows.jsonl")
USERS = [UserUnits("amy", 0, 2, b"amy-----"), UserUnits("zoe", 2, 1, b"zoe-----")]


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    """
    Give the name of a journal.
    """
    return str(tmp_path / "journal")


@contextlib.contextmanager
def begun(path: str, users: list[UserUnits] | None = None) -> Iterator[Journal]:
    """
    Give a journal that belongs to a job.
    """
    with Journal(path) as journal:
        journal.begin(KEY, USERS if users is None else users)
        yield journal


def log_of(path: str) -> pathlib.Path:
    """
    Return where SQLite writes first.
    """
    return pathlib.Path(f"{path}-wal")


class TestContent:
    def test_round_trip(self, path: str) -> None:
        """
        What was written is there when the journal is opened again.
        """
        refusals = [Refusal(1, 50001, "no such user", 2), Refusal(2, 50001, "no such user", 1)]
        with begun(path) as journal:
            journal.write({0: b"\1\3\3"}, refusals, Run(5, 250, 3, 1.5), sync=False)
        with Journal(path) as again:
            assert KEY == again.key
            assert [(0, b"\1\3\3")] == list(again.fates())
            assert refusals == list(again.refusals())
            assert Run(5, 250, 3, 1.5, 1) == again.runs()

    def test_newest_counts(self, path: str) -> None:
        """
        A block, a refusal and the run's own record take the place of what was written before.
        """
        with begun(path) as journal:
            journal.write({0: b"\0\0\1"}, [Refusal(1, 51008, "", 1)], Run(1, 1, 0, 1.0), sync=False)
            journal.write({0: b"\1\1\1"}, [Refusal(1, 51008, "", 1)], Run(2, 3, 0, 2.0), sync=True)

            assert [(0, b"\1\1\1")] == list(journal.fates())
            assert [Refusal(1, 51008, "", 1)] == list(journal.refusals())
            assert Run(2, 3, 0, 2.0, 1) == journal.runs()

    def test_runs_add_up(self, path: str) -> None:
        """
        Each time that the journal is opened is a run of its own.
        """
        with begun(path) as journal:
            journal.write({}, [], Run(5, 250, 3, 1.5), sync=False)
        with Journal(path) as again:
            again.write({}, [], Run(1, 50, 0, 0.5), sync=False)

            assert Run(6, 300, 3, 2.0, 2) == again.runs()

    def test_small(self, path: str) -> None:
        """
        A million units that all are refused take a few bytes each.
        """
        blocks = dict.fromkeys(range(1000000 // BLOCK), b"\x03" * BLOCK)
        with begun(path) as journal:
            journal.write(blocks, [], Run(), sync=False)
        applied = pathlib.Path(path).stat().st_size
        with Journal(path) as journal:
            refusals = [Refusal(position, 50001, "no such user", 1) for position in range(100_000)]
            journal.write({}, refusals, Run(), sync=False)
        refused = pathlib.Path(path).stat().st_size - applied

        assert applied <= 1.2 * 1_000_000
        assert refused <= 14 * 100_000


class TestBelonging:
    def test_same(self, path: str) -> None:
        """
        A job's own journal is taken, whatever its input is called now.
        """
        with begun(path) as journal:
            journal.check(attrs.evolve(KEY, input="moved.jsonl"))

    def test_other_rows(self, path: str) -> None:
        """
        A journal of other rows is refused, and it is said what differs.
        """
        with begun(path) as journal, pytest.raises(ChangedInputError) as caught:
            journal.check(attrs.evolve(KEY, digest="ff00", units=5, changes=6, input="new.csv"))

        assert (
            f"journal: {path} is of other rows: 4 changes of 3 conversations from rows.jsonl; "
            "now it is 6 of 5 from new.csv"
        ) == str(caught.value)

    def test_other_target(self, path: str) -> None:
        """
        So is a journal of another application or server.
        """
        with begun(path) as journal, pytest.raises(JournalError, match="not for elsewhere"):
            journal.check(attrs.evolve(KEY, target="elsewhere"))

    def test_empty_file(self, path: str) -> None:
        """
        An empty file becomes a journal.
        """
        pathlib.Path(path).touch()
        with begun(path) as journal:
            assert KEY == journal.key

    @pytest.mark.parametrize("content", [b"from_account,to_account\n" * 100, b"x"])
    def test_no_database(self, path: str, content: bytes) -> None:
        """
        A file that is something else is refused, and left as it is.
        """
        pathlib.Path(path).write_bytes(content)
        with pytest.raises(JournalError, match="is no journal of chatmark"):
            Journal(path)

        assert content == pathlib.Path(path).read_bytes()

    def test_other_database(self, path: str) -> None:
        """
        So is somebody else's database.
        """
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE users (name)")
            other.commit()
        before = pathlib.Path(path).read_bytes()
        with pytest.raises(JournalError, match="is no journal of chatmark"):
            Journal(path)

        assert before == pathlib.Path(path).read_bytes()

    def test_other_version(self, path: str) -> None:
        """
        A journal of a later version is refused.
        """
        with begun(path) as journal:
            journal._db.execute("PRAGMA user_version = 9")
        with pytest.raises(JournalError, match="is of version 9"):
            Journal(path)

    def test_directory(self, tmp_path: pathlib.Path) -> None:
        """
        What cannot be opened is one plain error.
        """
        with pytest.raises(JournalError, match="cannot be used"):
            Journal(str(tmp_path))


class TestLock:
    def test_second_process(self, path: str) -> None:
        """
        A second process is told that the first has it; the lock goes with the first, however.
        """
        code = (
            "import sys, time\n"
            "from chatmark.jobs.journal import Journal\n"
            f"journal = Journal({path!r})\n"
            "print('open', flush=True)\n"
            "time.sleep(60)\n"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert b"open\n" == process.stdout.readline()
            with pytest.raises(JournalError, match="is in use by another process"):
                Journal(path)
            os.kill(process.pid, signal.SIGKILL)
        with begun(path) as journal:
            assert KEY == journal.key

    def test_same_process(self, path: str) -> None:
        """
        Nor do two jobs of one process share a journal.
        """
        with begun(path), pytest.raises(JournalError, match="is in use"):
            Journal(path)


class TestSurvival:
    def torn(self, path: str, to: str) -> list[bytes]:
        """
        Write 30 records, as a process that is killed leaves them, to another place.
        """
        records = []
        with begun(path) as journal:
            for number in range(1, 31):
                records.append(bytes([1] * number + [0] * (30 - number)))
                journal.write({0: records[-1]}, [], Run(calls=number), sync=False)
            shutil.copy(path, to)
            shutil.copy(log_of(path), log_of(to))
        return records

    def test_killed(self, path: str) -> None:
        """
        Every record is there after the process was killed: none waits in its memory.
        """
        records = self.torn(path, f"{path}2")
        with Journal(f"{path}2") as journal:
            assert [(0, records[-1])] == list(journal.fates())

    @pytest.mark.parametrize("seed", range(12))
    def test_torn(self, path: str, seed: int) -> None:
        """
        A log that ends anywhere, or whose end is garbage, is read up to its last whole record.
        """
        records = self.torn(path, f"{path}2")
        rng = random.Random(seed)
        log = log_of(f"{path}2")
        content = log.read_bytes()
        # The first records made the journal what it is: they were synced before the job began.
        cut = rng.randrange(len(content) // 2, len(content))
        garbage = rng.randbytes(len(content) - cut) if seed % 2 else b""
        log.write_bytes(content[:cut] + garbage)
        with Journal(f"{path}2") as journal:
            ((_, fates),) = journal.fates()
            number = fates.count(1)

            assert records[number - 1] == fates
            assert number >= 30 * cut // len(content) - 16
            assert number == journal.runs().calls

    def test_damaged(self, path: str) -> None:
        """
        A journal whose pages are garbage is said to be damaged, not believed.
        """
        with begun(path) as journal:
            journal.write(dict.fromkeys(range(50), b"\x01" * BLOCK), [], Run(), sync=True)
        content = bytearray(pathlib.Path(path).read_bytes())
        for page in range(1, len(content) // 4096):
            content[page * 4096 : page * 4096 + 64] = os.urandom(64)
        pathlib.Path(path).write_bytes(content)
        with pytest.raises(JournalError, match="damaged"):
            Journal(path)

    def test_synced(self, path: str) -> None:
        """
        A record that is to reach the disk does so before the write returns, others need not.
        """
        said: list[str] = []
        with begun(path) as journal:
            journal._db.set_trace_callback(said.append)
            journal.write({}, [], Run(), sync=False)
            journal.write({}, [], Run(), sync=True)
            journal._db.set_trace_callback(None)
        modes = [line for line in said if "synchronous" in line or line == "COMMIT"]

        assert [
            *("PRAGMA synchronous = NORMAL", "COMMIT"),
            *("PRAGMA synchronous = FULL", "COMMIT"),
        ] == modes


class TestRoom:
    def fill(self, journal: Journal) -> OSError:
        """
        Write until there is no room; return what is raised then.
        """
        journal._db.execute("PRAGMA max_page_count = 40")
        for number in range(100):
            try:
                journal.write({number: b"\1" * BLOCK}, [], Run(calls=number), sync=False)
            except OSError as error:
                return error
        raise AssertionError

    def test_full_disk(self, path: str) -> None:
        """
        A full disk is an error of the system; what was written before is there.
        """
        with begun(path) as journal:
            error = self.fill(journal)
            before = list(journal.fates())
        with Journal(path) as again:
            assert before == list(again.fates())
            assert again.runs().calls == len(before) - 1

        assert (errno.ENOSPC, path) == (error.errno, error.filename)

    def test_room_again(self, path: str) -> None:
        """
        The journal goes on when there is room again.
        """
        with begun(path) as journal:
            self.fill(journal)
            journal._db.execute("PRAGMA max_page_count = 400")
            journal.write({99: b"\1"}, [], Run(), sync=True)

            assert (99, b"\1") == list(journal.fates())[-1]


class TestEnd:
    def test_removed(self, path: str) -> None:
        """
        A journal that is done with leaves nothing behind.
        """
        journal = Journal(path)
        journal.begin(KEY, USERS)
        journal.write({0: b"\1"}, [], Run(), sync=False)
        journal.close(remove=True)

        assert [] == list(pathlib.Path(path).parent.iterdir())

    def test_kept(self, path: str) -> None:
        """
        One that is kept is one file.
        """
        with begun(path):
            pass

        assert ["journal"] == [each.name for each in pathlib.Path(path).parent.iterdir()]
