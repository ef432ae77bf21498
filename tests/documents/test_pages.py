"""The code of the pages runs as it stands there, and the pages say all that they have to."""

import pathlib
import re
import sys
from collections.abc import Iterator
from typing import Final

import click
import pages
import pytest
from paths import ROOT
from redis_server import MISSING, RedisServer

import chatmark
from chatmark.cli.app import chatmark as commands
from chatmark.jobs import Accounts, JobReport

DOCS: Final = ROOT / "docs"
# Pages whose code needs a setting of its own have a test of their own.
OWN: Final = {"cluster.md", "inputs.md", "jobs.md"}
PAGES: Final = sorted(path.name for path in DOCS.glob("*.md") if path.name not in OWN)
PYTHON: Final = [name for name in PAGES if "```python" in (DOCS / name).read_text("utf-8")]
SHELL: Final = sorted(path.name for path in DOCS.glob("*.md") if pages.commands_of(path))


@pytest.fixture(autouse=True)
def place(
    tmp_path: pathlib.Path,
    emulator_environment: pytest.MonkeyPatch,
) -> Iterator[None]:
    """Run in an empty folder, with the environment that the pages ask for."""
    emulator_environment.chdir(tmp_path)
    if MISSING is not None:
        emulator_environment.setenv("REDIS_URL", f"unix://{tmp_path}/none")
        yield
        return
    with RedisServer() as server:
        emulator_environment.setenv("REDIS_URL", server.url)
        yield


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> object:
    """Give the module that makes the reference."""
    monkeypatch.syspath_prepend(str(DOCS))
    module = __import__("generated")
    monkeypatch.delitem(sys.modules, "generated")
    return module


class TestCode:
    @pytest.mark.parametrize("name", PYTHON)
    def test_runs(self, name: str, request: pytest.FixtureRequest) -> None:
        """The programs of a page run one after another, and print what it shows."""
        pages.run(pages.blocks_of(DOCS / name), request.getfixturevalue)

    @pytest.mark.parametrize("name", PYTHON)
    def test_excerpts(self, name: str) -> None:
        """What a page shows of a file stands in the file."""
        excerpts = [block for block in pages.blocks_of(DOCS / name) if block.source]

        assert [] == [(name, each.line) for each in excerpts if not each.is_excerpt()]

    @pytest.mark.parametrize("name", SHELL)
    def test_commands(self, name: str) -> None:
        """The commands of a page and their options exist."""
        group = click.Context(commands, info_name="chatmark")
        for first, *rest in pages.commands_of(DOCS / name):
            command = commands.get_command(group, first)
            assert command is not None, first
            options = {option for each in command.params for option in each.opts}
            assert [] == [each for each in rest if each.startswith("--") and each not in options]


class TestWhole:
    def test_errors(self) -> None:
        """The page on errors names every public error, with whether its change was applied."""
        page = (DOCS / "errors.md").read_text("utf-8")
        rows = re.findall(r"^\| `(\w+)`.*?\|.*?\| (.+?) \|", page, re.MULTILINE)
        errors = {name for name in chatmark.__all__ if name.endswith("Error")}

        assert errors - {"ChatmarkError", "RefusedError"} == {name for name, _ in rows}

    def test_report(self, generated: object) -> None:
        """Every key of the report of a job is explained in `docs/generated.py`."""
        explained = vars(generated)["REPORT"]
        keys = JobReport(file="", rows=0, accounts=Accounts()).document()

        assert [] == [key for key in keys if key not in explained]

    def test_reference(self, generated: object) -> None:
        """Every public name, command and code is in the reference."""
        made = vars(generated)
        for name in chatmark.__all__:
            assert re.search(rf"chatmark\.{name}$", made["names"]("chatmark"), re.MULTILINE), name
        for name in commands.list_commands(click.Context(commands)):
            assert f"\n## chatmark {name}\n" in made["commands"]()
        assert len(made["codes"]().splitlines()) == len(chatmark.codes.CODES) + 2

    def test_pages_are_listed(self) -> None:
        """Every page is in the contents of the site."""
        contents = (DOCS / "index.md").read_text("utf-8")
        names = [path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md")]

        assert [] == [
            name for name in names if f"\n{name}\n" not in contents and str(name) != "index"
        ]
