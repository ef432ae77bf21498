import io
import json
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from cli_run import Run

from chatmark.__main__ import main
from chatmark.emulator import EmulatorOptions, EmulatorThread, Status
from chatmark.jobs.sources.files import ChangeFile

USERS = [f"user_{number:04}" for number in range(300)]
pytestmark = pytest.mark.usefixtures("emulator_environment")


@pytest.fixture
def chatmark_emulator_options() -> EmulatorOptions:
    """Import the users, and disable the rate limit."""
    return {"calls_per_second": None, "users": USERS}


@pytest.fixture(autouse=True)
def marks(chatmark_emulator: EmulatorThread) -> None:
    """Give marks to the emulator."""
    for user in USERS:
        for number in range(3):
            chatmark_emulator.state.seed_mark(user, (1, f"peer_{number}"), 9, "é", timestamp=0)


@pytest.fixture
def users(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a list of users."""
    path = tmp_path / "users.txt"
    path.write_text("\n".join(USERS))
    return path


def applied(path: pathlib.Path) -> dict[tuple[str, int, str], tuple[int, str]]:
    """Return the marks of an empty server after an export was applied to it."""
    changes = list(ChangeFile.of(str(path)).changes())
    return {
        (each.from_account, int(each.conversation.type), each.conversation.id): (
            int(each.set_mark),
            each.custom_mark or "",
        )
        for each in changes
    }


class TestExport:
    @pytest.mark.parametrize("format_", ["jsonl", "csv", "parquet"])
    def test_to_file(
        self,
        users: pathlib.Path,
        format_: str,
        chatmark_emulator: EmulatorThread,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """An export holds all marks of its users, in a form that apply reads."""
        out = users.with_name(f"out.{format_}")
        status = main(["export", str(users), "--output", str(out), "--rate", "0"])

        assert 0 == status
        assert applied(out) == chatmark_emulator.state.snapshot()
        assert f"900 conversations of 300 users in {out}" in capsys.readouterr().err
        assert {"users.txt", out.name} == {each.name for each in out.parent.iterdir()}

    def test_to_standard_output(
        self, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without a file, rows go to standard output and messages to standard error."""
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"user_0001\nuser_0001\n")))
        status = main(["export", "-", "--format", "csv"])
        captured = capfdbinary.readouterr()

        assert 0 == status
        assert 4 == captured.out.count(b"\n")
        assert captured.out.startswith(b"from_account,to_account,")
        assert b"3 conversations of 1 user" in captured.err

    def test_failures(
        self,
        users: pathlib.Path,
        chatmark_emulator: EmulatorThread,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Unreadable users are printed, and written as a list to read again."""
        users.write_text("user_0001\nnobody\nuser_0002\n")
        chatmark_emulator.script.always(Status(502), account="user_0002")
        out, failed = users.with_name("out.jsonl"), users.with_name("failed.jsonl")
        given = ["--output", str(out), "--failed", str(failed)]
        status = main(["export", str(users), *given, "--deadline", "0"])
        err = capsys.readouterr().err

        assert 1 == status
        assert "2 users could not be read" in err
        assert "nobody: 50001: the user account is not imported" in err
        assert "user_0002: " in err
        assert [("nobody", 50001), ("user_0002", None)] == [
            (row["from_account"], row["_code"])
            for row in map(json.loads, failed.read_text().splitlines())
        ]
        assert 3 == len(applied(out))
        chatmark_emulator.script.clear()
        assert 1 == main(["export", str(failed), "-q"])
        assert 3 == capsys.readouterr().out.count("user_0002")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--format", "parquet"], "Parquet needs a file"),
            (["--output", "out.xml"], "the name ends in none of"),
        ],
    )
    def test_wrong(self, users: pathlib.Path, arguments: list[str], message: str, run: Run) -> None:
        """An output that cannot be written is an error before anything is read."""
        status, _, err = run(["export", str(users), *arguments])

        assert 2 == status
        assert message in err

    def test_no_server(
        self, users: pathlib.Path, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        """Users that a server did not answer for are its fault, not that of the users."""
        monkeypatch.setenv("CHATMARK_BASE_URL", "http://127.0.0.1:1")
        users.write_text("amy\n")
        ended = run(["export", str(users), "--deadline", "0.1"])

        assert 3 == ended.status
        assert "cannot connect to 127.0.0.1:1" in ended.err

    def test_outage(
        self,
        users: pathlib.Path,
        chatmark_emulator: EmulatorThread,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """A stopped export says how to continue, and the same command continues it."""
        for user in USERS[100:]:
            chatmark_emulator.script.always(Status(502), account=user)
        out = users.with_name("out.jsonl")
        given = ["export", str(users), "--output", str(out), "--rate", "0"]
        assert 3 == main([*given, "--deadline", "0"])
        assert "100 of 300 users are done; to continue: chatmark export" in capsys.readouterr().err
        chatmark_emulator.script.clear()
        assert 0 == main(given)
        assert "continuing: 100 of 300 users are written already" in capsys.readouterr().err
        assert applied(out) == chatmark_emulator.state.snapshot()


class TestStopped:
    """An export that is ended from outside."""

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_goes_on(
        self, users: pathlib.Path, chatmark_emulator: EmulatorThread, number: signal.Signals
    ) -> None:
        """The same command continues an export after any signal."""
        out = users.with_name("out.jsonl")
        command = [sys.executable, "-m", "chatmark", "export", str(users), "-o", str(out)]
        part = out.with_name("out.jsonl.part")
        with subprocess.Popen(
            [*command, "--rate", "150"], stderr=subprocess.PIPE, text=True
        ) as process:
            self.wait_for_calls(chatmark_emulator, 70)
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
        calls = sum(chatmark_emulator.counts.values())

        assert part.exists()
        if number != signal.SIGKILL:
            assert (143 if number == signal.SIGTERM else 130) == process.returncode
            assert "error: interrupted" in err
            assert "users are done; to continue: chatmark export" in err
        again = subprocess.run(
            [*command, "--rate", "0"], capture_output=True, check=True, text=True
        )

        assert number == signal.SIGKILL or "continuing: " in again.stderr
        assert applied(out) == chatmark_emulator.state.snapshot()
        assert calls < 300
        assert not part.exists()

    def wait_for_calls(self, emulator: EmulatorThread, calls: int) -> None:
        """Wait until the server has answered so many calls."""
        end = time.monotonic() + 30
        while sum(emulator.counts.values()) < calls:
            assert time.monotonic() < end, "it never came so far"
            time.sleep(0.01)
