import io
import json
import os
import pathlib
import subprocess
import sys

import pytest
from cli_run import Run
from paths import ROOT

from chatmark.__main__ import main
from chatmark.emulator import EmulatorOptions, EmulatorThread, Refuse, Status

EXAMPLES = ROOT / "examples"
SECRET = "example-secret-not-real"
GOOD = '{"from_account": "amy", "to_account": "bob", "set_mark": 0}'
BAD_ROWS = {
    "set_mark: a bit is a number": '{"from_account":"a","to_account":"b","set_mark":[64]}',
    "set_mark: bits 4 to 31": '{"from_account":"a","to_account":"b","set_mark":[7]}',
    "to_group_id: ": '{"from_account":"a","to_account":"b","to_group_id":"g","set_mark":[0]}',
    "clear_mark: ": '{"from_account":"a","to_account":"b","set_mark":[0],"clear_mark":[0]}',
    "custom_mark: has 258 bytes": json.dumps(
        {"from_account": "a", "to_account": "b", "custom_mark": "é" * 129}
    ),
    "set_mark: nothing to change": '{"from_account":"a","to_account":"b"}',
    "set_marks: ": '{"from_account":"a","to_account":"b","set_marks":[0]}',
    "row: is not JSON": '{"from_account":"a","to_account":"b","set_mark":[0]',
    "to_account: must be text, not float": '{"from_account":"a","to_account":5.5,"set_mark":[0]}',
}
pytestmark = pytest.mark.usefixtures("emulator_environment")


@pytest.fixture
def chatmark_emulator_options() -> EmulatorOptions:
    """Disable the rate limit of the emulator."""
    return {"calls_per_second": None, "users": ["amy", "bob", "eve"]}


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a file of three changes."""
    path = tmp_path / "marks.jsonl"
    path.write_text(
        f"{GOOD}\n"
        '{"from_account": "amy", "to_group_id": "g", "clear_mark": "hidden", "custom_mark": "é"}\n'
        '{"from_account": "eve", "to_account": "bob", "set_mark": ["vip"]}\n',
        encoding="utf-8",
    )
    return path


def stdin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Replace standard input with this text."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


class TestApply:
    def test_takes_effect(
        self, file: pathlib.Path, chatmark_emulator: EmulatorThread, run: Run
    ) -> None:
        """The changes of a file take effect, and a summary says so."""
        status, out, _ = run(["apply", str(file), "--names", "vip=40"])

        assert 0 == status
        assert {
            ("amy", 1, "bob"): (1, ""),
            ("amy", 2, "g"): (0, "é"),
            ("eve", 1, "bob"): (1 << 40, ""),
        } == chatmark_emulator.state.snapshot()
        assert "3 changes in 3 rows" in out
        assert "3 took effect" in out

    def test_csv(self, tmp_path: pathlib.Path, chatmark_emulator: EmulatorThread) -> None:
        """The changes of a CSV file take effect."""
        path = tmp_path / "marks.csv"
        path.write_text("from_account,to_account,set_mark\namy,bob,favorite|33\n")
        status = main(["apply", str(path)])

        assert 0 == status
        assert {("amy", 1, "bob"): (1 | 1 << 33, "")} == chatmark_emulator.state.snapshot()

    def test_request_body(self, tmp_path: pathlib.Path, chatmark_emulator: EmulatorThread) -> None:
        """The changes of the vendor's request bodies take effect."""
        path = tmp_path / "marks.jsonl"
        path.write_text(
            '{"From_Account": "amy", "MarkItem": [{"OptType": 3, "ContactItem": {"Type": 1,'
            ' "To_Account": "bob"}, "SetMark": [1, 2], "CustomMark": "abcd"}]}'
        )
        status = main(["apply", str(path)])

        assert 0 == status
        assert {("amy", 1, "bob"): (6, "abcd")} == chatmark_emulator.state.snapshot()

    def test_local(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, chatmark_emulator: EmulatorThread
    ) -> None:
        """`--local` needs neither credentials nor another server."""
        monkeypatch.delenv("CHATMARK_SECRET_KEY")
        status, out, err = run(
            ["apply", str(EXAMPLES / "marks.jsonl"), "--local", "--verify", "--show", "user_0001"]
        )

        assert (0, "") == (status, err)
        assert "5,000 took effect" in out
        assert "3,183 of 3,183 conversations read back are as the file wants" in out
        assert "user_0001: " in out
        assert "重要客户" in out
        assert not chatmark_emulator.counts

    def test_quiet(self, file: pathlib.Path, run: Run) -> None:
        """A quiet run prints nothing if everything took effect."""
        status, out, err = run(["apply", str(file), "--names", "vip=40", "--quiet"])

        assert (0, "", "") == (status, out, err)

    def test_report(self, file: pathlib.Path, tmp_path: pathlib.Path) -> None:
        """The report is JSON."""
        report = tmp_path / "report.json"
        main(["apply", str(file), "--names", "vip=40", "--report", str(report)])
        document = json.loads(report.read_text())

        assert (str(file), True, 3, 3, 0, 2) == (
            document["file"],
            document["ok"],
            document["rows"],
            document["applied"],
            document["refused"],
            document["calls"],
        )

    def test_no_rows(self, tmp_path: pathlib.Path) -> None:
        """A file without rows is applied at once."""
        path = tmp_path / "marks.jsonl"
        path.touch()

        assert 0 == main(["apply", str(path)])


