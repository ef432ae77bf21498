"""The page on reliability names tests and modules: they exist."""

import ast
import functools
import pathlib
import re
from typing import Final

from paths import ROOT

PAGE: Final = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED: Final = sorted(
    set(re.findall(r"`((?:faults|long|models|support|unit)/[\w/]+\.py(?:::\w+)*)`", PAGE))
)
ROWS: Final = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| --- ")
]


@functools.cache
def names(file: pathlib.Path) -> set[str]:
    """Return what pytest would call the classes and functions of a file of tests."""
    found: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{each.name}" for each in node.body if hasattr(each, "name")}
    return found


class TestPage:
    def test_names_what_exists(self) -> None:
        """Each test, class, file and module that the page names is there."""
        modules = {cell for row in ROWS if len(row) == 4 for cell in row[2].split(", ")} - {"where"}
        lacking = [each for each in modules if not (ROOT / "chatmark" / each.strip("`")).is_file()]
        for name in NAMED:
            file, _, inside = name.partition("::")
            path = ROOT / "tests" / file
            if not path.is_file() or (inside and inside not in names(path)):
                lacking.append(name)

        assert len(NAMED) > 100
        assert [] == lacking

    def test_shows_every_line(self) -> None:
        """Each promise, case and trial is shown by a test or a command."""
        lacking = [row for row in ROWS if "`" not in row[-1] and "`" not in row[-2]]
        heads = [row for row in lacking if row[-1] in ("tests", "figure")]

        assert heads == lacking

    def test_has_every_group(self) -> None:
        """The sixteen groups of faults are all there, in their order."""
        groups = [int(match[1]) for row in ROWS if (match := re.match(r"(\d+) \w", row[0]))]

        assert list(range(1, 17)) == groups

    def test_leaves_out_no_suite(self) -> None:
        """No suite of faults is left out of the page."""
        suites = {f"faults/{path.name}" for path in (ROOT / "tests" / "faults").glob("test_*.py")}

        assert set() == suites - {name.partition("::")[0] for name in NAMED}
