import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import click
import pytest
from cli_run import Run
from paths import ROOT

import chatmark
from chatmark.cli.app import chatmark as group
from chatmark.cli.terminal import Console, clean

EXAMPLES = ROOT / "examples"


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run Python."""
    return subprocess.run(
        [sys.executable, *arguments], env=os.environ | environment, capture_output=True, check=False
    )


class TestMain:
    def test_version(self, run: Run) -> None:
        """The version is the package's."""
        status, out, _ = run(["--version"])

        assert 0 == status
        assert f"chatmark {chatmark.__version__}\n" == out

    def test_no_command(self, run: Run) -> None:
        """A call without a command is an error, and prints the help."""
        status, _, err = run([])

        assert 2 == status
        assert "Commands:" in err

    def test_unknown_command(self, run: Run) -> None:
        """An unknown command is one error."""
        status, _, err = run(["aply"])

        assert 2 == status
        assert "error: No such command 'aply'" in err

    @pytest.mark.parametrize("missing", ["click", "rich"])
    def test_without_the_extra(self, missing: str) -> None:
        """If click is missing, one line says how to install it."""
        code = f"import sys; sys.modules[{missing!r}] = None\n"
        code += "from chatmark.__main__ import main; sys.exit(main(['explain', '0']))"
        ended = python("-c", code)

        assert (2, b"") == (ended.returncode, ended.stdout)
        assert b"error: the command line needs more: pip install 'chatmark[cli]'\n" == ended.stderr

    @pytest.mark.parametrize("arguments", [["--version"], ["explain", "50001"], ["usersig"]])
    def test_light_commands(self, arguments: list[str]) -> None:
        """Commands without a network load neither aiohttp nor cattrs."""
        code = "import sys, json; from chatmark.__main__ import main\n"
        code += f"status = main({arguments!r})\n"
        code += "print(json.dumps([status, 'aiohttp' in sys.modules, 'cattrs' in sys.modules]))"
        ended = python("-c", code, CHATMARK_SDKAPPID="1400000001", CHATMARK_SECRET_KEY="x")

        assert [0, False, False] == json.loads(ended.stdout.splitlines()[-1])


class TestOutput:
    def test_broken_pipe(self) -> None:
        """A reader that closes the pipe gets no message."""
        reader, writer = os.pipe()
        os.close(reader)
        ended = subprocess.run(
            [sys.executable, "-m", "chatmark", "explain", "111001"],
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
        )
        os.close(writer)

        assert (141, b"") == (ended.returncode, ended.stderr)

    def test_ascii(self) -> None:
        """Characters that the terminal cannot show do not end the command."""
        arguments = ["apply", str(EXAMPLES / "marks.jsonl"), "--local", "--show", "user_0001"]
        ended = python("-m", "chatmark", *arguments, PYTHONIOENCODING="ascii")

        assert (0, b"") == (ended.returncode, ended.stderr)
        assert b"? rappeler ?" in ended.stdout

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


class TestHelp:
    def test_every_option(self) -> None:
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


class TestEnvironment:
    @pytest.mark.parametrize(
        ("variables", "status", "said"),
        [
            ({"CHATMARK_DRY_RUN": "1"}, 0, "nothing was sent"),
            ({"CHATMARK_DRY_RUN": "0", "CHATMARK_LOCAL": "1"}, 0, "1 took effect"),
            ({"CHATMARK_DRY_RUN": "perhaps"}, 2, "'perhaps' is not a valid boolean"),
            ({"CHATMARK_DRYRUN": "1", "CHATMARK_LOCAL": "1"}, 0, "CHATMARK_DRYRUN has no effect"),
            ({"CHATMARK_LOCAL": "1", "CHATMARK_LOG_FORMAT": "xml"}, 2, "'xml' is not one of"),
            ({"CHATMARK_JSON": "1", "CHATMARK_DRY_RUN": "1"}, 0, '"sent": false'),
        ],
    )
    def test_every_option(
        self,
        variables: dict[str, str],
        status: int,
        said: str,
        blank_environment: pytest.MonkeyPatch,
        tmp_path: pathlib.Path,
        run: Run,
    ) -> None:
        """Every option can be a variable; one that no option reads is told."""
        path = tmp_path / "rows.jsonl"
        path.write_text('{"from_account": "amy", "to_account": "bob", "set_mark": 0}')
        for name, value in variables.items():
            blank_environment.setenv(name, value)
        ended, out, err = run(["apply", str(path)])

        assert status == ended
        assert said in out + err

    def test_log_format(self, blank_environment: pytest.MonkeyPatch, run: Run) -> None:
        """With --log-format json every line on standard error is an object."""
        blank_environment.setenv("CHATMARK_DRYRUN", "1")
        status, _, err = run(["apply", "no.jsonl", "--local", "--log-format", "json", "-v"])
        lines = [json.loads(line) for line in err.splitlines()]

        assert 2 == status
        assert ["warning", "error"] == [line["level"] for line in lines]
        assert {"time", "level", "phase", "target", "message"} <= lines[0].keys()


