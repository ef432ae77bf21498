import json
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from cli_run import Run

from chatmark.emulator import EmulatorOptions, EmulatorThread, Status
from chatmark.jobs.sources.files import ChangeFile

USERS = [f"user_{number:04}" for number in range(300)]


@pytest.fixture
def chatmark_emulator_options() -> EmulatorOptions:
    """Import the users, and disable the rate limit."""
    return {"calls_per_second": None, "users": USERS}


@pytest.fixture(autouse=True)
def marks(emulator: EmulatorThread) -> None:
    """Give marks to the emulator, and write the list of its users."""
    pathlib.Path("users.txt").write_text("\n".join(USERS))
    for user in USERS:
        for number in range(3):
            emulator.state.seed_mark(user, (1, f"peer_{number}"), 9, "é", timestamp=0)


def applied(path: str) -> dict[tuple[str, int, str], tuple[int, str]]:
    """Return the marks of an empty server after an export was applied to it."""
    return {
        (each.from_account, int(each.conversation.type), each.conversation.id): (
            int(each.set_mark),
            each.custom_mark or "",
        )
        for each in ChangeFile.of(path).changes()
    }


class TestExport:
    @pytest.mark.parametrize("out", ["out.jsonl", "out.csv", "out.parquet"])
    def test_to_file(self, out: str, emulator: EmulatorThread, run: Run) -> None:
        """An export holds all marks of its users, in a form that apply reads."""
        status, _, err = run(f"export users.txt --output {out} --rate 0")

        assert 0 == status
        assert applied(out) == emulator.state.snapshot()
        assert f"900 conversations of 300 users in {out}" in err
        assert {"users.txt", out} == {each.name for each in pathlib.Path().iterdir()}

    def test_to_standard_output(self, run: Run) -> None:
        """Without a file, rows go to standard output and messages to standard error."""
        status, out, err = run("export - --format csv", b"user_0001\nuser_0001\n")

        assert 0 == status
        assert 4 == out.count("\n")
        assert out.startswith("from_account,to_account,")
        assert "3 conversations of 1 user" in err

    def test_failures(self, emulator: EmulatorThread, run: Run) -> None:
        """Unreadable users are printed, and written as a list to read again."""
        pathlib.Path("users.txt").write_text("user_0001\nnobody\nuser_0002\n")
        emulator.script.always(Status(502), account="user_0002")
        line = "export users.txt --output out.jsonl --failed failed.jsonl --deadline 0"
        status, _, err = run(line)
        rows = map(json.loads, pathlib.Path("failed.jsonl").read_text().splitlines())

        assert 1 == status
        assert "2 users could not be read" in err
        assert "nobody: 50001: the user account is not imported" in err
        assert "user_0002: " in err
        assert [("nobody", 50001), ("user_0002", None)] == [
            (row["from_account"], row["_code"]) for row in rows
        ]
        assert 3 == len(applied("out.jsonl"))
        emulator.script.clear()
        again = run("export failed.jsonl -q")
        assert (1, 3) == (again.status, again.out.count("user_0002"))

    @pytest.mark.parametrize(
        ("arguments", "status", "message"),
        [
            ("--format parquet", 2, "must be a file for Parquet"),
            ("--output out.xml", 2, "the name ends in none of"),
            # Users that a server did not answer for are its fault, not that of the users.
            ("--base-url http://127.0.0.1:1 --deadline 0.1", 3, "cannot connect to 127.0.0.1:1"),
        ],
    )
    def test_wrong(self, arguments: str, status: int, message: str, run: Run) -> None:
        """An output that cannot be written is an error before anything is read."""
        pathlib.Path("users.txt").write_text("user_0001\n")
        ended = run(f"export users.txt {arguments}")

        assert (status, True) == (ended.status, message in ended.err)

    def test_outage(self, emulator: EmulatorThread, run: Run) -> None:
        """A stopped export says how to continue, and the same command continues it."""
        for user in USERS[100:]:
            emulator.script.always(Status(502), account=user)
        stopped = run("export users.txt --output out.jsonl --rate 0 --deadline 0")
        emulator.script.clear()
        status, _, err = run("export users.txt --output out.jsonl --rate 0")

        assert (3, 0) == (stopped.status, status)
        assert "100 of 300 users are done; to continue: chatmark export" in stopped.err
        assert "continuing: 100 of 300 users are written already" in err
        assert applied("out.jsonl") == emulator.state.snapshot()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stopped(emulator: EmulatorThread, run: Run, number: signal.Signals) -> None:
    """The same command continues an export after any signal."""
    line = "export users.txt -o out.jsonl --rate"
    command = [sys.executable, "-m", "chatmark", *line.split(), "150"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 30
        while sum(emulator.counts.values()) < 70:
            assert time.monotonic() < end, "it never came so far"
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    calls, part = sum(emulator.counts.values()), pathlib.Path("out.jsonl.part")

    assert part.exists()
    if number != signal.SIGKILL:
        assert 143 == process.returncode
        assert "error: interrupted" in err
        assert "users are done; to continue: chatmark export" in err
    again = run(f"{line} 0")

    assert 0 == again.status
    assert number == signal.SIGKILL or "continuing: " in again.err
    assert applied("out.jsonl") == emulator.state.snapshot()
    assert calls < 300
    assert not part.exists()
