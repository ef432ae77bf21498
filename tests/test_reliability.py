"""
The page on reliability names tests and modules: they exist.
"""

import ast
import pathlib
import re
from typing import Final

import pytest

ROOT: Final = pathlib.Path(__file__).parent.parent
PAGE: Final = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED: Final = sorted(
    set(re.findall(r"`((?:test_\w+|fuzz|soak|virtual_rig)\.py(?:::\w+)*)`", PAGE))
)
ROWS: Final = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| --- ")
]


def names(file: pathlib.Path) -> set[str]:
    """
    Return what pytest would call the classes and functions of a file of tests.
    """
    found: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{each.name}" for each in node.body if hasattr(each, "name")}
    return found


class TestPage:
    @pytest.mark.parametrize("name", NAMED)
    def test_names_what_exists(self, name: str) -> None:
        """
        Each test, class and file that the page names is there.
        """
        file, _, inside = name.partition("::")
        path = ROOT / "tests" / file

        assert path.is_file()
        assert not inside or inside in names(path)

    @pytest.mark.parametrize(
        "module", sorted({cell for row in ROWS if len(row) == 4 for cell in row[2].split(", ")})
    )
    def test_names_modules(self, module: str) -> None:
        """
        Each module that is said to keep a promise is there.
        """
        name = module.strip("`")

        assert name == "where" or (ROOT / "chatmark" / name).is_file()

    def test_shows_every_line(self) -> None:
        """
        Each promise, case and trial is shown by a test or a command.
        """
        lacking = [row for row in ROWS if "`" not in row[-1] and "`" not in row[-2]]
        heads = [row for row in lacking if row[-1] in ("tests", "figure")]

        assert heads == lacking

    def test_has_every_group(self) -> None:
        """
        The sixteen groups of faults are all there, in their order.
        """
        groups = [int(match[1]) for row in ROWS if (match := re.match(r"(\d+) \w", row[0]))]

        assert list(range(1, 17)) == groups

    def test_leaves_out_no_suite(self) -> None:
        """
        No suite of faults is left out of the page.
        """
        suites = {path.name for path in (ROOT / "tests").glob("test_fault_*.py")}

        assert set() == suites - {name.partition("::")[0] for name in NAMED}