class TestFaults:
    @pytest.mark.parametrize(
        ("arguments", "status"),
        [
            (["apply", "\udcff.jsonl", "--local"], 2),
            (["export", "\udcff", "--base-url", "http://127.0.0.1:1"], 2),
            (["explain", "\udcff"], 2),
            (["mark", "\udcff", "b", "--set", "0", "--local"], 2),
            (["explain", "9" * 5_000], 2),
        ],
    )
    def test_no_traceback(
        self,
        arguments: list[str],
        status: int,
        emulator_environment: pytest.MonkeyPatch,
        run: Run,
    ) -> None:
        """Whatever the arguments are, the command ends with a message."""
        del emulator_environment
        ended, _, err = run(arguments)

        assert status == ended
        assert "error: " in err
        assert "Traceback" not in err
        assert "fault of chatmark" not in err

    def test_unexpected(self, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
        """An error that nothing foresees has no traceback either, but with -vv."""
        monkeypatch.setattr("chatmark.cli.commands.tools._readings", lambda *_: 1 / 0)
        ended = run(["explain", "1"])
        verbose = run(["explain", "1", "-vv"])

        assert (3, 3) == (ended.status, verbose.status)
        assert "this is a fault of chatmark" in ended.err
        assert ("Traceback" in ended.err, "Traceback" in verbose.err) == (False, True)

    @pytest.mark.parametrize("options", [[], ["--json"]])
    def test_full_output(self, options: list[str], tmp_path: pathlib.Path) -> None:
        """A summary that cannot be written is told."""
        (tmp_path / "full").symlink_to("/dev/full")
        command = [sys.executable, "-m", "chatmark", "apply", str(EXAMPLES / "marks.jsonl")]
        with (tmp_path / "full").open("w") as full:
            done = subprocess.run(
                [*command, "--local", *options],
                check=False,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
            )

        assert 3 == done.returncode
        assert "standard output: No space left on device" in done.stderr

    @pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-", "> full", "| true"])
    def test_streams(self, closed: str, tmp_path: pathlib.Path) -> None:
        """A closed or full standard output costs neither the report nor the journal."""
        (tmp_path / "full").symlink_to("/dev/full")
        report = tmp_path / "report.json"
        command = f"{sys.executable} -m chatmark apply {EXAMPLES}/marks.jsonl --local --report"
        subprocess.run(
            ["sh", "-c", f"{command} {report} {closed}"], check=False, cwd=tmp_path, timeout=60
        )

        assert 5_000 == json.loads(report.read_text())["applied"]


class TestSignals:
    @pytest.mark.parametrize(("ignored", "status"), [(True, 0), (False, 143)])
    def test_hangup(self, ignored: bool, status: int, tmp_path: pathlib.Path) -> None:
        """SIGHUP ends a command, unless it was started so that it has no effect, as by nohup."""
        path = tmp_path / "rows.jsonl"
        os.mkfifo(path)
        command = [sys.executable, "-m", "chatmark", "apply", str(path), "--dry-run"]
        process = subprocess.Popen(
            ["nohup", *command] if ignored else command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with path.open("w") as pipe:
            # More than a pipe holds: the write returns after the command has begun to read.
            pipe.write("\n" * 200_000)
            pipe.flush()
            process.send_signal(signal.SIGHUP)
            if not ignored:
                process.wait(20)
        process.communicate(timeout=20)

        assert status == process.returncode


class TestProxy:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (["--proxy", "http://user:example-password@h:1"], "CHATMARK_PROXY"),
            (["--proxy", "http://127.0.0.1:1"], "must be https with a proxy"),
            (["--proxy", "h"], "must be a URL"),
        ],
    )
    def test_refused(
        self,
        given: list[str],
        message: str,
        emulator_environment: pytest.MonkeyPatch,
        run: Run,
    ) -> None:
        """No signature goes to a proxy in clear, and no password stands on a command line."""
        del emulator_environment
        status, out, err = run(["check", *given])

        assert 2 == status
        assert message in err
        assert "example-password" not in out + err

    def test_unreachable(self, blank_environment: pytest.MonkeyPatch, run: Run) -> None:
        """A proxy that does not answer is named without its password."""
        blank_environment.setenv("CHATMARK_PROXY", "http://user:example-password@127.0.0.1:1")
        blank_environment.setenv("CHATMARK_SDKAPPID", "1400000001")
        blank_environment.setenv("CHATMARK_SECRET_KEY", "x")
        status, out, err = run(["check", "--region", "singapore", "--deadline", "0.1"])

        assert 3 == status
        assert "cannot connect to the proxy 127.0.0.1:1" in err
        assert "example-password" not in out + err


class TestTables:
    @pytest.mark.parametrize("columns", ["0", "40", "80", "200"])
    def test_width(self, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a terminal no line is too long, and no word is broken; 0 is an unknown width."""
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setenv("TERM", "xterm")
        shown = io.StringIO()
        monkeypatch.setattr(shown, "isatty", lambda: True, raising=False)
        console = Console(shown)
        rows = [("user_00001", "c2c_peer_0003", "favorite extension_33", "2026-11-27 01:02")] * 2
        console.print_table("A table of two rows", ("user", "conversation", "marks", "time"), rows)
        lines = [
            re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in shown.getvalue().splitlines()
        ]

        assert max(map(len, lines)) <= (int(columns) or 80)
        for word in " ".join(rows[0]).split():
            assert any(word in line.split() for line in lines)

    def test_pipe(self) -> None:
        """Without a terminal cells are separated by tabs, and escapes are shown."""
        shown = io.StringIO()
        Console(shown).print_table("", ("a", "b"), [("x" * 9, "\x1b[2J\t"), ("y", "")])

        assert "a\tb\nxxxxxxxxx\t\\x1b[2J\\t\ny\t\n" == shown.getvalue()
