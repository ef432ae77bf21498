import json
import os
import pathlib
import signal
import subprocess
import sys

import click
import pytest
from cli_run import Run, write_lines
from paths import ROOT

import chatmark
from chatmark.cli.app import chatmark as group
from chatmark.cli.terminal import clean

EXAMPLES = ROOT / "examples"
ROW = {"from_account": "amy", "to_account": "bob", "set_mark": 0}


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run Python."""
    return subprocess.run(
        [sys.executable, *arguments], env=os.environ | environment, capture_output=True, check=False
    )


def shell(command: str) -> subprocess.CompletedProcess[str]:
    """Run a shell, whose "chatmark" is the one under test."""
    command = command.replace("chatmark", f"{sys.executable} -m chatmark")
    return subprocess.run(
        ["sh", "-c", command], capture_output=True, check=False, text=True, timeout=60
    )


class TestMain:
    @pytest.mark.parametrize(
        ("line", "status", "said"),
        [
            ("--version", 0, f"chatmark {chatmark.__version__}\n"),
            ("", 2, "Commands:"),
            ("aply", 2, "error: No such command 'aply'"),
            # A file may have a name that is not UTF-8.
            ("apply \udcff.jsonl --local", 2, "error: "),
            ("export \udcff --base-url http://127.0.0.1:1", 2, "error: "),
            ("explain \udcff", 2, "error: "),
            ("mark \udcff b --set 0 --local", 2, "error: "),
        ],
    )
    def test_ends(self, line: str, status: int, said: str, run: Run) -> None:
        """Whatever the arguments are, the command ends with a message."""
        ended = run(line)

        assert status == ended.status
        assert said in ended.out + ended.err
        assert "fault of chatmark" not in ended.err

    @pytest.mark.parametrize("missing", ["click", "rich"])
    def test_without_the_extra(self, missing: str) -> None:
        """If click is missing, one line says how to install it."""
        code = f"import sys; sys.modules[{missing!r}] = None\n"
        code += "from chatmark.__main__ import main; sys.exit(main(['explain', '0']))"
        ended = python("-c", code)

        assert (2, b"") == (ended.returncode, ended.stdout)
        assert b"error: the command line needs more: pip install 'chatmark[cli]'\n" == ended.stderr

    def test_light_commands(self) -> None:
        """Commands without a network load neither aiohttp nor cattrs."""
        code = "import sys; from chatmark.__main__ import main\n"
        code += "status = [main(each.split()) for each in ('--version', 'explain 0', 'usersig')]\n"
        code += "print(status, 'aiohttp' in sys.modules, 'cattrs' in sys.modules)"
        ended = python("-c", code, CHATMARK_SDKAPPID="1400000001", CHATMARK_SECRET_KEY="x")

        assert b"[0, 0, 0] False False" == ended.stdout.splitlines()[-1]

    def test_help(self) -> None:
        """Each command and each option has a help text, and none takes a secret."""
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)

            assert command is not None
            assert command.help
            for option in command.params:
                if isinstance(option, click.Option):
                    assert option.help, f"{name} {option.name}"
                    assert option.name not in {"secret_key", "usersig"}

    def test_unforeseen(self, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
        """An error that nothing foresees has no traceback either, but with -vv."""
        monkeypatch.setattr("chatmark.cli.commands.tools._readings", lambda *_: 1 / 0)
        ended, verbose = run("explain 1"), run("explain 1 -vv")

        assert (3, 3) == (ended.status, verbose.status)
        assert "this is a fault of chatmark" in ended.err
        assert ("Traceback" in ended.err, "Traceback" in verbose.err) == (False, True)


class TestEnvironment:
    @pytest.mark.parametrize(
        ("variables", "status", "said"),
        [
            ("DRY_RUN=1", 0, "nothing was sent"),
            ("DRY_RUN=0 LOCAL=1", 0, "1 took effect"),
            ("DRY_RUN=perhaps", 2, "'perhaps' is not a valid boolean"),
            ("DRYRUN=1 LOCAL=1", 0, "CHATMARK_DRYRUN has no effect"),
            ("LOCAL=1 LOG_FORMAT=xml", 2, "'xml' is not one of"),
            ("JSON=1 DRY_RUN=1", 0, '"sent": false'),
        ],
    )
    def test_every_option(
        self, variables: str, status: int, said: str, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        """Every option can be a variable; one that no option reads is told."""
        write_lines("rows.jsonl", ROW)
        # An emulator on a private network has this one set.
        monkeypatch.setenv("CHATMARK_HTTP_HOSTS", "emu")
        for each in variables.split():
            name, _, value = each.partition("=")
            monkeypatch.setenv(f"CHATMARK_{name}", value)
        ended, out, err = run("apply rows.jsonl")

        assert status == ended
        assert said in out + err
        assert "HTTP_HOSTS" not in err

    def test_log_format(self, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
        """With --log-format json every line on standard error is an object."""
        monkeypatch.setenv("CHATMARK_DRYRUN", "1")
        status, _, err = run("apply no.jsonl --local --log-format json -v")
        lines = [json.loads(line) for line in err.splitlines()]

        assert 2 == status
        assert ["warning", "error"] == [line["level"] for line in lines]
        assert {"time", "level", "phase", "target", "message"} <= lines[0].keys()


class TestStreams:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("重要 ☎", "重要 ☎"),
            ("a\x1b[2Jb\n", r"a\x1b[2Jb\n"),
            ("\u202eabc", r"\u202eabc"),
            ("\udcff", r"\udcff"),
            ("👩\u200d🚀", "👩\u200d🚀"),
        ],
    )
    def test_clean(self, text: str, shown: str) -> None:
        """Characters that could command a terminal are shown as escapes."""
        assert shown == clean(text)

    def test_ascii(self) -> None:
        """Characters that the terminal cannot show do not end the command."""
        arguments = ["apply", str(EXAMPLES / "marks.jsonl"), "--local", "--show", "user_0001"]
        ended = python("-m", "chatmark", *arguments, PYTHONIOENCODING="ascii")

        assert (0, b"") == (ended.returncode, ended.stderr)
        assert b"? rappeler ?" in ended.stdout

    def test_broken_pipe(self) -> None:
        """A reader that closes the pipe gets no message."""
        ended = shell("(chatmark explain 0; echo $? >&2) | true")

        assert "141\n" == ended.stderr

    @pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-", "> full", "--json > full", "| true"])
    def test_closed(self, closed: str) -> None:
        """A closed or full standard output costs neither the report nor the journal."""
        write_lines("rows.jsonl", ROW)
        # The link stands for the device, which no test is to replace.
        pathlib.Path("full").symlink_to("/dev/full")
        ended = shell(f"chatmark apply rows.jsonl --local --report report.json {closed}")

        assert 1 == json.loads(pathlib.Path("report.json").read_text())["applied"]
        assert ("full" in closed) == (3 == ended.returncode)
        assert ("full" in closed) == ("standard output: No space left" in ended.stderr)


@pytest.mark.parametrize(
    ("command", "number", "status", "said"),
    [
        (["nohup"], signal.SIGHUP, 0, "changes in 0 rows"),
        ([], signal.SIGTERM, 143, "was checked: nothing was sent"),
    ],
)
def test_signals(command: list[str], number: signal.Signals, status: int, said: str) -> None:
    """A signal ends a check, unless it was started so that it has no effect, as by nohup."""
    os.mkfifo("rows.jsonl")
    command = [*command, sys.executable, "-m", "chatmark", "apply", "rows.jsonl", "--dry-run"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with pathlib.Path("rows.jsonl").open("w") as pipe:
        # More than a pipe holds: the write returns after the command has begun to read.
        pipe.write("\n" * 200_000)
        pipe.flush()
        process.send_signal(number)
        if status:
            process.wait(20)
    out, err = process.communicate(timeout=20)

    assert status == process.returncode
    assert said in out + err
