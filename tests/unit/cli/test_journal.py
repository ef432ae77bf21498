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
from cli_run import Run
from job_rig import Server, scattered, write_rows
from rig import model_state

from chatmark.changes import MarkChange

ROWS = 1_500


@pytest.fixture(scope="module")
def slow() -> Iterator[Server]:
    """Run a server in its own process, with a round trip of some milliseconds."""
    with Server(keep_calls=None, round_trip=0.02) as server:
        yield server


@pytest.fixture
def changes(request: pytest.FixtureRequest) -> list[MarkChange]:
    """Return changes of users that no other test has."""
    name = f"{hash(request.node.name) % 10**9}"
    made = scattered(ROWS, 15, random.Random(1), repeats=0.1, prefix=f"{name}_")
    return list(made)


@pytest.fixture
def job(tmp_path: pathlib.Path, changes: list[MarkChange]) -> list[str]:
    """Return the arguments of a job that sends few changes at a time."""
    write_rows(tmp_path / "rows.jsonl", changes)
    return [
        *("apply", str(tmp_path / "rows.jsonl"), "--journal", str(tmp_path / "journal")),
        *("--rate", "0", "--max-in-flight", "2"),
    ]


def units_of(changes: list[MarkChange]) -> int:
    """Return the number of conversations of some changes."""
    return len({(change.from_account, change.conversation) for change in changes})


def state_of(server: Server, changes: list[MarkChange]) -> Any:
    """Return the marks that a server has of the users of some changes."""
    users = {change.from_account for change in changes}
    return {key: value for key, value in server.ask("state").items() if key[0] in users}


def settled(err: str) -> int:
    """Return the number of settled changes that an interrupted run prints."""
    found = re.search(r"interrupted: ([\d,]+) of 1,500 changes are settled", err)
    return -1 if found is None else int(found[1].replace(",", ""))


def earlier(out: str) -> int:
    """Return the number of changes of earlier runs that a run prints."""
    found = re.search(r"([\d,]+) of these were settled by earlier runs", out)
    return -2 if found is None else int(found[1].replace(",", ""))


class TestKilled:
    def test_goes_on(self, slow: Server, job: list[str], changes: list[MarkChange]) -> None:
        """A job killed at random moments continues, and ends with the same result."""
        rng = random.Random(1)
        before = slow.ask("items")
        for _ in range(4):
            sent = slow.ask("items")
            process = slow.start(*job)
            slow.wait_for(sent + rng.randrange(1, 350))
            process.kill()
            process.communicate()
        status, out, err = slow.run(*job)

        assert 0 == status, err
        assert "1,500 took effect" in out
        assert "were settled by earlier runs" in out
        assert model_state(changes) == state_of(slow, changes)
        # Two requests may have been in flight, and as many been answered since the last write.
        assert slow.ask("items") - before <= units_of(changes) + 4 * 400
        assert [] == slow.ask("violations")

    def test_full_disk(self, slow: Server, job: list[str], changes: list[MarkChange]) -> None:
        """A job whose journal cannot grow stops, says how to continue, and continues."""

        def small() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (42_000, resource.RLIM_INFINITY))

        before = slow.ask("items")
        # At this pace what is settled is written often, however busy the machine.
        status, _, err = slow.run(*job, "-q", "--rate", "40", preexec_fn=small)
        sent = slow.ask("items") - before
        again, out, _ = slow.run(*job)

        assert 3 == status
        assert "error: stopped: " in err
        assert "journal: disk I/O error" in err
        assert "to continue: chatmark apply" in err
        assert 0 < sent < units_of(changes)
        assert 0 == again
        assert "were settled by earlier runs" in out
        assert model_state(changes) == state_of(slow, changes)
        assert slow.ask("items") - before <= units_of(changes) + 600


