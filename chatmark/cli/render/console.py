"""Output on the terminal; control characters of a server or a file are escaped."""

import io
import itertools
import json
import os
import sys
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TextIO

import click
import rich.console
from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from chatmark.jobs.counting import SCHEMA, agree

# This character joins several characters to one emoji.
_JOINER: Final = "\u200d"
_UNLIMITED: Final = 100_000
# The text behind a count begins there.
_INDENT: Final = 12
# Blanks and lines between two columns of a table.
_BETWEEN: Final = 3


def prepare_streams() -> None:
    """
    Let text that the terminal's encoding has no characters for come out as "?" instead of failing.

    A stream that is closed is replaced by one that drops what it gets, so that no file of a job
    takes its place.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def describe(error: OSError) -> str:
    """Return what the system says, with the name of the file."""
    reason = error.strerror or str(error) or type(error).__name__
    return reason if error.filename is None else f"{os.fsdecode(error.filename)}: {reason}"


def clean(text: str) -> str:
    """Return text with the characters that could command a terminal written as escapes."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each == _JOINER else each.encode("unicode_escape").decode()
        for each in text
    )


def print_json(document: dict[str, Any], *, err: bool = False) -> None:
    """Print a document, with the version of its schema."""
    click.echo(json.dumps({"schema": SCHEMA} | document, indent=2), err=err)


class Console(rich.console.Console):
    """A console on a stream; without a terminal its lines are never wrapped."""

    def __init__(self, file: TextIO) -> None:
        # A terminal that does not know its width says 0.
        unknown = {name for name in ("COLUMNS", "LINES") if not os.environ.get(name, "").strip("0")}
        environment = {name: text for name, text in os.environ.items() if name not in unknown}
        width = None if file.isatty() else _UNLIMITED
        super().__init__(file=file, width=width, highlight=False, _environ=environment)

    def on_broken_pipe(self) -> None:
        """Raise the error, which rich makes the exit status 1."""
        raise  # noqa: PLE0704 - rich calls it where it has caught the error.

    def say(self, text: str, style: str = "") -> None:
        """Write a line; a terminal that is too narrow gets several, broken between words."""
        text = clean(text)
        if self.is_terminal:
            text = broken(text, self.width)
        self.print(Text(text, style=style), soft_wrap=True)

    def say_counts(self, *rows: tuple[int, str, str]) -> None:
        """Write a line for each count above 0: the number, its text (see `agree`), its style."""
        for count, text, style in rows:
            if count:
                self.say(f"  {count:>9,} {agree(count, text)}", style)

    def say_errors(self, errors: Mapping[str, object], most: int, *, indent: int = 12) -> None:
        """Write the first errors, a line each with its user."""
        for account, error in itertools.islice(errors.items(), most):
            self.say(f"{' ' * indent}{account}: {error}")

    def print_table(
        self,
        title: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[Text | str]],
        numbers: Collection[str] = (),
    ) -> None:
        """
        Print a table; columns named in *numbers* are aligned to the right.

        No word is broken: where the longest words do not fit beside each other, each row is a block
        of lines. Without a terminal cells are separated by tabs, for other programs.
        """
        cells = [
            [each if isinstance(each, Text) else Text(clean(each)) for each in row] for row in rows
        ]
        if title:
            self.say(title, "bold")
        if not self.is_terminal:
            for line in (columns, *([each.plain for each in row] for row in cells)):
                # rich would make blanks of the tabs.
                click.echo("\t".join(line), file=self.file)
            return
        widths = _widths(columns, cells, self.width - _BETWEEN * len(columns))
        if widths is None:
            for row in cells:
                for column, cell in zip(columns, row, strict=True):
                    if cell:
                        self.print(Text(f"  {column}: ") + cell, soft_wrap=True)
                self.say("")
            return
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column, width in zip(columns, widths, strict=True):
            table.add_column(column, width=width, justify="right" if column in numbers else "left")
        for row in cells:
            table.add_row(*row)
        self.print(table)


def stdout_console() -> Console:
    """Return a console on standard output."""
    return Console(sys.stdout)


def stderr_console() -> Console:
    """Return a console on standard error."""
    return Console(sys.stderr)


def broken(text: str, width: int) -> str:
    """Return text with line breaks between words, so that its lines fit."""
    indent = " " * (_INDENT if text.startswith(" ") else 2)
    lines = textwrap.wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines)


def first_of(names: Sequence[str], total: int, most: int) -> str:
    """Return the first names, and dots if there are more."""
    return ", ".join(names[:most]) + (", ..." if total > most else "")


def _longest_word(cell: Text) -> int:
    words = [cell.plain] if cell.no_wrap else cell.plain.split()
    return max(map(cell_len, words), default=0)


def _widths(
    columns: Sequence[str], rows: Sequence[Sequence[Text]], room: int
) -> Sequence[int] | None:
    """Return the width of each column, None if the longest words do not fit."""
    columns_of = [[Text(column), *(row[n] for row in rows)] for n, column in enumerate(columns)]
    widths = [max(each.cell_len for each in cells) for cells in columns_of]
    least = [max(map(_longest_word, cells)) for cells in columns_of]
    while sum(widths) > room:
        spare, widest = max(
            (width - low, n) for n, (width, low) in enumerate(zip(widths, least, strict=True))
        )
        if spare <= 0:
            return None
        widths[widest] -= 1
    return widths
