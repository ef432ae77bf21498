import io
import json
import pathlib
import subprocess
import sys

import pytest
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
    "to_account: must be text, not int": '{"from_account":"a","to_account":5,"set_mark":[0]}',
}
pytestmark = pytest.mark.usefixtures("emulator_environment")


@pytest.fixture
def chatmark_emulator_options() -> EmulatorOptions:
    """
    Let nobody wait for the pace.
    """
    return {"calls_per_second": None, "users": ["amy", "bob", "eve"]}


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    """
    Give a file of three changes.
    """
    path = tmp_path / "marks.jsonl"
    path.write_text(
        f"{GOOD}\n"
        '{"from_account": "amy", "to_group_id": "g", "clear_mark": "hidden", "custom_mark": "é"}\n'
        '{"from_account": "eve", "to_account": "bob", "set_mark": ["vip"]}\n',
        encoding="utf-8",
    )
    return path


def stdin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """
    Let standard input be this text.
    """
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


class TestApply:
    def test_takes_effect(
        self,
        file: pathlib.Path,
        chatmark_emulator: EmulatorThread,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """
        The changes of a file take effect, and a summary says so.
        """
        status = main(["apply", str(file), "--names", "vip=40"])
        out = capsys.readouterr().out

        assert 0 == status
        assert {
            ("amy", 1, "bob"): (1, ""),
            ("amy", 2, "g"): (0, "é"),
            ("eve", 1, "bob"): (1 << 40, ""),
        } == chatmark_emulator.state.snapshot()
        assert "3 changes in 3 rows" in out
        assert "3 took effect" in out

    def test_csv(self, tmp_path: pathlib.Path, chatmark_emulator: EmulatorThread) -> None:
        """
        So do those of a CSV file.
        """
        path = tmp_path / "marks.csv"
        path.write_text("from_account,to_account,set_mark\namy,bob,favorite|33\n")
        status = main(["apply", str(path)])

        assert 0 == status
        assert {("amy", 1, "bob"): (1 | 1 << 33, "")} == chatmark_emulator.state.snapshot()

    def test_request_body(self, tmp_path: pathlib.Path, chatmark_emulator: EmulatorThread) -> None:
        """
        So do those of the vendor's own request bodies.
        """
        path = tmp_path / "marks.jsonl"
        path.write_text(
            '{"From_Account": "amy", "MarkItem": [{"OptType": 3, "ContactItem": {"Type": 1,'
            ' "To_Account": "bob"}, "SetMark": [1, 2], "CustomMark": "abcd"}]}'
        )
        status = main(["apply", str(path)])

        assert 0 == status
        assert {("amy", 1, "bob"): (6, "abcd")} == chatmark_emulator.state.snapshot()

    def test_local(
        self,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        chatmark_emulator: EmulatorThread,
    ) -> None:
        """
        The emulator in the process needs neither credentials nor another server.
        """
        monkeypatch.delenv("CHATMARK_SECRET_KEY")
        status = main(
            ["apply", str(EXAMPLES / "marks.jsonl"), "--local", "--verify", "--show", "user_0001"]
        )
        captured = capsys.readouterr()

        assert (0, "") == (status, captured.err)
        assert "5,000 took effect" in captured.out
        assert "3,183 of 3,183 conversations read back are as the file wants" in captured.out
        assert "user_0001: " in captured.out
        assert "重要客户" in captured.out
        assert not chatmark_emulator.counts

    def test_quiet(self, file: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
        """
        Where all is well a quiet run says nothing.
        """
        status = main(["apply", str(file), "--names", "vip=40", "--quiet"])

        assert (0, "", "") == (status, *capsys.readouterr())

    def test_report(self, file: pathlib.Path, tmp_path: pathlib.Path) -> None:
        """
        The report is JSON.
        """
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
        """
        A file without rows is applied at once.
        """
        path = tmp_path / "marks.jsonl"
        path.touch()

        assert 0 == main(["apply", str(path)])


class TestDryRun:
    def test_sends_nothing(
        self,
        chatmark_emulator: EmulatorThread,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """
        A dry run says what the file holds, and needs no server.
        """
        monkeypatch.delenv("CHATMARK_BASE_URL")
        status = main(["apply", str(EXAMPLES / "marks.jsonl"), "--dry-run"])
        out = capsys.readouterr().out

        assert 0 == status
        assert "5,000 changes in 5,000 rows, of 50 users and 3,183 conversations" in out
        assert not chatmark_emulator.counts

    def test_standard_input(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """
        Standard input can be checked too.
        """
        stdin(monkeypatch, f"{GOOD}\nx\n")
        status = main(["apply", "-", "--dry-run"])

        assert 2 == status
        assert "<stdin>:2: row: is not JSON" in capsys.readouterr().err


class TestBadRows:
    @pytest.mark.parametrize("message", BAD_ROWS)
    def test_named(
        self,
        message: str,
        tmp_path: pathlib.Path,
        chatmark_emulator: EmulatorThread,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """
        A bad row is named by file, line, field and reason, and nothing is sent.
        """
        path = tmp_path / "marks.jsonl"
        path.write_text(f"{GOOD}\n{BAD_ROWS[message]}\n{GOOD}\n", encoding="utf-8")
        status = main(["apply", str(path)])
        captured = capsys.readouterr()

        assert (2, "") == (status, captured.out)
        assert f"error: {path}:2: {message}" in captured.err
        assert "error: 1 of 3 rows cannot be applied: nothing was sent\n" in captured.err
        assert not chatmark_emulator.counts

    def test_many(self, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
        """
        The first twenty are shown, and all are counted.
        """
        path = tmp_path / "marks.jsonl"
        path.write_text("x\n" * 1_000)
        status = main(["apply", str(path)])
        lines = capsys.readouterr().err.splitlines()

        assert (2, 21) == (status, len(lines))
        assert "1,000 of 1,000 rows cannot be applied, 980 of them not shown" in lines[-1]

    def test_standard_input(
        self,
        monkeypatch: pytest.MonkeyPatch,
        chatmark_emulator: EmulatorThread,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """
        A bad row on standard input ends the reading; it is said what was sent before.
        """
        stdin(monkeypatch, f"{GOOD}\nx\n{GOOD.replace('bob', 'eve')}\n")
        status = main(["apply", "-"])
        captured = capsys.readouterr()

        assert 2 == status
        assert {("amy", 1, "bob"): (1, "")} == chatmark_emulator.state.snapshot()
        assert "error: <stdin>:2: row: is not JSON" in captured.err
        assert "reading stopped there: 1 changes before it took effect" in captured.err


class TestFailures:
    def test_refused_items(
        self, file: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """
        What failed is shown with code, meaning and advice, and written to be applied again.
        """
        row = '{"from_account": "amy", "to_account": "nobody", "custom_mark": "x"}'
        file.write_text(f"{GOOD}\n{row}\n")
        failed = tmp_path / "failed.jsonl"
        status = main(["apply", str(file), "--failed", str(failed)])
        out = capsys.readouterr().out
        again = json.loads(failed.read_text())

        assert 1 == status
        assert "1 were refused" in out
        assert "50001: the user account is not imported" in out
        assert "Import the account" in out
        assert "amy c2c_nobody (line 2)" in out
        assert (
            json.loads(row)
            | {
                "_code": 50001,
                "_attempts": 1,
                "_info": again["_info"],
                "_line": 2,
                "_rows": 1,
            }
            == again
        )

    def test_again(
        self,
        file: pathlib.Path,
        tmp_path: pathlib.Path,
        chatmark_emulator: EmulatorThread,
    ) -> None:
        """
        What failed can be applied again from the file that it is written to.
        """
        failed = tmp_path / "failed.jsonl"
        chatmark_emulator.script.item((1, "bob"), 50001)
        first = main(["apply", str(file), "--names", "vip=40", "--failed", str(failed)])
        second = main(["apply", str(failed), "--failed", str(failed)])

        assert (1, 0, "") == (first, second, failed.read_text())
        assert 3 == len(chatmark_emulator.state.snapshot())

    def test_refused_application(
        self,
        file: pathlib.Path,
        chatmark_emulator: EmulatorThread,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """
        What the server has against the whole application is an error with what to do.
        """
        chatmark_emulator.script.always(Refuse(60006))
        status = main(["apply", str(file), "--names", "vip=40"])
        err = capsys.readouterr().err

        assert 1 == status
        assert "error: the server refuses this application: 60006: the SDKAppID is not" in err
        assert "Check the SDKAppID" in err

    def test_wrong_key(
        self,
        file: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """
        A wrong secret key is told as that, without the key.
        """
        monkeypatch.setenv("CHATMARK_SECRET_KEY", "hush-hush")
        status = main(["apply", str(file), "--names", "vip=40"])
        captured = capsys.readouterr()

        assert 1 == status
        assert "Use the secret key of this very SDKAppID" in captured.err
        assert "hush" not in captured.out + captured.err
        assert "usersig=" not in captured.out + captured.err

    def test_unreachable(self, file: pathlib.Path, chatmark_emulator: EmulatorThread) -> None:
        """
        A server that cannot be reached fails the changes at their deadline.
        """
        url = chatmark_emulator.url
        chatmark_emulator.stop()
        status = main(
            ["apply", str(file), "--names", "vip=40", "--base-url", url, "--deadline", "0.2"]
        )

        assert 1 == status

    def test_verify(
        self,
        file: pathlib.Path,
        chatmark_emulator: EmulatorThread,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """
        A conversation that is not as the file wants it is shown, and a failure.
        """
        chatmark_emulator.script.item((1, "bob"), 50001, account="amy")
        chatmark_emulator.state.seed_mark("amy", (2, "g"), 8)
        status = main(["apply", str(file), "--names", "vip=40", "--verify"])
        out = capsys.readouterr().out

        assert 1 == status
        assert "2 of 3 conversations read back are as the file wants them" in out
        assert ["1", "amy", "c2c_bob", "favorite"] in [line.split() for line in out.splitlines()]

    def test_verify_fails(
        self,
        file: pathlib.Path,
        chatmark_emulator: EmulatorThread,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """
        Marks that cannot be read back do not hide that they took effect.
        """
        chatmark_emulator.script.always(Refuse(60006), command="search_contact_group")
        status = main(["apply", str(file), "--names", "vip=40", "--verify"])
        captured = capsys.readouterr()

        assert 1 == status
        assert "3 took effect" in captured.out
        assert "error: the marks could not be read back: 60006" in captured.err

    def test_retries(
        self,
        file: pathlib.Path,
        chatmark_emulator: EmulatorThread,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """
        The summary says what had to be sent again, and why.
        """
        chatmark_emulator.script.next(Status(502))
        status = main(["apply", str(file), "--names", "vip=40"])

        assert 0 == status
        assert "put back to be sent again (502: " in capsys.readouterr().out


class TestOptions:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nowhere.jsonl"], "nowhere.jsonl: No such file or directory"),
            (["/", "--format", "csv"], "/: Is a directory"),
            (["marks.txt"], "give the format"),
            ([], "Missing argument 'FILE...'"),
            (["-", "--verify"], "--verify needs a file that can be read again"),
            (["-", "--rate", "-1"], "--rate"),
            (["-", "--names", "vip=4"], "a name stands for a bit from 32 to 63"),
            (["-", "--names", "vip"], "'vip' is not NAME=BIT"),
            (["-", "--names", "vip=40", "--names", "vip=41"], "'vip' is given twice"),
            (["-", "--local", "--region", "tokyo"], "exactly one of --region, --base-url, --local"),
            (["-", "--region", "mars"], "'mars' is not one of"),
            (["-", "--base-url", "http://example.com"], "plain http is for loopback only"),
            (["-", "--local", "--report", "/nowhere/r.json"], "/nowhere/r.json.part: No such"),
            (["-", "--local", "--show", ""], "show: is empty"),
        ],
    )
    def test_wrong(
        self,
        arguments: list[str],
        message: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """
        A wrong command is one error line, and status 2.
        """
        stdin(monkeypatch, "")
        status = main(["apply", *arguments])
        lines = capsys.readouterr().err.splitlines()

        assert 2 == status
        assert message in lines[0]
        assert lines[0].startswith("error: ")
        assert len(lines) <= 2

    def test_no_target(
        self,
        file: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """
        Without a server nothing goes.
        """
        monkeypatch.delenv("CHATMARK_BASE_URL")

        assert 2 == main(["apply", str(file)])
        assert "exactly one of --region, --base-url, --local" in capsys.readouterr().err

    def test_command_line_goes_first(
        self,
        file: pathlib.Path,
        chatmark_emulator: EmulatorThread,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """
        A server on the command line goes before one in the environment.
        """
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
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """
        Credentials that lack are named.
        """
        monkeypatch.delenv(missing)

        assert 2 == main(["apply", str(file)])
        assert message in capsys.readouterr().err

    def test_secret_key_file(
        self, file: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        The secret key may be in a file, which goes before the environment.
        """
        monkeypatch.setenv("CHATMARK_SECRET_KEY", "wrong")
        key = tmp_path / "key"
        key.write_text(f"{SECRET}\n")
        arguments = ["apply", str(file), "--names", "vip=40", "--secret-key-file", str(key)]

        assert 0 == main(arguments)

    @pytest.mark.parametrize("option", ["--secret-key-file", "--usersig-file"])
    def test_a_secret_in_place_of_its_file(
        self, file: pathlib.Path, option: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """
        The name of a file that cannot be read is not repeated: it may be the secret itself.
        """
        assert 2 == main(["apply", str(file), option, SECRET])
        output = capsys.readouterr()
        assert SECRET not in output.out + output.err
        assert "the file with the secret cannot be read: No such file" in output.err

    def test_empty_secret_file(
        self, file: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """
        A file without a secret is said to be that.
        """
        key = tmp_path / "key"
        key.write_bytes(b"\xff\n")

        assert 2 == main(["apply", str(file), "--usersig-file", str(key)])
        assert "there is no secret in the file" in capsys.readouterr().err


class TestInterrupt:
    def test_while_sending(self, chatmark_emulator: EmulatorThread) -> None:
        """
        Ctrl-C ends a run that waits for input, and says what took effect.
        """
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
        assert b"error: stopping when what is in flight has ended" in err
        assert b"error: interrupted: 1 of 1 changes are settled" in err
        assert b"Traceback" not in err

    def test_while_checking(
        self,
        file: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        chatmark_emulator: EmulatorThread,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """
        Ctrl-C before anything was sent says so.
        """

        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("chatmark.cli.running.loading.load", interrupt)

        assert 130 == main(["apply", str(file)])
        assert "was checked: nothing was sent" in capsys.readouterr().err
        assert not chatmark_emulator.counts
