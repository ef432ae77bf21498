"""
Documents and docstrings are plain technical English: subject first, concrete nouns.

`python tests/documents/test_prose.py [PATH ...]` lists what the test would find in other files.
"""

import ast
import io
import pathlib
import re
import sys
import tokenize
from collections.abc import Iterator
from typing import Final

import pytest
from paths import ROOT

DOCUMENTS: Final = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/**/*.md",
    ".github/*.md",
)
# Rooms whose prose was read and is clean.
CODE: Final = (
    "noxfile.py",
    "docs/*.py",
    "examples/*.py",
    "chatmark/*.py",
    "chatmark/core/*.py",
    "chatmark/http/*.py",
    "chatmark/pacing/**/*.py",
    "chatmark/session/*.py",
    "chatmark/wire/*.py",
    "chatmark/cli/**/*.py",
    "chatmark/emulator/**/*.py",
    "chatmark/ray/**/*.py",
    "tests/unit/cli/*.py",
    "tests/unit/emulator/*.py",
    "tests/unit/ray/*.py",
    "chatmark/jobs/*.py",
)

FENCED: Final = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
# The beginning of a sentence.
BEGIN: Final = r"(?:^|(?<=[.:;!] )|(?<=\n\n))(?:[-*] |\d+\. )?"
# Each pattern of dialect, with the advice.
SLIPS: Final = {
    r"\b[Ww]ho(?:so)?ever\b": 'name the subject: "callers", "the task that"',
    BEGIN + r"(?:Who|What|Whom|Whose)\b[^.?!]*[.;]": "begin with the subject, a concrete noun",
    r"\bwill (?:not )?do\b": 'write what must be: "must be at least 1 s"',
    r"(?<![Tt]here )\b(?:is|are|was|were) no (?!longer|more|less|\w+er )\w+":
    'write "is not a"',
    r"\b(?:[Ss]ome|[Ee]very|[Nn]o)body\b": 'name them: "no caller", "each waiter"',
    r"\bamiss\b|\bforetells?\b|\bhenceforth\b|\bas it were\b": "use a common word",
    r"\bcannot be\b(?= *[.,;:|])": "say why it is not possible",
}  # fmt: skip


def find_slips(text: str) -> Iterator[str]:
    """
    Yield what a text says in dialect. Code and quotations are left out.

    >>> list(find_slips("Whoever waits is first."))
    ['Whoever: name the subject: "callers", "the task that"']
    """
    text = re.sub(r"`[^`]*`|\"[^\"]*\"", "X", text)
    for pattern, advice in SLIPS.items():
        for match in re.finditer(pattern, text):
            yield f"{' '.join(match[0].split())}: {advice}"


def texts_of_document(source: str) -> Iterator[tuple[int, str]]:
    """Yield the paragraphs, items and cells of a document, each with its line."""
    source = FENCED.sub(lambda block: "\n" * block[0].count("\n"), source)
    line = 1
    for paragraph in re.split(r"(\n(?=\s*(?:[-*|#]|\d+\.) ?)|\n\n)", source):
        text = paragraph.strip()
        if text.startswith("|"):
            yield from ((line, cell.strip()) for cell in text.strip("|").split("|"))
        elif not text.startswith("#"):
            yield line, " ".join(text.split())
        line += paragraph.count("\n")


def texts_of_code(source: str) -> Iterator[tuple[int, str]]:
    """Yield the docstrings, error messages and comments of a module, each with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text
        elif isinstance(node, ast.Raise):
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.lineno, part.value.strip()
    comments: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("# ")
            if comments and comments[-1][0] + comments[-1][1].count("\n") == token.start[0] - 1:
                first, before = comments.pop()
                comments.append((first, f"{before}\n{text}"))
            else:
                comments.append((token.start[0], text))
    yield from ((line, text) for line, text in comments if "noqa" not in text)


def find_in(path: pathlib.Path) -> list[str]:
    """Return the slips of a file, a line each."""
    source = path.read_text(encoding="utf-8")
    texts = texts_of_code(source) if path.suffix == ".py" else texts_of_document(source)
    return [f"{path}:{line}: {slip}" for line, text in texts for slip in find_slips(text)]


@pytest.mark.parametrize("pattern", [*DOCUMENTS, *CODE])
def test_is_plain(pattern: str) -> None:
    """No document, docstring, message or comment has a word of the list."""
    paths = sorted(ROOT.glob(pattern))

    assert paths
    assert [] == [slip for path in paths for slip in find_in(path)]


@pytest.mark.parametrize(
    "text",
    [
        "Whoever comes first is served.",
        "What waits is sent. ",
        "The session waits. Who comes later is served later.",
        "A text will not do.",
        "A number is no text.",
        "Somebody may wait.",
        "The change cannot be.",
    ],
)
def test_finds(text: str) -> None:
    """The list finds each of its words."""
    assert 1 == len(list(find_slips(text)))


@pytest.mark.parametrize(
    "text",
    [
        "There is no limit.",
        "The pace is no longer held.",
        'Write "callers", not "whoever".',
        "What does it do?",
        "The test says what a change does.",
        "A caller who waits is served.",
        "The change cannot be withdrawn.",
    ],
)
def test_lets_by(text: str) -> None:
    """Plain English is no slip, and neither are quotations."""
    assert [] == list(find_slips(text))


if __name__ == "__main__":
    places = [pathlib.Path(each) for each in sys.argv[1:]] or [ROOT / "chatmark", ROOT / "tests"]
    files = [
        file
        for place in places
        for file in ([place] if place.is_file() else sorted(place.rglob("*.py")))
    ]
    found = [slip for file in files for slip in find_in(file)]
    print(*found, sep="\n")
    sys.exit(bool(found))
