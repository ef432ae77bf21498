"""
Pages quote the figures of `benchmarks/figures.toml`, and no others.

    python tests/documents/test_figures.py

writes the values of the file into the pages.
"""

import pathlib
import re
import tomllib
from collections.abc import Iterator
from typing import Final

import pytest

ROOT: Final = pathlib.Path(__file__).parents[2]
FIGURES: Final = tomllib.loads((ROOT / "benchmarks" / "figures.toml").read_text("utf-8"))
PAGES: Final = [
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", ROOT / "benchmarks" / "README.md", *ROOT.glob("docs/*.md"))
]
# What only a measurement gives; MiB are limits, and the page of the benchmarks explains its table.
MEASURED: Final = re.compile(r"\d[\d.,]*\s(?:MB|GB|µs)\b")
EXPLAINED: Final = "benchmarks/README.md"


def quotes(page: str) -> Iterator[tuple[re.Pattern[str], str]]:
    """Yield the figures of a page, each in the words around it, and their values."""
    for figure in FIGURES.values():
        for quote in figure["quotes"]:
            name, _, words = quote.partition(": ")
            if name == page:
                before, after = (
                    r"\s+".join(map(re.escape, part.split(" "))) for part in words.split("{}")
                )
                yield re.compile(f"({before})(.{{1,30}}?)({after})"), figure["value"]


def test_pages() -> None:
    """The pages of all quotes are compared."""
    names = {quote.partition(": ")[0] for each in FIGURES.values() for quote in each["quotes"]}

    assert names <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_figures(page: str) -> None:
    """A page quotes the values of the file, and has no measured figure beside them."""
    text = (ROOT / page).read_text("utf-8")
    rest, wrong = text, []
    for pattern, value in quotes(page):
        said = [re.sub(r"\s+", " ", words) for _, words, _ in pattern.findall(text)]
        if said != [value]:
            wrong.append((pattern.pattern, value, said))
        rest = pattern.sub(" ", rest)

    assert [] == wrong
    assert page == EXPLAINED or [] == MEASURED.findall(rest)


def main() -> None:
    """Write the values into the pages."""
    for page in PAGES:
        path = ROOT / page
        text = path.read_text("utf-8")
        for pattern, value in quotes(page):
            text = pattern.sub(rf"\g<1>{value}\g<3>", text)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