class TestStopped:
    @pytest.mark.parametrize(
        ("number", "status_then"),
        [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)],
    )
    def test_goes_on(
        self,
        slow: Server,
        job: list[str],
        changes: list[MarkChange],
        number: signal.Signals,
        status_then: int,
    ) -> None:
        """A signal ends a job after the requests in flight; it says how to continue."""
        before = slow.ask("items")
        process = slow.start(*job)
        slow.wait_for(before + 500)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        command = err.splitlines()[-1].partition("to continue: ")[2]
        program, *arguments = shlex.split(command)
        status, done, _ = slow.run(*arguments)

        assert status_then == process.returncode
        assert "error: stopping after the requests in flight" in err
        assert "error: interrupted: " in err
        assert "Traceback" not in err
        assert "were not sent" in out
        assert settled(err) == earlier(done)
        assert ("chatmark", job) == (program, arguments)
        assert (0, True) == (status, "1,500 took effect" in done)
        assert units_of(changes) == slow.ask("items") - before
        assert model_state(changes) == state_of(slow, changes)

    def test_twice(self, slow: Server, job: list[str], changes: list[MarkChange]) -> None:
        """A second Ctrl-C does not wait, and the journal keeps the settled changes."""
        before = slow.ask("items")
        process = slow.start(*job, "--journal-sync", "0")
        slow.wait_for(before + 500)
        slow.wait_for(slow.ask("hang") + 1)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        slow.ask("wake")
        status, done, _ = slow.run(*job)

        assert (
            "error: stopping after the requests in flight; press Ctrl-C again to stop at once"
            in said
        )
        assert 130 == process.returncode
        assert "were sent, but no answer tells their effect" in out
        assert "the job was stopped before the outcome was known" in out
        assert settled(err) == earlier(done)
        assert "Traceback" not in err
        assert (0, True) == (status, "1,500 took effect" in done)
        assert slow.ask("items") - before <= units_of(changes) + 200
        assert model_state(changes) == state_of(slow, changes)

    def test_while_checking(self, slow: Server, tmp_path: pathlib.Path) -> None:
        """After SIGTERM during the check, a message says that nothing was sent."""
        path = tmp_path / "rows.jsonl"
        os.mkfifo(path)
        process = slow.start("apply", str(path), "--dry-run")
        with path.open("w") as pipe:
            # More than a pipe holds: the write returns after the command has begun to read.
            pipe.write("\n" * 200_000)
            pipe.flush()
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=20)

        assert 143 == process.returncode
        assert "was checked: nothing was sent" in err


class TestLocked:
    def test_second_process(self, slow: Server, job: list[str]) -> None:
        """A second process with the same journal is refused while the first runs."""
        before = slow.ask("hang")
        process = slow.start(*job)
        slow.wait_for(before + 1)
        status, _, err = slow.run(*job)
        process.kill()
        process.communicate()
        slow.ask("wake")

        assert 2 == status
        assert "is in use by another process" in err


class TestChanged:
    def test_refused(self, slow: Server, job: list[str], tmp_path: pathlib.Path) -> None:
        """A changed file is refused, unless --accept-changed-input continues with it."""
        first = slow.run(*job, "--keep-journal")
        path = tmp_path / "rows.jsonl"
        lines = path.read_text("utf-8").splitlines(keepends=True)
        path.write_text("".join(lines[:-1]), "utf-8")
        second = slow.run(*job)
        before = slow.ask("items")
        third = slow.run(*job, "--accept-changed-input")

        assert (0, 2, 0) == (first[0], second[0], third[0])
        assert "is of other rows: 1,500 changes of" in second[2]
        assert "--accept-changed-input" in second[2]
        # One user of fifteen has other rows.
        assert 0 < slow.ask("items") - before <= 100


