"""
The code of a page of Markdown, run as it stands there.

- Blocks of `python` run one after another in one namespace; `await` stands outside functions, too,
  and names of `chatmark` need no import.
- A block of `text` behind a block of `python` is what it prints; "..." stands for anything.
- A block of `python` that begins with `# examples/FILE` is an excerpt of it.
- Functions called `test_*` are called with the fixtures that they name.
"""

import ast
import asyncio
import contextlib
import inspect
import io
import pathlib
import re
import shlex
import textwrap
from collections.abc import Callable
from typing import Any, Final

import attrs
from paths import ROOT

import chatmark

_BLOCK: Final = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^ *```$", re.DOTALL | re.MULTILINE
)
_EXCERPT: Final = re.compile(r"# (examples/[\w./-]+)\n")


@attrs.frozen
class Block:
    """
    One fenced block.

    Args:
        page: The name of its page.
        line: The line that it begins at.
        language: Its language.
        text: What is inside.
    """

    page: str
    line: int
    language: str
    text: str

    @property
    def source(self) -> str | None:
        """The file that it is an excerpt of."""
        found = _EXCERPT.match(self.text)
        return None if found is None else found[1]

    def is_excerpt(self) -> bool:
        """Whether each of its parts stands in the file, one after another; "..." parts them."""
        assert self.source is not None
        whole = (ROOT / self.source).read_text("utf-8")
        rest = textwrap.dedent(self.text.partition("\n")[2])
        where = 0
        for part in re.split(r"^ *(?:# )?\.\.\.\n", rest, flags=re.MULTILINE):
            lines = [re.escape(line.strip()) for line in part.strip().splitlines()]
            found = re.compile(r"\s*\n\s*".join(lines)).search(whole, where)
            if found is None:
                return False
            where = found.end()
        return True


def blocks_of(path: pathlib.Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = path.read_text("utf-8")
    return [
        Block(
            path.name,
            text.count("\n", 0, found.start()) + 1,
            found["language"],
            textwrap.dedent(found["text"]),
        )
        for found in _BLOCK.finditer(text)
    ]


def commands_of(path: pathlib.Path) -> list[list[str]]:
    """Return the arguments of each command of chatmark on a page, without the region."""
    return [
        shlex.split(line.replace(" --region singapore", ""), comments=True)[1:]
        for block in blocks_of(path)
        if block.language == "shell"
        for line in block.text.splitlines()
        if line.startswith("chatmark ")
    ]


def run(blocks: list[Block], fixture: Callable[[str], Any]) -> dict[str, Any]:
    """Run the Python of a page, compare what it prints, and return its namespace."""
    space = {name: getattr(chatmark, name) for name in chatmark.__all__} | {"__name__": "page"}
    with asyncio.Runner() as runner:
        for block, after in zip(blocks, [*blocks[1:], None], strict=True):
            if block.language != "python" or block.source is not None:
                continue
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                _run_block(block, space, runner, fixture)
            if after is not None and after.language == "text":
                _compare(block, after.text, printed.getvalue())
    return space


def _run_block(
    block: Block, space: dict[str, Any], runner: asyncio.Runner, fixture: Callable[[str], Any]
) -> None:
    before = set(space)
    # The line makes tracebacks point to the page.
    source = "\n" * block.line + block.text
    code = compile(source, block.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    outcome = eval(code, space)
    if inspect.iscoroutine(outcome):
        runner.run(outcome)
    for name in sorted(set(space) - before):
        if name.startswith("test_"):
            asked = inspect.signature(space[name]).parameters
            if "chatmark_emulator" in asked:
                # A test begins with an empty server.
                fixture("chatmark_emulator").reset()
            outcome = space[name](**{each: fixture(each) for each in asked})
            if inspect.iscoroutine(outcome):
                runner.run(outcome)


def _compare(block: Block, wanted: str, printed: str) -> None:
    pattern = ".*?".join(map(re.escape, wanted.strip().split("...")))
    lines = [line.rstrip() for line in printed.strip().splitlines()]
    assert re.fullmatch(pattern, "\n".join(lines), re.DOTALL), (
        f"{block.page}:{block.line} prints:\n{printed}\nand not:\n{wanted}"
    )
