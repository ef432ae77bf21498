import json
import pathlib
import subprocess
import sys

import pytest
from cli_run import Run, write_lines
from paths import ROOT

from chatmark.emulator import EmulatorThread, Refuse, Status

EXAMPLE = ROOT / "examples" / "marks.jsonl"
SECRET = "example-secret-not-real"
GOOD = '{"from_account": "amy", "to_account": "bob", "set_mark": 0}'
BODY = (
    '{"From_Account": "amy", "MarkItem": [{"OptType": 3, "SetMark": [1, 2], "CustomMark": "abcd", '
    '"ContactItem": {"Type": 1, "To_Account": "bob"}}]}'
)
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


@pytest.fixture(autouse=True)
def place(emulator: EmulatorThread, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a file of three changes, and name a bit."""
    del emulator
    monkeypatch.setenv("CHATMARK_NAMES", "vip=40")
    write_lines(
        "marks.jsonl",
        json.loads(GOOD),
        {"from_account": "amy", "to_group_id": "g", "clear_mark": "hidden", "custom_mark": "é"},
        {"from_account": "eve", "to_account": "bob", "set_mark": ["vip"]},
    )


class TestApply:
    def test_takes_effect(self, emulator: EmulatorThread, run: Run) -> None:
        """The changes of a file take effect; a summary and a report say so."""
        status, out, _ = run("apply marks.jsonl --report report.json")
        document = json.loads(pathlib.Path("report.json").read_text())
        names = ("file", "ok", "rows", "applied", "refused", "calls")

        assert 0 == status
        assert {
            ("amy", 1, "bob"): (1, ""),
            ("amy", 2, "g"): (0, "é"),
            ("eve", 1, "bob"): (1 << 40, ""),
        } == emulator.state.snapshot()
        assert "3 changes in 3 rows" in out
        assert "3 took effect" in out
        assert ("marks.jsonl", True, 3, 3, 0, 2) == tuple(document[name] for name in names)

    @pytest.mark.parametrize(
        ("name", "text", "state"),
        [
            (
                "marks.csv",
                "from_account,to_account,set_mark\namy,bob,favorite|33\n",
                {("amy", 1, "bob"): (1 | 1 << 33, "")},
            ),
            ("body.jsonl", BODY, {("amy", 1, "bob"): (6, "abcd")}),
            ("empty.jsonl", "", {}),
        ],
    )
    def test_forms(
        self, name: str, text: str, state: object, emulator: EmulatorThread, run: Run
    ) -> None:
        """Files have several forms; a quiet run prints nothing if everything took effect."""
        pathlib.Path(name).write_text(text)

        assert (0, "", "") == run(f"apply {name} --quiet")
        assert state == emulator.state.snapshot()

    def test_local(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, emulator: EmulatorThread
    ) -> None:
        """`--local` needs no credentials; the command line overrides the environment's server."""
        monkeypatch.delenv("CHATMARK_SECRET_KEY")
        status, out, err = run(f"apply {EXAMPLE} --local --verify --show user_0001")

        assert (0, "") == (status, err)
        assert "5,000 took effect" in out
        assert "3,183 of 3,183 conversations read back are as the file wants" in out
        assert "user_0001: " in out
        assert "重要客户" in out
        assert not emulator.counts

    def test_dry_run(
        self, emulator: EmulatorThread, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        """A dry run prints the size of the file, and needs no server; it checks a pipe, too."""
        monkeypatch.delenv("CHATMARK_BASE_URL")
        status, out, _ = run(f"apply {EXAMPLE} --dry-run")
        wrong = run("apply - --dry-run", f"{GOOD}\nx\n".encode())

        assert (0, 2) == (status, wrong.status)
        assert "5,000 changes in 5,000 rows, of 50 users and 3,183 conversations" in out
        assert "<stdin>:2: row: is not JSON" in wrong.err
        assert not emulator.counts


class TestBadRows:
    def test_named(self, emulator: EmulatorThread, run: Run) -> None:
        """The error of a bad row names file, line, field and reason, and nothing is sent."""
        rows = [GOOD, *BAD_ROWS.values(), *(["x"] * 1_000)]
        pathlib.Path("bad.jsonl").write_text("\n".join(rows), "utf-8")
        status, out, err = run("apply bad.jsonl")
        lines = err.splitlines()

        assert (2, "", 21) == (status, out, len(lines))
        for number, message in enumerate(BAD_ROWS, 2):
            assert f"error: bad.jsonl:{number}: {message}" in err
        assert "1,009 of 1,010 rows cannot be applied, 989 of them not shown" in lines[-1]
        assert not emulator.counts

    def test_standard_input(self, emulator: EmulatorThread, run: Run) -> None:
        """A bad row on standard input ends the reading; a message counts the changes before it."""
        rows = f"{GOOD}\nx\n{GOOD.replace('bob', 'eve')}\n"
        status, _, err = run("apply -", rows.encode())

        assert 2 == status
        assert {("amy", 1, "bob"): (1, "")} == emulator.state.snapshot()
        assert "error: <stdin>:2: row: is not JSON" in err
        assert "reading stopped there; 1 change before that row took effect" in err


class TestFailures:
    def test_refused_items(self, run: Run) -> None:
        """Failures are printed with code, meaning and advice, and written to be applied again."""
        row = {"from_account": "amy", "to_account": "nobody", "custom_mark": "x"}
        write_lines("marks.jsonl", json.loads(GOOD), row)
        status, out, _ = run("apply marks.jsonl --failed failed.jsonl")
        again = json.loads(pathlib.Path("failed.jsonl").read_text())

        assert 1 == status
        assert "1 was refused" in out
        assert "50001: the user account is not imported" in out
        assert "Import the account" in out
        assert "amy c2c_nobody (line 2)" in out
        assert again == row | {
            "_code": 50001, "_attempts": 1, "_info": again["_info"], "_line": 2, "_rows": 1,
        }  # fmt: skip

    def test_again(self, emulator: EmulatorThread, run: Run) -> None:
        """The file of failures can be applied again."""
        emulator.script.item((1, "bob"), 50001)
        first = run("apply marks.jsonl --failed failed.jsonl")
        over = run("apply failed.jsonl --failed failed.jsonl")
        second = run("apply failed.jsonl")

        assert (1, 2, 0) == (first.status, over.status, second.status)
        assert 3 == len(emulator.state.snapshot())

    def test_refused_application(
        self, emulator: EmulatorThread, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        """A refusal of the whole application is an error with an advice, and without the key."""
        emulator.script.always(Refuse(60006))
        refused = run("apply marks.jsonl")
        monkeypatch.setenv("CHATMARK_SECRET_KEY", "hush-hush")
        wrong = run("apply marks.jsonl")

        assert (3, 3) == (wrong.status, refused.status)
        assert "Use the secret key of this very SDKAppID" in wrong.err
        assert "hush" not in wrong.out + wrong.err
        assert "usersig=" not in wrong.out + wrong.err
        assert "error: the server refuses this application: 60006: the SDKAppID" in refused.err
        assert "Check the SDKAppID" in refused.err

    def test_unreachable(self, run: Run) -> None:
        """A server that cannot be reached fails the changes at their deadline, with the cause."""
        status, _, err = run("apply marks.jsonl --base-url http://127.0.0.1:1 --deadline 0.1")

        assert 3 == status
        assert "error: stopped: not settled within 0.1 s; at last: cannot connect to 127" in err
        assert "error: not finished: 0 of 3 changes are settled" in err

    def test_verify(self, emulator: EmulatorThread, run: Run) -> None:
        """A conversation that differs from the file is printed, and is a failure."""
        emulator.script.item((1, "bob"), 50001, account="amy")
        emulator.state.seed_mark("amy", (2, "g"), 8)
        status, out, _ = run("apply marks.jsonl --verify")

        assert 1 == status
        assert "2 of 3 conversations read back are as the file wants them" in out
        assert ["1", "amy", "c2c_bob", "favorite"] in [line.split() for line in out.splitlines()]

    def test_verify_fails(self, emulator: EmulatorThread, run: Run) -> None:
        """The summary counts changes and retries, also if marks cannot be read back."""
        emulator.script.next(Status(502))
        emulator.script.always(Refuse(60006), command="search_contact_group")
        status, out, err = run("apply marks.jsonl --verify")

        assert 3 == status
        assert "3 took effect" in out
        assert "put back to be sent again (502: " in out
        assert "error: the marks could not be read back: 60006" in err


class TestOptions:
    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("nowhere.jsonl", "nowhere.jsonl: No such file or directory"),
            ("/dev/null/x --format csv", "/dev/null/x: Not a directory"),
            ("/dev/null", "give the format"),
            ("", "Missing argument 'FILE...'"),
            ("- marks.jsonl", "standard input (-) must be the only input"),
            ("http://127.0.0.1/a.jsonl", "is not read from the web: curl"),
            ("- --verify", "--verify needs a file that can be read again"),
            ("- --skip-unchanged", "--skip-unchanged needs a file that can be read again"),
            ("- --journal j", "--journal needs a file that can be read again"),
            ("- --rate -1", "--rate"),
            ("- --local --rate 190/0", '--rate: must be calls a second such as "190"'),
            ("- --names vip=4", "a name stands for a bit from 32 to 63"),
            ("- --names vip", "'vip' must be NAME=BIT"),
            ("- --names vip=40 --names vip=41", "give 'vip' once"),
            ("- --local --region tokyo", "exactly one of --region, --base-url, --local"),
            ("- --region mars", "'mars' is not one of"),
            ("- --base-url http://example.com", "plain http is for loopback only"),
            ("- --local --report /nowhere/r.json", "/nowhere/r.json.part: No such"),
            ("- --local --show ''", "show: is empty"),
            ("marks.jsonl --keep-journal", "--keep-journal needs --journal"),
            ("marks.jsonl --accept-changed-input", "--accept-changed-input needs --journal"),
            ("marks.jsonl --journal j --local", "--journal needs another server than --local"),
            ("marks.jsonl --journal marks.jsonl", "--journal would replace the input"),
            ("marks.jsonl --report r --failed r", "--failed would replace what --report writes"),
            ("marks.jsonl --report marks.jsonl", "--report would replace the input"),
            ("marks.jsonl --max-errors 1", "--max-errors needs --failed"),
            # The name of the file may be the secret itself.
            (f"marks.jsonl --secret-key-file {SECRET}", "the secret cannot be read: No such file"),
            (f"marks.jsonl --usersig-file {SECRET}", "the secret cannot be read: No such file"),
            ("marks.jsonl --usersig-file bad", "the file with the secret is empty"),
        ],
    )
    def test_wrong(self, line: str, message: str, emulator: EmulatorThread, run: Run) -> None:
        """A wrong command is one error line without a secret, and nothing is sent."""
        pathlib.Path("bad").write_bytes(b"\xff\n")
        status, out, err = run(f"apply {line}")
        lines = err.splitlines()

        assert (2, "") == (status, out)
        assert message in lines[0]
        assert lines[0].startswith("error: ")
        assert len(lines) <= 2
        assert SECRET not in err
        assert not emulator.counts

    @pytest.mark.parametrize(
        ("missing", "message"),
        [
            ("SDKAPPID", "CHATMARK_SDKAPPID: is not set"),
            ("SECRET_KEY", "set CHATMARK_SECRET_KEY or CHATMARK_USERSIG"),
            ("BASE_URL", "set one of CHATMARK_REGION, CHATMARK_BASE_URL, CHATMARK_LOCAL"),
        ],
    )
    def test_missing(
        self, missing: str, message: str, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        """The error names what would give missing credentials or a server."""
        monkeypatch.delenv(f"CHATMARK_{missing}")
        status, _, err = run("apply marks.jsonl")

        assert (2, True) == (status, message in err)

    def test_secret_key_file(self, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
        """A file with the secret key overrides the environment."""
        monkeypatch.setenv("CHATMARK_SECRET_KEY", "wrong")
        pathlib.Path("key").write_text(f"{SECRET}\n")

        assert 0 == run("apply marks.jsonl --secret-key-file key").status


class TestInterrupt:
    def test_while_sending(self, emulator: EmulatorThread) -> None:
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
        assert 1 == len(emulator.state.snapshot())
        assert b"1 took effect" in out
        assert b"error: stopping after the requests in flight" in err
        assert b"error: interrupted: 1 of 1 change is settled" in err
        assert b"Traceback" not in err

    def test_while_checking(
        self, monkeypatch: pytest.MonkeyPatch, emulator: EmulatorThread, run: Run
    ) -> None:
        """After Ctrl-C during the check, a message says that nothing was sent."""

        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("chatmark.cli.reading.load", interrupt)
        status, _, err = run("apply marks.jsonl")

        assert 130 == status
        assert "was checked: nothing was sent" in err
        assert not emulator.counts
