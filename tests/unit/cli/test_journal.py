import json
import os
import pathlib
import random
import re
import resource
import shlex
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from cli_run import Run, write_lines
from job_rig import Server, scattered, write_rows
from rig import model_state

from chatmark.changes import MarkChange
from chatmark.emulator import EmulatorOptions, EmulatorThread

ROWS = 1_500
JOB = "apply rows.jsonl --journal journal --rate 0 --max-in-flight 2"


@pytest.fixture
def chatmark_emulator_options() -> EmulatorOptions:
    """Let all users exist."""
    return {"calls_per_second": None}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Run a server in its own process, with a round trip of some milliseconds."""
    with Server(keep_calls=None, round_trip=0.02) as server:
        yield server


@pytest.fixture
def slow(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Point the command line to the server."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def changes(request: pytest.FixtureRequest, folder: pathlib.Path) -> list[MarkChange]:
    """Write rows.jsonl, with users that no other test has."""
    name = f"{hash(request.node.name) % 10**9}"
    made = list(scattered(ROWS, 15, random.Random(1), repeats=0.1, prefix=f"{name}_"))
    write_rows(folder / "rows.jsonl", made)
    return made


def units_of(changes: list[MarkChange]) -> int:
    """Return the number of conversations of some changes."""
    return len({(change.from_account, change.conversation) for change in changes})


def state_of(server: Server, changes: list[MarkChange]) -> Any:
    """Return the marks that a server has of the users of some changes."""
    users = {change.from_account for change in changes}
    return {key: value for key, value in server.ask("state").items() if key[0] in users}


def number(pattern: str, text: str) -> int:
    """Return the number that a text has at a place."""
    found = re.search(pattern, text)
    assert found is not None, text
    return int(found[1].replace(",", ""))


class TestKilled:
    def test_goes_on(self, slow: Server, changes: list[MarkChange], run: Run) -> None:
        """A job killed at random moments continues, and ends with the same result."""
        rng = random.Random(1)
        before = slow.ask("items")
        for _ in range(3):
            sent = slow.ask("items")
            process = slow.start(*JOB.split())
            slow.wait_for(sent + rng.randrange(1, 450))
            process.kill()
            process.communicate()
        status, out, err = run(JOB)

        assert 0 == status, err
        assert "1,500 took effect" in out
        assert "were settled by earlier runs" in out
        assert model_state(changes) == state_of(slow, changes)
        # Two requests may have been in flight, and as many been answered since the last write.
        assert slow.ask("items") - before <= units_of(changes) + 3 * 400
        assert [] == slow.ask("violations")

    def test_full_disk(self, slow: Server, changes: list[MarkChange], run: Run) -> None:
        """A job whose journal cannot grow stops, says how to continue, and continues."""

        def small() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (42_000, resource.RLIM_INFINITY))

        before = slow.ask("items")
        # At this pace what is settled is written often, however busy the machine.
        status, _, err = slow.run(*JOB.split(), "-q", "--rate", "40", preexec_fn=small)
        sent = slow.ask("items") - before
        again = run(JOB)

        assert 3 == status
        assert "error: stopped: " in err
        assert "journal: disk I/O error" in err
        assert "to continue: chatmark apply" in err
        assert 0 < sent < units_of(changes)
        assert (0, True) == (again.status, "were settled by earlier runs" in again.out)
        assert model_state(changes) == state_of(slow, changes)
        assert slow.ask("items") - before <= units_of(changes) + 600


class TestStopped:
    @pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGHUP, 143)])
    def test_goes_on(
        self, slow: Server, changes: list[MarkChange], sent: signal.Signals, status: int, run: Run
    ) -> None:
        """A signal ends a job after the requests in flight; it says how to continue."""
        before = slow.ask("items")
        process = slow.start(*JOB.split())
        slow.wait_for(before + 500)
        process.send_signal(sent)
        out, err = process.communicate(timeout=20)
        command = err.splitlines()[-1].partition("to continue: chatmark ")[2]
        again = run(command)

        assert status == process.returncode
        assert "error: stopping after the requests in flight" in err
        assert "Traceback" not in err
        assert "were not sent" in out
        assert JOB.split() == shlex.split(command)
        assert (0, True) == (again.status, "1,500 took effect" in again.out)
        assert number(r"interrupted: ([\d,]+) of 1,500 changes are settled", err) == number(
            r"([\d,]+) of these were settled by earlier runs", again.out
        )
        assert units_of(changes) == slow.ask("items") - before
        assert model_state(changes) == state_of(slow, changes)

    def test_twice(self, slow: Server, changes: list[MarkChange], run: Run) -> None:
        """A second Ctrl-C does not wait, and the journal keeps the settled changes."""
        before = slow.ask("items")
        process = slow.start(*JOB.split(), "--journal-sync", "0")
        slow.wait_for(before + 500)
        slow.wait_for(slow.ask("hang") + 1)
        locked = run(JOB)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        slow.ask("wake")
        again = run(JOB)

        assert "press Ctrl-C again to stop at once" in said
        assert (2, True) == (locked.status, "is in use by another process" in locked.err)
        assert 130 == process.returncode
        assert "were sent, but no answer tells their effect" in out
        assert "the job was stopped before the outcome was known" in out
        assert "Traceback" not in err
        assert (0, True) == (again.status, "1,500 took effect" in again.out)
        assert number(r"interrupted: ([\d,]+) of 1,500 changes are settled", err) == number(
            r"([\d,]+) of these were settled by earlier runs", again.out
        )
        assert slow.ask("items") - before <= units_of(changes) + 200
        assert model_state(changes) == state_of(slow, changes)


@pytest.mark.usefixtures("changes")
class TestWhole:
    def test_changed(self, slow: Server, run: Run) -> None:
        """A changed file is refused, unless --accept-changed-input continues with it."""
        first = run(f"{JOB} --keep-journal")
        path = pathlib.Path("rows.jsonl")
        lines = path.read_text("utf-8").splitlines(keepends=True)
        path.write_text("".join(lines[:-1]), "utf-8")
        second = run(JOB)
        before = slow.ask("items")
        third = run(f"{JOB} --accept-changed-input")

        assert (0, 2, 0) == (first.status, second.status, third.status)
        assert "is of other rows: 1,500 changes of" in second.err
        assert "--accept-changed-input" in second.err
        # One user of fifteen has other rows.
        assert 0 < slow.ask("items") - before <= 100

    def test_outputs(self, slow: Server, run: Run) -> None:
        """A job writes the requested files, and no others."""
        del slow
        with pathlib.Path("rows.jsonl").open("a", encoding="utf-8") as rows:
            rows.write("x\n")
        status, out, err = run(f"{JOB} --report r --html h --failed f --max-errors 1")
        document = json.loads(pathlib.Path("r").read_text("utf-8"))
        names = ("changes", "applied", "set_aside")

        assert 1 == status
        assert "1 row was set aside" in out
        assert (1_501, 1_500, 1) == tuple(document[name] for name in names)
        assert "x" == json.loads(pathlib.Path("f").read_text("utf-8"))["_raw"]
        assert "</html>" in pathlib.Path("h").read_text("utf-8")
        assert "not everything took effect; keep" in err
        files = {each.name for each in pathlib.Path().iterdir()}
        assert {"rows.jsonl", "r", "h", "f", "journal"} == files


class TestBroken:
    @pytest.mark.parametrize("name", ["", ":memory:", "file:j", "file:j?mode=memory", ".", "fifo"])
    def test_names(self, name: str, emulator: EmulatorThread, run: Run) -> None:
        """A journal is a file: SQLite's special names are refused."""
        os.mkfifo("fifo")
        write_lines("rows.jsonl", {"from_account": "amy", "to_account": "bob", "set_mark": 0})
        status, _, err = run(f"apply rows.jsonl --journal '{name}'")

        assert (2, True) == (status, "must be" in err)
        assert {"fifo", "rows.jsonl"} == {each.name for each in pathlib.Path().iterdir()}
        assert not emulator.counts

    @pytest.mark.parametrize("seed", range(10))
    def test_bytes(self, seed: int, emulator: EmulatorThread, run: Run) -> None:
        """Whatever the bytes of a journal are, the job runs, or a message says what to do."""
        del emulator
        write_rows(pathlib.Path("rows.jsonl"), scattered(60, 5, random.Random(1)))
        run("apply rows.jsonl --journal j --keep-journal")
        path = pathlib.Path("j")
        data = bytearray(path.read_bytes())
        rng = random.Random(seed)
        for _ in range(rng.randrange(1, 200)):
            data[rng.randrange(100, len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice((len(data), rng.randrange(len(data))))])
        status, _, err = run("apply rows.jsonl --journal j --keep-journal")

        assert status in {0, 2}, err
        assert "fault of chatmark" not in err
        if status == 2:
            assert re.search(r"everything again|another name|--accept-changed-input", err), err