class TestOptions:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--keep-journal"], "--keep-journal needs --journal"),
            (["--accept-changed-input"], "--accept-changed-input needs --journal"),
            (["--journal", "j", "--local"], "--journal needs another server than --local"),
            (["--journal", "rows.jsonl"], "--journal would replace the input"),
            (
                ["--report", "r", "--failed", "r"],
                "--failed would replace what --report writes",
            ),
            (["--report", "rows.jsonl"], "--report would replace the input"),
            (["--max-errors", "1"], "--max-errors needs --failed"),
        ],
    )
    def test_wrong(
        self,
        arguments: list[str],
        message: str,
        tmp_path: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        run: Run,
    ) -> None:
        """A wrong combination of options is one error line, and nothing is sent."""
        monkeypatch.chdir(tmp_path)
        pathlib.Path("rows.jsonl").touch()
        target = [] if "--local" in arguments else ["--base-url", "http://127.0.0.1:1"]
        monkeypatch.setenv("CHATMARK_SDKAPPID", "1400000001")
        monkeypatch.setenv("CHATMARK_SECRET_KEY", "x")
        monkeypatch.delenv("CHATMARK_BASE_URL", raising=False)
        status, _, err = run(["apply", "rows.jsonl", *target, *arguments])

        assert 2 == status
        assert message in err.splitlines()[0]

    @pytest.mark.parametrize("option", ["--journal", "--skip-unchanged", "--verify"])
    def test_standard_input(self, option: str, run: Run) -> None:
        """A job from a pipe cannot have a journal."""
        path = ["j"] if option == "--journal" else []

        status, _, err = run(["apply", "-", "--local", option, *path])

        assert 2 == status
        assert f"{option} needs a file that can be read again" in err


@pytest.mark.usefixtures("emulator_environment")
class TestBroken:
    @pytest.mark.parametrize("name", ["", ":memory:", "file:j", "file:j?mode=memory", ".", "fifo"])
    def test_names(
        self, name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        """A journal is a file: SQLite's special names are refused."""
        monkeypatch.chdir(tmp_path)
        os.mkfifo("fifo")
        pathlib.Path("rows.jsonl").write_text(
            '{"from_account": "amy", "to_account": "bob", "set_mark": 0}'
        )
        status, _, err = run(["apply", "rows.jsonl", "--journal", name])

        assert 2 == status
        assert "must be" in err
        assert {"fifo", "rows.jsonl"} == {each.name for each in tmp_path.iterdir()}

    @pytest.mark.parametrize("seed", range(25))
    def test_bytes(
        self, seed: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        """Whatever the bytes of a journal are, the job runs, or a message says what to do."""
        monkeypatch.chdir(tmp_path)
        write_rows(tmp_path / "rows.jsonl", scattered(60, 5, random.Random(1)))
        job = ["apply", "rows.jsonl", "--journal", "j", "--keep-journal"]
        run(job)
        path = pathlib.Path("j")
        data = bytearray(path.read_bytes())
        rng = random.Random(seed)
        for _ in range(rng.randrange(1, 200)):
            data[rng.randrange(100, len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice((len(data), rng.randrange(len(data))))])
        status, _, err = run(job)

        assert status in {0, 2}, err
        assert "fault of chatmark" not in err
        if status:
            assert re.search(r"everything again|another name|--accept-changed-input", err), err


class TestOutputs:
    def test_all(self, slow: Server, job: list[str], tmp_path: pathlib.Path) -> None:
        """A job writes the requested files, and no others."""
        path = tmp_path / "rows.jsonl"
        path.write_text(path.read_text("utf-8") + "x\n", "utf-8")
        outputs = ("--report", str(tmp_path / "r"), "--html", str(tmp_path / "h"))
        failed = ("--failed", str(tmp_path / "f"), "--max-errors", "1")
        status, out, err = slow.run(*job, *outputs, *failed)
        document = json.loads((tmp_path / "r").read_text("utf-8"))

        assert 1 == status
        assert "1 row was set aside" in out
        assert (1_501, 1_500, 1) == tuple(
            document[name] for name in ("changes", "applied", "set_aside")
        )
        assert "x" == json.loads((tmp_path / "f").read_text("utf-8"))["_raw"]
        assert "</html>" in (tmp_path / "h").read_text("utf-8")
        assert "not everything took effect; keep" in err
        assert {"rows.jsonl", "r", "h", "f", "journal"} == {
            each.name for each in tmp_path.iterdir()
        }

    def test_full_disk(self, slow: Server, job: list[str]) -> None:
        """If a report cannot be written, the exit status is that of changes that were sent."""
        status, out, err = slow.run(*job, "--report", "/dev/full")

        assert 3 == status
        assert "1,500 took effect" in out
        assert "/dev/full: No space left on device" in err