class TestDryRun:
    def test_sends_nothing(
        self, chatmark_emulator: EmulatorThread, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        """A dry run prints the size of the file, and needs no server."""
        monkeypatch.delenv("CHATMARK_BASE_URL")
        status, out, _ = run(["apply", str(EXAMPLES / "marks.jsonl"), "--dry-run"])

        assert 0 == status
        assert "5,000 changes in 5,000 rows, of 50 users and 3,183 conversations" in out
        assert not chatmark_emulator.counts

    def test_standard_input(self, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
        """A dry run checks standard input, too."""
        stdin(monkeypatch, f"{GOOD}\nx\n")
        status, _, err = run(["apply", "-", "--dry-run"])

        assert 2 == status
        assert "<stdin>:2: row: is not JSON" in err


class TestBadRows:
    @pytest.mark.parametrize("message", BAD_ROWS)
    def test_named(
        self, message: str, tmp_path: pathlib.Path, chatmark_emulator: EmulatorThread, run: Run
    ) -> None:
        """The error of a bad row names file, line, field and reason, and nothing is sent."""
        path = tmp_path / "marks.jsonl"
        path.write_text(f"{GOOD}\n{BAD_ROWS[message]}\n{GOOD}\n", encoding="utf-8")
        status, out, err = run(["apply", str(path)])

        assert (2, "") == (status, out)
        assert f"error: {path}:2: {message}" in err
        assert "error: 1 of 3 rows cannot be applied: nothing was sent\n" in err
        assert not chatmark_emulator.counts

    def test_many(self, tmp_path: pathlib.Path, run: Run) -> None:
        """The first twenty are shown, and all are counted."""
        path = tmp_path / "marks.jsonl"
        path.write_text("x\n" * 1_000)
        status, _, err = run(["apply", str(path)])
        lines = err.splitlines()

        assert (2, 21) == (status, len(lines))
        assert "1,000 of 1,000 rows cannot be applied, 980 of them not shown" in lines[-1]

    def test_standard_input(
        self, monkeypatch: pytest.MonkeyPatch, chatmark_emulator: EmulatorThread, run: Run
    ) -> None:
        """A bad row on standard input ends the reading; a message counts the changes before it."""
        stdin(monkeypatch, f"{GOOD}\nx\n{GOOD.replace('bob', 'eve')}\n")
        status, _, err = run(["apply", "-"])

        assert 2 == status
        assert {("amy", 1, "bob"): (1, "")} == chatmark_emulator.state.snapshot()
        assert "error: <stdin>:2: row: is not JSON" in err
        assert "reading stopped there; 1 change before that row took effect" in err


class TestFailures:
    def test_refused_items(self, file: pathlib.Path, tmp_path: pathlib.Path, run: Run) -> None:
        """Failures are printed with code, meaning and advice, and written to be applied again."""
        row = '{"from_account": "amy", "to_account": "nobody", "custom_mark": "x"}'
        file.write_text(f"{GOOD}\n{row}\n")
        failed = tmp_path / "failed.jsonl"
        status, out, _ = run(["apply", str(file), "--failed", str(failed)])
        again = json.loads(failed.read_text())

        assert 1 == status
        assert "1 was refused" in out
        assert "50001: the user account is not imported" in out
        assert "Import the account" in out
        assert "amy c2c_nobody (line 2)" in out
        assert (
            json.loads(row)
            | {"_code": 50001, "_attempts": 1, "_info": again["_info"], "_line": 2, "_rows": 1}
            == again
        )

    def test_again(
        self, file: pathlib.Path, tmp_path: pathlib.Path, chatmark_emulator: EmulatorThread
    ) -> None:
        """The file of failures can be applied again."""
        failed = tmp_path / "failed.jsonl"
        chatmark_emulator.script.item((1, "bob"), 50001)
        first = main(["apply", str(file), "--names", "vip=40", "--failed", str(failed)])
        over = main(["apply", str(failed), "--failed", str(failed)])
        second = main(["apply", str(failed)])

        assert (1, 2, 0) == (first, over, second)
        assert 3 == len(chatmark_emulator.state.snapshot())

    def test_refused_application(
        self, file: pathlib.Path, chatmark_emulator: EmulatorThread, run: Run
    ) -> None:
        """A refusal of the whole application is an error with an advice."""
        chatmark_emulator.script.always(Refuse(60006))
        status, _, err = run(["apply", str(file), "--names", "vip=40"])

        assert 3 == status
        assert "error: the server refuses this application: 60006: the SDKAppID is not" in err
        assert "Check the SDKAppID" in err

    def test_wrong_key(self, file: pathlib.Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
        """A wrong secret key is an error that does not show the key."""
        monkeypatch.setenv("CHATMARK_SECRET_KEY", "hush-hush")
        status, out, err = run(["apply", str(file), "--names", "vip=40"])

        assert 3 == status
        assert "Use the secret key of this very SDKAppID" in err
        assert "hush" not in out + err
        assert "usersig=" not in out + err

    def test_unreachable(
        self, file: pathlib.Path, chatmark_emulator: EmulatorThread, run: Run
    ) -> None:
        """A server that cannot be reached fails the changes at their deadline, with the cause."""
        url = chatmark_emulator.url
        chatmark_emulator.stop()
        status, _, err = run(
            ["apply", str(file), "--names", "vip=40", "--base-url", url, "--deadline", "0.2"]
        )

        assert 3 == status
        assert "error: stopped: not settled within 0.2 s; at last: cannot connect to 127" in err
        assert "error: not finished: 0 of 3 changes are settled" in err

    def test_verify(self, file: pathlib.Path, chatmark_emulator: EmulatorThread, run: Run) -> None:
        """A conversation that differs from the file is printed, and is a failure."""
        chatmark_emulator.script.item((1, "bob"), 50001, account="amy")
        chatmark_emulator.state.seed_mark("amy", (2, "g"), 8)
        status, out, _ = run(["apply", str(file), "--names", "vip=40", "--verify"])

        assert 1 == status
        assert "2 of 3 conversations read back are as the file wants them" in out
        assert ["1", "amy", "c2c_bob", "favorite"] in [line.split() for line in out.splitlines()]

    def test_verify_fails(
        self, file: pathlib.Path, chatmark_emulator: EmulatorThread, run: Run
    ) -> None:
        """If marks cannot be read back, the summary still counts the applied changes."""
        chatmark_emulator.script.always(Refuse(60006), command="search_contact_group")
        status, out, err = run(["apply", str(file), "--names", "vip=40", "--verify"])

        assert 3 == status
        assert "3 took effect" in out
        assert "error: the marks could not be read back: 60006" in err

    def test_retries(self, file: pathlib.Path, chatmark_emulator: EmulatorThread, run: Run) -> None:
        """The summary counts retries by reason."""
        chatmark_emulator.script.next(Status(502))
        status, out, _ = run(["apply", str(file), "--names", "vip=40"])

        assert 0 == status
        assert "put back to be sent again (502: " in out


class TestOptions:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nowhere.jsonl"], "nowhere.jsonl: No such file or directory"),
            (["/dev/null/x", "--format", "csv"], "/dev/null/x: Not a directory"),
            ([os.devnull], "give the format"),
            ([], "Missing argument 'FILE...'"),
            (["-", "--verify"], "--verify needs a file that can be read again"),
            (["-", "--rate", "-1"], "--rate"),
            (["-", "--local", "--rate", "190/0"], '--rate: must be calls a second such as "190"'),
            (["-", "--names", "vip=4"], "a name stands for a bit from 32 to 63"),
            (["-", "--names", "vip"], "'vip' must be NAME=BIT"),
            (["-", "--names", "vip=40", "--names", "vip=41"], "give 'vip' once"),
            (["-", "--local", "--region", "tokyo"], "exactly one of --region, --base-url, --local"),
            (["-", "--region", "mars"], "'mars' is not one of"),
            (["-", "--base-url", "http://example.com"], "plain http is for loopback only"),
            (["-", "--local", "--report", "/nowhere/r.json"], "/nowhere/r.json.part: No such"),
            (["-", "--local", "--show", ""], "show: is empty"),
        ],
    )
    def test_wrong(
        self, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        """A wrong command is one error line, and status 2."""
        stdin(monkeypatch, "")
        status, _, err = run(["apply", *arguments])
        lines = err.splitlines()

        assert 2 == status
        assert message in lines[0]
        assert lines[0].startswith("error: ")
        assert len(lines) <= 2

    def test_no_target(self, file: pathlib.Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
        """A server is required."""
        monkeypatch.delenv("CHATMARK_BASE_URL")

        status, _, err = run(["apply", str(file)])

        assert 2 == status
        assert "exactly one of --region, --base-url, --local" in err

    def test_command_line_goes_first(
        self, file: pathlib.Path, chatmark_emulator: EmulatorThread, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server on the command line overrides the environment."""
        monkeypatch.setenv("CHATMARK_NAMES", "vip=40 gold=41")

        assert 0 == main(["apply", str(file), "--local"])
        assert not chatmark_emulator.counts

    @pytest.mark.parametrize(
        ("missing", "message"),
        [
            ("CHATMARK_SDKAPPID", "CHATMARK_SDKAPPID: is not set"),
            ("CHATMARK_SECRET_KEY", "set CHATMARK_SECRET_KEY or CHATMARK_USERSIG"),
        ],
    )
    def test_no_credentials(
        self,
        missing: str,
        message: str,
        file: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        run: Run,
    ) -> None:
        """The error names missing credentials."""
        monkeypatch.delenv(missing)

        status, _, err = run(["apply", str(file)])

        assert 2 == status
        assert message in err

    def test_secret_key_file(
        self, file: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file with the secret key overrides the environment."""
        monkeypatch.setenv("CHATMARK_SECRET_KEY", "wrong")
        key = tmp_path / "key"
        key.write_text(f"{SECRET}\n")
        arguments = ["apply", str(file), "--names", "vip=40", "--secret-key-file", str(key)]

        assert 0 == main(arguments)

    @pytest.mark.parametrize("option", ["--secret-key-file", "--usersig-file"])
    def test_a_secret_in_place_of_its_file(self, file: pathlib.Path, option: str, run: Run) -> None:
        """The error does not repeat the name of an unreadable file: it may be the secret itself."""
        status, out, err = run(["apply", str(file), option, SECRET])

        assert 2 == status
        assert SECRET not in out + err
        assert "the file with the secret cannot be read: No such file" in err

    def test_empty_secret_file(self, file: pathlib.Path, tmp_path: pathlib.Path, run: Run) -> None:
        """A file without a secret is an error."""
        key = tmp_path / "key"
        key.write_bytes(b"\xff\n")

        status, _, err = run(["apply", str(file), "--usersig-file", str(key)])

        assert 2 == status
        assert "the file with the secret is empty" in err


class TestInterrupt:
    def test_while_sending(self, chatmark_emulator: EmulatorThread) -> None:
        """Ctrl-C ends a run that waits for input, and the summary is printed."""
        code = (
            "import os, signal, sys\n"
            "from chatmark.__main__ import main\n"
            "from chatmark.jobs.sending.accounts import Accounts\n"
            "add = Accounts.add\n"
            "def interrupt(*args):\n"
            "    add(*args)\n"
            "    os.kill(os.getpid(), signal.SIGINT)\n"
            "Accounts.add = interrupt\n"
            "sys.exit(main(['apply', '-']))\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdin.write(f"{GOOD}\n".encode())
            process.stdin.flush()
            status = process.wait(timeout=20)
            out, err = process.stdout.read(), process.stderr.read()

        assert 130 == status
        assert 1 == len(chatmark_emulator.state.snapshot())
        assert b"1 took effect" in out
        assert b"error: stopping after the requests in flight" in err
        assert b"error: interrupted: 1 of 1 change is settled" in err
        assert b"Traceback" not in err

    def test_while_checking(
        self,
        file: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        chatmark_emulator: EmulatorThread,
        run: Run,
    ) -> None:
        """After Ctrl-C during the check, a message says that nothing was sent."""

        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("chatmark.cli.reading.load", interrupt)

        status, _, err = run(["apply", str(file)])

        assert 130 == status
        assert "was checked: nothing was sent" in err
        assert not chatmark_emulator.counts
