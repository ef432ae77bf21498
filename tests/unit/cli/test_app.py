import json
import os
import subprocess
import sys

import click
import pytest
from paths import ROOT

import chatmark
from chatmark.__main__ import main
from chatmark.cli.app import chatmark as group
from chatmark.cli.render.console import clean

EXAMPLES = ROOT / "examples"


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """
    Run Python.
    """
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | environment,
        capture_output=True,
        check=False,
    )


class TestMain:
    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        """
        The version is the package's.
        """
        assert 0 == main(["--version"])
        assert f"chatmark {chatmark.__version__}\n" == capsys.readouterr().out

    def test_no_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        """
        Without a command the help is shown, as an error.
        """
        assert 2 == main([])
        assert "Commands:" in capsys.readouterr().err

    def test_unknown_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        """
        A command that there is not is one error.
        """
        assert 2 == main(["aply"])
        assert "error: No such command 'aply'" in capsys.readouterr().err

    @pytest.mark.parametrize("missing", ["click", "rich"])
    def test_without_the_extra(self, missing: str) -> None:
        """
        Without what the command line needs, one line says how to get it.
        """
        code = f"import sys; sys.modules[{missing!r}] = None\n"
        code += "from chatmark.__main__ import main; sys.exit(main(['explain', '0']))"
        ended = python("-c", code)

        assert (2, b"") == (ended.returncode, ended.stdout)
        assert b"error: the command line needs more: pip install 'chatmark[cli]'\n" == ended.stderr

    @pytest.mark.parametrize("arguments", [["--version"], ["explain", "50001"], ["usersig"]])
    def test_light_commands(self, arguments: list[str]) -> None:
        """
        What needs no network loads neither aiohttp nor cattrs.
        """
        code = "import sys, json; from chatmark.__main__ import main\n"
        code += f"status = main({arguments!r})\n"
        code += "print(json.dumps([status, 'aiohttp' in sys.modules, 'cattrs' in sys.modules]))"
        ended = python("-c", code, CHATMARK_SDKAPPID="1400000001", CHATMARK_SECRET_KEY="x")

        assert [0, False, False] == json.loads(ended.stdout.splitlines()[-1])


class TestOutput:
    def test_broken_pipe(self) -> None:
        """
        Who reads no further gets no message.
        """
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
        """
        What the terminal has no characters for does not end the command.
        """
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
        """
        Characters that could command a terminal are shown as escapes.
        """
        assert shown == clean(text)


class TestHelp:
    def test_every_option(self) -> None:
        """
        Each command and each option has a help text, and none takes a secret.
        """
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)

            assert command is not None
            assert command.help
            for option in command.params:
                if isinstance(option, click.Option):
                    assert option.help, f"{name} {option.name}"
                    assert option.name not in {"secret_key", "usersig"}
