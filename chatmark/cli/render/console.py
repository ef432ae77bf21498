"""Output on the terminal; control characters of a server or a file are escaped."""

import contextlib
import io
import itertools
import logging
import sys
from collections.abc import Collection, Generator, Mapping, Sequence
from typing import Final

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

# This character joins several characters to one emoji.
_JOINER: Final = "\u200d"
_UNLIMITED: Final = 100_000


def prepare_streams() -> None:
    """
    Let text that the terminal's encoding has no characters for come out as "?" instead of failing.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def clean(text: str) -> str:
    """Return text with the characters that could command a terminal written as escapes."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each == _JOINER else each.encode("unicode_escape").decode()
        for each in text
    )


def stdout_console() -> Console:
    """Return a console on standard output; without a terminal its lines are never wrapped."""
    width = None if sys.stdout.isatty() else _UNLIMITED
    return Console(file=sys.stdout, width=width, highlight=False, soft_wrap=False)


def stderr_console() -> Console:
    """Return a console on standard error."""
    return Console(file=sys.stderr, highlight=False)


def say(console: Console, text: str, style: str = "") -> None:
    """Write one line as it is, without wrapping."""
    console.print(Text(clean(text), style=style), soft_wrap=True)


def say_counts(console: Console, *rows: tuple[int, str, str]) -> None:
    """Write a line for each count that is not zero: the number, its text, and its style."""
    for count, text, style in rows:
        if count:
            say(console, f"  {count:>9,} {text}", style)


def say_errors(
    console: Console, errors: Mapping[str, object], most: int, *, indent: int = 12
) -> None:
    """Write the first errors, a line each with its user."""
    for account, error in itertools.islice(errors.items(), most):
        say(console, f"{' ' * indent}{account}: {error}")


def first_of(names: Sequence[str], total: int, most: int) -> str:
    """Return the first names, and dots if there are more."""
    return ", ".join(names[:most]) + (", ..." if total > most else "")


def make_table(title: str, *columns: str, numbers: Collection[str] = ()) -> Table:
    """Return an empty table; columns named in *numbers* are aligned to the right."""
    table = Table(
        title=Text(clean(title)) if title else None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in numbers else "left")
    return table


class Warnings(logging.Handler):
    """Writes the library's warnings to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one warning."""
        sign = click.style("warning:", fg="yellow", bold=True)
        click.echo(f"{sign} {clean(record.getMessage())}", err=True)

    @contextlib.contextmanager
    def written(self) -> Generator[None]:
        """Write warnings while the block runs."""
        logger = logging.getLogger("chatmark")
        logger.addHandler(self)
        try:
            yield
        finally:
            logger.removeHandler(self)


def complain(message: str) -> None:
    """Write an error to standard error."""
    click.echo(f"{click.style('error:', fg='red', bold=True)} {clean(message)}", err=True)
